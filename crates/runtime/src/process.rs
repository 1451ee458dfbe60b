//! Several nodes in one process, linked over loopback TCP.

use crate::bootstrap::{NewWorld, World, open_world};
use crate::clock::WorldClock;
use crate::limits::NodeLimits;
use crate::tasks::{NodeListeners, NodeSettings, NodeShell};
use anyhow::Result;
use pelago_cluster::Member;
use pelago_game::Game;
use pelago_model::NodeId;
use pelago_net::recording::Passage;
use pelago_net::{OpenFiles, ServerTls};
use pelago_store::Store;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::time::Instant;

/// The most nodes of one process.
pub const MAX_NODES: u16 = 64;

/// Where in the number of a recorded connection its node begins.
const NODE_SHIFT: u32 = 24;

/// The nodes of this process and the world they run.
pub struct Cluster {
    pub nodes: Vec<NodeShell>,
    pub world: World,
    pub game: Arc<dyn Game>,
    pub store: Arc<dyn Store>,
    pub clock: Arc<WorldClock>,
}

/// How many nodes, and where.
pub struct ClusterSettings {
    pub nodes: u16,
    pub lanes: u8,
    pub spread: u8,
    pub listen: SocketAddr,
    /// Where nodes listen for each other: links are not encrypted.
    pub links: IpAddr,
    /// Encrypts what passes between clients and nodes.
    pub tls: Option<ServerTls>,
    pub new_world: NewWorld,
    pub limits: NodeLimits,
    /// The files of all connections of clients.
    pub files: OpenFiles,
}

impl Cluster {
    /// Opens the world, starts its nodes and lets them know each other.
    pub fn start(
        settings: &ClusterSettings,
        game: Arc<dyn Game>,
        store: Arc<dyn Store>,
    ) -> Result<Self> {
        let cluster = Self::start_apart(settings, game, store)?;
        cluster.introduce(NodeShell::member);
        Ok(cluster)
    }

    /// Starts nodes that do not know of each other.
    fn start_apart(
        settings: &ClusterSettings,
        game: Arc<dyn Game>,
        store: Arc<dyn Store>,
    ) -> Result<Self> {
        let world = open_world(&*store, &*game, settings.new_world)?;
        let clock = Arc::new(WorldClock::new(world.document.epoch_unix_ms));
        let mut nodes = Vec::new();
        for number in 0..settings.nodes {
            // The first node has the port that was asked for, the others those that follow.
            let port = match settings.listen.port() {
                0 => 0,
                first => first.saturating_add(number),
            };
            let listeners =
                NodeListeners::bind(SocketAddr::new(settings.listen.ip(), port), settings.links)?;
            let node = NodeSettings {
                node: NodeId(number + 1),
                lanes: settings.lanes,
                spread: settings.spread,
                limits: settings.limits.clone(),
                tls: settings.tls.clone(),
                files: settings.files.clone(),
                // The books are opened to those on this machine only.
                audit: settings.listen.ip().is_loopback(),
            };
            let shell = NodeShell::start(
                &node,
                listeners,
                &world,
                game.clone(),
                store.clone(),
                clock.clone(),
            );
            nodes.push(shell);
        }
        Ok(Self { nodes, world, game, store, clock })
    }

    /// Tells every node who is in the cluster, and where.
    fn introduce(&self, member: impl Fn(&NodeShell) -> Member) {
        let book: Vec<Member> = self.nodes.iter().map(member).collect();
        for node in &self.nodes {
            node.set_book(book.clone());
        }
    }

    /// Begins to record what passes between clients and their nodes.
    pub fn begin_recording(&self) {
        let now = Instant::now();
        self.nodes.iter().for_each(|node| node.status.traffic.recorder.begin(now));
    }

    /// Ends it, and gives what was recorded, in order. The node's place is in the highest bits of a connection's number.
    pub fn end_recording(&self) -> Vec<Passage> {
        let mut all = Vec::new();
        for (node, shell) in (0u32..).zip(&self.nodes) {
            let numbered = |passage: Passage| Passage {
                connection: node << NODE_SHIFT | passage.connection & ((1 << NODE_SHIFT) - 1),
                ..passage
            };
            all.extend(shell.status.traffic.recorder.end().into_iter().map(numbered));
        }
        all.sort_by_key(|passage| passage.at_us);
        all
    }

    /// Whether streams flow on all nodes.
    pub fn is_ready(&self) -> bool {
        self.nodes.iter().all(NodeShell::is_ready)
    }
}
