//! The simulation: one queue of events, one clock, one seed.

mod checks;
mod clocks;
mod event;
mod hosts;
mod mail;
mod planned_faults;
mod playing;
mod setup;
mod talking;

use crate::faults::{FaultCounts, Kind};
use crate::interleavings::Interleavings;
use crate::network::Network;
use crate::player::Player;
use crate::schedule::{Fault, PlannedFault};
use crate::store::SimStore;
use crate::violation::{Invariant, Violation};
use checks::{LastPlaces, PlacesBefore, ShownRevisions};
use clocks::HostClock;
use event::Event;
pub(crate) use mail::Mail;
use pelago_cluster::LinksInput;
use pelago_frontier::Frontier;
use pelago_frontier::terrain::overgrown_tile;
use pelago_game::{IslandSpec, Land};
use pelago_model::{
    ClockMark, Document, EntityId, Incarnation, IslandClock, IslandId, Key, NodeId, Trajectory,
    WorldNumber, WorldTime,
};
use pelago_node::{
    ClientEvent, MachineId, MailboxLimits, Node, NodeConfig, RequestId, SharedRecorder,
    WorldDocument, bootstrap,
};
use pelago_store::Store;
use pelago_world::ClientId;
pub use setup::{Lanes, Setup};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

/// When the simulated world's clock begins, so that no age is negative.
const BEGIN: WorldTime = WorldTime(1_000_000);
/// How long before the end faults stop, in ms.
const CALM_MS: i64 = 15_000;
/// How long before the end players set out no more, in ms: the longest walk takes 10.6 s, and then chunks are let go.
const REST_MS: i64 = 13_000;
/// How long a client may say nothing, in ms: shorter than nodes are stopped for, and than any player is silent.
const IDLE_MS: i64 = 13_000;
/// How long after the calm has begun everybody knows the time of its node, in ms: the next pong has come.
const TIME_IS_KNOWN_MS: i64 = 5_000;
/// After how many events the sizes of everything are looked at.
const SIZES_EVERY: u64 = 64;

/// The land is the same for all seeds: making it takes longer than playing on it.
static LAND: LazyLock<Arc<Land>> = LazyLock::new(|| Arc::new(Land::new(&Frontier, ISLAND)));
/// The same with something on every cell: what players change about a chunk takes several documents.
static OVERGROWN: LazyLock<Arc<Land>> =
    LazyLock::new(|| Arc::new(Land::with_tiles(&Frontier, ISLAND, overgrown_tile)));
const ISLAND: IslandSpec = IslandSpec { id: HOME, seed: 7, size: 6, generator: 1 };
const HOME: IslandId = IslandId(1 << pelago_model::id::SERIAL_BITS | 1);

/// What became of a run without violation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Events handled.
    pub events: u64,
    /// Durable commands acknowledged.
    pub acknowledged: u64,
    /// Lines to the island and whispers acknowledged.
    pub said: u64,
    /// Grants acknowledged.
    pub granted: u64,
    /// Things heard, seen and done that went through all layers.
    pub spoken: u64,
    /// How often each kind of fault struck.
    pub faults: FaultCounts,
}

/// The documents and trajectories in the end, to compare runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Documents by key, without places and without what was said, whose order depends on how many lanes there are.
    pub documents: BTreeMap<Key, Document>,
    /// Paths of all avatars.
    pub paths: BTreeMap<EntityId, Trajectory>,
}

/// A host: where a node runs, alive or not.
pub(crate) struct Host {
    pub(crate) node: Option<Node>,
    pub(crate) config: NodeConfig,
    clock: HostClock,
    /// What will go wrong with its next message or commit.
    waiting: Vec<Fault>,
    /// Machines that are not served for a while: their tasks were not woken, or have no processor.
    stalled: BTreeSet<MachineId>,
    /// Rules that do not return, and the step in which they do not.
    hanging: BTreeMap<(MachineId, RequestId), u32>,
    /// Threads that were lost to them in this life.
    lost_threads: u32,
}

/// A cluster in a box.
pub struct Simulation {
    setup: Setup,
    pub(crate) now: WorldTime,
    end: WorldTime,
    pub(crate) game: Frontier,
    pub(crate) nodes: BTreeMap<NodeId, Host>,
    network: Network,
    pub(crate) store: SimStore,
    pub(crate) players: Vec<Player>,
    /// Everything that was ever to be granted.
    last_places: LastPlaces,
    places_before: PlacesBefore,
    pub(crate) mail: Vec<Mail>,
    /// What each request of the operator's was for.
    asked: Vec<usize>,
    pub(crate) clients: BTreeMap<ClientId, (usize, NodeId)>,
    /// How many times as long the store takes, and until when.
    slow_store: (i64, WorldTime),
    /// What the store knows of world time.
    mark: Option<ClockMark>,
    /// A violation that was found in the middle of an event.
    found: Option<Violation>,
    /// The whispers that were shown to anybody, by mailbox and number.
    heard: BTreeSet<(Key, u64)>,
    next_client: u64,
    events: BTreeMap<(WorldTime, u64), Event>,
    next_event: u64,
    pub(crate) shown: ShownRevisions,
    outcome: Outcome,
    /// In which orders machines were served.
    interleavings: Interleavings,
    /// Of all machines of all lives of the nodes, if they are recorded.
    recorders: Vec<SharedRecorder>,
}

impl Simulation {
    /// A world that has just begun, with everything planned that its seed plans.
    pub fn new(setup: Setup) -> Self {
        Self::with_planned_faults(setup, &setup.schedule())
    }

    /// A world that has just begun, with only these faults.
    pub fn with_planned_faults(setup: Setup, planned_faults: &[PlannedFault]) -> Self {
        let mut simulation = Self {
            setup,
            now: BEGIN,
            end: BEGIN.plus(i64::from(setup.seconds) * 1000),
            game: Frontier,
            nodes: BTreeMap::new(),
            network: Network::default(),
            store: SimStore::default(),
            players: Vec::new(),
            last_places: LastPlaces::new(),
            places_before: PlacesBefore::new(),
            mail: Vec::new(),
            asked: Vec::new(),
            clients: BTreeMap::new(),
            slow_store: (1, BEGIN),
            mark: None,
            found: None,
            heard: BTreeSet::new(),
            next_client: 0,
            events: BTreeMap::new(),
            next_event: 0,
            shown: ShownRevisions::new(),
            outcome: Outcome::default(),
            interleavings: Interleavings::default(),
            recorders: Vec::new(),
        };
        let world = WorldDocument {
            world: 1,
            seed: 7,
            epoch_unix_ms: 0,
            secret: "simulated".into(),
            identity: "simulated".into(),
            home: HOME,
        };
        if let Ok(transaction) = bootstrap(&world, &ISLAND) {
            simulation.store.apply(transaction);
        }
        for number in 1..=setup.nodes {
            let node = NodeId(number);
            let config = simulation.config(node);
            let host = Host {
                node: None,
                config,
                clock: HostClock::default(),
                waiting: Vec::new(),
                hanging: BTreeMap::new(),
                lost_threads: 0,
                stalled: BTreeSet::new(),
            };
            simulation.nodes.insert(node, host);
            simulation.start(node);
        }
        for number in 0..setup.players {
            let node = NodeId(1 + (number as u16 % setup.nodes));
            let first = BEGIN.plus(500 + 37 * number as i64);
            let name = format!("player-{number}");
            let numbers = (setup.seed, number as u64);
            let nodes = simulation.nodes_from(node);
            let sabotage = setup.client_sabotage;
            simulation.players.push(Player::new(name, &nodes, first, numbers, sabotage));
            simulation.at(first, Event::Play(number));
        }
        let calm = simulation.end.plus(-CALM_MS);
        for planned_fault in planned_faults {
            let time = BEGIN.plus(planned_fault.at_ms.into());
            if time < calm {
                simulation.at(time, Event::PlannedFault(*planned_fault));
            }
        }
        simulation.at(calm, Event::Calm);
        simulation.at(BEGIN.plus(1000), Event::Check);
        simulation.at(BEGIN.plus(1000), Event::WriteMail);
        simulation
    }

    /// The nodes that a player knows, this one first. On a steady day it knows no other.
    fn nodes_from(&self, first: NodeId) -> Vec<NodeId> {
        if self.setup.steady {
            return vec![first];
        }
        let count = self.setup.nodes.max(1);
        (0..count).map(|more| NodeId(1 + (first.0 - 1 + more) % count)).collect()
    }

    fn land(&self) -> &'static Arc<Land> {
        if self.setup.overgrown { &OVERGROWN } else { &LAND }
    }

    fn config(&self, node: NodeId) -> NodeConfig {
        NodeConfig {
            node,
            incarnation: Incarnation(self.now.0.unsigned_abs()),
            spread: pelago_node::placement::DEFAULT_SPREAD,
            lanes: match self.setup.lanes {
                Lanes::Each(lanes) => lanes,
                Lanes::Mixed => [1, 2, 4][((self.setup.seed + u64::from(node.0)) % 3) as usize],
            },
            services: 1 + ((self.setup.seed / 4 + u64::from(node.0)) % 2) as u8,
            world: WorldNumber::new(1).expect("a small number"),
            home: HOME,
            lands: Arc::new(BTreeMap::from([(HOME, self.land().clone())])),
            game: Arc::new(Frontier),
            clock: IslandClock::IDENTITY,
            secret: [7; 32],
            batch_turns: pelago_node::steward::MAX_BATCH_TURNS,
            limits: pelago_node::ClientLimits { idle_ms: IDLE_MS, ..Default::default() },
            max_clients: 1000,
            more_services: Vec::new(),
            build: "sim".into(),
            sabotage: self.setup.sabotage,
        }
    }

    /// The recorders of all machines so far, in the order in which those were started. They hash outputs, too.
    pub fn recorders(&self) -> &[SharedRecorder] {
        &self.recorders
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn run(&mut self) -> Result<Outcome, Violation> {
        while let Some(((time, _), event)) = self.events.pop_first() {
            if time > self.end {
                break;
            }
            self.now = time.max(self.now);
            self.outcome.events += 1;
            self.handle(event)?;
            if let Some(violation) = self.found.take() {
                return Err(violation);
            }
            self.check_reals()?;
            self.note_places();
            if self.outcome.events.is_multiple_of(SIZES_EVERY) {
                self.check_sizes()?;
                // A player that migrates without a goodbye leaves a session that says nothing.
                if self.setup.faults.migration == 0 {
                    self.check_idle()?;
                }
            }
        }
        self.drain_mailboxes();
        self.check_books()?;
        self.check_said()?;
        self.check_answered()?;
        self.check_shown()?;
        self.check_grants()?;
        self.check_ghosts()?;
        self.check_rest()?;
        Ok(self.outcome.clone())
    }

    /// From now on notes in which orders machines are served.
    pub fn note_interleavings(&mut self) {
        self.interleavings.noted = true;
    }

    /// In which orders two lanes and a host of services were served.
    pub fn interleavings(&self) -> &Interleavings {
        &self.interleavings
    }

    /// Documents and paths as they are now.
    pub fn trace(&self) -> Trace {
        let mut documents = BTreeMap::new();
        let visited = self.store.documents.scan("", &mut |key, document| {
            if !matches!(key.kind(), "place" | "room" | "mailbox") {
                documents.insert(key, document);
            }
        });
        debug_assert!(visited.is_ok());
        let paths = self.reals().map(|shown| (shown.id, shown.trajectory.clone())).collect();
        Trace { documents, paths }
    }

    pub(crate) fn violation(&self, invariant: Invariant, text: String) -> Violation {
        Violation { seed: self.setup.seed, at_ms: self.now.since(BEGIN), invariant, text }
    }

    /// Whether this life of a node goes on.
    fn lives(&self, node: NodeId, life: Incarnation) -> bool {
        self.nodes.get(&node).is_some_and(|host| host.config.incarnation == life)
    }

    fn count(&mut self, kind: Kind) {
        self.outcome.faults.add(kind);
    }

    /// A number that depends on the seed, the time and what it is for, and on nothing that happened before: a day
    /// without some of its faults is the same day otherwise.
    fn hazard(&self, what: u64, bound: u64) -> u64 {
        let mut mixed = self.setup.seed ^ (self.now.0 as u64) << 24 ^ what.rotate_left(48);
        for _ in 0..2 {
            mixed = (mixed ^ mixed >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        (mixed >> 33) % bound
    }

    /// The delay of a message, in ms.
    fn delay(&self, what: u64) -> i64 {
        if self.setup.steady { 3 } else { 1 + self.hazard(what, 12) as i64 }
    }

    /// The delay of the store's answer, in ms.
    fn store_delay(&self, what: u64) -> i64 {
        let (factor, until) = self.slow_store;
        self.delay(what) * if until > self.now { factor } else { 1 }
    }

    fn at(&mut self, time: WorldTime, event: Event) {
        self.next_event += 1;
        self.events.insert((time.max(self.now), self.next_event), event);
    }

    fn after(&mut self, ms: i64, event: Event) {
        let time = self.now.plus(ms);
        self.at(time, event);
    }

    fn handle(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Wake(id) => {
                let now = self.time_at(id);
                if let Some(node) = self.nodes.get_mut(&id).and_then(|host| host.node.as_mut()) {
                    node.wake(now);
                    self.serve(id);
                    self.wake_later(id, now);
                }
                self.check_revisions(id)?;
            }
            Event::ServeMailboxes(id) => {
                self.serve(id);
                self.check_revisions(id)?;
            }
            Event::Relieve { node, life } => {
                if self.lives(node, life)
                    && let Some(node) = self.nodes.get_mut(&node).and_then(|it| it.node.as_mut())
                {
                    node.set_mailbox_limits(MailboxLimits::default());
                }
            }
            Event::Resume { node, life, machine } => {
                if let Some(host) = self.nodes.get_mut(&node)
                    && host.config.incarnation == life
                {
                    host.stalled.remove(&machine);
                    self.serve(node);
                    self.check_revisions(node)?;
                }
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
            Event::ToNode { node, life, input } => {
                if self.lives(node, life) {
                    self.tell(node, *input);
                    self.check_revisions(node)?;
                }
            }
            Event::OfClient { node, life, client, event } => {
                if self.lives(node, life) {
                    self.of_client(node, client, event);
                    self.check_revisions(node)?;
                }
            }
            Event::ToPlayer { player, client, bytes } => self.hear(player, client, bytes)?,
            Event::PlayerCut { player, client } => self.cut_off(player, client)?,
            Event::PlayerDials { player, connection, node } => {
                self.answer_dial(player, connection, node)?;
            }
            Event::PlayerWake(player) => self.wake_player(player)?,
            Event::PlayerWritable { player, client } => {
                self.players[player].blocked = false;
                if let Some((_, node)) = self.clients.get(&client).copied() {
                    self.of_client(node, client, ClientEvent::Writable);
                }
            }
            Event::Disconnected { node, life, client } => {
                self.clients.remove(&client);
                if self.lives(node, life) {
                    self.of_client(node, client, ClientEvent::Disconnected);
                }
            }
            Event::Commit { node, life, from, transaction } => {
                self.commit(node, life, from, transaction);
            }
            Event::Play(player) => self.play(player)?,
            Event::WriteMail => self.write_mail(),
            Event::AskFor(number) => self.ask_for(number),
            Event::PlannedFault(planned) => self.carry_out(planned),
            Event::Calm => self.calm_down(),
            Event::Crash { node, back_ms } => {
                if self.nodes[&node].node.is_some() {
                    self.crash(node, back_ms);
                }
            }
            Event::Restart(id) => {
                self.count(Kind::Restart);
                self.start(id);
            }
            Event::Check => {
                self.check_books()?;
                self.check_said()?;
                let time = self.now.plus(1000);
                self.at(time, Event::Check);
            }
        }
        Ok(())
    }
}
