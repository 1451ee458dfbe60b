//! The nodes of a whole world in one process: started together, in one address book.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use pelago_game::{ContentHash, Game};
use pelago_model::NodeId;
use pelago_net::{AllowedHosts, OpenFiles, Origins, ServerTls, TrustedProxies};
use pelago_runtime::admin_calls::{Question, StatusAnswer, ask_all};
use pelago_runtime::service::ServiceKind;
use pelago_runtime::{
    AdminCalls, InProcessBook, Listeners, NewWorld, Node, NodeBuilder, NodeLimits, ProcessCalls,
    World,
};
use pelago_store::Store;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The most nodes of one process.
pub(super) const MAX_NODES: u16 = 64;
/// How long the nodes may take until they are ready.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How often they are asked meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// How many nodes, and where.
pub(super) struct NodesSettings {
    pub(super) nodes: u16,
    pub(super) lanes: u8,
    pub(super) services: u8,
    /// The services of the studio.
    pub(super) more_services: Vec<ServiceKind>,
    pub(super) spread: u8,
    /// Where the first node listens for clients over TCP, for clients over WebSocket, and for other nodes: links are not
    /// encrypted. The other nodes take the ports that follow.
    pub(super) listen: [SocketAddr; 3],
    /// The hosts by which clients may ask for WebSockets.
    pub(super) hosts: AllowedHosts,
    /// The proxies that say whose connections they make.
    pub(super) proxies: TrustedProxies,
    /// Encrypts what passes between clients and nodes.
    pub(super) tls: Option<ServerTls>,
    pub(super) new_world: NewWorld,
    pub(super) limits: NodeLimits,
    /// The files of all connections of clients.
    pub(super) files: OpenFiles,
    /// Where what machines were told last is written down.
    pub(super) record_into: PathBuf,
}

/// Listens for clients and for other nodes on behalf of every node.
///
/// # Errors
/// If an address is taken, or is none of this machine.
pub(super) fn listen(settings: &NodesSettings) -> Result<Vec<Listeners>> {
    let listen = |number| {
        let [tcp, websocket, links] = settings.listen.map(|first| of_node(first, number));
        Listeners::bind_at(tcp, websocket, links)
            .context("--listen, --listen-websocket and --listen-links")
    };
    (0..settings.nodes).map(listen).collect()
}

/// The nodes of this process.
pub(super) struct Nodes {
    pub(super) nodes: Vec<Node>,
    /// The way to them for operators.
    pub(super) calls: Arc<dyn AdminCalls>,
    /// What clients may fetch by hash.
    pub(super) content: BTreeMap<ContentHash, Bytes>,
}

impl Nodes {
    /// Opens the world and starts its nodes, each with its listeners.
    pub(super) async fn start(
        settings: NodesSettings,
        listeners: Vec<Listeners>,
        game: Arc<dyn Game>,
        store: Arc<dyn Store>,
    ) -> Result<Self> {
        let world = {
            let (store, game) = (store.clone(), game.clone());
            let new = settings.new_world;
            tokio::task::spawn_blocking(move || World::open(&*store, &*game, new)).await??
        };
        let book = Arc::new(InProcessBook::default());
        let origins = Origins::new(settings.limits.crowd);
        let mut nodes = Vec::new();
        for (number, listeners) in (1..).zip(listeners) {
            let node =
                settings.more_services.iter().cloned().fold(Node::builder(), NodeBuilder::service);
            let node = node
                .number(NodeId(number))
                .game(game.clone())
                .store(store.clone())
                .world(world.clone())
                .address_book(book.clone())
                .listeners(listeners)
                .lanes(settings.lanes, settings.spread)
                .limits(settings.limits.clone())
                .tls(settings.tls.clone())
                .allowed_hosts(settings.hosts.clone())
                .proxies(settings.proxies.clone())
                .files(settings.files.clone())
                .origins(origins.clone())
                .services(settings.services)
                .record_into(settings.record_into.clone());
            nodes.push(node.start().await?);
        }
        let calls = Arc::new(ProcessCalls::new(nodes.iter().map(Node::handle)));
        Ok(Self { nodes, calls, content: world.content(&*game) })
    }

    /// Waits until all nodes are ready and have each other within reach.
    pub(super) async fn wait_until_ready(&self) -> Result<()> {
        let all_is_well = async {
            while !self.are(is_well).await {
                sleep(ASK_EVERY).await;
            }
        };
        if timeout(READY_TIMEOUT, all_is_well).await.is_ok() {
            return Ok(());
        }
        if !self.are(|status, _| status.ready).await {
            let reasons = self.reasons().await;
            bail!("the nodes did not get ready: {reasons}");
        }
        tracing::warn!("the nodes are ready, but not all of them reach each other");
        Ok(())
    }

    /// Why the nodes are not ready, in words.
    async fn reasons(&self) -> String {
        let answers = ask_all(&self.calls, &Question::Status).await;
        let sentences = answers.into_iter().flat_map(|(node, answer)| {
            let sentences = match answer.and_then(|answer| answer.read::<StatusAnswer>(node)) {
                Ok(status) => {
                    let reasons = status.readiness.reasons.into_iter();
                    reasons.map(|reason| reason.sentence).collect()
                }
                Err(error) => vec![error.to_string()],
            };
            sentences.into_iter().map(move |sentence| format!("node {node}: {sentence}"))
        });
        sentences.collect::<Vec<_>>().join("; ")
    }

    async fn are(&self, so: impl Fn(&StatusAnswer, usize) -> bool) -> bool {
        let answers = ask_all(&self.calls, &Question::Status).await;
        answers.into_iter().all(|(node, answer)| {
            let status = answer.and_then(|answer| answer.read::<StatusAnswer>(node));
            status.is_ok_and(|status| so(&status, self.nodes.len()))
        })
    }

    /// Waits until a node has ended by itself, and tells why.
    pub(super) async fn failure(&self) -> String {
        let mut failures = JoinSet::new();
        for node in &self.nodes {
            failures.spawn(node.failure());
        }
        match failures.join_next().await {
            Some(Ok(reason)) => reason,
            _ => std::future::pending().await,
        }
    }

    /// Says goodbye to all players, keeps their places, and ends.
    pub(super) async fn stop(self) {
        let mut stopping = JoinSet::new();
        for node in self.nodes {
            stopping.spawn(node.stop());
        }
        while stopping.join_next().await.is_some() {}
    }
}

/// The address of a node: the first has the port that was asked for, the others those that follow.
fn of_node(first: SocketAddr, number: u16) -> SocketAddr {
    let port = match first.port() {
        0 => 0,
        port => port.saturating_add(number),
    };
    SocketAddr::new(first.ip(), port)
}

fn is_well(status: &StatusAnswer, nodes: usize) -> bool {
    // What the host's clock says does not keep players out.
    let is_whole = status.alarms.iter().all(|alarm| alarm.is_of_the_clock());
    status.ready && is_whole && status.members == nodes
}
