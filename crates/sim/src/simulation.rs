//! The simulation: one queue of events, one clock, one seed.

use crate::checks::ShownRevisions;
use crate::faults::{FaultCounts, Faults};
use crate::network::{Network, messages};
use crate::player::{self, Player};
use crate::store::SimStore;
use bytes::Bytes;
use pelago_cluster::{LinkId, LinksInput, Member, Roles};
use pelago_frontier::Frontier;
use pelago_game::{IslandSpec, Land};
use pelago_model::{
    CommitOutcome, Document, EntityId, Incarnation, IslandClock, IslandId, Key, NodeId, Position,
    Tick, Trajectory, Transaction, WorldNumber, WorldTime,
};
use pelago_node::node::{Sabotage, WorldDocument};
use pelago_node::{
    ControlInput, Effect, LaneInput, LoginInput, Message, Node, NodeConfig, Part, StewardInput,
    Ticket, bootstrap,
};
use pelago_store::Store;
use pelago_wire::client::server_message;
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

    // --- chance ---------------------------------------------------------------------------------

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

    // --- nodes ----------------------------------------------------------------------------------

    fn start(&mut self, id: NodeId) {
        let config = self.config(id);
        let node = Node::new(&config);
        if let Some(host) = self.nodes.get_mut(&id) {
            *host = Host { node: Some(node), config };
        }
        self.at(self.now, Event::Wake(id));
        let book = self.book();
        for other in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.tell(other, Message::Control(ControlInput::Book(book.clone())));
        }
    }

    /// Everybody who has ever lived here stays in the book: it learns of deaths later than links do.
    fn book(&self) -> Vec<Member> {
        self.nodes
            .iter()
            .map(|(node, host)| Member {
                node: *node,
                incarnation: host.config.incarnation,
                address: node.to_string(),
                roles: Roles::ALL,
            })
            .collect()
    }

    fn crash(&mut self, id: NodeId) {
        self.outcome.faults.crashes += 1;
        for end in self.network.of(id) {
            self.cut(end);
        }
        for (client, (player, node)) in self.clients.clone() {
            if node == id {
                self.clients.remove(&client);
                self.soon(Event::PlayerCut { player, client });
            }
        }
        if let Some(host) = self.nodes.get_mut(&id) {
            host.node = None;
        }
        self.shown.retain(|(node, ..), _| *node != id);
        let back = self.now.plus(500 + i64::from(self.below(4000)));
        self.at(back, Event::Restart(id));
    }

    /// Hands a message to a node, and carries out what follows.
    fn tell(&mut self, id: NodeId, message: Message) {
        let mut effects = Vec::new();
        if let Some(node) = self.nodes.get_mut(&id).and_then(|host| host.node.as_mut()) {
            node.handle(self.now, message, &mut effects);
        }
        self.perform(id, effects);
    }

    fn perform(&mut self, id: NodeId, effects: Vec<Effect>) {
        let Some(life) = self.nodes.get(&id).map(|host| host.config.incarnation) else { return };
        for effect in effects {
            match effect {
                Effect::To(_) => {}
                Effect::Dial { node, .. } => self.dial(id, node),
                Effect::Hangup { link, .. } => self.cut((id, link)),
                Effect::SendLink { link, bytes } => self.send_link((id, link), bytes),
                Effect::SendClient { client, bytes } => {
                    if let Some((player, _)) = self.clients.get(&client).copied() {
                        self.soon_in_order(player, client, bytes);
                    }
                }
                Effect::CloseClient { client } => {
                    if let Some((player, _)) = self.clients.remove(&client) {
                        // After what was sent before.
                        let time = self.now.plus(1100);
                        self.at(time, Event::PlayerCut { player, client });
                    }
                }
                Effect::Load { part, ticket, keys } => {
                    let documents = keys.iter().map(|key| self.store.documents.get(key)).collect();
                    let message = Box::new(loaded(part, ticket, documents));
                    self.soon(Event::ToNode { node: id, life, message });
                }
                Effect::Commit { part, ticket, transaction } => {
                    let time = self.now.plus(self.delay() * 3);
                    self.at(time, Event::Commit { node: id, life, part, ticket, transaction });
                    if !self.is_calm() && self.chance(self.setup.faults.crash / 10) {
                        // In the middle of the write.
                        self.at(self.now.plus(1), Event::Crash(id));
                    }
                }
                Effect::Audit { .. } | Effect::Log { .. } => {}
            }
        }
    }

    /// Messages to one player keep their order: they travel equally long.
    fn soon_in_order(&mut self, player: usize, client: ClientId, bytes: Bytes) {
        let time = self.now.plus(5);
        self.at(time, Event::ToPlayer { player, client, bytes });
    }

    fn commit(
        &mut self,
        node: NodeId,
        life: Incarnation,
        (part, ticket): (Part, Ticket),
        transaction: Transaction,
    ) {
        let alive = self
            .nodes
            .get(&node)
            .is_some_and(|host| host.node.is_some() && host.config.incarnation == life);
        if !alive {
            // The process died while it was being written: synced or lost.
            if self.below(2) == 0 {
                self.store.apply(transaction);
            } else {
                self.outcome.faults.lost_writes += 1;
            }
            return;
        }
        let (calm, faults) = (self.is_calm(), self.setup.faults);
        let outcome = if !calm && self.chance(faults.failed_commit) {
            self.outcome.faults.failed_commits += 1;
            CommitOutcome::Failed
        } else if !calm && self.chance(faults.unknown_commit) {
            self.outcome.faults.unknown_commits += 1;
            if self.below(2) == 0 {
                self.store.apply(transaction);
            }
            CommitOutcome::Unknown
        } else {
            self.store.apply(transaction)
        };
        let message = Box::new(committed(part, ticket, outcome));
        self.soon(Event::ToNode { node, life, message });
    }

    // --- links ----------------------------------------------------------------------------------

    fn dial(&mut self, from: NodeId, to: NodeId) {
        let alive = self.nodes.get(&to).is_some_and(|host| host.node.is_some());
        if !alive || self.network.held_until(from, to).is_some() {
            return self.soon(Event::DialFailed { from, to });
        }
        let (one, other) = self.network.open(from, to);
        let time = self.now.plus(1);
        self.at(time, Event::LinkOpened { end: (from, one), toward: Some(to) });
        self.at(time, Event::LinkOpened { end: (to, other), toward: None });
    }

    fn send_link(&mut self, end: (NodeId, LinkId), bytes: Bytes) {
        let delay = self.delay();
        let Some((to, time)) = self.network.arrival(end, self.now, delay) else { return };
        for (kind, payload) in messages(bytes) {
            self.at(time, Event::Link { to, kind, payload });
        }
    }

    fn cut(&mut self, end: (NodeId, LinkId)) {
        for end in self.network.cut(end).into_iter().flatten() {
            self.soon(Event::LinkClosed { end });
        }
    }

    fn links(&mut self, node: NodeId, input: LinksInput) {
        self.tell(node, Message::Control(ControlInput::Links(input)));
    }

    // --- events ---------------------------------------------------------------------------------

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

    /// Once a tenth of a second: lets faults strike by their rates.
    fn strike(&mut self) {
        let time = self.now.plus(100);
        self.at(time, Event::Fault);
        let now = self.now;
        self.network.partitions.retain(|_, until| *until > now);
        if self.is_calm() {
            self.network.partitions.clear();
            return;
        }
        let faults = self.setup.faults;
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        let pick = nodes[self.below(nodes.len() as u32) as usize];
        let other = nodes[self.below(nodes.len() as u32) as usize];
        if self.chance(faults.link_loss / 10)
            && let Some(end) = self.network.of(pick).first().copied()
        {
            self.outcome.faults.link_losses += 1;
            self.cut(end);
        }
        if self.chance(faults.partition / 10) && pick != other {
            self.part(pick, other);
        }
        if self.chance(faults.crash / 10) && self.nodes[&pick].node.is_some() {
            self.crash(pick);
        }
        if self.chance(faults.takeover / 10) {
            self.take_over(pick);
        }
        if self.chance(faults.block / 10) {
            self.block(pick);
        }
    }

    /// Two nodes cannot hear each other for a while.
    fn part(&mut self, one: NodeId, other: NodeId) {
        self.outcome.faults.partitions += 1;
        let until = self.now.plus(500 + i64::from(self.below(6000)));
        self.network.partitions.insert((one.min(other), one.max(other)), until);
    }

    /// Somebody logs in a second time.
    fn take_over(&mut self, node: NodeId) {
        let whose = self.below(self.setup.players as u32) as usize;
        if self.players[whose].playing.is_none() {
            return;
        }
        self.outcome.faults.takeovers += 1;
        let old = self.players[whose].node;
        if old != node && self.below(2) == 0 {
            // The old session's node does not hear of it for a while.
            self.part(old, node);
        }
        let name = self.players[whose].name.clone();
        let number = self.players.len();
        let mut twin = Player::new(name, node, self.now, true);
        twin.sequence = self.players[whose].sequence;
        self.players.push(twin);
        self.at(self.now, Event::Play(number));
    }

    fn block(&mut self, node: NodeId) {
        self.outcome.faults.blocks += 1;
        let until = self.now.plus(100 + i64::from(self.below(2000)));
        if let Some(end) = self.network.of(node).last().copied()
            && self.below(3) == 0
        {
            if let Some(it) = self.network.ends.get_mut(&end) {
                it.blocked = true;
            }
            self.links(node, LinksInput::Blocked { link: end.1 });
            return self.at(until, Event::LinkWritable { end });
        }
        let number = self.below(self.players.len() as u32) as usize;
        let player = &mut self.players[number];
        if let Some(client) = player.client.filter(|_| !player.blocked) {
            player.blocked = true;
            let node = player.node;
            self.tell(node, Message::Control(ControlInput::ClientBlocked { client }));
            self.at(until, Event::PlayerWritable { player: number, client });
        }
    }

    // --- players --------------------------------------------------------------------------------

    fn hear(&mut self, number: usize, client: ClientId, bytes: Bytes) -> Result<(), Objection> {
        if self.players[number].client != Some(client) {
            return Ok(());
        }
        for (kind, payload) in messages(bytes) {
            let Some(body) = player::control(kind, &payload) else { continue };
            let player = &mut self.players[number];
            match body {
                server_message::Body::Welcome(welcome) => {
                    if let Some(again) = player.welcomed(&welcome) {
                        self.send(number, again);
                    }
                }
                server_message::Body::Outcome(outcome) if outcome.sequence > 0 => {
                    let expected = player
                        .pending
                        .as_ref()
                        .is_some_and(|pending| pending.sequence == outcome.sequence);
                    if !expected {
                        continue;
                    }
                    player.pending = None;
                    if outcome.code.is_empty() {
                        player.sequence = outcome.sequence;
                        player.acknowledged += 1;
                        self.outcome.acknowledged += 1;
                        if let Some(playing) = &self.players[number].playing {
                            let whose = (playing.avatar, playing.epoch);
                            self.check_acknowledged(whose, outcome.sequence, &outcome.chain)?;
                        }
                    } else if ["out_of_order", "repeated", "stale"].contains(&outcome.code.as_str())
                    {
                        // A twin has done something: the next welcome tells how far.
                        player.cut_off(self.now);
                        self.clients.remove(&client);
                        let input = ControlInput::Disconnected { client };
                        let node = self.players[number].node;
                        self.tell(node, Message::Control(input));
                    }
                }
                server_message::Body::MoveRefused(refused) => {
                    let path = refused.path.as_ref().map(Trajectory::try_from);
                    if let (Some(Ok(path)), Some(playing)) = (path, player.playing.as_mut()) {
                        playing.path = path;
                    }
                }
                server_message::Body::Closing(_) | server_message::Body::Refused(_) => {
                    player.cut_off(self.now);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn send(&mut self, number: usize, payload: Bytes) {
        let player = &self.players[number];
        let Some(client) = player.client else { return };
        let kind = pelago_wire::message::Kind::Control as u8;
        let message = Message::Control(ControlInput::Received { client, kind, payload });
        let Some(life) = self.nodes.get(&player.node).map(|host| host.config.incarnation) else {
            return;
        };
        let event = Event::ToNode { node: player.node, life, message: Box::new(message) };
        // In order, like what comes back.
        let time = self.now.plus(5);
        self.at(time, event);
    }

    fn play(&mut self, number: usize) {
        if self.players[number].gone {
            return;
        }
        let pause = if self.setup.steady {
            400 + 50 * (number as i64 % 5)
        } else {
            100 + i64::from(self.below(500))
        };
        let time = self.now.plus(pause);
        self.at(time, Event::Play(number));
        if self.players[number].client.is_none() {
            return self.connect(number);
        }
        if self.players[number].playing.is_none() || self.now >= self.end.plus(-REST_MS) {
            return;
        }
        match self.below(8) {
            0..=2 => self.walk(number),
            3..=5 if self.players[number].pending.is_none() => self.gather(number),
            3..=5 => {}
            6 => {
                self.outcome.spoken += 1;
                self.send(number, player::say("hello"));
            }
            _ => {
                let other = self.below(self.players.len() as u32) as usize;
                let target = self.players[other].playing.as_ref().map(|playing| playing.avatar);
                if let Some(target) = target {
                    self.send(number, player::wave(target));
                }
            }
        }
    }

    fn connect(&mut self, number: usize) {
        if self.now < self.players[number].next_act {
            return;
        }
        let alive: Vec<NodeId> = self
            .nodes
            .iter()
            .filter(|(_, host)| host.node.is_some())
            .map(|(node, _)| *node)
            .collect();
        if alive.is_empty() {
            return;
        }
        let node = if self.setup.steady {
            self.players[number].node
        } else {
            alive[self.below(alive.len() as u32) as usize]
        };
        self.next_client += 1;
        let client = ClientId(self.next_client);
        self.clients.insert(client, (number, node));
        let player = &mut self.players[number];
        (player.node, player.client) = (node, Some(client));
        let hello = player.hello();
        self.tell(node, Message::Control(ControlInput::Connected { client }));
        self.send(number, hello);
    }

    fn walk(&mut self, number: usize) {
        let (dx, dy) = (self.below(4000) as i32 - 2000, self.below(4000) as i32 - 2000);
        let now = self.now;
        let Some(playing) = &self.players[number].playing else { return };
        let here = playing.path.position_at(pelago_model::IslandTime(now.0));
        let side = i32::from(LAND.spec().size) * pelago_model::place::CHUNK_UNITS;
        // Towards the middle, so that players meet.
        let pull = |at: i32| (side / 2 - at) / 4;
        let there = Position::new(here.x + dx + pull(here.x), here.y + dy + pull(here.y));
        if let Some(payload) = self.players[number].walk(now, there) {
            self.send(number, payload);
        }
    }

    fn gather(&mut self, number: usize) {
        let Some(playing) = &self.players[number].playing else { return };
        let here = playing.path.position_at(pelago_model::IslandTime(self.now.0));
        let nearest = here
            .chunk()
            .around(1)
            .flat_map(|chunk| (0..40).map(move |slot| (chunk, slot)))
            .filter_map(|(chunk, slot)| {
                let (_, place) = LAND.natural(chunk, slot)?;
                Some((place.distance_squared(here), place, chunk, slot))
            })
            .min_by_key(|(distance, ..)| *distance);
        let Some((distance, place, chunk, slot)) = nearest else { return };
        if distance > 150 * 150 {
            if let Some(payload) = self.players[number].walk(self.now, place) {
                self.send(number, payload);
            }
            return;
        }
        let payload = if self.below(5) == 0 {
            r#"{"eat":{"item":"berry"}}"#.to_owned()
        } else {
            player::gather(chunk, slot)
        };
        let payload = self.players[number].command(payload);
        self.send(number, payload);
    }

    /// The tick that is now, for messages.
    pub fn tick(&self) -> Tick {
        Tick::at(self.now)
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
