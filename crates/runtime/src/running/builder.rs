//! How a node is started.

use super::{Addresses, Node};
use crate::address_book::membership;
use crate::address_book::{AddressBook, InProcessBook};
use crate::admin_calls::desk::{self, Desk};
use crate::bootstrap::{NewWorld, OpenWorldError, World};
use crate::clock;
use crate::door::door;
use crate::limits::NodeLimits;
use crate::rule_watch::WatchedGame;
use crate::status::Status;
use crate::store_probe;
use crate::supervisor::Supervisor;
use crate::tasks;
use crate::watch;
use pelago_cluster::Member;
use pelago_game::Game;
use pelago_model::{Incarnation, IslandClock, NodeId, Role};
use pelago_net::listener::BindError;
use pelago_net::{AllowedHosts, Listener, OpenFiles, Origins, ServerTls, TrustedProxies};
use pelago_node::NodeConfig;
use pelago_node::placement::DEFAULT_SPREAD;
use pelago_node::service::ServiceKind;
use pelago_store::Store;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The sockets on which a node listens.
#[derive(Debug)]
pub struct Listeners {
    tcp: Listener,
    websocket: Listener,
    links: Listener,
}

impl Listeners {
    /// Listens for clients on a port and on a free one of the same address, and for nodes on a free one. Port 0 is a
    /// free one.
    ///
    /// # Errors
    /// If one cannot be listened on.
    pub fn bind(tcp: SocketAddr, links: IpAddr) -> Result<Self, BindError> {
        Self::bind_at(tcp, SocketAddr::new(tcp.ip(), 0), SocketAddr::new(links, 0))
    }

    /// Listens for clients over TCP, for clients over WebSocket, and for nodes. Port 0 is a free one.
    ///
    /// # Errors
    /// If one cannot be listened on.
    pub fn bind_at(
        tcp: SocketAddr,
        websocket: SocketAddr,
        links: SocketAddr,
    ) -> Result<Self, BindError> {
        Ok(Self {
            tcp: Listener::bind(tcp)?,
            websocket: Listener::bind(websocket)?,
            links: Listener::bind(links)?,
        })
    }

    /// Where other nodes are listened for.
    pub fn links_address(&self) -> SocketAddr {
        self.links.address()
    }
}

/// A node to be started. A game and a store it has to be given; all else has a default.
pub struct NodeBuilder {
    number: NodeId,
    game: Option<Arc<dyn Game>>,
    store: Option<Arc<dyn Store>>,
    world: Option<World>,
    new_world: NewWorld,
    book: Arc<dyn AddressBook>,
    listen: (SocketAddr, IpAddr),
    listeners: Option<Listeners>,
    advertised: Option<String>,
    lanes: u8,
    spread: u8,
    limits: NodeLimits,
    tls: Option<ServerTls>,
    hosts: AllowedHosts,
    proxies: TrustedProxies,
    files: OpenFiles,
    origins: Option<Origins>,
    services: u8,
    more_services: Vec<ServiceKind>,
    record_into: Option<PathBuf>,
}

/// Why a node was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It was not given all that it needs.
    #[error("a node needs a {0}")]
    Incomplete(&'static str),
    /// Two services have the same role, or one has a role of the platform.
    #[error("there are two services with the role {0}")]
    RoleTaken(Role),
    /// It cannot listen.
    #[error(transparent)]
    Listen(#[from] BindError),
    /// There are no threads left for its clients.
    #[error("no threads for clients: {0}")]
    Threads(std::io::Error),
    /// Its world cannot be opened.
    #[error(transparent)]
    World(#[from] OpenWorldError),
    /// Opening its world broke off, which is a bug.
    #[error("opening the world broke off")]
    BrokeOff,
}

impl Default for NodeBuilder {
    fn default() -> Self {
        Self {
            number: NodeId(1),
            game: None,
            store: None,
            world: None,
            new_world: NewWorld::default(),
            book: Arc::new(InProcessBook::default()),
            listen: (SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), Ipv4Addr::LOCALHOST.into()),
            listeners: None,
            advertised: None,
            lanes: 1,
            spread: DEFAULT_SPREAD,
            limits: NodeLimits::default(),
            tls: None,
            hosts: AllowedHosts::default(),
            proxies: TrustedProxies::default(),
            files: OpenFiles::new(None),
            origins: None,
            services: 1,
            more_services: Vec::new(),
            record_into: None,
        }
    }
}

impl NodeBuilder {
    /// Its number, unique in the cluster. The default is 1.
    #[must_use]
    pub fn number(mut self, number: NodeId) -> Self {
        self.number = number;
        self
    }

    /// The rules.
    #[must_use]
    pub fn game(mut self, game: Arc<dyn Game>) -> Self {
        self.game = Some(game);
        self
    }

    /// Where documents are.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// The world of that store, if it has been opened already. By default the node opens it.
    #[must_use]
    pub fn world(mut self, world: World) -> Self {
        self.world = Some(world);
        self
    }

    /// From what a world is made if the store has none.
    #[must_use]
    pub fn new_world(mut self, new: NewWorld) -> Self {
        self.new_world = new;
        self
    }

    /// Where the nodes of the cluster find each other. By default a node is alone.
    #[must_use]
    pub fn address_book(mut self, book: Arc<dyn AddressBook>) -> Self {
        self.book = book;
        self
    }

    /// Where it listens for clients over TCP, and at which address for other nodes: see [`Listeners::bind`]. The
    /// default is loopback.
    #[must_use]
    pub fn listen(mut self, tcp: SocketAddr, links: IpAddr) -> Self {
        self.listen = (tcp, links);
        self
    }

    /// Sockets that listen already.
    #[must_use]
    pub fn listeners(mut self, listeners: Listeners) -> Self {
        self.listeners = Some(listeners);
        self
    }

    /// Where other nodes find it, if not where it listens for them: a translated address, or a proxy.
    #[must_use]
    pub fn advertise(mut self, links: impl Into<String>) -> Self {
        self.advertised = Some(links.into());
        self
    }

    /// How many lanes it has, at least one, and how many of them share the players who arrive in one chunk.
    #[must_use]
    pub fn lanes(mut self, lanes: u8, spread: u8) -> Self {
        (self.lanes, self.spread) = (lanes.max(1), spread.max(1));
        self
    }

    /// Its limits.
    #[must_use]
    pub fn limits(mut self, limits: NodeLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Encrypts what passes between it and its clients.
    #[must_use]
    pub fn tls(mut self, tls: Option<ServerTls>) -> Self {
        self.tls = tls;
        self
    }

    /// The names by which clients may ask for its WebSocket, beside those of this machine.
    #[must_use]
    pub fn allowed_hosts(mut self, hosts: AllowedHosts) -> Self {
        self.hosts = hosts;
        self
    }

    /// The proxies through which clients come, and which say whose connections they make. By default none is believed.
    #[must_use]
    pub fn proxies(mut self, proxies: TrustedProxies) -> Self {
        self.proxies = proxies;
        self
    }

    /// The files that the connections of its clients share with those of other nodes.
    #[must_use]
    pub fn files(mut self, files: OpenFiles) -> Self {
        self.files = files;
        self
    }

    /// Where connections come from, which it shares with other nodes and listeners of the process. By default its own
    /// clients count.
    #[must_use]
    pub fn origins(mut self, origins: Origins) -> Self {
        self.origins = Some(origins);
        self
    }

    /// Over how many tasks durable turns and other services are spread by key, at least one.
    #[must_use]
    pub fn services(mut self, services: u8) -> Self {
        self.services = services.max(1);
        self
    }

    /// A service of the studio, beside those of the platform: see `docs/services.md`. All nodes of a cluster are given the
    /// same. Its role must be its own.
    #[must_use]
    pub fn service(mut self, kind: ServiceKind) -> Self {
        self.more_services.push(kind);
        self
    }

    /// Records what its machines are told, and writes the last minute of it into this directory when one of them panics
    /// or an operator asks: see `docs/operating/flight.md`. By default nothing is recorded.
    #[must_use]
    pub fn record_into(mut self, directory: impl Into<PathBuf>) -> Self {
        self.record_into = Some(directory.into());
        self
    }

    /// Listens, opens the world and starts the tasks. It is ready a moment later, and registers itself in the address
    /// book without anybody waiting for that: [`Node::readiness`] and [`Node::alarms`] tell.
    ///
    /// # Errors
    /// [`StartError`] says what is missing or does not work; nothing is left running.
    pub async fn start(self) -> Result<Node, StartError> {
        let game = self.game.ok_or(StartError::Incomplete("game"))?;
        let store = self.store.ok_or(StartError::Incomplete("store"))?;
        let listeners = match self.listeners {
            Some(listeners) => listeners,
            None => Listeners::bind(self.listen.0, self.listen.1)?,
        };
        let world = match self.world {
            Some(world) => world,
            None => open(store.clone(), game.clone(), self.new_world).await?,
        };
        let Listeners { tcp, websocket, links } = listeners;
        for listener in [&tcp, &websocket] {
            let set = listener.set_send_buffer_bytes(self.limits.connections.send_buffer_bytes);
            if let Err(error) = set {
                tracing::warn!(%error, "send_buffer_bytes");
            }
        }
        let addresses = Addresses {
            tcp: tcp.address(),
            websocket: websocket.address(),
            links: links.address(),
            encrypted: self.tls.is_some(),
        };
        let clock = world.clock.clone();
        let config = NodeConfig {
            node: self.number,
            incarnation: Incarnation(clock.now().0.unsigned_abs()),
            lanes: self.lanes,
            services: self.services,
            spread: self.spread,
            world: world.number,
            home: world.document.home,
            lands: Arc::new(world.lands.clone()),
            game: WatchedGame::new(game),
            clock: IslandClock::IDENTITY,
            secret: world.secret(),
            batch_turns: self.limits.batch_turns,
            max_clients: self.limits.max_clients,
            limits: self.limits.clients,
            more_services: self.more_services,
            build: concat!("pelago ", env!("CARGO_PKG_VERSION")).to_owned(),
            sabotage: pelago_node::Sabotage::default(),
        };
        if let Some(role) = taken_role(&config) {
            return Err(StartError::RoleTaken(role));
        }
        clock.enter(&*store).await;
        let status = Arc::new(Status::new(self.lanes, self.files, clock.standing()));
        let mut supervisor = Supervisor::default();
        let (door, visitors) = door(self.number);
        let start = tasks::Start {
            clock: clock.clone(),
            store: store.clone(),
            status: status.clone(),
            connections: self.limits.connections,
            origins: self.origins.unwrap_or_else(|| Origins::new(self.limits.crowd)),
            tls: self.tls,
            listeners: (tcp, websocket, links),
            hosts: self.hosts,
            proxies: self.proxies,
            visitors,
            record_into: self.record_into,
        };
        let shared = tasks::start(start, &config, &mut supervisor).map_err(StartError::Threads)?;

        let meter = supervisor.meter("store_probe");
        let (probe, probe_clock) = (status.store.clone(), status.probe_clock);
        supervisor.spawn(meter, store_probe::run(probe, store.clone(), self.number.0, probe_clock));
        let meter = supervisor.meter("watch");
        supervisor.spawn(meter, watch::run(shared.clone(), clock.clone()));
        let meter = supervisor.meter("clock");
        supervisor.spawn(meter, clock::keep(clock, store));

        let member = Member {
            node: self.number,
            incarnation: config.incarnation,
            address: self.advertised.unwrap_or_else(|| addresses.links.to_string()),
            roles: config.roles(),
        };
        let tell = {
            let shared = shared.clone();
            move |members: Vec<Member>| {
                // Until the links have looked at them, nobody knows whether all are within reach.
                shared.status.linked.store(false, Relaxed);
                shared.set_members(members);
            }
        };
        let meter = supervisor.meter("membership");
        let standing = status.standing.clone();
        supervisor.spawn(meter, membership::run(self.book.clone(), member.clone(), standing, tell));

        let meter = supervisor.meter("desk");
        let (handle, questions) = desk::questions(self.number, &meter);
        let answering = Desk {
            shared: shared.clone(),
            meters: supervisor.meters(),
            tcp: addresses.tcp.to_string(),
            websocket_url: addresses.websocket_url(),
            world: world.document.world,
            lands: world.lands,
            clock: config.clock,
        };
        // Nobody else has set them.
        drop(status.meters.set(supervisor.meters()));
        supervisor.spawn(meter, desk::run(answering, questions));

        let hang_up = {
            let shared = shared.clone();
            move || shared.hang_up()
        };
        let supervised = supervisor.watch(self.number, hang_up);
        Ok(Node { member, addresses, shared, book: self.book, handle, door, supervised })
    }
}

/// A role that a service has although another has it, too.
fn taken_role(config: &NodeConfig) -> Option<Role> {
    let mut roles = BTreeSet::from([Role::lane(), Role::admin()]);
    config.service_kinds().into_iter().map(|kind| kind.role).find(|role| !roles.insert(*role))
}

async fn open(
    store: Arc<dyn Store>,
    game: Arc<dyn Game>,
    new: NewWorld,
) -> Result<World, StartError> {
    let opening = tokio::task::spawn_blocking(move || World::open(&*store, &*game, new));
    Ok(opening.await.map_err(|_| StartError::BrokeOff)??)
}
