//! A service of a studio on nodes that run: the one of `examples/tally`, and the page about it.

use crate::harness::{Cluster, address, is_seen, node, world};
use crate::player::{PATIENCE, Player};
use crate::tally;
use pelago_frontier::Frontier;
use pelago_model::{CommitOutcome, Key, NodeId, Revision, Role, Size, Transaction, Write};
use pelago_runtime::admin_calls::{
    CountersAnswer, Question, ServiceCallAnswer, ServiceCallQuestion, ask,
};
use pelago_runtime::service::{
    Caller, Completion, RequestId, Service, ServiceCall, ServiceContext, ServiceKind, StoreAnswer,
    TestHosts,
};
use pelago_runtime::{InProcessBook, Node, ProcessCalls, StartError};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;

fn question(role: Role, key: &str, number: u64) -> Question {
    let (key, visitor) = (Key::parse(key).unwrap(), "0000000000000007");
    let body = json!({"visitor": visitor, "number": number}).to_string();
    Question::Call(ServiceCallQuestion { role, key, body })
}

#[tokio::test]
async fn a_studios_service_answers_operators_at_every_node_and_is_counted() {
    let store = pelago_store::open("memory:").unwrap();
    let with = |_, builder: pelago_runtime::NodeBuilder| builder.service(tally::kind());
    let cluster = Cluster::start_with(store, with).await;
    let calls = ProcessCalls::new(cluster.nodes.iter().map(Node::handle));
    let (role, nodes) = (tally::kind().role, [NodeId(1), NodeId(2)]);
    // Eight gates, so that each node is preferred for some.
    for gate in 0..8 {
        for node in nodes {
            let asked = question(role, &format!("tally/gate-{gate}"), 1);
            let answer: ServiceCallAnswer = ask(&calls, node, asked).await.unwrap();
            assert_eq!(answer, ServiceCallAnswer::Answered { answer: json!({"counted": 1}) });
        }
    }
    // Numbers are told once a second.
    let began = Instant::now();
    loop {
        let mut counted = Vec::new();
        for node in nodes {
            let counters: CountersAnswer = ask(&calls, node, Question::Counters).await.unwrap();
            let of_role = counters.services.into_iter().filter(|count| count.role == role);
            counted.extend(of_role.filter(|count| count.name == "counted").map(|it| it.count));
        }
        if counted.iter().sum::<u64>() == 8 {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "counted {counted:?}");
        sleep(Duration::from_millis(50)).await;
    }
    cluster.stop().await;
}

#[tokio::test]
async fn operators_do_not_call_services_of_the_platform() {
    let cluster = Cluster::start(pelago_store::open("memory:").unwrap()).await;
    let calls = ProcessCalls::new(cluster.nodes.iter().map(Node::handle));
    for role in [Role::steward(), Role::chat(), Role::parse("nobody").unwrap()] {
        let asked = question(role, "tally/gate", 1);
        let answer: ServiceCallAnswer = ask(&calls, NodeId(1), asked).await.unwrap();
        let ServiceCallAnswer::Failed { code, .. } = answer else { panic!("{answer:?}") };
        assert_eq!(code, "no_such_service");
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_role_that_is_taken_keeps_a_node_from_starting() {
    let store = pelago_store::open("memory:").unwrap();
    let (world, book) = (world(&*store), InProcessBook::default());
    let twice = node(1, &world, &store, &book).service(tally::kind()).service(tally::kind());
    assert!(matches!(twice.start().await, Err(StartError::RoleTaken(_))));
}

/// A service that answers a call by calling itself, for ever.
struct Circle;

impl Service for Circle {
    fn call(&mut self, cx: &mut ServiceContext<'_>, call: ServiceCall) {
        cx.call_role(circle().role, call.key, call.body, 1000);
        cx.reply(call.caller, "1".into());
    }

    fn completed(&mut self, _: &mut ServiceContext<'_>, _: RequestId, _: Completion) {}

    fn sizes(&self) -> Vec<Size> {
        Vec::new()
    }
}

/// A service that reads the document of its key, and then writes it.
#[derive(Default)]
struct Nosy(BTreeMap<RequestId, Caller>);

impl Service for Nosy {
    fn call(&mut self, cx: &mut ServiceContext<'_>, call: ServiceCall) {
        let request = match &call.body[..] {
            b"read" => cx.load(vec![call.key]),
            _ => {
                let value = Some("{}".into());
                let write = Write { key: call.key, expected: Revision(0), schema: 1, value };
                cx.commit(Transaction { checks: Vec::new(), writes: vec![write] })
            }
        };
        self.0.insert(request, call.caller);
    }

    fn completed(&mut self, cx: &mut ServiceContext<'_>, request: RequestId, end: Completion) {
        let answer = match end {
            Completion::Stored(StoreAnswer::Loaded(Some(_))) => "read",
            Completion::Stored(StoreAnswer::Committed(CommitOutcome::Committed)) => "written",
            _ => "failed",
        };
        if let Some(caller) = self.0.remove(&request) {
            cx.reply(caller, answer.into());
        }
    }

    fn sizes(&self) -> Vec<Size> {
        Vec::new()
    }
}

fn circle() -> ServiceKind {
    ServiceKind::new(Role::parse("circle").unwrap(), |_| Circle)
}

/// All tasks of the nodes share one thread here.
#[tokio::test]
async fn a_service_that_calls_itself_in_a_circle_takes_the_thread_from_nobody() {
    let store = pelago_store::open("memory:").unwrap();
    let with = |_, builder: pelago_runtime::NodeBuilder| builder.service(circle());
    let cluster = Cluster::start_with(store, with).await;
    let calls = ProcessCalls::new(cluster.nodes.iter().map(Node::handle));
    for node in [NodeId(1), NodeId(2)] {
        let asked = question(circle().role, &format!("tally/{node}"), 1);
        let answer: ServiceCallAnswer = ask(&calls, node, asked).await.unwrap();
        assert_eq!(answer, ServiceCallAnswer::Answered { answer: json!(1) });
    }
    let mut anna = Player::arrive(&address(&cluster.nodes[0]), "Anna").await;
    let mut bert = Player::arrive(&address(&cluster.nodes[1]), "Bert").await;
    is_seen(&mut anna, &mut bert).await;
    cluster.stop().await;
}

#[test]
fn a_studios_service_neither_reads_nor_writes_what_is_the_platforms() {
    let role = Role::parse("nosy").unwrap();
    let kind = ServiceKind::new(role, |seat| {
        assert_ne!(seat.secret, [7; 32], "the world's secret is not for services");
        Nosy::default()
    });
    let mut hosts = TestHosts::new(Arc::new(Frontier), &[kind], 1);
    let mut ask = |key: &str, what: &'static str| {
        let key = Key::parse(key).unwrap();
        let call = hosts.call(0, role, &key, what);
        hosts.run();
        let answer = hosts.answer(call).unwrap().as_ref().unwrap().clone();
        (answer, hosts.log().len())
    };
    let avatar = "avatar/0000000000000007";
    for (times, key) in (0..).zip(["world", avatar, "name/416e6e61", "ids/serials", "lease/world"])
    {
        assert_eq!(ask(key, "read"), ("failed".into(), 2 * times + 1), "{key}");
        assert_eq!(ask(key, "write"), ("failed".into(), 2 * times + 2), "{key}");
    }
    let chunk = "chunk/0000000000000001/0/0";
    assert_eq!(ask(chunk, "read").0, "read");
    assert_eq!(ask(chunk, "write").0, "failed");
    assert_eq!(ask("nosy/1", "read").0, "read");
    assert_eq!(ask("nosy/1", "write").0, "written");
}

/// The blocks of a language in a page.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let begin = format!("```{language}\n");
    let after = page.split(&begin).skip(1);
    after.map(|rest| rest.split_once("```").expect("a block has an end").0).collect()
}

#[test]
fn the_page_about_services_shows_the_example_as_it_is() {
    let page = include_str!("../../../../docs/services.md");
    let service = include_str!("../../../../examples/tally/src/tally.rs");
    let main = include_str!("../../../../examples/tally/src/main.rs");
    let package = include_str!("../../../../examples/tally/Cargo.toml");
    let (rust, toml) = (blocks(page, "rust"), blocks(page, "toml"));
    assert!(rust.len() >= 13 && toml.len() == 2);
    for block in rust {
        assert!(service.contains(block) || main.contains(block), "the example has no {block}");
    }
    for block in toml {
        assert!(package.contains(block), "the example has no {block}");
    }
}
