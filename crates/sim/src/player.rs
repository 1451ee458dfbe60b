//! Players: applications of the client's core that walk, speak, gather and wave, and that start it again when it has ended.

use crate::talk::Talk;
use bytes::Bytes;
use pelago_client::core::{ConnectionNumber, Effect, Input, LocalTime};
use pelago_client::{Client, ClientSabotage, Identity, Settings, Unanswered};
use pelago_model::{ChunkId, EntityId, NodeId, Secret, WorldTime};
use pelago_wire::client::{Arrival, ClientMessage, client_message};
use pelago_wire::message::decode_control;
use pelago_world::ClientId;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeSet;

/// The speed of players, in 1/64 m per second.
pub(crate) const SPEED: u16 = pelago_frontier::content::WALK_SPEED;

/// The durable command that a player asked for last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) payload: Bytes,
    /// The numbers under which its client has sent it: one, if all is well.
    pub(crate) numbers: BTreeSet<u64>,
}

/// A player.
pub(crate) struct Player {
    pub(crate) name: String,
    pub(crate) core: Client,
    /// The node of its connection, or of the last one.
    pub(crate) node: NodeId,
    /// Its connection, and what the core calls that.
    pub(crate) client: Option<ClientId>,
    pub(crate) connection: ConnectionNumber,
    /// Its avatar, once it has one.
    pub(crate) avatar: Option<EntityId>,
    pub(crate) asked: Asked,
    pub(crate) acknowledged: u64,
    pub(crate) talk: Talk,
    /// When its session began.
    pub(crate) began: WorldTime,
    pub(crate) blocked: bool,
    /// When its core is woken next, as planned.
    pub(crate) wake_at: Option<WorldTime>,
    /// Until then nothing that it dials answers.
    pub(crate) offline_until: WorldTime,
    /// When it starts its client, for the first time or again.
    pub(crate) start_at: Option<WorldTime>,
    /// A second session of somebody's avatar, or a guest: it ends for good when it is cut off.
    pub(crate) twin: bool,
    /// When it goes, and whether it says so.
    pub(crate) leaves: Option<(WorldTime, bool)>,
    /// Its choices: its own, so that nobody else's fate changes them.
    pub(crate) rng: ChaCha8Rng,
    pub(crate) gone: bool,
    pub(crate) addresses: Vec<String>,
    pub(crate) sabotage: ClientSabotage,
}

impl Player {
    /// Its choices are made by the seed and a number of its own. It knows these nodes, and tries the first one first.
    pub(crate) fn new(
        name: String,
        nodes: &[NodeId],
        start_at: WorldTime,
        (seed, number): (u64, u64),
        sabotage: ClientSabotage,
    ) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(number);
        let addresses: Vec<String> = nodes.iter().map(|node| node.0.to_string()).collect();
        let settings = Settings::new(identity(&name), Vec::new(), 0);
        Self {
            name,
            core: Client::new(settings),
            node: nodes.first().copied().unwrap_or(NodeId(1)),
            client: None,
            connection: ConnectionNumber::default(),
            avatar: None,
            asked: Asked::default(),
            acknowledged: 0,
            talk: Talk::default(),
            began: start_at,
            blocked: false,
            wake_at: None,
            offline_until: start_at,
            start_at: Some(start_at),
            twin: false,
            leaves: None,
            rng,
            gone: false,
            addresses,
            sabotage,
        }
    }

    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        self.rng.next_u32() % bound.max(1)
    }

    /// Another client of the same avatar, as if the program had been started again: it repeats what the one before left
    /// unanswered, and begins at this node if one is given.
    pub(crate) fn start_again(&mut self, node: Option<NodeId>) {
        if let Some(node) = node.map(|node| node.0.to_string())
            && let Some(place) = self.addresses.iter().position(|address| *address == node)
        {
            self.addresses.rotate_left(place);
        }
        let seed = self.rng.next_u64();
        let unanswered: Option<Unanswered> = self.core.unanswered();
        let settings = Settings {
            unanswered,
            sabotage: self.sabotage,
            program: "sim".to_owned(),
            ..Settings::new(identity(&self.name), self.addresses.clone(), seed)
        };
        self.core = Client::new(settings);
        self.talk.start_again();
        self.client = None;
        self.blocked = false;
        self.start_at = None;
    }

    /// Gives its core an input.
    pub(crate) fn input(&mut self, now: WorldTime, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.core.handle(LocalTime(now.0), input, &mut effects);
        effects
    }

    /// Notes the number of a durable command that its client sends.
    pub(crate) fn note_sent(&mut self, payload: &Bytes) {
        let message = decode_control::<ClientMessage>(payload).ok().and_then(|it| it.body);
        if let Some(client_message::Body::Act(act)) = message
            && act.sequence > 0
        {
            self.asked.numbers.insert(act.sequence);
        }
    }
}

/// A twin is somebody's second session: the same name, the same token.
fn identity(name: &str) -> Identity {
    let token = Secret::new(format!("{name:16}"));
    Identity { name: name.to_owned(), token, arrival: Arrival::Home }
}

/// Gathering from a natural object.
pub(crate) fn gather(chunk: ChunkId, slot: u16) -> String {
    format!(r#"{{"gather":{{"x":{},"y":{},"slot":{slot}}}}}"#, chunk.x, chunk.y)
}

/// A wave at somebody.
pub(crate) fn wave(target: EntityId) -> Bytes {
    Bytes::from(format!(r#"{{"wave":"{target}"}}"#))
}
