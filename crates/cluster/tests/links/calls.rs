//! Calls.

use crate::harness::{Cluster, ISLAND};
use pelago_cluster::{CallError, CallTarget, LinksInput};
use pelago_model::{ChunkId, Key, NodeId};
use pelago_wire::peer::{Done, DurableCall, Rejected, Superseded, answer, call};

fn done() -> answer::Body {
    answer::Body::Done(Done {})
}

fn rejected(code: &str) -> answer::Body {
    answer::Body::Rejected(Rejected { code: code.into() })
}

fn body() -> call::Body {
    call::Body::Superseded(Superseded { avatar: 1, epoch: 2 })
}

/// A key with these first stewards.
fn key_of(cluster: &Cluster, first: &[u16]) -> Key {
    let mut keys = (0..1000).map(|x| Key::chunk(ISLAND, ChunkId::new(x, 9)));
    let stewards = |key: &Key| -> Vec<u16> {
        cluster.links(1).stewards(key).into_iter().map(|node| node.0).collect()
    };
    keys.find(|key| stewards(key).starts_with(first)).unwrap()
}

fn ask_steward(cluster: &mut Cluster, number: u64, first: &[u16], deadline_ms: u32) {
    let key = key_of(cluster, first);
    let body = call::Body::Durable(DurableCall { key: key.to_string(), ..DurableCall::default() });
    cluster.call(number, CallTarget::Steward(key), body, (deadline_ms, true));
}

fn asked(cluster: &Cluster) -> Vec<u16> {
    cluster.incoming().into_iter().map(|(node, _)| node).collect()
}

fn reply(cluster: &mut Cluster, which: usize, body: answer::Body) {
    let (node, call) = cluster.incoming()[which];
    cluster.tell(node, LinksInput::Reply { call, body });
    cluster.pass(200);
}

#[test]
fn an_answer_ends_a_call_once() {
    let mut cluster = Cluster::new(2, 1);
    cluster.call(3, CallTarget::Node(NodeId(2)), body(), (5000, false));
    cluster.pass(100);
    reply(&mut cluster, 0, done());
    reply(&mut cluster, 0, rejected("late"));
    assert_eq!(cluster.ended(), [(3, Ok(done()))]);
    assert_eq!(cluster.links(2).counters().late_answers, 1);
}

#[test]
fn a_call_that_is_not_answered_is_also_tried_at_the_next_steward() {
    let mut cluster = Cluster::new(3, 1);
    ask_steward(&mut cluster, 7, &[2, 3], 5000);
    cluster.pass(100);
    assert_eq!(asked(&cluster), [2]);
    cluster.pass(1100);
    assert_eq!(asked(&cluster), [2, 3]);
    // The answer of the one that was given up is as good; the other comes too late.
    reply(&mut cluster, 0, done());
    reply(&mut cluster, 1, done());
    assert_eq!(cluster.ended(), [(7, Ok(done()))]);
    assert_eq!(cluster.links(1).counters().late_answers, 1);
}

#[test]
fn a_call_that_nobody_answers_ends_at_its_deadline() {
    let mut cluster = Cluster::new(3, 1);
    ask_steward(&mut cluster, 7, &[2, 3, 1], 2500);
    cluster.pass(2400);
    assert_eq!((asked(&cluster), cluster.ended()), (vec![2, 3, 1], vec![]));
    cluster.pass(300);
    assert_eq!(cluster.ended(), [(7, Err(CallError::DeadlineExceeded))]);
}

#[test]
fn a_slow_node_that_nobody_can_stand_in_for_has_until_the_deadline() {
    for repeatable in [false, true] {
        let mut cluster = Cluster::new(2, 1);
        cluster.call(1, CallTarget::Node(NodeId(2)), body(), (5000, repeatable));
        cluster.pass(4000);
        assert_eq!((asked(&cluster), cluster.ended()), (vec![2], vec![]));
        reply(&mut cluster, 0, done());
        assert_eq!(cluster.ended(), [(1, Ok(done()))]);
    }
}

#[test]
fn a_rejected_call_is_tried_at_the_next_steward_and_then_from_the_front() {
    let mut cluster = Cluster::new(3, 1);
    ask_steward(&mut cluster, 7, &[2, 1, 3], 5000);
    cluster.pass(100);
    reply(&mut cluster, 0, rejected("busy"));
    assert_eq!(asked(&cluster), [2, 1]);
    // Also by this node itself.
    reply(&mut cluster, 1, rejected("busy"));
    reply(&mut cluster, 2, rejected("busy"));
    cluster.pass(400);
    assert_eq!(asked(&cluster), [2, 1, 3, 2]);
    reply(&mut cluster, 3, done());
    assert_eq!(cluster.ended(), [(7, Ok(done()))]);
    assert_eq!(cluster.links(1).counters().retried, 3);
}

#[test]
fn a_call_that_all_reject_says_so_at_its_deadline_and_one_to_a_single_node_at_once() {
    let mut cluster = Cluster::new(1, 1);
    ask_steward(&mut cluster, 7, &[1], 1000);
    for which in 0..3 {
        reply(&mut cluster, which, rejected("busy"));
        cluster.pass(200);
    }
    assert_eq!(cluster.ended(), [(7, Err(CallError::Rejected("busy".into())))]);
    cluster.call(8, CallTarget::Node(NodeId(1)), body(), (1000, true));
    reply(&mut cluster, 3, rejected("lane"));
    assert_eq!(cluster.ended()[1], (8, Err(CallError::Rejected("lane".into()))));
}

#[test]
fn a_call_that_is_worked_on_is_not_begun_again() {
    let mut cluster = Cluster::new(3, 1);
    ask_steward(&mut cluster, 7, &[2, 3, 1], 5000);
    cluster.pass(1200);
    reply(&mut cluster, 1, rejected("busy"));
    reply(&mut cluster, 2, rejected("busy"));
    cluster.pass(700);
    assert_eq!((asked(&cluster), cluster.links(1).counters().retried), (vec![2, 3, 1], 3));
    reply(&mut cluster, 0, done());
    assert_eq!(cluster.ended(), [(7, Ok(done()))]);
}

#[test]
fn a_lost_link_moves_a_call_on_if_it_may_be_repeated_and_ends_it_otherwise() {
    let mut cluster = Cluster::new(3, 1);
    ask_steward(&mut cluster, 7, &[2, 3], 5000);
    cluster.call(8, CallTarget::Node(NodeId(2)), body(), (5000, false));
    cluster.call(9, CallTarget::Node(NodeId(2)), body(), (5000, true));
    cluster.pass(100);
    assert_eq!(asked(&cluster), [2, 2, 2]);
    let link = cluster.link(1, 2);
    cluster.cut(NodeId(1), link);
    cluster.pass(700);
    assert_eq!(cluster.ended(), [(8, Err(CallError::LinkLost))]);
    // Call 9 waited for the next link.
    assert_eq!(asked(&cluster), [2, 2, 2, 3, 2]);
}

#[test]
fn nobody_within_reach_is_said_at_once() {
    let mut cluster = Cluster::new(1, 1);
    cluster.call(8, CallTarget::Node(NodeId(9)), body(), (5000, true));
    cluster.strike(1);
    cluster.call(9, CallTarget::Steward(Key::world()), body(), (5000, true));
    assert_eq!(cluster.ended(), [8, 9].map(|number| (number, Err(CallError::Unreachable))));
}

#[test]
fn a_call_to_this_node_takes_the_same_way() {
    let mut cluster = Cluster::new(1, 1);
    ask_steward(&mut cluster, 7, &[1], 5000);
    assert_eq!(cluster.incoming()[0].1.link, None);
    reply(&mut cluster, 0, done());
    assert_eq!(cluster.ended(), [(7, Ok(done()))]);
}

#[test]
fn a_call_waits_for_a_blocked_link() {
    let mut cluster = Cluster::new(2, 1);
    let link = cluster.link(1, 2);
    cluster.tell(1, LinksInput::Blocked { link });
    cluster.call(1, CallTarget::Node(NodeId(2)), body(), (5000, false));
    cluster.pass(300);
    assert!(asked(&cluster).is_empty());
    cluster.tell(1, LinksInput::Writable { link });
    cluster.pass(300);
    assert_eq!(asked(&cluster), [2]);
}

#[test]
fn more_calls_than_a_link_may_have_are_rejected_until_some_are_over() {
    let mut cluster = Cluster::new(2, 1);
    for number in 0..4097 {
        cluster.call(number, CallTarget::Node(NodeId(2)), body(), (1000, false));
    }
    cluster.pass(200);
    assert_eq!(cluster.ended(), [(4096, Err(CallError::Rejected("busy".into())))]);
    // Those that nobody answered count until their deadline.
    cluster.pass(1000);
    let before = asked(&cluster).len();
    cluster.call(5000, CallTarget::Node(NodeId(2)), body(), (1000, false));
    cluster.pass(100);
    assert_eq!(asked(&cluster).len(), before + 1);
}
