//! A node in which two clients are logged in and which another node is linked to. One client and the
//! other node say what the bytes say; the second client must be able to read all that comes of it.

mod links;
mod players;

use crate::input::Input;
use links::Peer;
use pelago_cluster::{LinksInput, Member};
use pelago_frontier::Frontier;
use pelago_game::{Arrival, Game, IslandSpec, Land};
use pelago_model::{
    CommitOutcome, EntityId, Incarnation, IslandClock, IslandId, NodeId, Position, WorldNumber,
    WorldTime,
};
use pelago_node::{
    ClientEvent, MachineInput, Node, NodeConfig, Sabotage, ShellEffect, StoreAnswer, WorldDocument,
    bootstrap,
};
use pelago_store::Memory;
use pelago_world::ClientId;
use players::Player;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, LazyLock};

/// Steps of one run at most.
const STEPS: usize = 64;
/// Wakes in one step at most: twenty ticks with their deliveries, heartbeats and deadlines.
const WAKES: usize = 400;
/// Messages that may follow from one at most.
const FOLLOWERS: usize = 10_000;

pub(crate) const HOME: IslandId = IslandId(0x0000_1000_0000_0001);
pub(crate) static LAND: LazyLock<Arc<Land>> = LazyLock::new(|| {
    let spec = IslandSpec { id: HOME, seed: 7, size: 6, generator: 1 };
    Arc::new(Land::new(&Frontier, spec))
});
/// The avatar of the first client: the first of a new world.
pub(crate) const FIRST_AVATAR: EntityId = EntityId(0x0000_1000_0000_0001);
/// Where somebody may stand.
pub(crate) static SPAWN: LazyLock<Position> =
    LazyLock::new(|| Frontier.spawn(&LAND, Arrival::Home, 1));

const SELF: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);
const LIFE: Incarnation = Incarnation(1);
const BEGIN: WorldTime = WorldTime(1_000_000);

/// Runs the steps that the bytes say.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut world = World::new();
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
    }
    // What was begun comes to its end.
    world.pass(3000);
}

struct World {
    node: Node,
    store: Memory,
    now: WorldTime,
    /// What the store does with the next transaction.
    fault: Option<CommitOutcome>,
    players: [Player; 2],
    peer: Peer,
    next_connection: u64,
}

impl World {
    fn new() -> Self {
        let config = NodeConfig {
            node: SELF,
            incarnation: LIFE,
            lanes: 1,
            services: 1,
            spread: pelago_node::placement::DEFAULT_SPREAD,
            world: WorldNumber::new(1).expect("a small number"),
            home: HOME,
            lands: Arc::new(BTreeMap::from([(HOME, LAND.clone())])),
            game: Arc::new(Frontier),
            clock: IslandClock::IDENTITY,
            secret: [7; 32],
            batch_turns: pelago_node::steward::MAX_BATCH_TURNS,
            limits: pelago_node::ClientLimits::default(),
            max_clients: 10,
            more_services: Vec::new(),
            build: "fuzz".into(),
            sabotage: Sabotage::default(),
        };
        let store = Memory::default();
        let world = WorldDocument {
            world: 1,
            seed: 7,
            epoch_unix_ms: 0,
            secret: "fuzzed".into(),
            identity: "fuzzed".into(),
            home: HOME,
        };
        store.apply(bootstrap(&world, LAND.spec()).expect("a world fits its document"));
        let mut world = Self {
            node: Node::new(&config),
            store,
            now: BEGIN,
            fault: None,
            players: [Player::new("Ada"), Player::new("Bert")],
            peer: Peer::default(),
            next_connection: 1,
        };
        let member = |node| {
            let roles = config.roles();
            Member { node, incarnation: LIFE, address: String::new(), roles }
        };
        world.node.set_members(BEGIN, vec![member(SELF), member(OTHER)]);
        world.link();
        world.start(0);
        world.start(1);
        world.pass(250);
        world
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() {
            0 => self.client_says(input),
            1 => self.client_moves(input),
            2 => self.client_acts(input),
            3 => self.client_is_slow(input),
            4 => self.client_returns(input),
            5 => self.peer_says(input),
            6 => self.peer_publishes(input),
            7 => self.peer_shows(input),
            8 => self.peer_answers(input),
            9 => self.peer_returns(input),
            10 => {
                let outcomes = [CommitOutcome::Failed, CommitOutcome::Unknown];
                self.fault = outcomes.get(usize::from(input.u8())).cloned();
            }
            _ => self.pass(i64::from(input.u16() % 2000)),
        }
    }

    /// Time goes on, and everybody wakes when they want to.
    fn pass(&mut self, ms: i64) {
        let until = self.now.plus(ms);
        for wake in 0.. {
            let players = self.players.iter().map(Player::next_wake);
            let next = players.chain([self.node.next_wake()]).flatten().min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            assert!(wake < WAKES, "it wakes without end");
            self.now = next.max(self.now);
            for player in 0..self.players.len() {
                if self.players[player].next_wake().is_some_and(|at| at <= self.now) {
                    self.wake_player(player);
                }
            }
            if self.node.next_wake().is_some_and(|at| at <= self.now) {
                let mut effects = Vec::new();
                self.node.wake(self.now);
                self.node.settle(self.now, &mut effects);
                self.perform(effects);
            }
        }
        self.now = until;
    }

    fn tell(&mut self, input: MachineInput) {
        let mut effects = Vec::new();
        let told = self.node.tell(self.now, input, &mut effects);
        assert!(told.is_ok(), "every message is handled before the next one comes");
        self.node.settle(self.now, &mut effects);
        self.perform(effects);
    }

    fn of_client(&mut self, client: ClientId, event: ClientEvent) {
        let mut effects = Vec::new();
        let told = self.node.client(self.now, client, event, &mut effects);
        assert!(told.is_ok(), "every message is handled before the next one comes");
        self.node.settle(self.now, &mut effects);
        self.perform(effects);
    }

    fn links(&mut self, input: LinksInput) {
        self.tell(MachineInput::Links(input));
    }

    /// Carries out effects and what follows from them; the store answers at once.
    fn perform(&mut self, effects: Vec<ShellEffect>) {
        let mut queue = VecDeque::from(effects);
        let mut count = 0;
        while let Some(effect) = queue.pop_front() {
            count += 1;
            assert!(count < FOLLOWERS, "it goes on without end");
            let mut said = Vec::new();
            let input = match effect {
                ShellEffect::Load { machine, request, keys } => {
                    let documents = keys.iter().map(|key| self.store.get(key)).collect();
                    MachineInput::stored(machine, request, StoreAnswer::Loaded(Some(documents)))
                }
                ShellEffect::Commit { machine, request, transaction } => {
                    let outcome =
                        self.fault.take().unwrap_or_else(|| self.store.apply(transaction));
                    MachineInput::stored(machine, request, StoreAnswer::Committed(outcome))
                }
                ShellEffect::Run { machine, request, run } => {
                    MachineInput::ran(machine, request, run.run())
                }
                ShellEffect::Dial { node, .. } => {
                    Some(MachineInput::Links(LinksInput::DialFailed { node }))
                }
                ShellEffect::Hangup { link, .. } => {
                    self.peer.hung_up(link);
                    Some(MachineInput::Links(LinksInput::Closed { link }))
                }
                ShellEffect::SendLink { link, bytes } => {
                    self.peer.hears(link, bytes);
                    None
                }
                ShellEffect::SendClient { client, bytes } => {
                    for player in &mut self.players {
                        said.extend(player.hears(self.now, client, &bytes));
                    }
                    None
                }
                ShellEffect::CloseClient { client } => {
                    for player in &mut self.players {
                        said.extend(player.ended(self.now, client));
                    }
                    Some(MachineInput::of_client(None, client, ClientEvent::Disconnected))
                }
                ShellEffect::Placed { .. }
                | ShellEffect::OperatorAnswered { .. }
                | ShellEffect::Abandon { .. }
                | ShellEffect::RulesLost { .. }
                | ShellEffect::Log(_) => None,
            };
            let mut effects = Vec::new();
            let node = &mut self.node;
            for (client, event) in said {
                let told = node.client(self.now, client, event, &mut effects);
                assert!(told.is_ok(), "every message is handled before the next one comes");
                node.settle(self.now, &mut effects);
            }
            if let Some(input) = input {
                let told = node.tell(self.now, input, &mut effects);
                assert!(told.is_ok(), "what the shell says never waits");
                node.settle(self.now, &mut effects);
            }
            queue.extend(effects);
        }
    }
}
