//! Vectors of `streams.json` that only nodes send each other, and frames of objects.

use super::json::{Json, blob, list, number, object, text};
use super::vectors_of_streams::{HOME, TICK, channel, message, vector};
use super::{bytes, unframe};
use crate::client_stream::{decode_frames, put_frames};
use crate::message::{decode_control, encode_body, put_control};
use crate::peer::{self, answer, lane_call, peer_message};
use crate::peer_stream::{PeerSnapshot, decode_peer_snapshot, put_peer_snapshot};
use crate::tick_stamp::TickStamp;
use bytes::Bytes;
use pelago_model::{Cell, ChannelId, ChunkId, IslandId, PublisherId, Rate, Tick};

pub(super) fn peer_snapshot(name: &str, of: ChannelId, objects: bool, records: &str) -> Json {
    // What is inside of the id of a publisher is its node's business: these are as good as any.
    let publisher = if objects { 0x0002_ff8b_cfe5_6800 } else { 0x0002_018b_cfe5_6800 };
    let snapshot = PeerSnapshot {
        alias: 9,
        objects,
        channel: of,
        publisher: PublisherId(publisher),
        tick: TICK,
        sequence: 300,
        answers: 12,
        stamp: TickStamp::new(TICK, if objects { 0 } else { 44 }),
        records: bytes(records),
    };
    let out = message(|out| put_peer_snapshot(out, &snapshot));
    assert_eq!(decode_peer_snapshot(&unframe(&out).1).as_ref(), Ok(&snapshot));
    let content = object([
        ("kind", text("snapshot")),
        ("alias", number(snapshot.alias)),
        ("objects", Json::Bool(snapshot.objects)),
        ("channel", channel(&snapshot.channel)),
        ("publisher", text(format!("{:016x}", snapshot.publisher.0))),
        ("tick", number(snapshot.tick.0)),
        ("sequence", number(snapshot.sequence)),
        ("answers", number(snapshot.answers)),
        ("sequence_nibble", number(snapshot.stamp.sequence_nibble)),
        ("records", blob(&snapshot.records)),
    ]);
    vector(name, "peer", &out, content)
}

/// For clients: the sequence number in the stamp of an object's frame is 0.
pub(super) fn frames_of_objects() -> Json {
    let (stamp, records) =
        (TickStamp::new(Tick(TICK.0 - 1), 0).to_byte(), bytes("07 05 12 02 7b7d"));
    let body = [&[stamp], &records[..]].concat();
    let out = message(|out| put_frames(out, 1, [(1, [&body[..]].into_iter())].into_iter()));
    let (kind, payload) = unframe(&out);
    assert_eq!(decode_frames(kind, &payload).unwrap().0, 1);
    let frame = object([
        ("alias", number(1)),
        ("tick", number(TICK.0 - 1)),
        ("sequence_nibble", number(0)),
        ("records", blob(&records)),
    ]);
    let content = object([
        ("kind", text("frames")),
        ("tick_before", number(TICK.0 - 1)),
        ("tick", number(TICK.0)),
        ("frames", list([frame])),
    ]);
    vector("a frame of objects", "client", &out, content)
}

fn control(name: &str, body: peer_message::Body, fields: Json) -> Json {
    let sent = peer::PeerMessage { body: Some(body) };
    let out = message(|out| put_control(out, &sent));
    assert_eq!(decode_control(&unframe(&out).1), Ok(sent));
    let content = object([("kind", text("control")), ("body", text(name)), ("fields", fields)]);
    vector(&format!("control: {name}"), "peer", &out, content)
}

/// A channel of a subscription, and the same as JSON.
fn subscribed(id: ChannelId, objects: bool) -> (peer::Channel, Json) {
    let written = peer::Channel { objects, ..peer::Channel::from(&id) };
    assert_eq!(ChannelId::try_from(&written), Ok(id));
    let Json::Object(mut fields) = channel(&id) else { unreachable!("a channel is an object") };
    fields.push(("objects", Json::Bool(objects)));
    (written, Json::Object(fields))
}

/// How a link begins, and what is read over it.
pub(super) fn between_nodes() -> [Json; 4] {
    let hello = peer::PeerHello {
        oldest_version: 1,
        newest_version: 1,
        node: 2,
        incarnation: 1_700_000_000_000,
        build: "vectors 1".into(),
    };
    let introduced = object([
        ("oldest_version", number(hello.oldest_version)),
        ("newest_version", number(hello.newest_version)),
        ("node", number(hello.node)),
        ("incarnation", number(hello.incarnation)),
        ("build", text(&hello.build)),
    ]);
    let whole = ChannelId::whole(HOME, ChunkId::new(-2, 3));
    let part = ChannelId { cell: Cell(18), rate: Rate::Every4th, ..whole };
    let edge = ChannelId {
        island: IslandId(u64::MAX),
        chunk: ChunkId::new(i16::MIN, i16::MAX),
        cell: Cell(u32::MAX),
        rate: Rate::HeadCount,
    };
    let added = [subscribed(whole, false), subscribed(part, false), subscribed(edge, false)];
    let (add, add_json): (Vec<_>, Vec<_>) = added.into_iter().unzip();
    let (remove, remove_json) = subscribed(whole, true);
    let subscriptions = |version, base, add, remove| {
        peer_message::Body::Subscriptions(peer::Subscriptions { version, base, add, remove })
    };
    let all = object([
        ("version", number(12)),
        ("base", number(0)),
        ("add", list(add_json)),
        ("remove", list([])),
    ]);
    let less = object([
        ("version", number(13)),
        ("base", number(12)),
        ("add", list([])),
        ("remove", list([remove_json])),
    ]);
    let held = object([("version", number(13))]);
    [
        control("hello", peer_message::Body::Hello(hello), introduced),
        control("subscriptions", subscriptions(12, 0, add, vec![]), all),
        control("subscriptions", subscriptions(13, 12, vec![], vec![remove]), less),
        control("held", peer_message::Body::Held(peer::SubscriptionsHeld { version: 13 }), held),
    ]
}

/// A question of one node to another, and both ways in which it is answered.
pub(super) fn calls() -> [Json; 3] {
    let superseded = peer::Superseded { avatar: 42, epoch: 7 };
    let body = peer::LaneCall { body: Some(lane_call::Body::Superseded(superseded)) };
    let call = peer::Call {
        number: 5,
        deadline_ms: 5000,
        repeatable: true,
        trace: 77,
        role: "lane".into(),
        key: "lane/all".into(),
        body: encode_body(&body),
    };
    let asked = object([
        ("number", number(call.number)),
        ("deadline_ms", number(call.deadline_ms)),
        ("repeatable", Json::Bool(call.repeatable)),
        ("trace", number(call.trace)),
        ("role", text(&call.role)),
        ("key", text(&call.key)),
        ("body", blob(&call.body)),
    ]);
    let effects = Bytes::from_static(b"{}");
    let body = encode_body(&peer::LiveAnswer { effects, ..peer::LiveAnswer::default() });
    let said = object([("number", number(5)), ("body", blob(&body))]);
    let code = "busy".to_owned();
    let rejected = object([("number", number(5)), ("rejected", text(&code))]);
    let answer =
        |answer| peer_message::Body::Answer(peer::Answer { number: 5, answer: Some(answer) });
    [
        control("call", peer_message::Body::Call(call), asked),
        control("answer", answer(answer::Answer::Body(body)), said),
        control("answer", answer(answer::Answer::Rejected(peer::Rejected { code })), rejected),
    ]
}
