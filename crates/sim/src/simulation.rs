//! The simulation: one queue of events, one clock, one seed.

mod hosts;
mod playing;
mod strikes;

use crate::checks::ShownRevisions;
use crate::faults::{FaultCounts, Faults};
use crate::network::Network;
use crate::player::Player;
use crate::store::SimStore;
use bytes::Bytes;
use pelago_cluster::{LinkId, LinksInput};
use pelago_frontier::Frontier;
use pelago_game::{IslandSpec, Land};
use pelago_model::{
    CommitOutcome, Document, EntityId, Incarnation, IslandClock, IslandId, Key, NodeId, Trajectory,
    Transaction, WorldNumber, WorldTime,
};
use pelago_node::node::{Sabotage, WorldDocument};
use pelago_node::{
    ControlInput, LaneInput, LoginInput, Message, Node, NodeConfig, Part, StewardInput, Ticket,
    bootstrap,
};
use pelago_store::Store;
use pelago_world::ClientId;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// When the simulated world's clock begins, so that no age is negative.
const BEGIN: WorldTime = WorldTime(1_000_000);
/// How long before the end faults stop, in ms.
const CALM_MS: i64 = 15_000;
/// How long before the end players set out no more, in ms: the longest walk is over by then.
const REST_MS: i64 = 11_000;

/// The land is the same for all seeds: making it takes longer than playing on it.
static LAND: LazyLock<Arc<Land>> = LazyLock::new(|| {
    let spec = IslandSpec { id: HOME, seed: 7, size: 6, generator: 1 };
    Arc::new(Land::new(&Frontier, spec))
});
const HOME: IslandId = IslandId(1 << pelago_model::id::SERIAL_BITS | 1);

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Decides everything.
    pub seed: u64,
    /// For how long, in simulated seconds.
    pub seconds: u32,
    /// Nodes.
    pub nodes: u16,
    /// Lanes of each node.
    pub lanes: u8,
    /// Players.
    pub players: usize,
    /// What goes wrong.
    pub faults: Faults,
    /// Planted bugs.
    pub sabotage: Sabotage,
    /// Every message takes as long as every other.
    pub steady: bool,
}

impl Setup {
    /// Three nodes, eight players and a very bad day.
    pub fn usual(seed: u64, seconds: u32) -> Self {
        Self {
            seed,
            seconds,
            nodes: 3,
            lanes: 1 + (seed % 2) as u8,
            players: 8,
            faults: Faults::USUAL,
            sabotage: Sabotage::default(),
            steady: false,
        }
    }
}

/// What must not be, was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// The seed.
    pub seed: u64,
    /// When, in ms from the beginning.
    pub at_ms: i64,
    /// What.
    pub text: String,
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} at {} ms: {}", self.seed, self.at_ms, self.text)
    }
}

/// What became of a run without objection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Events handled.
    pub events: u64,
    /// Durable commands acknowledged.
    pub acknowledged: u64,
    /// Things heard, seen and done that went through all layers.
    pub spoken: u64,
    /// How often each kind of fault struck.
    pub faults: FaultCounts,
}

/// The documents and trajectories in the end, to compare runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Documents by key, without places.
    pub documents: BTreeMap<Key, Document>,
    /// Paths of all avatars.
    pub paths: BTreeMap<EntityId, Trajectory>,
}

#[derive(Debug)]
enum Event {
    Wake(NodeId),
    Link { to: (NodeId, LinkId), kind: u8, payload: Bytes },
    LinkOpened { end: (NodeId, LinkId), toward: Option<NodeId> },
    LinkClosed { end: (NodeId, LinkId) },
    DialFailed { from: NodeId, to: NodeId },
    LinkWritable { end: (NodeId, LinkId) },
    ToNode { node: NodeId, life: Incarnation, message: Box<Message> },
    ToPlayer { player: usize, client: ClientId, bytes: Bytes },
    PlayerCut { player: usize, client: ClientId },
    PlayerWritable { player: usize, client: ClientId },
    Commit { node: NodeId, life: Incarnation, part: Part, ticket: Ticket, transaction: Transaction },
    Play(usize),
    Fault,
    Crash(NodeId),
    Restart(NodeId),
    Check,
}

/// A place for a node, alive or not.
pub(crate) struct Host {
    pub(crate) node: Option<Node>,
    config: NodeConfig,
}

/// A cluster in a box.
pub struct Simulation {
    setup: Setup,
    pub(crate) now: WorldTime,
    end: WorldTime,
    rng: ChaCha8Rng,
    pub(crate) game: Frontier,
    pub(crate) nodes: BTreeMap<NodeId, Host>,
    network: Network,
    pub(crate) store: SimStore,
    pub(crate) players: Vec<Player>,
    clients: BTreeMap<ClientId, (usize, NodeId)>,
    next_client: u64,
    events: BTreeMap<(WorldTime, u64), Event>,
    next_event: u64,
    pub(crate) shown: ShownRevisions,
    outcome: Outcome,
}

impl Simulation {
    /// A world that has just begun.
    pub fn new(setup: Setup) -> Self {
        let mut simulation = Self {
            setup,
            now: BEGIN,
            end: BEGIN.plus(i64::from(setup.seconds) * 1000),
            rng: ChaCha8Rng::seed_from_u64(setup.seed),
            game: Frontier,
            nodes: BTreeMap::new(),
            network: Network::default(),
            store: SimStore::default(),
            players: Vec::new(),
            clients: BTreeMap::new(),
            next_client: 0,
            events: BTreeMap::new(),
            next_event: 0,
            shown: ShownRevisions::new(),
            outcome: Outcome::default(),
        };
        let world = WorldDocument {
            world: 1,
            seed: 7,
            epoch_unix_ms: 0,
            secret: "simulated".into(),
            home: HOME,
        };
        if let Ok(transaction) = bootstrap(&world, LAND.spec()) {
            simulation.store.apply(transaction);
        }
        for number in 1..=setup.nodes {
            let node = NodeId(number);
            let config = simulation.config(node);
            simulation.nodes.insert(node, Host { node: None, config });
            simulation.start(node);
        }
        for number in 0..setup.players {
            let node = NodeId(1 + (number as u16 % setup.nodes));
            let first = BEGIN.plus(500 + 37 * number as i64);
            let name = format!("player-{number}");
            simulation.players.push(Player::new(name, node, first, false));
            simulation.at(first, Event::Play(number));
        }
        simulation.at(BEGIN.plus(1000), Event::Fault);
        simulation.at(BEGIN.plus(1000), Event::Check);
        simulation
    }

    fn config(&self, node: NodeId) -> NodeConfig {
        NodeConfig {
            node,
            incarnation: Incarnation(self.now.0.unsigned_abs()),
            lanes: self.setup.lanes,
            spread: pelago_node::placing::DEFAULT_SPREAD,
            world: WorldNumber::new(1).expect("a small number"),
            home: HOME,
            lands: BTreeMap::from([(HOME, LAND.clone())]),
            game: Arc::new(Frontier),
            clock: IslandClock::IDENTITY,
            secret: [7; 32],
            max_clients: 1000,
            audit: false,
            build: "sim".into(),
            sabotage: self.setup.sabotage,
        }
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// The first [`Objection`].
    pub fn run(&mut self) -> Result<Outcome, Objection> {
        while let Some(((time, _), event)) = self.events.pop_first() {
            if time > self.end {
                break;
            }
            self.now = time.max(self.now);
            self.outcome.events += 1;
            self.handle(event)?;
            self.check_reals()?;
        }
        self.check_books()?;
        self.check_answered()?;
        self.check_ghosts()?;
        Ok(self.outcome.clone())
    }

    /// Documents and paths as they are now.
    pub fn trace(&self) -> Trace {
        let mut documents = BTreeMap::new();
        let visited = self.store.documents.audit("", &mut |key, document| {
            if key.kind() != "place" {
                documents.insert(key, document);
            }
        });
        debug_assert!(visited.is_ok());
        let paths = self.reals().map(|shown| (shown.id, shown.trajectory.clone())).collect();
        Trace { documents, paths }
    }

    pub(crate) fn objection(&self, text: String) -> Objection {
        Objection { seed: self.setup.seed, at_ms: self.now.since(BEGIN), text }
    }

    fn below(&mut self, bound: u32) -> u32 {
        self.rng.next_u32() % bound.max(1)
    }

    fn chance(&mut self, permille: u32) -> bool {
        permille > 0 && self.below(1000) < permille
    }

    fn is_calm(&self) -> bool {
        self.now >= self.end.plus(-CALM_MS)
    }

    /// The delay of a message, in ms.
    fn delay(&mut self) -> i64 {
        if self.setup.steady {
            return 3;
        }
        if !self.is_calm() && self.chance(self.setup.faults.late) {
            self.outcome.faults.late += 1;
            return 100 + i64::from(self.below(900));
        }
        1 + i64::from(self.below(12))
    }

    fn at(&mut self, time: WorldTime, event: Event) {
        self.next_event += 1;
        self.events.insert((time.max(self.now), self.next_event), event);
    }

    fn soon(&mut self, event: Event) {
        let time = self.now.plus(self.delay());
        self.at(time, event);
    }

    fn handle(&mut self, event: Event) -> Result<(), Objection> {
        match event {
            Event::Wake(id) => {
                let mut effects = Vec::new();
                let mut next = None;
                if let Some(node) = self.nodes.get_mut(&id).and_then(|host| host.node.as_mut()) {
                    node.wake(self.now, &mut effects);
                    next = node.next_wake();
                }
                self.perform(id, effects);
                if let Some(next) = next {
                    let time = next.max(self.now.plus(1));
                    self.at(time, Event::Wake(id));
                }
                self.check_revisions(id)?;
            }
            Event::Link { to: (node, link), kind, payload } => {
                if self.network.ends.contains_key(&(node, link)) {
                    self.links(node, LinksInput::Received { link, kind, payload });
                    self.check_revisions(node)?;
                }
            }
            Event::LinkOpened { end: (node, link), toward } => {
                if self.network.ends.contains_key(&(node, link)) {
                    self.links(node, LinksInput::Opened { link, toward });
                }
            }
            Event::LinkClosed { end: (node, link) } => {
                self.links(node, LinksInput::Closed { link });
            }
            Event::DialFailed { from, to } => {
                self.links(from, LinksInput::DialFailed { node: to });
            }
            Event::LinkWritable { end } => {
                if let Some(it) = self.network.ends.get_mut(&end) {
                    it.blocked = false;
                    self.links(end.0, LinksInput::Writable { link: end.1 });
                }
            }
            Event::ToNode { node, life, message } => {
                if self.nodes.get(&node).is_some_and(|host| host.config.incarnation == life) {
                    self.tell(node, *message);
                    self.check_revisions(node)?;
                }
            }
            Event::ToPlayer { player, client, bytes } => self.hear(player, client, bytes)?,
            Event::PlayerCut { player, client } => {
                if self.players[player].client == Some(client) {
                    self.players[player].cut_off(self.now);
                }
            }
            Event::PlayerWritable { player, client } => {
                self.players[player].blocked = false;
                if let Some((_, node)) = self.clients.get(&client).copied() {
                    let input = ControlInput::ClientWritable { client };
                    self.tell(node, Message::Control(input));
                }
            }
            Event::Commit { node, life, part, ticket, transaction } => {
                self.commit(node, life, (part, ticket), transaction);
            }
            Event::Play(player) => self.play(player),
            Event::Fault => self.strike(),
            Event::Crash(id) => {
                if self.nodes[&id].node.is_some() {
                    self.crash(id);
                }
            }
            Event::Restart(id) => {
                self.outcome.faults.restarts += 1;
                self.start(id);
            }
            Event::Check => {
                self.check_books()?;
                let time = self.now.plus(1000);
                self.at(time, Event::Check);
            }
        }
        Ok(())
    }
}

fn loaded(part: Part, ticket: Ticket, documents: Vec<Document>) -> Message {
    let documents = Some(documents);
    match part {
        Part::Lane(lane) => Message::Lane(lane, LaneInput::Loaded { ticket, documents }),
        Part::Steward => Message::Steward(StewardInput::Loaded { ticket, documents }),
        Part::Login | Part::Control => Message::Login(LoginInput::Loaded { ticket, documents }),
    }
}

fn committed(part: Part, ticket: Ticket, outcome: CommitOutcome) -> Message {
    match part {
        Part::Lane(lane) => Message::Lane(lane, LaneInput::Committed { ticket, outcome }),
        Part::Steward => Message::Steward(StewardInput::Committed { ticket, outcome }),
        Part::Login | Part::Control => Message::Login(LoginInput::Committed { ticket, outcome }),
    }
}
