//! The shell of a node: tasks, sockets and the store around its machines.
//!
//! The hub (control, stewards, login) and every lane are tasks with two inboxes: what machines and the store tell each
//! other, which is bounded by what they do, and what strangers send, which is bounded by its size and waits.

mod clients;
mod grants;
mod links;
mod machines;
mod throttle;

use crate::clock::WorldClock;
use crate::world::World;
use anyhow::Result;
use pelago_cluster::{LinkId, Member, Roles};
use pelago_game::Game;
use pelago_model::{Allowance, Incarnation, IslandClock, LimitCounts, NodeId, Size};
use pelago_net::{Listener, OpenFiles, Sender, ServerTls, Traffic, Transport};
use pelago_node::lane::LaneCounters;
use pelago_node::{ClientLimits, ControlInput, LaneInput, Message, NodeConfig, StewardCounters};
use pelago_store::Store;
use pelago_world::ClientId;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use throttle::Throttle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Inputs from strangers that wait for one machine; beyond it their connections are not read.
const MAX_INBOX: usize = 4096;

/// What a node of this process is given.
pub(crate) struct NodeSettings {
    /// Its number.
    pub(crate) node: NodeId,
    /// Lanes.
    pub(crate) lanes: u8,
    /// How many of them share a chunk.
    pub(crate) spread: u8,
    /// Clients at once.
    pub(crate) max_clients: usize,
    /// Turns of one commit.
    pub(crate) batch_turns: usize,
    /// What each of them may do.
    pub(crate) clients: ClientLimits,
    /// What each of their connections may do.
    pub(crate) connections: ConnectionLimits,
    /// Encrypts what passes between it and clients.
    pub(crate) tls: Option<ServerTls>,
    /// The files of its clients' connections.
    pub(crate) files: OpenFiles,
}

/// The limits on each connection of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionLimits {
    /// Messages; who sends more is closed as `flood`.
    pub(crate) messages: Allowance,
    /// How long a message may take; then the connection is closed as `stalled`.
    pub(crate) message_timeout: Duration,
    /// What the kernel keeps for a reader that lags.
    pub(crate) send_buffer_bytes: usize,
}

/// The sockets on which a node listens.
pub(crate) struct NodeListeners {
    /// For clients over TCP.
    pub(crate) tcp: Listener,
    /// For clients over WebSocket.
    pub(crate) websocket: Listener,
    /// For other nodes.
    pub(crate) peer: Listener,
}

impl NodeListeners {
    /// Listens for clients on a port and on a free one of the same address, and for nodes on a free one.
    ///
    /// # Errors
    /// If one cannot be listened on.
    pub(crate) fn bind(tcp: SocketAddr, links: IpAddr) -> Result<Self> {
        let free = SocketAddr::new(tcp.ip(), 0);
        Ok(Self {
            tcp: Listener::bind(tcp)?,
            websocket: Listener::bind(free)?,
            peer: Listener::bind(SocketAddr::new(links, 0))?,
        })
    }
}

/// What a node tells operators.
#[derive(Debug, Default)]
pub(crate) struct Status {
    /// Connections of clients.
    pub(crate) connections: AtomicUsize,
    /// Commands that wait for the stewards.
    pub(crate) backlog: AtomicUsize,
    /// Numbers of the stewards.
    pub(crate) stewards: Mutex<StewardCounters>,
    /// Whether every member is within reach.
    pub(crate) linked: AtomicBool,
    /// How often limits were met by the hub.
    pub(crate) limits: Mutex<LimitCounts>,
    /// Numbers of the links.
    pub(crate) links: Mutex<pelago_cluster::LinksCounters>,
    /// How full everything of the hub is.
    pub(crate) sizes: Mutex<Vec<Size>>,
    /// Of each lane.
    pub(crate) lanes: Vec<LaneStatus>,
    /// Bytes to and from clients.
    pub(crate) traffic: Arc<Traffic>,
    /// Bytes to and from other nodes.
    pub(crate) peer_traffic: Arc<Traffic>,
}

/// What a lane tells operators.
#[derive(Debug, Default)]
pub(crate) struct LaneStatus {
    /// World time of its last tick.
    pub(crate) ticked: AtomicI64,
    /// Players on it.
    pub(crate) players: AtomicUsize,
    /// Nanoseconds it has worked.
    pub(crate) busy_ns: AtomicU64,
    /// Its numbers.
    pub(crate) counters: Mutex<LaneCounters>,
    /// How full everything of it is.
    pub(crate) sizes: Mutex<Vec<Size>>,
}

/// A node that runs in this process.
pub(crate) struct NodeShell {
    /// Its number.
    pub(crate) node: NodeId,
    /// Where it listens for clients over TCP.
    pub(crate) tcp: SocketAddr,
    /// Where it listens for clients over WebSocket.
    pub(crate) websocket: SocketAddr,
    /// Where it listens for other nodes.
    pub(crate) peer: SocketAddr,
    /// What it tells operators.
    pub(crate) status: Arc<Status>,
    /// Whether clients have to speak TLS.
    pub(crate) encrypted: bool,
    /// What clients may fetch by hash.
    pub(crate) config: NodeConfig,
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

/// What the tasks of a node share.
struct Shared {
    node: NodeId,
    clock: Arc<WorldClock>,
    store: Arc<dyn Store>,
    status: Arc<Status>,
    hub: Inbox<Message>,
    lanes: Vec<Inbox<LaneInput>>,
    /// Guards the senders of clients.
    clients: Mutex<HashMap<ClientId, Sender>>,
    /// Guards the senders of links.
    links: Mutex<HashMap<LinkId, Sender>>,
    /// The next number of a connection.
    next_connection: AtomicU64,
    connections: ConnectionLimits,
    grants: grants::Grants,
    /// While the store is gone, every load fails.
    failed_loads: Throttle,
    stopping: AtomicBool,
}

/// The two inboxes of a machine.
struct Inbox<T> {
    /// From machines and the store.
    inner: mpsc::UnboundedSender<T>,
    /// From strangers.
    outer: mpsc::Sender<T>,
}

struct Outlet<T> {
    inner: mpsc::UnboundedReceiver<T>,
    outer: mpsc::Receiver<T>,
}

fn inbox<T>() -> (Inbox<T>, Outlet<T>) {
    let (inner, inner_outlet) = mpsc::unbounded_channel();
    let (outer, outer_outlet) = mpsc::channel(MAX_INBOX);
    (Inbox { inner, outer }, Outlet { inner: inner_outlet, outer: outer_outlet })
}

impl<T> Inbox<T> {
    /// From machines and the store. After the machine has ended, nobody listens.
    fn tell(&self, input: T) {
        drop(self.inner.send(input));
    }
}

impl Shared {
    fn client(&self, client: ClientId) -> Option<Sender> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).get(&client).cloned()
    }

    fn link(&self, link: LinkId) -> Option<Sender> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).get(&link).cloned()
    }

    fn next_connection(&self) -> u64 {
        self.next_connection.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl NodeShell {
    /// Starts a node.
    pub(crate) fn start(
        settings: &NodeSettings,
        listeners: NodeListeners,
        world: &World,
        game: Arc<dyn Game>,
        store: Arc<dyn Store>,
        clock: Arc<WorldClock>,
    ) -> Self {
        let config = NodeConfig {
            node: settings.node,
            incarnation: Incarnation(clock.now().0.unsigned_abs()),
            lanes: settings.lanes,
            spread: settings.spread,
            world: world.number,
            home: world.document.home,
            lands: world.lands.clone(),
            game,
            clock: IslandClock::IDENTITY,
            secret: world.secret(),
            batch_turns: settings.batch_turns,
            max_clients: settings.max_clients,
            limits: settings.clients.clone(),
            build: concat!("pelago ", env!("CARGO_PKG_VERSION")).to_owned(),
            sabotage: pelago_node::node::Sabotage::default(),
        };
        let status = Arc::new(Status {
            lanes: (0..settings.lanes).map(|_| LaneStatus::default()).collect(),
            traffic: Arc::new(Traffic::sharing(settings.files.clone())),
            ..Status::default()
        });
        let (hub, hub_outlet) = inbox();
        let (lanes, lane_outlets): (Vec<_>, Vec<_>) = (0..settings.lanes).map(|_| inbox()).unzip();
        let shared = Arc::new(Shared {
            node: settings.node,
            clock,
            store,
            status: status.clone(),
            hub,
            lanes,
            clients: Mutex::default(),
            links: Mutex::default(),
            next_connection: AtomicU64::new(0),
            connections: settings.connections,
            grants: grants::Grants::default(),
            failed_loads: Throttle::default(),
            stopping: AtomicBool::new(false),
        });
        for listener in [&listeners.tcp, &listeners.websocket] {
            let set = listener.set_send_buffer_bytes(settings.connections.send_buffer_bytes);
            if let Err(error) = set {
                tracing::warn!(%error, "send_buffer_bytes");
            }
        }
        let (tcp, websocket, peer) =
            (listeners.tcp.address(), listeners.websocket.address(), listeners.peer.address());
        let tls = settings.tls.clone();
        let encrypted = tls.is_some();
        let mut tasks = JoinSet::new();
        tasks.spawn(machines::run_hub(shared.clone(), config.hub(), hub_outlet));
        for (lane, outlet) in (0u8..).zip(lane_outlets) {
            tasks.spawn(machines::run_lane(shared.clone(), lane, config.lane(lane), outlet));
        }
        tasks.spawn(clients::listen(shared.clone(), listeners.tcp, Transport::Tcp, tls.clone()));
        tasks.spawn(clients::listen(
            shared.clone(),
            listeners.websocket,
            Transport::WebSocket,
            tls,
        ));
        tasks.spawn(links::listen(shared.clone(), listeners.peer));
        let node = settings.node;
        Self { node, tcp, websocket, peer, status, encrypted, config, shared, tasks }
    }

    /// Where clients find it by WebSocket.
    pub(crate) fn websocket_url(&self) -> String {
        let scheme = if self.encrypted { "wss" } else { "ws" };
        format!("{scheme}://{}/", self.websocket)
    }

    /// This node as the address book names it.
    pub(crate) fn member(&self) -> Member {
        Member {
            node: self.node,
            incarnation: self.config.incarnation,
            address: self.peer.to_string(),
            roles: Roles::ALL,
        }
    }

    /// Tells the node who is in the cluster.
    pub(crate) fn set_book(&self, members: Vec<Member>) {
        self.shared.hub.tell(Message::Control(ControlInput::Book(members)));
    }

    /// Whether its streams flow: every lane ticks and every member is within reach.
    pub(crate) fn is_ready(&self) -> bool {
        let now = self.shared.clock.now();
        let ticks = |lane: &LaneStatus| now.0 - lane.ticked.load(Ordering::Relaxed) < 1000;
        self.status.lanes.iter().all(ticks) && self.status.linked.load(Ordering::Relaxed)
    }

    /// Says goodbye to all players, keeps their places, and ends.
    pub(crate) async fn stop(mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        for lane in &self.shared.lanes {
            lane.tell(LaneInput::Shutdown);
        }
        let clients = || self.shared.clients.lock().unwrap_or_else(PoisonError::into_inner).len();
        let gone = async {
            while clients() > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        drop(tokio::time::timeout(Duration::from_secs(3), gone).await);
        self.tasks.shutdown().await;
    }
}
