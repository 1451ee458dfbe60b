//! A node as a whole: which machines it is made of, and how messages pass between them.
//!
//! [`Hub`] is control, stewards and login together, which run in turn; lanes run beside it. [`Node`] runs all of them in
//! one queue, for the simulator and for tests. The server gives the hub and every lane a task of its own.

use crate::control::{Control, ControlConfig, ControlInput};
use crate::effect::{Effect, Message};
use crate::lane::{Lane, LaneConfig, LaneInput};
use crate::login::{Login, LoginConfig};
use crate::rate_limits::ClientLimits;
use crate::steward::{Steward, StewardConfig, StewardInput, StewardSabotage};
use bytes::Bytes;
use pelago_cluster::{Links, LinksConfig, LinksSabotage};
use pelago_game::{ContentHash, Game, IslandSpec, Land, json};
use pelago_model::{
    Incarnation, IslandClock, IslandId, Key, LimitCounts, Machine, NodeId, PublisherId, Revision,
    Size, Transaction, WorldNumber, WorldTime, Write,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// The schema version of the documents of the world and its islands.
pub const WORLD_SCHEMA: u16 = 1;

/// The document of the world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorldDocument {
    /// Its number: the upper bits of every id made in it.
    pub world: u32,
    /// From which its islands are made.
    pub seed: u64,
    /// When world time began, in ms since 1970.
    pub epoch_unix_ms: i64,
    /// From which durable turns get their randomness, 64 hexadecimal digits.
    pub secret: String,
    /// Where new avatars appear.
    pub home: IslandId,
}

/// The transaction that begins a world with one island.
///
/// # Errors
/// If the world does not fit JSON, which is a bug.
pub fn bootstrap(
    world: &WorldDocument,
    island: &IslandSpec,
) -> Result<Transaction, json::EncodeError> {
    let write =
        |key, value| Write { key, expected: Revision(0), schema: WORLD_SCHEMA, value: Some(value) };
    let writes = vec![
        write(Key::world(), json::encode(world)?),
        write(Key::island(island.id), json::encode(island)?),
    ];
    Ok(Transaction { checks: Vec::new(), writes })
}

/// What a node is made of.
#[derive(Clone)]
pub struct NodeConfig {
    /// Its number.
    pub node: NodeId,
    /// Its present life.
    pub incarnation: Incarnation,
    /// Lanes, at least one.
    pub lanes: u8,
    /// How many of them share the players who arrive in one chunk: [`placement`](crate::placement).
    pub spread: u8,
    /// The world's number, for new ids.
    pub world: WorldNumber,
    /// Where new avatars appear.
    pub home: IslandId,
    /// The land of every island.
    pub lands: BTreeMap<IslandId, Arc<Land>>,
    /// The rules.
    pub game: Arc<dyn Game>,
    /// Island time.
    pub clock: IslandClock,
    /// From which turns get their randomness.
    pub secret: [u8; 32],
    /// Turns of one commit, from 1 to [`MAX_BATCH_TURNS`](crate::MAX_BATCH_TURNS).
    pub batch_turns: usize,
    /// Clients at once.
    pub max_clients: usize,
    /// What each of them may do.
    pub limits: ClientLimits,
    /// Program and version.
    pub build: String,
    /// For tests only.
    pub sabotage: Sabotage,
}

/// Bugs planted on purpose, which the simulator must find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sabotage {
    /// Of the stewards.
    pub steward: StewardSabotage,
    /// Of the links.
    pub links: LinksSabotage,
}

impl NodeConfig {
    fn content(&self) -> Arc<BTreeMap<ContentHash, Bytes>> {
        let game = self.game.content();
        let tiles = self.lands.values().flat_map(|land| land.content());
        Arc::new(tiles.chain([(ContentHash::of(&game), game.clone())]).collect())
    }

    /// Control, stewards and login of this node.
    pub fn hub(&self) -> Hub {
        let links = Links::new(LinksConfig {
            node: self.node,
            incarnation: self.incarnation,
            build: self.build.clone(),
            clock: self.clock,
            sabotage: self.sabotage.links,
        });
        let control = ControlConfig {
            node: self.node,
            lanes: self.lanes,
            islands: self.lands.keys().copied().collect::<BTreeSet<_>>(),
            max_clients: self.max_clients,
            limits: self.limits.clone(),
            content: self.content(),
        };
        let login = LoginConfig {
            node: self.node,
            world: self.world,
            lanes: self.lanes,
            spread: self.spread,
            game: self.game.clone(),
            home: self.home,
            lands: self.lands.clone(),
            clock: self.clock,
        };
        let steward = StewardConfig {
            publisher: PublisherId::new(self.node, PublisherId::STEWARD, self.incarnation),
            game: self.game.clone(),
            lands: self.lands.clone(),
            clock: self.clock,
            secret: self.secret,
            batch_turns: self.batch_turns,
            sabotage: self.sabotage.steward,
        };
        Hub {
            control: Control::new(control, links),
            steward: Steward::new(steward),
            login: Login::new(login),
        }
    }

    /// One lane of this node.
    pub fn lane(&self, lane: u8) -> Lane {
        Lane::new(LaneConfig {
            node: self.node,
            lane,
            publisher: PublisherId::new(self.node, lane, self.incarnation),
            home: self.home,
            lands: self.lands.clone(),
            game: self.game.clone(),
            clock: self.clock,
            content: self.content(),
            limits: self.limits.clone(),
        })
    }
}

/// Control, stewards and login.
pub struct Hub {
    /// Links, subscriptions, calls.
    pub control: Control,
    /// Durable turns.
    pub steward: Steward,
    /// Those who arrive.
    pub login: Login,
}

impl Hub {
    /// Handles a message and whatever the three say to each other about it. What is for lanes and for
    /// the shell is appended to `effects`.
    pub fn handle(&mut self, now: WorldTime, message: Message, effects: &mut Vec<Effect>) {
        let mut queue = VecDeque::from([message]);
        let mut produced = Vec::new();
        while let Some(message) = queue.pop_front() {
            match message {
                Message::Control(input) => {
                    let is_wake = matches!(input, ControlInput::Wake);
                    self.control.handle(now, input, &mut produced);
                    if is_wake {
                        self.steward.handle(now, StewardInput::Wake, &mut produced);
                    }
                }
                Message::Steward(input) => self.steward.handle(now, input, &mut produced),
                Message::Login(input) => self.login.handle(now, input, &mut produced),
                Message::Lane(..) => effects.push(Effect::To(message)),
            }
            for effect in produced.drain(..) {
                match effect {
                    Effect::To(message) => queue.push_back(message),
                    effect => effects.push(effect),
                }
            }
        }
    }

    /// How full everything is that can grow.
    pub fn sizes(&self) -> Vec<Size> {
        [self.control.sizes(), self.steward.sizes(), self.login.sizes()].concat()
    }

    /// How often limits were met, by all three.
    pub fn limits(&self) -> LimitCounts {
        let mut counts = self.control.limits();
        counts.merge(&self.steward.limits());
        counts.merge(&self.login.limits());
        counts
    }

    /// When it wants to be woken.
    pub fn next_wake(&self) -> Option<WorldTime> {
        self.control.next_wake().into_iter().chain(self.steward.next_wake()).min()
    }
}

/// All machines of a node in one queue.
pub struct Node {
    /// Control, stewards and login.
    pub hub: Hub,
    /// The lanes.
    pub lanes: Vec<Lane>,
}

impl Node {
    /// A node that has just started.
    pub fn new(config: &NodeConfig) -> Self {
        Self { hub: config.hub(), lanes: (0..config.lanes).map(|lane| config.lane(lane)).collect() }
    }

    /// Handles a message and everything that follows from it inside of the node; what is for the
    /// shell is appended to `effects`.
    pub fn handle(&mut self, now: WorldTime, message: Message, effects: &mut Vec<Effect>) {
        let mut queue = VecDeque::from([message]);
        let mut produced = Vec::new();
        while let Some(message) = queue.pop_front() {
            match message {
                Message::Lane(lane, input) => {
                    if let Some(lane) = self.lanes.get_mut(usize::from(lane)) {
                        lane.handle(now, input, &mut produced);
                    }
                }
                message => self.hub.handle(now, message, &mut produced),
            }
            for effect in produced.drain(..) {
                match effect {
                    Effect::To(message) => queue.push_back(message),
                    effect => effects.push(effect),
                }
            }
        }
    }

    /// Wakes the machines whose time has come.
    pub fn wake(&mut self, now: WorldTime, effects: &mut Vec<Effect>) {
        if self.hub.next_wake().is_some_and(|at| at <= now) {
            self.handle(now, Message::Control(ControlInput::Wake), effects);
        }
        for lane in 0..self.lanes.len() {
            if self.lanes[lane].next_wake().is_some_and(|at| at <= now) {
                self.handle(now, Message::Lane(lane as u8, LaneInput::Wake), effects);
            }
        }
    }

    /// When any of its machines wants to be woken.
    pub fn next_wake(&self) -> Option<WorldTime> {
        let lanes = self.lanes.iter().filter_map(Machine::next_wake);
        lanes.chain(self.hub.next_wake()).min()
    }
}
