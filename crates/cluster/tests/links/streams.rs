//! Subscriptions, frames and snapshots.

use crate::harness::{Cluster, entities, frame, objects};
use bytes::Bytes;
use pelago_cluster::{LinksEffect, LinksInput, Subject};
use pelago_model::{Incarnation, Key, NodeId, PublisherId, Reader, Role};
use pelago_wire::frame::StreamKind;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

fn steward(cluster: &Cluster, subject: Subject) -> NodeId {
    let key = Key::chunk(subject.0.island, subject.0.chunk);
    cluster.links(1).directory().first(Role::steward(), &key).unwrap()
}

/// A subject of objects whose steward is this node.
fn objects_of(cluster: &Cluster, node: u16) -> Subject {
    let is_its = |x: &i16| steward(cluster, objects(*x)) == NodeId(node);
    objects((0..100).find(is_its).unwrap())
}

fn interest(lane: u8, subject: Subject, wanted: bool) -> LinksInput {
    LinksInput::Interest { lane, subject, wanted }
}

fn by_node(node: u16) -> Reader {
    Reader::Node(NodeId(node))
}

#[test]
fn frames_reach_the_nodes_that_subscribed() {
    let mut cluster = Cluster::new(3, 1);
    cluster.want(2, entities(0), true);
    cluster.pass(300);
    cluster.publish(1, &[entities(0)]);
    cluster.pass(100);
    assert_eq!([cluster.read(2, 1), cluster.read(3, 1)], [(1, 1), (0, 0)]);
    cluster.want(2, entities(0), false);
    cluster.pass(300);
    cluster.publish(1, &[entities(0)]);
    cluster.pass(100);
    assert_eq!(cluster.read(2, 1), (1, 1));
    assert_eq!(cluster.serving(), BTreeSet::new());
}

#[test]
fn frames_that_are_lost_on_the_way_to_the_links_are_made_up_for_without_another_one() {
    let mut cluster = Cluster::new(2, 1);
    cluster.want(2, entities(0), true);
    cluster.pass(300);
    let before = cluster.read(2, 1);
    // No frame comes after the lost ones, so that nobody sees a gap.
    cluster.tell(1, LinksInput::Missed(vec![entities(0).0, entities(1).0]));
    cluster.pass(300);
    let after = cluster.read(2, 1);
    assert_eq!((after.0, after.1), (before.0, before.1 + 1), "one more snapshot, no frame");
}

#[test]
fn lanes_read_their_own_node_without_its_links_but_for_objects_of_its_steward() {
    let mut cluster = Cluster::new(3, 1);
    let own = objects_of(&cluster, 1);
    cluster.kinds.clear();
    cluster.want(1, own, true);
    assert_eq!(cluster.serving(), BTreeSet::from([(NodeId(1), Reader::Lane(0), own)]));
    cluster.pass(100);
    cluster.publish(1, &[own]);
    assert!(cluster.is_fresh(1, 0, 1, own));
    // Nothing of it passed the links, on which there are heartbeats only.
    assert_eq!((cluster.read(1, 1), cluster.kinds.iter().any(|kind| *kind != 1)), ((0, 0), false));
    cluster.want(1, own, false);
    cluster.want(1, entities(0), true);
    cluster.pass(100);
    let readers: BTreeSet<_> = cluster.serving().into_iter().map(|it| (it.0.0, it.1)).collect();
    assert_eq!(readers, BTreeSet::from([(2, by_node(1)), (3, by_node(1))]));
}

#[test]
fn objects_are_read_from_their_steward_and_from_the_next_when_it_goes() {
    let mut cluster = Cluster::new(3, 1);
    let subject = objects_of(&cluster, 3);
    cluster.want(1, subject, true);
    cluster.pass(300);
    assert_eq!(cluster.serving(), BTreeSet::from([(NodeId(3), by_node(1), subject)]));
    cluster.remove_member(3);
    cluster.pass(300);
    let next = steward(&cluster, subject);
    let reader = if next == NodeId(1) { Reader::Lane(0) } else { by_node(1) };
    assert_eq!(cluster.serving(), BTreeSet::from([(next, reader, subject)]));
}

#[test]
fn a_steward_that_changes_from_this_node_to_another_and_back_takes_all_lanes_along() {
    let mut cluster = Cluster::new(2, 1);
    let subject = objects_of(&cluster, 1);
    cluster.want_by(1, 0, subject, true);
    cluster.want_by(1, 5, subject, true);
    cluster.pass(100);
    let here: BTreeSet<_> =
        [0, 5].map(|lane| (NodeId(1), Reader::Lane(lane), subject)).into_iter().collect();
    assert_eq!(cluster.serving(), here);
    cluster.set_roles(1, &[]);
    cluster.pass(300);
    assert_eq!(cluster.serving(), BTreeSet::from([(NodeId(2), by_node(1), subject)]));
    // Both are told that the stream begins.
    assert_eq!([cluster.read_by(1, 0, 2), cluster.read_by(1, 5, 2)], [(0, 1), (0, 1)]);
    cluster.publish(2, &[subject]);
    cluster.pass(100);
    assert!([0, 5].iter().all(|lane| cluster.is_fresh(1, *lane, 2, subject)));
    cluster.set_roles(1, &[Role::steward()]);
    cluster.pass(300);
    assert_eq!(cluster.serving(), here);
    cluster.publish(1, &[subject]);
    assert!([0, 5].iter().all(|lane| cluster.is_fresh(1, *lane, 1, subject)));
    // One that came meanwhile and one that went are as the others.
    cluster.set_roles(1, &[]);
    cluster.want_by(1, 0, subject, false);
    cluster.want_by(1, 7, subject, true);
    cluster.set_roles(1, &[Role::steward()]);
    cluster.pass(300);
    let lanes: Vec<_> = cluster.serving().into_iter().map(|(_, reader, _)| reader).collect();
    assert_eq!(lanes, [Reader::Lane(5), Reader::Lane(7)]);
}

#[test]
fn a_steward_that_nobody_is_any_more_leaves_its_readers_alone() {
    let mut cluster = Cluster::new(2, 1);
    let subject = objects_of(&cluster, 1);
    cluster.want(1, subject, true);
    cluster.want(2, subject, true);
    cluster.pass(300);
    assert_eq!(cluster.serving().len(), 2);
    cluster.set_roles(1, &[]);
    cluster.set_roles(2, &[]);
    cluster.pass(300);
    assert_eq!(cluster.serving(), BTreeSet::new());
    cluster.set_roles(2, &[Role::steward()]);
    cluster.pass(300);
    let expected = [(NodeId(2), by_node(1), subject), (NodeId(2), Reader::Lane(0), subject)];
    assert_eq!(cluster.serving(), BTreeSet::from(expected));
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
    assert_eq!(serves(&cluster), [3]);
    cluster.tell(2, LinksInput::Present(BTreeSet::from([crate::harness::ISLAND])));
    cluster.pass(300);
    assert_eq!(serves(&cluster), [2, 3]);
}

#[test]
fn a_second_lane_is_introduced_by_the_first_and_asks_no_node() {
    let mut cluster = Cluster::new(2, 1);
    cluster.want_by(2, 3, entities(0), true);
    cluster.pass(300);
    cluster.publish(1, &[entities(0)]);
    cluster.pass(100);
    let sent = cluster.sent_by(2, interest(1, entities(0), true));
    assert_eq!((sent, cluster.introductions(2)), (vec![], vec![(3, 1, entities(0).0)]));
    // From then on both are told everything.
    cluster.publish(1, &[entities(0)]);
    cluster.pass(100);
    assert_eq!([cluster.read_by(2, 3, 1), cluster.read_by(2, 1, 1)], [(2, 1), (1, 0)]);
    assert!([1, 3].iter().all(|lane| cluster.is_fresh(2, *lane, 1, entities(0))));
    // Nobody is introduced twice, and nobody to objects: they are in documents.
    assert_eq!(cluster.sent_by(2, interest(1, entities(0), true)), [] as [Bytes; 0]);
    cluster.want_by(2, 1, objects(0), true);
    cluster.want_by(2, 3, objects(0), true);
    assert_eq!(cluster.introductions(2).len(), 1);
}

#[test]
fn a_subject_is_read_until_the_last_lane_has_let_it_go() {
    let mut cluster = Cluster::new(2, 1);
    for lane in [0, 1] {
        cluster.want_by(2, lane, entities(0), true);
    }
    cluster.pass(300);
    let served = BTreeSet::from([(NodeId(1), by_node(2), entities(0))]);
    cluster.want_by(2, 0, entities(0), false);
    cluster.want_by(2, 0, entities(0), false);
    cluster.pass(300);
    assert_eq!(cluster.serving(), served);
    cluster.publish(1, &[entities(0)]);
    cluster.pass(100);
    assert_eq!([cluster.read_by(2, 0, 1), cluster.read_by(2, 1, 1)], [(0, 1), (1, 1)]);
    cluster.want_by(2, 1, entities(0), false);
    cluster.pass(300);
    assert_eq!(cluster.serving(), BTreeSet::new());
}

#[test]
fn frames_go_to_exactly_the_lanes_that_read_them() {
    let mut cluster = Cluster::new(2, 1);
    // Each lane reads what is named with its number, and all read the last.
    for lane in [0, 9, 63] {
        cluster.want_by(2, lane, entities(lane.into()), true);
        cluster.want_by(2, lane, entities(100), true);
    }
    cluster.want_by(2, 9, entities(63), true);
    cluster.pass(300);
    cluster.seen.clear();
    cluster.publish(1, &[0, 9, 63, 100].map(entities));
    cluster.pass(100);
    let given: Vec<(u8, Vec<i16>)> = cluster
        .seen
        .iter()
        .filter_map(|(_, effect)| match effect {
            LinksEffect::Frames { lane, frames } => {
                Some((*lane, frames.iter().map(|frame| frame.channel.chunk.x).collect()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(given, [(0, vec![0, 100]), (9, vec![9, 63, 100]), (63, vec![63, 100])]);
}

#[test]
fn a_lane_that_asks_again_is_answered_by_all_it_reads_from_or_by_one() {
    let mut cluster = Cluster::new(3, 1);
    cluster.want(2, entities(0), true);
    cluster.pass(300);
    let of = |node| Some(PublisherId::new(NodeId(node), 0, Incarnation(1)));
    let ask = |cluster: &mut Cluster, publisher| {
        cluster.tell(2, LinksInput::Resync { subject: entities(0), publisher });
        cluster.pass(300);
        [cluster.read(2, 1).1, cluster.read(2, 3).1]
    };
    assert_eq!(ask(&mut cluster, of(3)), [1, 2]);
    assert_eq!(ask(&mut cluster, None), [2, 3]);
    // Of this node itself, and of what nobody reads, there is nothing to ask.
    assert_eq!(ask(&mut cluster, of(2)), [2, 3]);
    cluster.tell(2, LinksInput::Resync { subject: entities(1), publisher: None });
    cluster.pass(300);
    assert_eq!([cluster.read(2, 1).1, cluster.read(2, 3).1], [2, 3]);
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
    assert!(cluster.is_fresh(2, 0, 1, entities(0)));
}

#[test]
fn a_reader_that_asks_again_gets_a_fresh_snapshot_and_misses_no_frame_meanwhile() {
    let mut cluster = Cluster::new(2, 1);
    cluster.want(2, entities(0), true);
    cluster.pass(300);
    let publisher = PublisherId::new(NodeId(1), 0, Incarnation(1));
    cluster.tell(2, LinksInput::Resync { subject: entities(0), publisher: Some(publisher) });
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
    Want(u16, u8, usize, bool),
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
        8 => (node.clone(), 0u8..2, 0usize..8, any::<bool>()).prop_map(|(n, l, s, w)| Step::Want(n, l, s, w)),
        4 => node.clone().prop_map(Step::Publish),
        2 => (node.clone(), node.clone()).prop_map(|(a, b)| Step::Cut(a, b)),
        2 => (node.clone(), node.clone(), 10i64..400).prop_map(|(a, b, ms)| Step::Block(a, b, ms)),
        1 => (node.clone(), node.clone()).prop_map(|(a, b)| Step::Part(a, b)),
        1 => Just(Step::Heal),
        1 => node.prop_map(Step::Restart),
        6 => (10i64..400).prop_map(Step::Pass),
    ]
}

/// What lanes of nodes want to read.
type Wanted = BTreeSet<(NodeId, u8, Subject)>;

fn take(cluster: &mut Cluster, wanted: &mut Wanted, step: Step, life: u64) {
    match step {
        Step::Want(node, lane, subject, wants) => {
            let subject = subjects()[subject];
            cluster.want_by(node, lane, subject, wants);
            let it = (NodeId(node), lane, subject);
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
            cluster.partition(one, other);
            cluster.pass(1000);
        }
        Step::Heal => cluster.heal(),
        Step::Restart(node) => {
            cluster.start(node, life);
            wanted.retain(|(reader, ..)| *reader != NodeId(node));
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
        let mut fresh = BTreeSet::new();
        for (reader, lane, subject) in wanted {
            for node in (1..=3).map(NodeId) {
                let is_read = match subject.1 {
                    StreamKind::Entities => node != reader,
                    StreamKind::Objects => node == steward(&cluster, subject),
                };
                if is_read {
                    let by = if node == reader { Reader::Lane(lane) } else { Reader::Node(reader) };
                    expected.insert((node, by, subject));
                    fresh.insert((reader, lane, node, subject));
                }
            }
        }
        prop_assert_eq!(&cluster.serving(), &expected);
        for _ in 0..2 {
            (1..=3).for_each(|node| cluster.publish(node, &subjects()));
            cluster.pass(100);
        }
        for (reader, lane, node, subject) in fresh {
            let is_fresh = cluster.is_fresh(reader.0, lane, node.0, subject);
            prop_assert!(is_fresh, "{:?} of {} on lane {} of {}", subject, node, lane, reader);
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
            for subject in subjects() {
                (0..2).for_each(|lane| cluster.want_by(node, lane, subject, false));
            }
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
