//! `streams.json` of `docs/vectors/`: whole messages of both links.

use super::json::{Json, blob, check, list, number, object, text};
use super::vectors_of_peers::{between_nodes, calls, frames_of_objects, peer_snapshot};
use super::{bytes, unframe};
use crate::client;
use crate::client_stream::{
    ClientSnapshotHeader, decode_client_snapshot, decode_close, decode_frames, put_client_snapshot,
    put_close, put_frames,
};
use crate::message::{decode_control, put_control};
use crate::peer_stream::{PeerFrame, decode_peer_frames, put_peer_frame, put_peer_frames_message};
use crate::tick_stamp::TickStamp;
use bytes::{Bytes, BytesMut};
use client::client_message::Body as FromClient;
use client::server_message::Body as FromServer;
use pelago_model::{Cell, ChannelId, ChunkId, IslandId, Rate, Tick};

pub(super) const HOME: IslandId = IslandId(0x0000_1000_0000_0001);
const ABROAD: IslandId = IslandId(0x0000_2000_0000_0007);
pub(super) const TICK: Tick = Tick(17_000_000_003);

pub(super) fn message(put: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    put(&mut out);
    out.freeze()
}

pub(super) fn vector(name: &str, link: &str, message: &Bytes, content: Json) -> Json {
    object([
        ("name", text(name)),
        ("link", text(link)),
        ("message", blob(message)),
        ("content", content),
    ])
}

pub(super) fn channel(channel: &ChannelId) -> Json {
    object([
        ("island", text(channel.island)),
        ("x", number(channel.chunk.x)),
        ("y", number(channel.chunk.y)),
        ("cell", number(channel.cell.0)),
        ("rate", number(channel.rate as u8)),
    ])
}

fn client_frames(name: &str, delta: u64, frames: &[(u32, Bytes)]) -> Json {
    let parts = frames.iter().map(|(alias, body)| (*alias, [&body[..]].into_iter()));
    let out = message(|out| put_frames(out, delta, parts));
    let (kind, payload) = unframe(&out);
    let (delta, frames) = decode_frames(kind, &payload)
        .map(|(delta, frames)| (delta, frames.collect::<Vec<_>>()))
        .unwrap();
    let frames = frames.iter().map(|(alias, body)| {
        let stamp = TickStamp::from_byte(body[0]);
        object([
            ("alias", number(*alias)),
            ("tick", number(stamp.tick(TICK).0)),
            ("sequence_nibble", number(stamp.sequence_nibble)),
            ("records", blob(&body[1..])),
        ])
    });
    let content = object([
        ("kind", text("frames")),
        ("tick_before", number(TICK.0 - delta)),
        ("tick", number(TICK.0)),
        ("frames", list(frames)),
    ]);
    vector(name, "client", &out, content)
}

fn client_snapshot(name: &str, alias: u32, of: ChannelId, objects: bool, records: &str) -> Json {
    let header = ClientSnapshotHeader { alias, objects, channel: of, publisher: 3, tick: TICK };
    let stamp = TickStamp::new(TICK, if objects { 0 } else { 12 });
    let records = bytes(records);
    let out = message(|out| put_client_snapshot(out, &header, HOME, stamp, &records));
    let read = decode_client_snapshot(&unframe(&out).1, HOME).unwrap();
    assert_eq!((read.header, read.stamp, &read.records), (header, stamp, &records));
    let content = object([
        ("kind", text("snapshot")),
        ("home", text(HOME)),
        ("alias", number(alias)),
        ("objects", Json::Bool(objects)),
        ("channel", channel(&of)),
        ("publisher", number(header.publisher)),
        ("tick", number(header.tick.0)),
        ("sequence_nibble", number(stamp.sequence_nibble)),
        ("records", blob(&records)),
    ]);
    vector(name, "client", &out, content)
}

fn close(link: &str, aliases: &[u32]) -> Json {
    let out = message(|out| put_close(out, aliases));
    assert_eq!(decode_close(&unframe(&out).1).as_deref(), Ok(aliases));
    let aliases = list(aliases.iter().map(|alias| number(*alias)));
    vector("close", link, &out, object([("kind", text("close")), ("aliases", aliases)]))
}

fn peer_frames() -> Json {
    let mut sections: [Bytes; 8] = Default::default();
    sections[1] = bytes("01 07");
    sections[6] = bytes("01 08 01 09");
    let core = bytes("3d 05 01 02");
    let with = PeerFrame { alias: 2, sequence: 300, core, sections: sections.clone() };
    let only = PeerFrame { alias: 3, sequence: 301, core: bytes("3e"), sections };
    let none =
        PeerFrame { alias: 4, sequence: 1, core: bytes("31 62 09"), sections: Default::default() };
    let frames = [with, only, none];
    let mut entries = BytesMut::new();
    frames.iter().for_each(|frame| put_peer_frame(&mut entries, frame));
    let out = message(|out| put_peer_frames_message(out, TICK, &entries));
    let payload = unframe(&out).1;
    let (tick, read) = decode_peer_frames(&payload).unwrap();
    assert_eq!((tick, read.collect::<Vec<_>>()), (TICK, frames.to_vec()));
    let plain = frames.iter().map(|frame| {
        object([
            ("alias", number(frame.alias)),
            ("sequence", number(frame.sequence)),
            ("core", blob(&frame.core)),
            ("sections", list(frame.sections.iter().map(|section| blob(section)))),
        ])
    });
    let content =
        object([("kind", text("frames")), ("tick", number(TICK.0)), ("frames", list(plain))]);
    vector("frames with sections, only with sections, without", "peer", &out, content)
}

fn from_client(name: &str, body: FromClient, fields: Json) -> Json {
    let sent = client::ClientMessage { body: Some(body) };
    let out = message(|out| put_control(out, &sent));
    assert_eq!(decode_control(&unframe(&out).1), Ok(sent));
    let content = object([("kind", text("control")), ("body", text(name)), ("fields", fields)]);
    vector(&format!("control: {name}"), "client", &out, content)
}

fn from_server(name: &str, body: FromServer, fields: Json) -> Json {
    let sent = client::ServerMessage { body: Some(body) };
    let out = message(|out| put_control(out, &sent));
    assert_eq!(decode_control(&unframe(&out).1), Ok(sent));
    let content = object([("kind", text("control")), ("body", text(name)), ("fields", fields)]);
    vector(&format!("control: {name}"), "client", &out, content)
}

fn hello() -> Json {
    let hello = client::Hello {
        oldest_version: 1,
        newest_version: 1,
        name: "Zoë".into(),
        token: Bytes::from_static(&[0xca; 32]),
        arrival: client::Arrival::Anywhere as i32,
        client: "vectors 1".into(),
    };
    let fields = object([
        ("oldest_version", number(hello.oldest_version)),
        ("newest_version", number(hello.newest_version)),
        ("name", text(&hello.name)),
        ("token", blob(&hello.token)),
        ("arrival", number(hello.arrival)),
        ("client", text(&hello.client)),
    ]);
    from_client("hello", FromClient::Hello(hello), fields)
}

fn welcome() -> Json {
    let walk = client::Path {
        start_ms: 1_700_000_000_000,
        x: -3840,
        y: 7679,
        speed: 128,
        waypoints: vec![-3000, 7000, -3000, 6000],
    };
    let clock =
        client::IslandClock { world_ms: 1_700_000_000_000, island_ms: -5, speed_permille: 900 };
    let welcome = client::Welcome {
        version: 1,
        avatar: 0x0000_1000_0000_002a,
        epoch: 3,
        island: HOME.0,
        tick: TICK.0,
        world_time_ms: 1_700_000_000_345,
        clock: Some(clock),
        content: vec![0x11; 32].into(),
        manifest: vec![0x22; 32].into(),
        sequence: 17,
        chain: vec![0; 32].into(),
        state: Bytes::from_static(b"{}"),
        path: Some(walk.clone()),
        node: 2,
        max_speed: 256,
    };
    let clock = object([
        ("world_ms", number(clock.world_ms)),
        ("island_ms", number(clock.island_ms)),
        ("speed_permille", number(clock.speed_permille)),
    ]);
    let walk = object([
        ("start_ms", number(walk.start_ms)),
        ("x", number(walk.x)),
        ("y", number(walk.y)),
        ("speed", number(walk.speed)),
        ("waypoints", list(walk.waypoints.into_iter().map(number))),
    ]);
    let fields = object([
        ("version", number(welcome.version)),
        ("avatar", text(format!("{:016x}", welcome.avatar))),
        ("epoch", number(welcome.epoch)),
        ("island", text(HOME)),
        ("tick", number(welcome.tick)),
        ("world_time_ms", number(welcome.world_time_ms)),
        ("clock", clock),
        ("content", blob(&welcome.content)),
        ("manifest", blob(&welcome.manifest)),
        ("sequence", number(welcome.sequence)),
        ("chain", blob(&welcome.chain)),
        ("state", blob(&welcome.state)),
        ("path", walk),
        ("node", number(welcome.node)),
        ("max_speed", number(welcome.max_speed)),
    ]);
    from_server("welcome", FromServer::Welcome(welcome), fields)
}

fn commands() -> [Json; 3] {
    let walk = client::Move {
        number: 5,
        at_ms: 1_700_000_000_300,
        speed: 128,
        waypoints: vec![-3000, 7000, 0, -1],
    };
    let walked = object([
        ("number", number(walk.number)),
        ("at_ms", number(walk.at_ms)),
        ("speed", number(walk.speed)),
        ("waypoints", list(walk.waypoints.iter().copied().map(number))),
    ]);
    let payload = Bytes::from_static(b"{\"take\":4}");
    let act = client::Act { sequence: 18, payload, number: 0 };
    let acted = object([
        ("sequence", number(act.sequence)),
        ("payload", blob(&act.payload)),
        ("number", number(act.number)),
    ]);
    let outcome = client::Outcome {
        sequence: 18,
        number: 0,
        code: "too_far".into(),
        sentence: "That is too far away.".into(),
        effects: Bytes::new(),
        chain: vec![0x33; 32].into(),
        trace: u64::MAX,
    };
    let ended = object([
        ("sequence", number(outcome.sequence)),
        ("number", number(outcome.number)),
        ("code", text(&outcome.code)),
        ("sentence", text(&outcome.sentence)),
        ("effects", blob(&outcome.effects)),
        ("chain", blob(&outcome.chain)),
        ("trace", number(outcome.trace)),
    ]);
    [
        from_client("move", FromClient::Move(walk), walked),
        from_client("act", FromClient::Act(act), acted),
        from_server("outcome", FromServer::Outcome(outcome), ended),
    ]
}

#[test]
fn the_vectors_of_streams_are_what_the_code_does() {
    let whole = ChannelId::whole(HOME, ChunkId::new(-2, 3));
    let part = ChannelId { cell: Cell(18), rate: Rate::Every4th, ..whole };
    let abroad = ChannelId::whole(ABROAD, ChunkId::new(i16::MIN, i16::MAX));
    let whole_peer = ChannelId::whole(HOME, ChunkId::new(-1, 32_767));
    let far_part = ChannelId { cell: Cell::WHOLE, rate: Rate::HeadCount, ..abroad };
    let now = TickStamp::new(TICK, 77).to_byte();
    let late = TickStamp::new(Tick(TICK.0 - 12), 15).to_byte();
    let body = |stamp: u8, records: &str| Bytes::from([&[stamp], &bytes(records)[..]].concat());
    let (one, other) = ((0, body(now, "01 05 62 09")), (300, body(late, "05 01 02")));
    let mut vectors = vec![
        client_frames("one frame, twelve ticks old", 2, std::slice::from_ref(&other)),
        client_frames("two frames, the second twelve ticks old", 2, &[one.clone(), other.clone()]),
        client_frames("one frame, too late for the shortest form", 64, std::slice::from_ref(&one)),
        client_frames("two frames, too late for a short form", 128, &[one, other]),
        client_snapshot("snapshot", 0, whole, false, "01 05"),
        client_snapshot("snapshot of objects", 1, whole, true, "07 05 11 02 7b7d"),
        client_snapshot("snapshot of a cell at a rate", 2, part, false, ""),
        client_snapshot("snapshot of another island", 300, abroad, false, ""),
        client_snapshot("snapshot of a head count on another island", 3, far_part, false, "09 07"),
        close("client", &[0, 127, 128, u32::MAX]),
        peer_frames(),
        peer_snapshot("snapshot", whole_peer, false, "01 05"),
        close("peer", &[9]),
        hello(),
        welcome(),
    ];
    vectors.extend(commands());
    vectors.extend([
        peer_snapshot("snapshot of a cell at a rate", part, false, "01 05"),
        peer_snapshot("snapshot of objects", whole, true, ""),
        peer_snapshot("snapshot of a head count on another island", far_part, false, "09 07"),
        frames_of_objects(),
    ]);
    vectors.extend(between_nodes());
    vectors.extend(calls());
    check("streams.json", &vectors);
}
