//! Several nodes in one process, linked over loopback TCP.

#[cfg(test)]
mod faulty_store;
#[cfg(test)]
mod hostile_network;
#[cfg(test)]
mod hot_paths;

use crate::clock::WorldClock;
use crate::config::LimitsConfig;
use crate::shell::{NodeListeners, NodeSettings, NodeShell};
use crate::world::{NewWorld, World, open_world};
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
pub(crate) const MAX_NODES: u16 = 64;

/// Where in the number of a recorded connection its node begins.
const NODE_SHIFT: u32 = 24;

/// The nodes of this process and the world they run.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<NodeShell>,
    pub(crate) world: World,
    pub(crate) game: Arc<dyn Game>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<WorldClock>,
}

/// How many nodes, and where.
pub(crate) struct ClusterSettings {
    pub(crate) nodes: u16,
    pub(crate) lanes: u8,
    pub(crate) spread: u8,
    pub(crate) listen: SocketAddr,
    /// Where nodes listen for each other: links are not encrypted.
    pub(crate) links: IpAddr,
    /// Encrypts what passes between clients and nodes.
    pub(crate) tls: Option<ServerTls>,
    pub(crate) new_world: NewWorld,
    pub(crate) limits: LimitsConfig,
    /// The files of all connections of clients.
    pub(crate) files: OpenFiles,
}

impl Cluster {
    /// Opens the world, starts its nodes and lets them know each other.
    pub(crate) fn start(
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
                max_clients: settings.limits.clients,
                batch_turns: settings.limits.batch_turns as usize,
                clients: settings.limits.of_clients(),
                connections: settings.limits.of_connections(),
                tls: settings.tls.clone(),
                files: settings.files.clone(),
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
    pub(crate) fn begin_recording(&self) {
        let now = Instant::now();
        self.nodes.iter().for_each(|node| node.status.traffic.recorder.begin(now));
    }

    /// Ends it, and gives what was recorded, in order. The node's place is in the highest bits of a connection's number.
    pub(crate) fn end_recording(&self) -> Vec<Passage> {
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
    pub(crate) fn is_ready(&self) -> bool {
        self.nodes.iter().all(NodeShell::is_ready)
    }
}

#[cfg(test)]
mod hostile_peers;
