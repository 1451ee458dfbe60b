//! Players: clients that walk, speak, gather and wave, and come back when they are cut off.

use bytes::{Bytes, BytesMut};
use pelago_model::{ChunkId, EntityId, NodeId, Position, Trajectory, WorldTime};
use pelago_wire::client::{
    self, Arrival, ClientMessage, Hello, Welcome, client_message, server_message,
};
use pelago_wire::message::{Kind, put_control};
use pelago_wire::{PROTOCOL_NEWEST, PROTOCOL_OLDEST};
use pelago_world::ClientId;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The speed of players, in 1/64 m per second.
pub(crate) const SPEED: u16 = 320;

/// A durable command without an answer.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) sequence: u64,
    pub(crate) payload: Bytes,
}

/// A player's session.
#[derive(Clone, Debug)]
pub(crate) struct Playing {
    pub(crate) avatar: EntityId,
    pub(crate) epoch: u64,
    pub(crate) path: Trajectory,
}

/// A player.
#[derive(Clone, Debug)]
pub(crate) struct Player {
    pub(crate) name: String,
    pub(crate) node: NodeId,
    pub(crate) client: Option<ClientId>,
    pub(crate) playing: Option<Playing>,
    /// Its avatar, once it has one.
    pub(crate) avatar: Option<EntityId>,
    /// The last sequence number that it knows to be done.
    pub(crate) sequence: u64,
    pub(crate) pending: Option<Pending>,
    pub(crate) acknowledged: u64,
    pub(crate) moves: u32,
    pub(crate) blocked: bool,
    /// When it does the next thing.
    pub(crate) next_act: WorldTime,
    /// A second session of somebody's avatar, or a guest: it ends for good when it is cut off.
    pub(crate) twin: bool,
    /// When it goes, and whether it says so.
    pub(crate) leaves: Option<(WorldTime, bool)>,
    /// How far its node's time is ahead of ours, as far as it knows.
    pub(crate) clock_ms: i64,
    /// Its choices: its own, so that nobody else's fate changes them.
    pub(crate) rng: ChaCha8Rng,
    pub(crate) gone: bool,
}

impl Player {
    /// Its choices are made by the seed and a number of its own.
    pub(crate) fn new(
        name: String,
        node: NodeId,
        next_act: WorldTime,
        (seed, number): (u64, u64),
    ) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(number);
        Self {
            name,
            node,
            client: None,
            playing: None,
            avatar: None,
            sequence: 0,
            pending: None,
            acknowledged: 0,
            moves: 0,
            blocked: false,
            next_act,
            twin: false,
            leaves: None,
            clock_ms: 0,
            rng,
            gone: false,
        }
    }

    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        self.rng.next_u32() % bound.max(1)
    }

    /// The first message.
    pub(crate) fn hello(&self) -> Bytes {
        encode(client_message::Body::Hello(Hello {
            oldest_version: PROTOCOL_OLDEST,
            newest_version: PROTOCOL_NEWEST,
            name: self.name.clone(),
            // A twin is somebody's second session: the same name, the same token.
            token: Bytes::from(format!("{:16}", self.name)),
            arrival: Arrival::Home.into(),
            client: "sim".into(),
        }))
    }

    /// Takes in the welcome; returns the pending command to be asked again.
    pub(crate) fn welcomed(&mut self, welcome: &Welcome) -> Option<Bytes> {
        let path = welcome.path.as_ref().and_then(|path| Trajectory::try_from(path).ok())?;
        self.avatar = Some(EntityId(welcome.avatar));
        self.playing =
            Some(Playing { avatar: EntityId(welcome.avatar), epoch: welcome.epoch, path });
        if self.pending.as_ref().is_none_or(|pending| pending.sequence <= welcome.sequence) {
            self.sequence = welcome.sequence;
        }
        let pending = self.pending.clone()?;
        if pending.sequence > welcome.sequence + 1 {
            // A twin has not heard of what the other did; what it asked for will never be next.
            self.pending = None;
            self.sequence = welcome.sequence;
            return None;
        }
        Some(act(pending.sequence, pending.payload))
    }

    /// It is cut off.
    pub(crate) fn cut_off(&mut self, now: WorldTime) {
        self.client = None;
        self.playing = None;
        self.blocked = false;
        self.gone |= self.twin;
        self.next_act = now.plus(300);
    }

    /// A walk to a place, from where it is by its own reckoning.
    pub(crate) fn walk(&mut self, now: WorldTime, to: Position) -> Option<Bytes> {
        let now = now.plus(self.clock_ms);
        let playing = self.playing.as_mut()?;
        let at = pelago_model::IslandTime(now.0).max(playing.path.start_time());
        playing.path = playing.path.turned(at, SPEED, &[to]).ok()?;
        self.moves += 1;
        Some(encode(client_message::Body::Move(client::Move {
            number: self.moves,
            at_ms: now.0,
            speed: SPEED.into(),
            waypoints: vec![to.x, to.y],
        })))
    }

    /// A durable command.
    pub(crate) fn command(&mut self, payload: String) -> Bytes {
        let payload = Bytes::from(payload);
        let sequence = self.sequence + 1;
        self.pending = Some(Pending { sequence, payload: payload.clone() });
        act(sequence, payload)
    }
}

/// Gathering from a natural object.
pub(crate) fn gather(chunk: ChunkId, slot: u16) -> String {
    format!(r#"{{"gather":{{"x":{},"y":{},"slot":{slot}}}}}"#, chunk.x, chunk.y)
}

/// A wave at somebody.
pub(crate) fn wave(target: EntityId) -> Bytes {
    let payload = Bytes::from(format!(r#"{{"wave":"{target}"}}"#));
    encode(client_message::Body::Act(client::Act { sequence: 0, payload, number: 1 }))
}

/// Speech.
pub(crate) fn say(text: &str) -> Bytes {
    encode(client_message::Body::Say(client::Say { text: text.to_owned() }))
}

/// A goodbye.
pub(crate) fn bye() -> Bytes {
    encode(client_message::Body::Bye(client::Bye {}))
}

fn act(sequence: u64, payload: Bytes) -> Bytes {
    encode(client_message::Body::Act(client::Act { sequence, payload, number: 0 }))
}

/// The payload of a control message, without the header of the stream.
fn encode(body: client_message::Body) -> Bytes {
    let mut bytes = BytesMut::new();
    put_control(&mut bytes, &ClientMessage { body: Some(body) });
    let mut messages = crate::network::messages(bytes.freeze());
    messages.pop().map(|(_, payload)| payload).unwrap_or_default()
}

/// A control message of a node.
pub(crate) fn control(kind: u8, payload: &Bytes) -> Option<server_message::Body> {
    if kind != Kind::Control as u8 {
        return None;
    }
    pelago_wire::message::decode_control::<client::ServerMessage>(payload).ok()?.body
}
