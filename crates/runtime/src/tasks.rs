//! The tasks of a node: sockets, store and clock around its machines.
//!
//! The hub (control, stewards, login) and every lane are tasks with two mailboxes: what machines and the store tell
//! each other, which is bounded by what they do, and what strangers send, which is bounded by its size and waits.

mod audit;
mod clients;
pub(crate) mod grants;
mod links;
mod machines;
mod throttle;

use crate::clock::WorldClock;
use crate::limits::ConnectionLimits;
use crate::mailbox::{
    Mailbox, MailboxSender, UnboundedMailbox, UnboundedSender, mailbox, unbounded,
};
use crate::status::Status;
use crate::supervisor::Supervisor;
use crate::task_meter::TaskMeter;
use pelago_cluster::{LinkId, Member};
use pelago_game::Game;
use pelago_model::NodeId;
use pelago_net::{Listener, Sender, ServerTls, Transport};
use pelago_node::{ControlInput, LaneInput, Message, NodeConfig};
use pelago_store::Store;
use pelago_world::ClientId;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use throttle::Throttle;

/// Inputs from strangers that wait for one machine; beyond it their connections are not read.
const MAX_INBOX: usize = 4096;
/// How long players may take to leave a node that stops; then their connections are cut.
const LEAVING_TIME: Duration = Duration::from_secs(3);
/// How often it is looked whether all have left.
const LOOK_FOR_CLIENTS_EVERY: Duration = Duration::from_millis(20);

/// What the tasks of a node share.
pub(crate) struct Shared {
    pub(crate) node: NodeId,
    pub(crate) clock: Arc<WorldClock>,
    store: Arc<dyn Store>,
    pub(crate) game: Arc<dyn Game>,
    pub(crate) status: Arc<Status>,
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

/// The ways into the two mailboxes of a machine.
struct Inbox<T> {
    /// From machines and the store.
    inner: UnboundedSender<T>,
    /// From strangers.
    outer: MailboxSender<T>,
}

/// The two mailboxes of a machine.
struct Outlet<T> {
    inner: UnboundedMailbox<T>,
    outer: Mailbox<T>,
}

fn inbox<T>(meter: &Arc<TaskMeter>) -> (Inbox<T>, Outlet<T>) {
    let (inner, inner_outlet) = unbounded(meter);
    let (outer, outer_outlet) = mailbox(MAX_INBOX, meter);
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
        locked(&self.clients).get(&client).cloned()
    }

    fn link(&self, link: LinkId) -> Option<Sender> {
        locked(&self.links).get(&link).cloned()
    }

    fn next_connection(&self) -> u64 {
        self.next_connection.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Tells the links who is in the cluster.
    pub(crate) fn set_members(&self, members: Vec<Member>) {
        self.hub.tell(Message::Control(ControlInput::Book(members)));
    }

    /// Says goodbye to all players, keeps their places, and waits until they have gone, for a while.
    pub(crate) async fn say_goodbye(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        for lane in &self.lanes {
            lane.tell(LaneInput::Shutdown);
        }
        let clients = || locked(&self.clients).len();
        let gone = async {
            while clients() > 0 {
                tokio::time::sleep(LOOK_FOR_CLIENTS_EVERY).await;
            }
        };
        drop(tokio::time::timeout(LEAVING_TIME, gone).await);
    }

    /// Closes every connection. Its task may have ended already: then nothing but its sender holds it open.
    pub(crate) fn hang_up(&self) {
        let clients = std::mem::take(&mut *locked(&self.clients));
        clients.into_values().for_each(|sender| sender.close());
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
    /// Encrypts what passes between the node and its clients.
    pub(crate) tls: Option<ServerTls>,
    /// For clients over TCP, for clients over WebSocket, and for other nodes.
    pub(crate) listeners: (Listener, Listener, Listener),
}

/// Starts the tasks of the machines and of the sockets.
pub(crate) fn start(start: Start, config: &NodeConfig, supervisor: &mut Supervisor) -> Arc<Shared> {
    let Start { clock, store, status, connections, tls, listeners } = start;
    let hub_meter = supervisor.meter("hub");
    let (hub, hub_outlet) = inbox(&hub_meter);
    let mut lanes = Vec::new();
    let mut lane_outlets = Vec::new();
    for lane in 0..config.lanes {
        let meter = supervisor.meter(format!("lane_{lane}"));
        let (inbox, outlet) = inbox(&meter);
        lanes.push(inbox);
        lane_outlets.push((lane, meter, outlet));
    }
    let shared = Arc::new(Shared {
        node: config.node,
        clock,
        store,
        game: config.game.clone(),
        status,
        hub,
        lanes,
        clients: Mutex::default(),
        links: Mutex::default(),
        next_connection: AtomicU64::new(0),
        connections,
        grants: grants::Grants::default(),
        failed_loads: Throttle::default(),
        stopping: AtomicBool::new(false),
    });
    supervisor.spawn(hub_meter, machines::run_hub(shared.clone(), config.hub(), hub_outlet));
    for (lane, meter, outlet) in lane_outlets {
        supervisor
            .spawn(meter, machines::run_lane(shared.clone(), lane, config.lane(lane), outlet));
    }
    let (tcp, websocket, peer) = listeners;
    for (name, listener, transport) in
        [("tcp", tcp, Transport::Tcp), ("websocket", websocket, Transport::WebSocket)]
    {
        let meter = supervisor.meter(name);
        let listen = clients::listen(shared.clone(), listener, transport, tls.clone());
        supervisor.spawn(meter, listen);
    }
    let meter = supervisor.meter("links");
    supervisor.spawn(meter, links::listen(shared.clone(), peer));
    shared
}
