//! What passes between a client and its node, each as its receiver reads it.

use super::{control, records, walk};
use crate::input::Input;
use bytes::{Bytes, BytesMut};
use pelago_client::core::{self, LocalTime};
use pelago_client::tiles::{Manifest, decode_naturals};
use pelago_client::{Client, Identity, Settings, View};
use pelago_model::{
    ChannelId, ChunkId, IslandClock, IslandId, IslandTime, Position, Secret, Tick, Trajectory,
};
use pelago_net::Deframer;
use pelago_wire::client::{Arrival, ClientMessage, ServerMessage, server_message};
use pelago_wire::client_stream::{
    decode_client_snapshot, decode_close, decode_frames, is_frames, put_client_snapshot, put_close,
    put_frames,
};
use pelago_wire::frame::base;
use pelago_wire::record::Base;

const HOME: IslandId = IslandId(0x0000_1000_0000_0001);
/// The tick of the streams in the vectors.
const TICK: Tick = Tick(17_000_000_001);

/// The first byte says what the others are.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let selector = input.u8();
    let bytes = Bytes::copy_from_slice(input.rest());
    match selector {
        0 => drop(control::<ClientMessage>(&bytes)),
        1 => said_by_a_node(&bytes),
        2 => bodies(&bytes),
        3 => view(&bytes),
        4 => frames(&bytes),
        5 => snapshot(&bytes),
        6 => close(&bytes),
        7 => land(&bytes),
        8 => core(&bytes),
        _ => {}
    }
}

fn said_by_a_node(bytes: &Bytes) {
    let Some(message) = control::<ServerMessage>(bytes) else { return };
    let path = match message.body {
        Some(server_message::Body::Welcome(welcome)) => {
            if let Some(Ok(clock)) = welcome.clock.as_ref().map(IslandClock::try_from) {
                clock.at(Tick(welcome.tick).starts());
            }
            welcome.path
        }
        Some(server_message::Body::MoveRefused(refused)) => refused.path,
        _ => None,
    };
    if let Some(Ok(path)) = path.as_ref().map(Trajectory::try_from) {
        walk(&path);
    }
}

fn bodies(bytes: &Bytes) {
    let usual = ChannelId::whole(HOME, ChunkId::new(-2, 3));
    records(bytes, base(&usual, TICK, &IslandClock::IDENTITY));
    // Those with the least room for a sum.
    let corner = Position { x: i32::MIN, y: i32::MAX };
    let world = HOME.world();
    records(bytes, Base { t0: IslandTime(i64::MIN), corner, world });
    records(bytes, Base { t0: IslandTime(i64::MAX), corner, world });
}

/// A stream of messages, as a client's view takes it in until something is malformed.
fn view(bytes: &Bytes) {
    let mut deframer = Deframer::new(bytes.len());
    deframer.buffer().extend_from_slice(bytes);
    let mut view = View::new(HOME, IslandClock::IDENTITY, TICK);
    let mut changes = Vec::new();
    while let Ok(Some((kind, payload))) = deframer.next_message() {
        if view.receive(kind, &payload, &mut changes).is_err() {
            break;
        }
    }
    // A snapshot can make everything under its alias leave; nothing makes more of a byte than that.
    assert!(changes.len() <= 2 * bytes.len(), "more changes than bytes");
}

/// A stream of messages, as a client's core takes it in; it connects again whenever it has hung up.
fn core(bytes: &Bytes) {
    let identity = Identity {
        name: "fuzz".to_owned(),
        token: Secret::new(&[7; 16][..]),
        arrival: Arrival::Home,
    };
    let mut client = Client::new(Settings::new(identity, vec!["the node".to_owned()], 7));
    let (mut now, mut effects) = (LocalTime(0), Vec::new());
    client.handle(now, core::Input::Start, &mut effects);
    let mut deframer = Deframer::new(bytes.len());
    deframer.buffer().extend_from_slice(bytes);
    while let Ok(Some((kind, payload))) = deframer.next_message() {
        let connection = client.connection();
        client.handle(now, core::Input::Opened { connection }, &mut effects);
        // Whether it may ask for something now is its own affair.
        client.act(Bytes::from_static(b"{}"), &mut effects).ok();
        client.act_live(Bytes::from_static(b"{}"), &mut effects).ok();
        client.walk(now, 64, &[Position::new(i32::MAX, i32::MIN)], &mut effects).ok();
        client.handle(now, core::Input::Received { connection, kind, payload }, &mut effects);
        client.island_time(now);
        if let Some(wake) = client.next_wake() {
            now = wake.max(now);
            client.handle(now, core::Input::Wake, &mut effects);
        }
        effects.clear();
    }
}

/// The kind comes first. A message is written in its shortest form, whichever it was read in.
fn frames(bytes: &Bytes) {
    let Some(kind) = bytes.first().copied().filter(|kind| is_frames(*kind)) else { return };
    let read = bytes.slice(1..);
    let Ok((delta, frames)) = decode_frames(kind, &read) else { return };
    let frames: Vec<(u32, Bytes)> = frames.collect();
    let parts = frames.iter().map(|(alias, body)| (*alias, std::iter::once(&body[..])));
    let mut out = BytesMut::new();
    put_frames(&mut out, delta, parts);
    let (kind, payload) = message(out);
    assert!(payload.len() <= read.len(), "a message grows on its way");
    let again = decode_frames(kind, &payload).map(|(delta, frames)| (delta, frames.collect()));
    assert_eq!(again, Ok((delta, frames)), "frames change on their way");
}

fn snapshot(bytes: &Bytes) {
    let Ok(snapshot) = decode_client_snapshot(bytes, HOME) else { return };
    let mut out = BytesMut::new();
    put_client_snapshot(&mut out, &snapshot.header, HOME, snapshot.stamp, &snapshot.records);
    let again = decode_client_snapshot(&payload(out), HOME);
    let header = snapshot.header;
    assert_eq!(again, Ok(snapshot), "a snapshot changes on its way");
    base(&header.channel, header.tick, &IslandClock::IDENTITY);
}

fn close(bytes: &Bytes) {
    let Ok(aliases) = decode_close(bytes) else { return };
    assert!(aliases.len() <= bytes.len(), "more aliases than bytes");
    same(bytes, |out| put_close(out, &aliases));
}

fn land(bytes: &Bytes) {
    let chunk = ChunkId::new(i16::MAX, i16::MIN);
    if let Ok(manifest) = Manifest::decode(bytes) {
        for chunk in [chunk, ChunkId::new(0, 0), ChunkId::new(1, 2)] {
            manifest.tile(chunk);
        }
    }
    if let Ok(naturals) = decode_naturals(bytes, chunk) {
        assert!(naturals.len() <= bytes.len(), "more things than bytes");
    }
}

/// A message without choices in its form is written as it was read.
pub(super) fn same(bytes: &Bytes, put: impl FnOnce(&mut BytesMut)) {
    let mut out = BytesMut::new();
    put(&mut out);
    assert_eq!(payload(out), bytes, "a message is written in another form than read");
}

/// The payload of the only message in some bytes.
pub(super) fn payload(bytes: BytesMut) -> Bytes {
    message(bytes).1
}

/// The kind and the payload of the only message in some bytes.
fn message(bytes: BytesMut) -> (u8, Bytes) {
    let mut deframer = Deframer::new(bytes.len());
    deframer.buffer().extend_from_slice(&bytes);
    match deframer.next_message() {
        Ok(Some(message)) if deframer.buffer().is_empty() => message,
        other => panic!("not one message: {other:?}"),
    }
}
