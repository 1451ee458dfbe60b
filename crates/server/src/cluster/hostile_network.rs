//! Ring 2: nodes with real sockets and real time, and a hostile network between them and their clients.
//!
//! Everything here has to happen at last; nothing depends on how long it takes.
#![allow(clippy::disallowed_methods, reason = "real sockets live in real time")]

#[path = "../../tests/process/player.rs"]
#[allow(dead_code, reason = "shared with the tests of real processes")]
pub(super) mod player;
#[path = "../../tests/process/proxy.rs"]
mod proxy;

use super::{Cluster, ClusterSettings};
use crate::http::books::{avatar_books, world_totals};
use crate::shell::NodeShell;
use crate::world::NewWorld;
use pelago_bots::{Behavior, Journal, Plan, Verdict};
use pelago_cluster::Member;
use pelago_frontier::Frontier;
use pelago_model::NodeId;
use pelago_net::OpenFiles;
use player::{PATIENCE, Player, goes_to};
use proxy::{NetworkConditions, Proxy};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::sleep;

/// Two nodes of two lanes.
pub(super) fn settings() -> ClusterSettings {
    ClusterSettings {
        nodes: 2,
        lanes: 2,
        spread: 2,
        listen: "127.0.0.1:0".parse().unwrap(),
        links: "127.0.0.1".parse().unwrap(),
        tls: None,
        new_world: NewWorld { seed: 7, island_size: 6 },
        limits: crate::config::LimitsConfig::default(),
        files: OpenFiles::new(None),
    }
}

/// The one dials the other through the proxy.
async fn start() -> (Cluster, Proxy) {
    let store = pelago_store::open("memory:").unwrap();
    let cluster = Cluster::start_apart(&settings(), Arc::new(Frontier), store).unwrap();
    let proxy = Proxy::toward(cluster.nodes[1].peer).await;
    let address = proxy.address.to_string();
    cluster.introduce(|node: &NodeShell| match node.node {
        NodeId(2) => Member { address: address.clone(), ..node.member() },
        _ => node.member(),
    });
    until("the nodes are linked", || cluster.is_ready()).await;
    (cluster, proxy)
}

pub(super) async fn stop(cluster: Cluster) {
    for node in cluster.nodes {
        node.stop().await;
    }
}

pub(super) async fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}: did not happen");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Compares a journal with the books of the world, as they are in the store.
pub(super) fn verify(cluster: &Cluster, journal: &Path) -> Verdict {
    let journal = Journal::read(journal).unwrap();
    let (store, game) = (&*cluster.store, &*cluster.game);
    let found = journal.names().filter_map(|name| avatar_books(store, game, name).unwrap());
    let books = found.map(|books| (books.name.clone(), books)).collect();
    journal.compare(&books, &world_totals(store, game).unwrap())
}

/// One walks, the other sees it.
async fn is_seen(who: &mut Player, observer: &mut Player) {
    let there = who.walk().await;
    observer.until("a walk is seen", |observer| goes_to(observer, &who.session, there)).await;
}

#[tokio::test]
async fn a_client_behind_a_hostile_network_sees_what_there_is() {
    let (cluster, _direct) = start().await;
    let proxy = Proxy::toward(cluster.nodes[1].tcp).await;
    let mut anna = Player::arrive(&cluster.nodes[0].tcp.to_string(), "Anna").await;
    let delay = Duration::from_millis(30);
    proxy.set(NetworkConditions { delay, single_bytes: true, ..NetworkConditions::default() });
    let mut bert = Player::arrive(&proxy.address.to_string(), "Bert").await;
    is_seen(&mut anna, &mut bert).await;
    is_seen(&mut bert, &mut anna).await;
    for _ in 0..3 {
        // What happens meanwhile is seen afterwards, as it is then.
        proxy.set(NetworkConditions { stalled: true, ..NetworkConditions::default() });
        anna.walk().await;
        proxy.set(NetworkConditions::default());
        is_seen(&mut anna, &mut bert).await;
    }
    assert_eq!(bert.session.view().gaps(), 0);
    proxy.set(NetworkConditions { half_open: true, ..NetworkConditions::default() });
    // The old connection stands as far as the node knows; the new one supersedes it.
    let mut again = Player::arrive(&cluster.nodes[1].tcp.to_string(), "Bert").await;
    assert_eq!(again.session.avatar(), bert.session.avatar());
    assert!(again.session.welcome().epoch > bert.session.welcome().epoch);
    is_seen(&mut again, &mut anna).await;
    stop(cluster).await;
}

#[tokio::test]
async fn commands_that_a_cut_left_unanswered_happened_once_or_not_at_all() {
    let (cluster, _direct) = start().await;
    let proxy = Proxy::toward(cluster.nodes[0].tcp).await;
    proxy
        .set(NetworkConditions { delay: Duration::from_millis(5), ..NetworkConditions::default() });
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let addresses = vec![proxy.address.to_string()];
    let plan =
        Plan { journal: Some(journal.clone()), ..Plan::new(addresses, 30, Behavior::Gather) };
    let (end, ended) = watch::channel(false);
    let bots = tokio::spawn(pelago_bots::run(plan, ended));
    for _ in 0..6 {
        sleep(Duration::from_millis(1500)).await;
        proxy.cut();
    }
    sleep(Duration::from_millis(1500)).await;
    end.send_replace(true);
    bots.await.unwrap().unwrap();
    let verdict = verify(&cluster, &journal);
    assert!(verdict.objections.is_empty(), "{:?}", verdict.objections);
    assert!(verdict.acknowledged > 10, "{} commands at all", verdict.acknowledged);
    stop(cluster).await;
}

#[tokio::test]
async fn nodes_with_a_hostile_network_between_them_show_each_other_what_there_is() {
    let (cluster, proxy) = start().await;
    let mut anna = Player::arrive(&cluster.nodes[0].tcp.to_string(), "Anna").await;
    let mut bert = Player::arrive(&cluster.nodes[1].tcp.to_string(), "Bert").await;
    is_seen(&mut anna, &mut bert).await;
    proxy.set(NetworkConditions {
        delay: Duration::from_millis(50),
        single_bytes: true,
        ..NetworkConditions::default()
    });
    is_seen(&mut anna, &mut bert).await;
    is_seen(&mut bert, &mut anna).await;
    proxy.set(NetworkConditions::default());
    for _ in 0..3 {
        proxy.cut();
        is_seen(&mut anna, &mut bert).await;
        is_seen(&mut bert, &mut anna).await;
    }
    // Both believe in a link that is none, until the silence lasts too long.
    proxy.set(NetworkConditions { half_open: true, ..NetworkConditions::default() });
    until("the silence is noticed", || !cluster.nodes[0].is_ready()).await;
    until("on both sides", || !cluster.nodes[1].is_ready()).await;
    anna.walk().await;
    proxy.set(NetworkConditions::default());
    proxy.cut();
    is_seen(&mut anna, &mut bert).await;
    is_seen(&mut bert, &mut anna).await;
    stop(cluster).await;
}
