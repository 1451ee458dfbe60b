//! A hostile network between nodes and their clients.

use crate::harness::{Cluster, address, is_seen, listeners, until, verify};
use crate::player::Player;
use crate::proxy::{NetworkConditions, Proxy};
use pelago_bots::{Behavior, Plan};
use pelago_runtime::Alarm;
use std::cell::RefCell;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep;

/// The one dials the other through the proxy.
async fn start() -> (Cluster, Proxy) {
    let store = pelago_store::open("memory:").unwrap();
    let second = listeners();
    let proxy = Proxy::toward(second.links_address()).await;
    let second = RefCell::new(Some(second));
    let cluster = Cluster::start_with(store, |number, builder| match number {
        2 => {
            let listeners = second.take().unwrap();
            builder.listeners(listeners).advertise(proxy.address.to_string())
        }
        _ => builder,
    });
    (cluster.await, proxy)
}

#[tokio::test]
async fn a_client_behind_a_hostile_network_sees_what_there_is() {
    let (cluster, _direct) = start().await;
    let proxy = Proxy::toward(cluster.nodes[1].addresses().tcp).await;
    let mut anna = Player::arrive(&address(&cluster.nodes[0]), "Anna").await;
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
    let mut again = Player::arrive(&address(&cluster.nodes[1]), "Bert").await;
    assert_eq!(again.session.avatar(), bert.session.avatar());
    assert!(again.session.welcome().epoch > bert.session.welcome().epoch);
    is_seen(&mut again, &mut anna).await;
    cluster.stop().await;
}

#[tokio::test]
async fn commands_that_a_cut_left_unanswered_happened_once_or_not_at_all() {
    let (cluster, _direct) = start().await;
    let proxy = Proxy::toward(cluster.nodes[0].addresses().tcp).await;
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
    cluster.stop().await;
}

#[tokio::test]
async fn nodes_with_a_hostile_network_between_them_show_each_other_what_there_is() {
    let (cluster, proxy) = start().await;
    let mut anna = Player::arrive(&address(&cluster.nodes[0]), "Anna").await;
    let mut bert = Player::arrive(&address(&cluster.nodes[1]), "Bert").await;
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
    let alarmed = |node: usize| cluster.nodes[node].alarms() == [Alarm::PeersUnreachable];
    until("the silence is noticed", || alarmed(0)).await;
    until("on both sides", || alarmed(1)).await;
    assert!(cluster.nodes.iter().all(|node| node.is_ready()), "each serves its players");
    anna.walk().await;
    proxy.set(NetworkConditions::default());
    proxy.cut();
    is_seen(&mut anna, &mut bert).await;
    is_seen(&mut bert, &mut anna).await;
    cluster.stop().await;
}

#[tokio::test]
async fn clients_that_drop_without_a_word_leave_no_file_open() {
    let (cluster, _direct) = start().await;
    // Whatever is opened once is open.
    drop(Player::arrive(&address(&cluster.nodes[0]), "Anna").await);
    let before = open_files();
    for number in 0..40 {
        drop(Player::arrive(&address(&cluster.nodes[0]), &format!("Bert{number}")).await);
        // Some who never say who they are, too.
        drop(TcpStream::connect(cluster.nodes[0].addresses().tcp).await.unwrap());
    }
    until("their files are closed", || open_files() <= before + 2).await;
    cluster.stop().await;
}

/// The files that this process has open: each test has a process of its own.
fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
