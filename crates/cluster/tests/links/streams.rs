//! Subscriptions, frames and snapshots.

use crate::harness::{Cluster, entities, frame, objects};
use pelago_cluster::{LinksInput, Subject};
use pelago_model::{Incarnation, Key, NodeId, PublisherId};
use pelago_wire::frame::StreamKind;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

fn steward(cluster: &Cluster, subject: Subject) -> NodeId {
    cluster.links(1).stewards(&Key::chunk(subject.0.island, subject.0.chunk))[0]
}

#[test]
fn frames_reach_those_who_subscribed_and_the_node_itself() {
    let mut cluster = Cluster::new(3, 1);
    cluster.want(1, entities(0), true);
    cluster.want(2, entities(0), true);
    cluster.pass(300);
    cluster.publish(1, &[entities(0)]);
    cluster.pass(100);
    assert_eq!(
        [cluster.read(1, 1), cluster.read(2, 1), cluster.read(3, 1)],
        [(1, 1), (1, 1), (0, 0)]
    );
    cluster.want(1, entities(0), false);
    cluster.want(2, entities(0), false);
    cluster.pass(300);
    cluster.publish(1, &[entities(0)]);
    cluster.pass(100);
    assert_eq!([cluster.read(1, 1), cluster.read(2, 1)], [(1, 1), (1, 1)]);
    assert_eq!(cluster.serving(), BTreeSet::new());
}

#[test]
fn a_node_reads_nothing_from_itself_before_the_answer() {
    let mut cluster = Cluster::new(1, 1);
    cluster.want(1, entities(0), true);
    cluster.publish(1, &[entities(0)]);
    assert_eq!(cluster.read(1, 1), (0, 0));
    cluster.pass(100);
    cluster.publish(1, &[entities(0)]);
    assert_eq!(cluster.read(1, 1), (1, 1));
}

#[test]
fn objects_are_read_from_their_steward_and_from_the_next_when_it_goes() {
    let mut cluster = Cluster::new(3, 1);
    let foreign = |x: &i16| steward(&cluster, objects(*x)) == NodeId(3);
    let subject = objects((0..100).find(foreign).unwrap());
    cluster.want(1, subject, true);
    cluster.pass(300);
    assert_eq!(cluster.serving(), BTreeSet::from([(NodeId(3), NodeId(1), subject)]));
    cluster.strike(3);
    cluster.pass(300);
    let next = steward(&cluster, subject);
    assert_eq!(cluster.serving(), BTreeSet::from([(next, NodeId(1), subject)]));
}

#[test]
fn entities_are_read_only_where_anybody_is() {
    let mut cluster = Cluster::new(3, 1);
    cluster.tell(2, LinksInput::Present(BTreeSet::new()));
    cluster.pass(300);
    cluster.want(1, entities(0), true);
    cluster.pass(300);
    let serves = |cluster: &Cluster| -> Vec<u16> {
        cluster.serving().into_iter().map(|(node, ..)| node.0).collect()
    };
    assert_eq!(serves(&cluster), [1, 3]);
    cluster.tell(2, LinksInput::Present(BTreeSet::from([crate::harness::ISLAND])));
    cluster.pass(300);
    assert_eq!(serves(&cluster), [1, 2, 3]);
}

#[test]
fn a_gap_leads_to_a_fresh_snapshot_before_which_nothing_is_taken() {
    let mut cluster = Cluster::new(2, 1);
    cluster.want(2, entities(0), true);
    cluster.pass(300);
    cluster.publish(1, &[entities(0)]);
    let publisher = PublisherId::new(NodeId(1), 0, Incarnation(1));
    for sequence in [3, 2, 4] {
        let frame = Arc::new(frame(publisher, entities(0), sequence, 1));
        cluster.tell(1, LinksInput::Publish(vec![frame]));
    }
    cluster.pass(300);
    assert_eq!(cluster.read(2, 1), (1, 2));
    assert_eq!(cluster.links(2).counters().gaps, 1);
    cluster.publish(1, &[entities(0)]);
    cluster.pass(100);
    assert!(cluster.is_fresh(2, 1, entities(0)));
}

#[test]
fn a_reader_that_asks_again_gets_a_fresh_snapshot_and_misses_no_frame_meanwhile() {
    let mut cluster = Cluster::new(2, 1);
    cluster.want(2, entities(0), true);
    cluster.pass(300);
    let publisher = PublisherId::new(NodeId(1), 0, Incarnation(1));
    cluster.tell(2, LinksInput::Resync { subject: entities(0), publisher });
    cluster.publish(1, &[entities(0)]);
    cluster.pass(300);
    assert_eq!(cluster.read(2, 1), (1, 2));
}

#[test]
fn what_is_let_go_and_wanted_again_is_read_from_its_new_answer_on() {
    let mut cluster = Cluster::new(2, 1);
    cluster.want(2, entities(0), true);
    cluster.pass(300);
    cluster.publish(1, &[entities(0)]);
    cluster.want(2, entities(0), false);
    cluster.want(2, entities(0), true);
    cluster.publish(1, &[entities(0)]);
    cluster.pass(300);
    assert_eq!((cluster.read(2, 1), cluster.kinds.contains(&4)), ((0, 2), true));
    cluster.publish(1, &[entities(0)]);
    cluster.pass(100);
    assert_eq!(cluster.read(2, 1), (1, 2));
}

#[test]
fn what_was_subscribed_and_let_go_while_the_link_died_is_not_served() {
    let mut cluster = Cluster::new(2, 1);
    let link = cluster.link(1, 2);
    cluster.want(2, entities(0), true);
    // The subscription is lost on its way.
    cluster.cut(NodeId(1), link);
    cluster.want(2, entities(0), false);
    cluster.want(2, entities(1), true);
    cluster.pass(1000);
    let served: BTreeSet<Subject> =
        cluster.serving().into_iter().filter(|it| it.0 == NodeId(1)).map(|it| it.2).collect();
    assert_eq!(served, BTreeSet::from([entities(1)]));
}

#[test]
fn an_answer_to_what_an_earlier_link_asked_is_not_taken() {
    let mut cluster = Cluster::new(2, 1);
    cluster.want(2, entities(0), true);
    cluster.pass(300);
    let link = cluster.link(1, 2);
    cluster.cut(NodeId(1), link);
    cluster.pass(1000);
    assert_eq!(cluster.read(2, 1), (0, 2));
    // The first number ever, answered late.
    let publisher = PublisherId::new(NodeId(1), 0, Incarnation(1));
    let late = Arc::new(crate::harness::snapshot(publisher, entities(0), 77, 1));
    cluster.tell(1, LinksInput::Snapshot { to: NodeId(2), snapshot: late });
    cluster.pass(100);
    assert_eq!(cluster.read(2, 1), (0, 2));
}

#[test]
fn a_blocked_link_leaves_frames_out_and_only_their_subjects_are_answered_anew() {
    let mut cluster = Cluster::new(2, 1);
    cluster.want(2, entities(0), true);
    cluster.want(2, entities(1), true);
    cluster.pass(300);
    assert_eq!(cluster.read(2, 1), (0, 2));
    let link = cluster.link(1, 2);
    cluster.tell(1, LinksInput::Blocked { link });
    cluster.publish(1, &[entities(0)]);
    // Subscriptions go both ways meanwhile; the answer has to wait.
    cluster.want(2, entities(2), true);
    cluster.pass(300);
    assert_eq!((cluster.read(2, 1), cluster.links(1).counters().left_out), ((0, 2), 1));
    cluster.tell(1, LinksInput::Writable { link });
    cluster.pass(300);
    assert_eq!(cluster.read(2, 1), (0, 4));
    cluster.publish(1, &[entities(0), entities(1), entities(2)]);
    cluster.pass(100);
    assert_eq!(cluster.read(2, 1), (3, 4));
}

#[test]
fn a_frame_beyond_the_limit_of_messages_is_replaced_by_a_snapshot() {
    let mut cluster = Cluster::new(2, 1);
    cluster.want(2, entities(0), true);
    cluster.pass(300);
    let publisher = PublisherId::new(NodeId(1), 0, Incarnation(1));
    let large = Arc::new(frame(publisher, entities(0), 1, 600_000));
    cluster.tell(1, LinksInput::Publish(vec![large]));
    cluster.pass(300);
    assert_eq!((cluster.read(2, 1), cluster.links(1).counters().too_large), ((0, 2), 1));
    assert_eq!(cluster.hangups(), []);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Want(u16, usize, bool),
    Publish(u16),
    Cut(u16, u16),
    Block(u16, u16, i64),
    Part(u16, u16),
    Heal,
    Restart(u16),
    Pass(i64),
}

fn subjects() -> Vec<Subject> {
    (0..4).flat_map(|x| [entities(x), objects(x)]).collect()
}

fn step() -> impl Strategy<Value = Step> {
    let node = 1u16..=3;
    prop_oneof![
        8 => (node.clone(), 0usize..8, any::<bool>()).prop_map(|(n, s, w)| Step::Want(n, s, w)),
        4 => node.clone().prop_map(Step::Publish),
        2 => (node.clone(), node.clone()).prop_map(|(a, b)| Step::Cut(a, b)),
        2 => (node.clone(), node.clone(), 10i64..400).prop_map(|(a, b, ms)| Step::Block(a, b, ms)),
        1 => (node.clone(), node.clone()).prop_map(|(a, b)| Step::Part(a, b)),
        1 => Just(Step::Heal),
        1 => node.prop_map(Step::Restart),
        6 => (10i64..400).prop_map(Step::Pass),
    ]
}

fn take(cluster: &mut Cluster, wanted: &mut BTreeSet<(NodeId, Subject)>, step: Step, life: u64) {
    match step {
        Step::Want(node, subject, wants) => {
            let subject = subjects()[subject];
            cluster.want(node, subject, wants);
            let it = (NodeId(node), subject);
            if wants {
                wanted.insert(it)
            } else {
                wanted.remove(&it)
            };
        }
        Step::Publish(node) => cluster.publish(node, &subjects()),
        Step::Cut(one, other) => {
            if let Some(link) = cluster.find_link(one, other) {
                cluster.cut(NodeId(one), link);
            }
        }
        Step::Block(one, other, ms) => {
            let Some(link) = cluster.find_link(one, other) else { return };
            cluster.tell(one, LinksInput::Blocked { link });
            cluster.publish(one, &subjects());
            cluster.pass(ms);
            cluster.tell(one, LinksInput::Writable { link });
        }
        Step::Part(one, other) if one != other => {
            cluster.part(one, other);
            cluster.pass(1000);
        }
        Step::Heal => cluster.heal(),
        Step::Restart(node) => {
            cluster.start(node, life);
            wanted.retain(|(reader, _)| *reader != NodeId(node));
            cluster.tell_book();
        }
        Step::Pass(ms) => cluster.pass(ms),
        Step::Part(..) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_happens_in_the_end_everybody_serves_and_reads_what_is_wanted(
        seed: u64,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut cluster = Cluster::new(3, seed);
        let mut wanted = BTreeSet::new();
        for (number, step) in steps.into_iter().enumerate() {
            take(&mut cluster, &mut wanted, step, 2 + number as u64);
        }
        cluster.heal();
        cluster.pass(8000);
        let mut expected = BTreeSet::new();
        for (reader, subject) in wanted {
            for node in (1..=3).map(NodeId) {
                if subject.1 == StreamKind::Entities || node == steward(&cluster, subject) {
                    expected.insert((node, reader, subject));
                }
            }
        }
        prop_assert_eq!(&cluster.serving(), &expected);
        for _ in 0..2 {
            (1..=3).for_each(|node| cluster.publish(node, &subjects()));
            cluster.pass(100);
        }
        for (node, reader, subject) in expected {
            prop_assert!(cluster.is_fresh(reader.0, node.0, subject), "{:?} of {} at {}", subject, node, reader);
        }
        for node in 1..=3 {
            prop_assert!(cluster.links(node).is_settled());
            let counters = cluster.links(node).counters();
            prop_assert_eq!(
                (counters.gaps, counters.malformed, counters.unmatched_removals),
                (0, 0, 0)
            );
        }
        for node in 1..=3 {
            subjects().into_iter().for_each(|subject| cluster.want(node, subject, false));
        }
        cluster.pass(300);
        for node in 1..=3 {
            prop_assert_eq!(cluster.links(node).streams(NodeId(node % 3 + 1)), Some((0, 0)));
            let sizes = cluster.links(node).sizes();
            let numbered = sizes.iter().find(|size| size.of == "subjects with a number").unwrap();
            prop_assert_eq!((numbered.held, numbered.limit), (0, 0));
        }
    }
}
