//! A cluster of two nodes, and how it is waited for.

use crate::player::{PATIENCE, Player, goes_to};
use pelago_admin::books::{avatar_books, world_totals};
use pelago_bots::{Journal, Verdict};
use pelago_frontier::Frontier;
use pelago_game::Game;
use pelago_model::NodeId;
use pelago_runtime::admin_calls::{Question, StatusAnswer, ask};
use pelago_runtime::{InProcessBook, Listeners, NewWorld, Node, NodeBuilder, ProcessCalls, World};
use pelago_store::Store;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// So long nothing happens that should not.
pub(crate) const MOMENT: Duration = Duration::from_millis(300);

/// Nodes of two lanes each, numbered from 1.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) book: InProcessBook,
    pub(crate) store: Arc<dyn Store>,
}

/// A node of two lanes on that store and in that book.
pub(crate) fn node(
    number: u16,
    world: &World,
    store: &Arc<dyn Store>,
    book: &InProcessBook,
) -> NodeBuilder {
    Node::builder()
        .number(NodeId(number))
        .game(Arc::new(Frontier))
        .store(store.clone())
        .world(world.clone())
        .address_book(Arc::new(book.clone()))
        .lanes(2, 2)
}

/// Free ports on loopback.
pub(crate) fn listeners() -> Listeners {
    let free = (Ipv4Addr::LOCALHOST, 0).into();
    Listeners::bind(free, Ipv4Addr::LOCALHOST.into()).unwrap()
}

/// A small world in this store.
pub(crate) fn world(store: &dyn Store) -> World {
    let game: &dyn Game = &Frontier;
    World::open(store, game, NewWorld { seed: 7, island_size: 6 }).unwrap()
}

impl Cluster {
    /// Starts two nodes and waits until each has the other within reach.
    pub(crate) async fn start(store: Arc<dyn Store>) -> Self {
        Self::start_with(store, |_, builder| builder).await
    }

    /// The same with something said to each node's builder.
    pub(crate) async fn start_with(
        store: Arc<dyn Store>,
        with: impl Fn(u16, NodeBuilder) -> NodeBuilder,
    ) -> Self {
        let (world, book) = (world(&*store), InProcessBook::default());
        let mut nodes = Vec::new();
        for number in 1..=2 {
            let builder = with(number, node(number, &world, &store, &book));
            nodes.push(builder.start().await.unwrap());
        }
        let cluster = Self { nodes, book, store };
        cluster.until_linked().await;
        cluster
    }

    pub(crate) async fn until_linked(&self) {
        for node in &self.nodes {
            let began = Instant::now();
            loop {
                let status = status(node).await;
                if status.ready && status.alarms.is_empty() && status.members == self.nodes.len() {
                    break;
                }
                assert!(began.elapsed() < PATIENCE, "the nodes are not linked: {status:?}");
                sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Where clients find each node.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(address).collect()
    }

    pub(crate) async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
    }
}

/// Compares a journal with the books of the world, as they are in the store.
pub(crate) fn verify(cluster: &Cluster, journal: &Path) -> Verdict {
    let journal = Journal::read(journal).unwrap();
    let (store, game): (&dyn Store, &dyn Game) = (&*cluster.store, &Frontier);
    let books = journal.names().filter_map(|name| {
        let books = avatar_books(store, game, name).unwrap()?;
        Some((name.to_owned(), as_answered(&books)))
    });
    let totals = world_totals(store, game).unwrap();
    journal.compare(&books.collect(), &as_answered(&totals))
}

/// As whoever asks over HTTP reads it.
fn as_answered<T: DeserializeOwned>(answer: &impl Serialize) -> T {
    serde_json::from_value(serde_json::to_value(answer).unwrap()).unwrap()
}

/// Where clients find it.
pub(crate) fn address(node: &Node) -> String {
    node.addresses().tcp.to_string()
}

/// How it says it is.
pub(crate) async fn status(node: &Node) -> StatusAnswer {
    let calls = ProcessCalls::new([node.handle()]);
    ask(&calls, node.number(), Question::Status).await.unwrap()
}

pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}: did not happen");
        sleep(Duration::from_millis(20)).await;
    }
}

/// One walks, the other sees it.
pub(crate) async fn is_seen(who: &mut Player, observer: &mut Player) {
    let there = who.walk().await;
    observer.until("a walk is seen", |observer| goes_to(observer, &who.session, there)).await;
}
