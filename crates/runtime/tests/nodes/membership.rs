//! Members that come, go and die: what the others do meanwhile.

use crate::harness::{self, Cluster, address, is_seen, status, until};
use crate::player::Player;
use pelago_cluster::Member;
use pelago_model::{Incarnation, NodeId};
use pelago_runtime::{AddressBook, Alarm, InProcessBook, ReasonCode};
use pelago_store::Store;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// A member of the book that nobody can reach: it has died, and its lease has not run out.
fn dead(number: u16) -> Member {
    Member {
        node: NodeId(number),
        incarnation: Incarnation(1),
        // The port of nobody.
        address: "127.0.0.1:1".to_owned(),
        roles: BTreeSet::new(),
    }
}

#[tokio::test]
async fn a_dead_member_takes_readiness_from_nobody() {
    let cluster = Cluster::start(pelago_store::open("memory:").unwrap()).await;
    let lease = cluster.book.register(dead(3)).await.unwrap();
    let alarmed = || cluster.nodes.iter().all(|node| node.alarms() == [Alarm::PeersUnreachable]);
    until("everybody reports it", alarmed).await;
    assert!(cluster.nodes.iter().all(|node| node.is_ready()), "everybody serves players");
    let mut anna = Player::arrive(&address(&cluster.nodes[0]), "Anna").await;
    let mut bert = Player::arrive(&address(&cluster.nodes[1]), "Bert").await;
    is_seen(&mut anna, &mut bert).await;
    drop(lease);
    until("all is well again", || {
        cluster.nodes.iter().all(|node| node.is_ready() && node.alarms().is_empty())
    })
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_node_starts_and_serves_beside_a_dead_member() {
    let store: Arc<dyn Store> = pelago_store::open("memory:").unwrap();
    let (world, book) = (harness::world(&*store), InProcessBook::default());
    let _lease = book.register(dead(2)).await.unwrap();
    let node = harness::node(1, &world, &store, &book).start().await.unwrap();
    until("it is ready", || node.is_ready()).await;
    drop(Player::arrive(&address(&node), "Anna").await);
    assert_eq!(status(&node).await.alarms, [Alarm::PeersUnreachable]);
    node.stop().await;
}

#[tokio::test]
async fn a_node_whose_number_is_taken_is_nobody_until_it_is_free() {
    let mut cluster = Cluster::start(pelago_store::open("memory:").unwrap()).await;
    let world = harness::world(&*cluster.store);
    let second = harness::node(2, &world, &cluster.store, &cluster.book).start().await.unwrap();
    // Time enough to dial, and to be dialled.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let reasons = second.readiness().reasons;
    assert!(reasons.iter().any(|reason| reason.code == ReasonCode::Unregistered), "{reasons:?}");
    assert_eq!(status(&second).await.members, 0);
    let second_address = address(&second);
    let arrives = Player::arrive(&second_address, "Carla");
    assert!(timeout(Duration::from_millis(500), arrives).await.is_err(), "it serves nobody");
    assert!(cluster.nodes.iter().all(|node| node.is_ready() && node.alarms().is_empty()));
    cluster.nodes.remove(1).stop().await;
    until("the number is its own", || second.is_ready() && second.alarms().is_empty()).await;
    let mut carla = Player::arrive(&address(&second), "Carla").await;
    let mut anna = Player::arrive(&address(&cluster.nodes[0]), "Anna").await;
    is_seen(&mut anna, &mut carla).await;
    second.stop().await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_lease_that_is_lost_is_taken_again_and_cuts_no_play() {
    let cluster = Cluster::start(pelago_store::open("memory:").unwrap()).await;
    let mut anna = Player::arrive(&address(&cluster.nodes[0]), "Anna").await;
    let mut bert = Player::arrive(&address(&cluster.nodes[1]), "Bert").await;
    let members = || cluster.book.watch().borrow().members.len();
    cluster.book.expire(NodeId(2));
    assert_eq!(members(), 1);
    until("it registers again", || members() == 2).await;
    is_seen(&mut anna, &mut bert).await;
    is_seen(&mut bert, &mut anna).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_node_that_stops_leaves_the_book_and_the_others_play_on() {
    let mut cluster = Cluster::start(pelago_store::open("memory:").unwrap()).await;
    let handle = cluster.nodes[1].handle();
    cluster.nodes.remove(1).stop().await;
    assert_eq!(cluster.book.watch().borrow().members.len(), 1);
    assert!(handle.ask(pelago_runtime::admin_calls::Question::Status).await.is_err());
    until("nobody is missed", || cluster.nodes[0].alarms().is_empty()).await;
    assert!(cluster.nodes[0].is_ready());
    drop(Player::arrive(&address(&cluster.nodes[0]), "Anna").await);
    cluster.stop().await;
}
