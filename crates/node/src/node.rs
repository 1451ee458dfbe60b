//! A node as a whole: which machines it is made of.
//!
//! [`NodeMachine`] is any one of them together with its wiring: the server gives each a task of its own. [`Node`] is
//! all of them with their mailboxes, for the simulator and for tests, which choose whose mailbox is served next.

mod machine;
mod whole;

pub use machine::NodeMachine;
pub use whole::Node;

use crate::arrivals::{Arrivals, ArrivalsConfig};
use crate::chat::{self, ChatSabotage};
use crate::composer::Composer;
use crate::content::Shelf;
use crate::lane::{Lane, LaneConfig};
use crate::machine_id::MachineId;
use crate::rate_limits::ClientLimits;
use crate::service::{ServiceHost, ServiceKind, ServiceSeat};
use crate::steward::{self, StewardSabotage};
use pelago_cluster::{Links, LinksConfig, LinksInput, LinksSabotage};
use pelago_game::{ContentHash, Game, Land};
use pelago_model::{
    Incarnation, IslandClock, IslandId, Machine, NodeId, PublisherId, Role, WorldNumber, WorldTime,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The configuration of a node.
#[derive(Clone)]
pub struct NodeConfig {
    /// Its number.
    pub node: NodeId,
    /// Its present life.
    pub incarnation: Incarnation,
    /// Lanes, from 1 to [`MAX_LANES`](pelago_model::MAX_LANES).
    pub lanes: u8,
    /// Hosts of services, at least one. Durable turns and other services are spread over them by key.
    pub services: u8,
    /// How many lanes share the players who arrive in one chunk: [`placement`](crate::placement).
    pub spread: u8,
    /// The world's number, for new ids.
    pub world: WorldNumber,
    /// Where new avatars appear.
    pub home: IslandId,
    /// The land of every island.
    pub lands: Arc<BTreeMap<IslandId, Arc<Land>>>,
    /// The rules.
    pub game: Arc<dyn Game>,
    /// Island time.
    pub clock: IslandClock,
    /// The secret from which turns get their randomness.
    pub secret: [u8; 32],
    /// Turns of one commit, from 1 to [`MAX_BATCH_TURNS`](crate::steward::MAX_BATCH_TURNS).
    pub batch_turns: usize,
    /// Clients at once.
    pub max_clients: usize,
    /// The rates and times of each client.
    pub limits: ClientLimits,
    /// Services of the studio, beside those of the platform.
    pub more_services: Vec<ServiceKind>,
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
    /// Of the chat.
    pub chat: ChatSabotage,
    /// Of the links.
    pub links: LinksSabotage,
    /// A mailbox that holds this many messages loses its oldest when one more comes.
    pub forgetful_mailboxes: Option<usize>,
}

impl NodeConfig {
    /// How the machines are wired.
    pub fn composer(&self) -> Composer {
        Composer { node: self.node, lanes: self.lanes.max(1), services: self.services.max(1) }
    }

    /// All machines of the node.
    pub fn machines(&self) -> impl Iterator<Item = MachineId> + use<> {
        let lanes = (0..self.lanes.max(1)).map(MachineId::Lane);
        let services = (0..self.services.max(1)).map(MachineId::Service);
        [MachineId::Links, MachineId::Arrivals].into_iter().chain(lanes).chain(services)
    }

    /// The services that it runs, one line each.
    pub fn service_kinds(&self) -> Vec<ServiceKind> {
        let mut kinds = vec![
            steward::kind(self.batch_turns, self.sabotage.steward),
            chat::kind(self.sabotage.chat),
        ];
        kinds.extend(self.more_services.iter().cloned());
        kinds
    }

    /// The roles that it has in the address book.
    pub fn roles(&self) -> BTreeSet<Role> {
        let services = self.service_kinds().into_iter().map(|kind| kind.role);
        services.chain([Role::lane()]).collect()
    }

    /// The content that clients may fetch by hash.
    pub fn content(&self) -> Shelf {
        let game = self.game.content();
        let tiles = self.lands.values().flat_map(|land| land.content());
        Shelf::new(tiles.chain([(ContentHash::of(&game), game.clone())]))
    }

    /// The links of this node.
    pub fn links(&self) -> Links {
        let mut links = Links::new(LinksConfig {
            node: self.node,
            incarnation: self.incarnation,
            build: self.build.clone(),
            clock: self.clock,
            sabotage: self.sabotage.links,
        });
        // No node is linked yet: each will be told in the hello of its link.
        let islands: BTreeSet<IslandId> = self.lands.keys().copied().collect();
        links.handle(WorldTime(0), LinksInput::Present(islands), &mut Vec::new());
        links
    }

    /// The arrivals of this node.
    pub fn arrivals(&self) -> Arrivals {
        Arrivals::new(self.arrivals_config())
    }

    fn arrivals_config(&self) -> ArrivalsConfig {
        ArrivalsConfig {
            node: self.node,
            world: self.world,
            lanes: self.lanes.max(1),
            spread: self.spread,
            game: self.game.clone(),
            home: self.home,
            lands: self.lands.clone(),
            clock: self.clock,
            max_clients: self.max_clients,
            limits: self.limits.clone(),
        }
    }

    /// One lane of this node.
    pub fn lane(&self, lane: u8) -> Lane {
        Lane::new(LaneConfig {
            node: self.node,
            lane,
            publisher: PublisherId::lane(self.node, lane, self.incarnation),
            home: self.home,
            lands: self.lands.clone(),
            game: self.game.clone(),
            clock: self.clock,
            limits: self.limits.clone(),
        })
    }

    /// One host of services of this node.
    pub fn host(&self, service: u8) -> ServiceHost {
        let seat = ServiceSeat {
            node: self.node,
            publisher: PublisherId::service(self.node, service, self.incarnation),
            game: self.game.clone(),
            lands: self.lands.clone(),
            clock: self.clock,
            secret: self.secret,
        };
        ServiceHost::new(&seat, &self.service_kinds())
    }
}
