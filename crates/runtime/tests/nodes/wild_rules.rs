//! Rules that panic or do not return, on nodes with real threads.

use crate::harness::{Cluster, address, node, until, world};
use crate::player::{PATIENCE, Player};
use pelago_client::Event;
use pelago_frontier::Wild;
use pelago_runtime::{InProcessBook, Node};
use pelago_wire::client::Outcome;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// Asks for something durable, and waits for what becomes of it.
async fn act(player: &mut Player, payload: &str) -> Outcome {
    player.session.act(payload.to_owned().into()).await.unwrap();
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        match timeout(PATIENCE, player.session.next()).await.unwrap().unwrap() {
            Event::Outcome(outcome) if outcome.sequence > 0 => return outcome,
            _ => {}
        }
    }
    panic!("{payload}: nobody answered");
}

async fn wild_cluster() -> (Cluster, Wild) {
    let (store, wild) = (pelago_store::open("memory:").unwrap(), Wild::default());
    let cluster = Cluster::start_with(store, |_, it| it.game(Arc::new(wild.clone()))).await;
    (cluster, wild)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_does_not_return_costs_its_thread_and_its_command_only() {
    let (cluster, wild) = wild_cluster().await;
    let mut anna = Player::arrive(&address(&cluster.nodes[0]), "Anna").await;
    let outcome = act(&mut anna, "wild durable hang").await;
    assert_eq!((outcome.code.as_str(), outcome.chain.len()), ("internal", 32));
    // The number is used up, and the next command is carried out.
    let next = act(&mut anna, "wild durable").await;
    assert_eq!((next.code.as_str(), next.sequence), ("", outcome.sequence + 1));
    // So are those of others, at the same node and at the other one.
    for (node, name) in [(0, "Bert"), (1, "Carl")] {
        let mut other = Player::arrive(&address(&cluster.nodes[node]), name).await;
        assert_eq!(act(&mut other, "wild durable").await.code, "");
    }
    assert!(cluster.nodes.iter().all(Node::is_ready));
    wild.release();
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_panics_is_answered_and_its_node_lives() {
    let (cluster, _) = wild_cluster().await;
    let mut anna = Player::arrive(&address(&cluster.nodes[0]), "Anna").await;
    for payload in ["wild durable panic", "wild route panic", "wild durable put world"] {
        let outcome = act(&mut anna, payload).await;
        assert_eq!(outcome.code, "internal", "{payload}");
    }
    assert_eq!(act(&mut anna, "wild keys panic").await.code, "");
    let number = anna.session.act_live("wild live panic".into()).await.unwrap();
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < PATIENCE, "the live command is not answered");
        if let Some(Event::Outcome(outcome)) = anna.session.next().await
            && outcome.number == number
        {
            assert_eq!(outcome.code, "internal");
            break;
        }
    }
    assert!(Player::try_arrive(&address(&cluster.nodes[0]), "wild").await.is_err());
    assert_eq!(act(&mut anna, "wild durable").await.code, "");
    assert!(cluster.nodes.iter().all(Node::is_ready));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_loses_two_threads_to_rules_ends_and_names_the_command() {
    let (store, wild) = (pelago_store::open("memory:").unwrap(), Wild::default());
    let (land, book) = (world(&*store), InProcessBook::default());
    let node = node(1, &land, &store, &book).game(Arc::new(wild.clone())).start().await.unwrap();
    until("the node is ready", || node.is_ready()).await;
    let mut anna = Player::arrive(&address(&node), "Anna").await;
    let mut bert = Player::arrive(&address(&node), "Bert").await;
    assert_eq!(act(&mut anna, "wild durable hang").await.code, "internal");
    bert.session.act("wild durable hang".into()).await.unwrap();
    let reason = timeout(PATIENCE, node.failure()).await.expect("the node ends");
    let whose = format!("\"wild durable hang\" of avatar {}", bert.session.avatar());
    assert!(reason.contains(&whose), "{reason}");
    wild.release();
    node.stop().await;
}

/// In the environment of a test's own process, which is to end.
const CHILD: &str = "PELAGO_TEST_STUCK_RULE";

#[tokio::test(flavor = "multi_thread")]
async fn a_live_rule_that_does_not_return_ends_its_process_which_names_the_command() {
    if std::env::var_os(CHILD).is_some() {
        return play_until_the_process_ends().await;
    }
    let test =
        "wild_rules::a_live_rule_that_does_not_return_ends_its_process_which_names_the_command";
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .stdout(log.reopen().unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    let ended = loop {
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        if began.elapsed() > 2 * PATIENCE {
            child.kill().unwrap();
        }
        sleep(Duration::from_millis(50)).await;
    };
    let log = std::fs::read_to_string(log.path()).unwrap();
    assert_eq!(ended.code(), Some(70), "{log}");
    let named = "live for \"wild live hang\" of avatar ";
    assert!(log.contains(named), "{log}");
}

async fn play_until_the_process_ends() {
    tracing_subscriber::fmt().with_ansi(false).init();
    let (cluster, _) = wild_cluster().await;
    let mut anna = Player::arrive(&address(&cluster.nodes[0]), "Anna").await;
    anna.session.act_live("wild live hang".into()).await.unwrap();
    std::future::pending::<()>().await;
}
