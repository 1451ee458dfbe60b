//! The tasks of a node: sockets, store and clock around its machines.
//!
//! Every machine is a task with a mailbox ([`post`]). A client's connection holds the way into the mailbox of its lane; what
//! other nodes send goes into that of the links. Rules run on threads of their own ([`rules`]).

mod clients;
mod grants;
mod links;
mod machines;
mod operator_calls;
mod post;
mod rules;
mod service_calls;

use crate::client_threads::client_threads;
use crate::clock::WorldClock;
use crate::door::Visitor;
use crate::flight::Flight;
use crate::limits::ConnectionLimits;
use crate::status::Status;
use crate::supervisor::Supervisor;
use crate::task_meter::TaskMeter;
use clients::Reception;
use operator_calls::OperatorCalls;
use pelago_cluster::{LinkId, Member};
use pelago_game::Game;
use pelago_model::{NodeId, Role};
use pelago_net::{
    Admitted, AllowedHosts, Listener, Origins, Sender, ServerTls, Transport, TrustedProxies,
};
use pelago_node::lane::LaneInput;
use pelago_node::{MachineId, MachineInput, NodeConfig, NodeMachine, Shelf};
use pelago_store::Store;
use pelago_world::ClientId;
use post::Post;
use rules::{LostThreads, Rules};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinError;

/// How long players may take to leave a node that stops; then their connections are cut.
const LEAVING_TIME: Duration = Duration::from_secs(3);
/// How often it is looked whether all have left.
const LOOK_FOR_CLIENTS_EVERY: Duration = Duration::from_millis(20);

/// How long a node that ends because of its rules waits for what is being committed.
const LAST_COMMITS: Duration = Duration::from_millis(500);

/// Nodes that wait to be dialled; more are tried again by the links.
const MAX_DIALS: usize = 1024;

/// A node to be dialled, and its address.
type Dial = (NodeId, String);

/// What the tasks of a node share.
pub(crate) struct Shared {
    pub(crate) node: NodeId,
    pub(crate) clock: Arc<WorldClock>,
    store: Arc<dyn Store>,
    pub(crate) game: Arc<dyn Game>,
    pub(crate) status: Arc<Status>,
    post: Arc<Post>,
    /// Guards the connections of clients.
    clients: Mutex<HashMap<ClientId, Client>>,
    /// Guards the senders of links.
    links: Mutex<HashMap<LinkId, Sender>>,
    /// The next number of a connection.
    next_connection: AtomicU64,
    connections: ConnectionLimits,
    /// Where connections come from, of all nodes of this process.
    origins: Origins,
    /// What clients fetch by hash.
    content: Shelf,
    operator_calls: OperatorCalls,
    /// The services that operators may call.
    studio_roles: BTreeSet<Role>,
    stopping: AtomicBool,
    /// Nodes to be dialled, for the task that owns all links.
    dials: mpsc::Sender<Dial>,
    /// What the machines were told last.
    pub(crate) flight: Arc<Flight>,
}

/// Which lane has a client: read by the task of its connection for every message.
#[derive(Clone)]
pub(crate) struct LaneOf(Arc<AtomicU16>);

impl LaneOf {
    /// No lane has this index.
    const NONE: u16 = u16::MAX;

    fn none() -> Self {
        Self(Arc::new(AtomicU16::new(Self::NONE)))
    }

    fn set(&self, lane: Option<u8>) {
        self.0.store(lane.map_or(Self::NONE, u16::from), Ordering::Release);
    }

    pub(crate) fn get(&self) -> Option<u8> {
        u8::try_from(self.0.load(Ordering::Acquire)).ok()
    }
}

/// A client's connection: how to write to it, and which lane has it.
struct Client {
    sender: Sender,
    lane: LaneOf,
    /// Counts it as one that is not logged in, until it is.
    stranger: Option<Admitted>,
}

impl Shared {
    /// Where documents are.
    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<ClientId, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self, client: ClientId) -> Option<Sender> {
        self.clients().get(&client).map(|client| client.sender.clone())
    }

    /// A client has connected: nobody has it but the arrivals.
    fn connected(&self, client: ClientId, sender: Sender, stranger: Admitted) -> LaneOf {
        let lane = LaneOf::none();
        let known = Client { sender, lane: lane.clone(), stranger: Some(stranger) };
        self.clients().insert(client, known);
        lane
    }

    fn disconnected(&self, client: ClientId) {
        self.clients().remove(&client);
    }

    /// From now on a client's connection is for a lane, or for none any more.
    fn set_lane(&self, client: ClientId, lane: Option<u8>) {
        let mut clients = self.clients();
        if let Some(client) = clients.get_mut(&client) {
            client.lane.set(lane);
            client.stranger = None;
        }
    }

    fn link(&self, link: LinkId) -> Option<Sender> {
        locked(&self.links).get(&link).cloned()
    }

    fn next_connection(&self) -> u64 {
        self.next_connection.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Asks all machines to come round, so that it is seen whether they do.
    pub(crate) fn ask_machines(&self) {
        self.post.ask_machines();
    }

    /// Tells the links the members of the cluster.
    pub(crate) fn set_members(&self, members: Vec<Member>) {
        self.post.set_members(members);
    }

    /// Says goodbye to all players, keeps their places, and waits until they have gone, for a while.
    pub(crate) async fn say_goodbye(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        for lane in 0..self.post.composer().lanes {
            self.post.tell(MachineInput::Lane(lane, LaneInput::Shutdown), &mut |_| ());
        }
        let gone = async {
            while !self.clients().is_empty() {
                tokio::time::sleep(LOOK_FOR_CLIENTS_EVERY).await;
            }
        };
        drop(tokio::time::timeout(LEAVING_TIME, gone).await);
    }

    /// Closes every connection. Its task may have ended already: then nothing but its sender holds it open.
    pub(crate) fn hang_up(&self) {
        let clients = std::mem::take(&mut *locked(&self.clients));
        clients.into_values().for_each(|client| client.sender.close());
        let links = std::mem::take(&mut *locked(&self.links));
        links.into_values().for_each(|sender| sender.close());
    }
}

/// Maps of senders are whole after every step.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// With what the tasks of a node are started.
pub(crate) struct Start {
    pub(crate) clock: Arc<WorldClock>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) status: Arc<Status>,
    pub(crate) connections: ConnectionLimits,
    /// Where connections come from.
    pub(crate) origins: Origins,
    /// Encrypts what passes between the node and its clients.
    pub(crate) tls: Option<ServerTls>,
    /// For clients over TCP, for clients over WebSocket, and for other nodes.
    pub(crate) listeners: (Listener, Listener, Listener),
    /// The hosts by which clients may ask for the WebSocket.
    pub(crate) hosts: AllowedHosts,
    /// The proxies that say for whom they connect.
    pub(crate) proxies: TrustedProxies,
    /// Clients whose WebSocket an HTTP server has opened.
    pub(crate) visitors: mpsc::Receiver<Visitor>,
    /// Where what machines were told last is written down.
    pub(crate) record_into: Option<PathBuf>,
}

/// Starts the tasks of the machines and of the sockets.
///
/// # Errors
/// That of the system, if it has no threads left.
pub(crate) fn start(
    start: Start,
    config: &NodeConfig,
    supervisor: &mut Supervisor,
) -> io::Result<Arc<Shared>> {
    let threads = client_threads()?;
    let Start { clock, store, status, connections, tls, listeners, record_into, .. } = start;
    let Start { hosts, proxies, visitors, origins, .. } = start;
    let meters: BTreeMap<MachineId, Arc<TaskMeter>> =
        config.machines().map(|id| (id, supervisor.meter(name_of(id)))).collect();
    let metered = meters.iter().map(|(id, meter)| (*id, meter.clone()));
    let post = Arc::new(Post::new(clock.clone(), config.composer(), metered));
    let (dials, to_dial) = mpsc::channel(MAX_DIALS);
    let shared = Arc::new(Shared {
        node: config.node,
        clock,
        store,
        game: config.game.clone(),
        status,
        post: post.clone(),
        clients: Mutex::default(),
        links: Mutex::default(),
        next_connection: AtomicU64::new(0),
        connections,
        origins,
        content: config.content(),
        operator_calls: OperatorCalls::default(),
        studio_roles: config.more_services.iter().map(|kind| kind.role).collect(),
        stopping: AtomicBool::new(false),
        dials,
        flight: Arc::new(Flight::new(config, record_into)),
    });
    let lost = LostThreads::default();
    for (id, meter) in meters {
        let rules = match id {
            MachineId::Service(host) => {
                let name = format!("rules_{host}");
                let (rules, failure) = Rules::start(name.clone(), post.clone(), lost.clone());
                let meter = supervisor.meter(name);
                let shared = shared.clone();
                supervisor.spawn(meter, async move {
                    let reason = failure.await;
                    // What failed is committed meanwhile, so that nobody runs it again.
                    tokio::time::sleep(LAST_COMMITS).await;
                    shared.say_goodbye().await;
                    std::panic::resume_unwind(Box::new(reason));
                });
                Some(rules)
            }
            _ => None,
        };
        let mut machine = NodeMachine::new(config, id);
        if let Some(recorder) = shared.flight.recorder(id) {
            machine.record(recorder);
        }
        supervisor.spawn(meter, machines::run(shared.clone(), machine, rules));
    }
    let (tcp, websocket, peer) = listeners;
    for (name, listener, transport, visitors) in [
        ("tcp", tcp, Transport::Tcp, None),
        ("websocket", websocket, Transport::WebSocket, Some(visitors)),
    ] {
        let meter = supervisor.meter(name);
        let hosts = hosts.at(listener.address());
        let reception = Reception { transport, tls: tls.clone(), hosts, proxies: proxies.clone() };
        let listen = clients::listen(shared.clone(), listener, reception, visitors);
        supervisor.spawn_on(threads, meter, listen);
    }
    let meter = supervisor.meter("peers");
    supervisor.spawn(meter, links::run(shared.clone(), peer, to_dial));
    Ok(shared)
}

/// The name of a machine's task, in the words of metrics.
fn name_of(machine: MachineId) -> String {
    machine.to_string().replace('-', "_")
}

/// A panic of a connection's task is a bug of this node: it ends the task that owns the connection, and so the node.
fn hand_on_panic(ended: Result<(), JoinError>) {
    if let Err(Ok(panic)) = ended.map_err(JoinError::try_into_panic) {
        std::panic::resume_unwind(panic);
    }
}
