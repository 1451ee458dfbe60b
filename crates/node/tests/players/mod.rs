//! Players as a lane sees them: how they come, what they send, what they are told.
#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::{Bytes, BytesMut};
use pelago_frontier::Frontier;
use pelago_game::{IslandSpec, Land};
use pelago_model::{
    EntityId, Epoch, Incarnation, IslandClock, IslandId, IslandTime, NodeId, Position, PublisherId,
    Revision, Sequence, WorldNumber, WorldTime,
};
use pelago_node::documents::avatar::Place;
use pelago_node::{ClientEvent, ClientLimits, Lane, LaneConfig, LaneInput, NewSession};
use pelago_wire::client::{ClientMessage, ServerMessage, client_message, server_message};
use pelago_wire::message::{Kind, decode_control, put_control, whole_messages};
use pelago_world::ClientId;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) const NODE: NodeId = NodeId(1);

pub(crate) fn home() -> IslandId {
    IslandId::new(WorldNumber::new(1).unwrap(), 1)
}

pub(crate) fn spec(size: u16) -> IslandSpec {
    IslandSpec { id: home(), seed: 7, size, generator: 1 }
}

/// A lane of [`NODE`] that nobody is on.
pub(crate) fn lane(number: u8, land: &Arc<Land>) -> Lane {
    Lane::new(LaneConfig {
        node: NODE,
        lane: number,
        publisher: PublisherId::lane(NODE, number, Incarnation(1)),
        home: home(),
        lands: Arc::new(BTreeMap::from([(home(), land.clone())])),
        game: Arc::new(Frontier),
        clock: IslandClock::IDENTITY,
        limits: ClientLimits::default(),
    })
}

/// The session of an avatar that is played by the client with its number.
pub(crate) fn join(number: u64, position: Position, now: WorldTime) -> LaneInput {
    LaneInput::Join(Box::new(NewSession {
        client: ClientId(number),
        avatar: EntityId(number),
        epoch: Epoch(1),
        name: format!("player-{number}").into(),
        sequence: Sequence(0),
        chain: [0; 32],
        state: Bytes::new(),
        place: Place { island: home(), position, at: IslandTime(now.0) },
        place_revision: Revision(1),
        quiet_ms: i64::MAX,
    }))
}

/// A message of a client.
pub(crate) fn says(number: u64, body: client_message::Body) -> LaneInput {
    let mut bytes = BytesMut::new();
    put_control(&mut bytes, &ClientMessage { body: Some(body) });
    let (kind, payload) = messages(&bytes.freeze()).remove(0);
    let event = ClientEvent::Received { kind, payload };
    LaneInput::Client { client: ClientId(number), event }
}

/// The messages that a lane has sent: their kinds and payloads.
pub(crate) fn messages(bytes: &Bytes) -> Vec<(u8, Bytes)> {
    whole_messages(bytes).unwrap()
}

/// The control messages among them.
pub(crate) fn controls(bytes: Bytes) -> Vec<server_message::Body> {
    let of_control = messages(&bytes).into_iter().filter(|(kind, _)| *kind == Kind::Control as u8);
    of_control
        .filter_map(|(_, bytes)| decode_control::<ServerMessage>(&bytes).unwrap().body)
        .collect()
}
