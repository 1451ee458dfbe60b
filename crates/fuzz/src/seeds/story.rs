//! Steps of the target `machine`: what a client and another node usually say.

use super::{documents, unhex};
use crate::machine::{FIRST_AVATAR, HOME, SPAWN};
use anyhow::Result;
use bytes::Bytes;
use pelago_model::Key;
use pelago_wire::client::{self, ClientMessage, client_message};
use pelago_wire::peer::{
    Answer, Call, Channel, DurableAnswer, DurableCall, GrantCall, Heartbeat, LaneCall, LiveAnswer,
    LiveCall, Notify, PeerMessage, Presence, Rejected, StewardCall, Subscriptions,
    SubscriptionsHeld, Superseded, answer, lane_call, peer_message, steward_call,
};
use prost::Message;
use serde_json::Value;

/// Half a second goes by.
const HALF_A_SECOND: [u8; 3] = [11, 0xf4, 1];

pub(super) fn seeds(records: &[Value]) -> Result<Vec<Vec<u8>>> {
    let mut steps: Vec<Vec<u8>> = Vec::new();
    for body in client_bodies() {
        let message = ClientMessage { body: Some(body) }.encode_to_vec();
        steps.push([&[0, 1], &*piece(&message)].concat());
    }
    // Walks of one and two points.
    steps.push(vec![1, 0, 0, 1, 64, 1, 1, 200, 0, 100, 0]);
    steps.push(vec![1, 0xf0, 0xff, 2, 0, 1, 2, 0, 2, 0, 0xff, 0, 1, 0x80, 0]);
    for command in documents::commands() {
        steps.push([&[2, 1], &*piece(command.as_bytes())].concat());
        steps.push([&[2, 0], &*piece(command.as_bytes())].concat());
    }
    steps.extend([vec![3, 0], vec![3, 2], vec![4, 0], vec![4, 1], vec![4, 2], vec![10, 1]]);
    for message in peer_controls() {
        steps.push([&[5, 1], &*piece(&message)].concat());
    }
    let mut seeds: Vec<Vec<u8>> = steps.iter().map(|step| told(step)).collect();
    for record in records {
        let record = unhex(&record["hex"])?;
        let shown = [&[7, 0, 1, 0], &*piece(&record)].concat();
        let published = [&[6, 1, 0, 0], &*piece(&record), &*piece(&record)].concat();
        seeds.push([told(&shown), told(&published)].concat());
    }
    for answer in answers() {
        let act = &steps[steps.len() / 2];
        seeds.push([act, &*[&[8], &*piece(&answer.encode_to_vec())].concat()].concat());
    }
    for choice in 0..4 {
        seeds.push(told(&[9, choice]));
    }
    // All in a row.
    for part in steps.chunks(8) {
        seeds.push(part.iter().flat_map(|step| told(step)).collect());
    }
    Ok(seeds)
}

/// A step, and the time to see what comes of it.
fn told(step: &[u8]) -> Vec<u8> {
    [step, &HALF_A_SECOND].concat()
}

fn piece(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_le_bytes(), bytes].concat()
}

fn client_bodies() -> Vec<client_message::Body> {
    vec![
        client_message::Body::Say(client::Say { text: "hello".into(), ..client::Say::default() }),
        client_message::Body::Ping(client::Ping { client_ms: 5 }),
        client_message::Body::Fetch(client::FetchContent { hash: vec![7; 32].into() }),
        client_message::Body::Hello(client::Hello::default()),
        client_message::Body::Bye(client::Bye {}),
    ]
}

/// What the other node says.
pub(super) fn peer_controls() -> Vec<Vec<u8>> {
    let (chunk, avatar) = (SPAWN.chunk(), FIRST_AVATAR.0);
    let channel = |x: i16, objects| Channel {
        island: HOME.0,
        x: (chunk.x + x).into(),
        y: chunk.y.into(),
        cell: 0,
        rate: 0,
        objects,
    };
    let durable = DurableCall {
        key: String::new(),
        avatar,
        epoch: 1,
        sequence: 1,
        payload: documents::commands()[0].clone().into(),
        island: HOME.0,
        x: SPAWN.x,
        y: SPAWN.y,
        received_ms: 1_000_300,
    };
    let live = LiveCall {
        target: avatar,
        actor: avatar + 7,
        actor_epoch: 1,
        x: SPAWN.x,
        y: SPAWN.y,
        payload: documents::commands()[3].clone().into(),
        trace: 4,
    };
    let grant = GrantCall {
        key: "mail/1".into(),
        avatar,
        what: r#"{"items":{"berry":3}}"#.into(),
        reason: "a welcome".into(),
        received_ms: 1_000_400,
    };
    let call = |role: &str, key: &str, body: Vec<u8>| {
        peer_message::Body::Call(Call {
            number: 1,
            deadline_ms: 5000,
            repeatable: true,
            trace: 9,
            role: role.into(),
            key: key.into(),
            body: body.into(),
        })
    };
    let steward = |key: &Key, body| {
        call("steward", key.as_str(), StewardCall { body: Some(body) }.encode_to_vec())
    };
    let lane = |key, body| call("lane", key, LaneCall { body: Some(body) }.encode_to_vec());
    let (add, remove) = (vec![channel(0, false), channel(1, true)], vec![channel(0, false)]);
    let bodies = [
        peer_message::Body::Subscriptions(Subscriptions {
            version: 1,
            base: 0,
            add,
            remove: vec![],
        }),
        peer_message::Body::Subscriptions(Subscriptions {
            version: 2,
            base: 1,
            add: vec![],
            remove,
        }),
        peer_message::Body::Held(SubscriptionsHeld { version: 1 }),
        peer_message::Body::Presence(Presence { version: 1, islands: vec![HOME.0] }),
        peer_message::Body::Heartbeat(Heartbeat { world_time_ms: 1_000_400 }),
        steward(&Key::chunk(HOME, chunk), steward_call::Body::Durable(durable)),
        steward(&Key::avatar(FIRST_AVATAR), steward_call::Body::Grant(grant)),
        lane("lane/0", lane_call::Body::Live(live)),
        lane(
            "lane/all",
            lane_call::Body::Notify(Notify { avatar, epoch: 1, payload: "{}".into() }),
        ),
        lane("lane/all", lane_call::Body::Superseded(Superseded { avatar, epoch: 1 })),
        lane("lane/all", lane_call::Body::Superseded(Superseded { avatar, epoch: u64::MAX })),
        call("nobody", "some/key", Vec::new()),
        call("No Role", "", Vec::new()),
    ];
    let written = |body| PeerMessage { body: Some(body) }.encode_to_vec();
    bodies.into_iter().map(written).collect()
}

fn answers() -> Vec<Answer> {
    let durable = DurableAnswer {
        effects: "{}".into(),
        chain: vec![7; 32].into(),
        ..DurableAnswer::default()
    };
    let live = LiveAnswer { effects: "{}".into(), ..LiveAnswer::default() };
    let answers = [
        answer::Answer::Body(durable.encode_to_vec().into()),
        answer::Answer::Body(live.encode_to_vec().into()),
        answer::Answer::Rejected(Rejected { code: "busy".into() }),
        answer::Answer::Body(Bytes::new()),
    ];
    answers.into_iter().map(|answer| Answer { number: 1, answer: Some(answer) }).collect()
}
