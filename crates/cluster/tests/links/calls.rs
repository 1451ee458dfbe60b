//! Calls.

use crate::harness::{Cluster, ISLAND, control, question};
use bytes::Bytes;
use pelago_cluster::{CallError, CallTarget, LinksEffect, LinksInput, Rejection};
use pelago_model::{ChunkId, Key, NodeId, Role};
use pelago_wire::message::{decode_control, whole_messages};
use pelago_wire::peer::{Call, PeerMessage, answer, peer_message};

/// What those say who were asked.
type Reply = Result<Bytes, Rejection>;

fn done() -> Reply {
    Ok(fine())
}

fn fine() -> Bytes {
    Bytes::from_static(b"fine")
}

fn rejected(code: &str) -> Reply {
    Err(Rejection(code.into()))
}

/// A key with these first stewards.
fn key_of(cluster: &Cluster, first: &[u16]) -> Key {
    let mut keys = (0..1000).map(|x| Key::chunk(ISLAND, ChunkId::new(x, 9)));
    let directory = cluster.links(1).directory();
    let stewards = |key: &Key| -> Vec<u16> {
        directory.preferred(Role::steward(), key).into_iter().map(|node| node.0).collect()
    };
    keys.find(|key| stewards(key).starts_with(first)).unwrap()
}

fn ask_steward(cluster: &mut Cluster, number: u64, first: &[u16], deadline_ms: u32) {
    let key = key_of(cluster, first);
    cluster.call(number, CallTarget::Preferred(key), (deadline_ms, true));
}

fn asked(cluster: &Cluster) -> Vec<u16> {
    cluster.incoming().into_iter().map(|(node, _)| node).collect()
}

fn reply(cluster: &mut Cluster, which: usize, reply: Reply) {
    let (node, call) = cluster.incoming()[which];
    cluster.tell(node, LinksInput::Reply { call, reply });
    cluster.pass(200);
}

#[test]
fn an_answer_ends_a_call_once() {
    let mut cluster = Cluster::new(2, 1);
    cluster.call(3, CallTarget::Node(NodeId(2)), (5000, false));
    cluster.pass(100);
    reply(&mut cluster, 0, done());
    reply(&mut cluster, 0, rejected("late"));
    assert_eq!(cluster.ended(), [(3, Ok(fine()))]);
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
    assert_eq!(cluster.ended(), [(7, Ok(fine()))]);
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
        cluster.call(1, CallTarget::Node(NodeId(2)), (5000, repeatable));
        cluster.pass(4000);
        assert_eq!((asked(&cluster), cluster.ended()), (vec![2], vec![]));
        reply(&mut cluster, 0, done());
        assert_eq!(cluster.ended(), [(1, Ok(fine()))]);
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
    assert_eq!(cluster.ended(), [(7, Ok(fine()))]);
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
    cluster.call(8, CallTarget::Node(NodeId(1)), (1000, true));
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
    assert_eq!(cluster.ended(), [(7, Ok(fine()))]);
}

#[test]
fn a_lost_link_moves_a_call_on_if_it_may_be_repeated_and_ends_it_otherwise() {
    let mut cluster = Cluster::new(3, 1);
    ask_steward(&mut cluster, 7, &[2, 3], 5000);
    cluster.call(8, CallTarget::Node(NodeId(2)), (5000, false));
    cluster.call(9, CallTarget::Node(NodeId(2)), (5000, true));
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
    cluster.call(8, CallTarget::Node(NodeId(9)), (5000, true));
    cluster.remove_member(1);
    cluster.call(9, CallTarget::Preferred(Key::world()), (5000, true));
    assert_eq!(cluster.ended(), [8, 9].map(|number| (number, Err(CallError::Unreachable))));
}

#[test]
fn a_call_to_this_node_takes_the_same_way() {
    let mut cluster = Cluster::new(1, 1);
    ask_steward(&mut cluster, 7, &[1], 5000);
    assert_eq!(cluster.incoming()[0].1.link, None);
    reply(&mut cluster, 0, done());
    assert_eq!(cluster.ended(), [(7, Ok(fine()))]);
}

#[test]
fn a_call_waits_for_a_blocked_link() {
    let mut cluster = Cluster::new(2, 1);
    let link = cluster.link(1, 2);
    cluster.tell(1, LinksInput::Blocked { link });
    cluster.call(1, CallTarget::Node(NodeId(2)), (5000, false));
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
        cluster.call(number, CallTarget::Node(NodeId(2)), (1000, false));
    }
    cluster.pass(200);
    assert_eq!(cluster.ended(), [(4096, Err(CallError::Rejected("busy".into())))]);
    // Those that nobody answered count until their deadline.
    cluster.pass(1000);
    let before = asked(&cluster).len();
    cluster.call(5000, CallTarget::Node(NodeId(2)), (1000, false));
    cluster.pass(100);
    assert_eq!(asked(&cluster).len(), before + 1);
}

#[test]
fn what_is_asked_arrives_as_it_was_asked() {
    let mut cluster = Cluster::new(3, 1);
    ask_steward(&mut cluster, 7, &[2], 5000);
    cluster.pass(100);
    let asked = cluster.seen.iter().find_map(|(node, effect)| match effect {
        LinksEffect::Incoming { role, key, body, trace, .. } => {
            Some((node.0, *role, key.clone(), body.clone(), *trace))
        }
        _ => None,
    });
    let key = key_of(&cluster, &[2]).to_string();
    assert_eq!(asked, Some((2, Role::steward(), key, question(), 1)));
}

#[test]
fn only_those_with_the_role_are_asked() {
    let mut cluster = Cluster::new(3, 1);
    let key = key_of(&cluster, &[2, 1, 3]);
    cluster.set_roles(3, &[Role::steward(), Role::chat()]);
    cluster.call_role(7, Role::chat(), CallTarget::Preferred(key), (5000, true));
    cluster.pass(2500);
    // Nobody else can stand in for it.
    assert_eq!((asked(&cluster), cluster.ended()), (vec![3], vec![]));
}

#[test]
fn a_role_that_nobody_has_is_said_at_once() {
    let mut cluster = Cluster::new(3, 1);
    cluster.call_role(7, Role::chat(), CallTarget::Preferred(Key::world()), (5000, true));
    assert_eq!(cluster.ended(), [(7, Err(CallError::Unreachable))]);
    assert!(asked(&cluster).is_empty());
}

#[test]
fn a_call_by_what_is_no_role_is_rejected_and_its_link_goes_on() {
    let mut cluster = Cluster::new(2, 1);
    let link = cluster.link(1, 2);
    for (number, role) in
        ["", "Steward", "a role", "a-role-of-more-than-24-bytes"].iter().enumerate()
    {
        let call = Call {
            number: number as u64,
            deadline_ms: 1000,
            role: (*role).into(),
            ..Call::default()
        };
        let payload = control(peer_message::Body::Call(call));
        let sent = cluster.sent_by(1, LinksInput::Received { link, kind: 1, payload });
        let answers: Vec<_> = sent
            .into_iter()
            .flat_map(|bytes| whole_messages(&bytes).unwrap())
            .map(|(_, it)| it)
            .collect();
        let [answer] = &answers[..] else { panic!("{} messages", answers.len()) };
        let Some(peer_message::Body::Answer(answer)) =
            decode_control::<PeerMessage>(answer).unwrap().body
        else {
            panic!("no answer")
        };
        let code = match answer.answer {
            Some(answer::Answer::Rejected(rejected)) => rejected.code,
            other => panic!("{other:?}"),
        };
        assert_eq!((answer.number, code.as_str()), (number as u64, "role"));
    }
    assert_eq!((asked(&cluster), cluster.hangups()), (vec![], vec![]));
}
