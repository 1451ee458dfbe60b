//! Links that come and go.

use crate::harness::{Cluster, ISLAND, control, entities, payload};
use bytes::{Bytes, BytesMut};
use pelago_cluster::{HangupReason, LinkId, LinksEffect, LinksInput};
use pelago_model::{Incarnation, NodeId, PublisherId};
use pelago_wire::peer::{PeerHello, Presence, Subscriptions, SubscriptionsHeld, peer_message};
use pelago_wire::peer_stream::put_peer_snapshot;
use proptest::prelude::*;

fn hello(node: u32, incarnation: u64) -> PeerHello {
    let build = "test".into();
    PeerHello { oldest_version: 1, newest_version: 1, node, incarnation, build }
}

/// A link to node 1 from somebody who says hello.
fn knock(cluster: &mut Cluster, hello: PeerHello) -> LinkId {
    let (link, _) = cluster.open(NodeId(1), NodeId(99));
    cluster.tell(1, LinksInput::Opened { link, toward: None });
    let payload = control(peer_message::Body::Hello(hello));
    cluster.tell(1, LinksInput::Received { link, kind: 1, payload });
    link
}

fn comings_and_goings(cluster: &Cluster, node: u16) -> Vec<(bool, u16)> {
    let of = cluster.seen.iter().filter(|(at, _)| *at == NodeId(node));
    let mut found = Vec::new();
    for (_, effect) in of {
        match effect {
            LinksEffect::PeerUp { node } => found.push((true, node.0)),
            LinksEffect::PeerLost { node } => found.push((false, node.0)),
            _ => {}
        }
    }
    found
}

#[test]
fn there_is_one_link_per_pair() {
    let cluster = Cluster::new(5, 1);
    assert_eq!(cluster.link_count(), 10);
    assert!((1..=5).all(|node| cluster.links(node).is_complete()));
}

#[test]
fn a_cut_link_is_dialled_again_at_once_and_a_dead_node_less_and_less_often() {
    let mut cluster = Cluster::new(2, 1);
    let link = cluster.link(1, 2);
    cluster.cut(NodeId(1), link);
    cluster.pass(500);
    assert!(cluster.links(1).is_complete());
    cluster.partition(1, 2);
    let link = cluster.link(1, 2);
    cluster.cut(NodeId(1), link);
    cluster.dials.clear();
    cluster.pass(12_000);
    let waits: Vec<i64> = cluster.dials.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    assert!((1..=300).contains(&waits[0]), "{waits:?}");
    assert!((2000..=2600).contains(waits.last().unwrap()), "{waits:?}");
    cluster.heal();
    cluster.pass(3000);
    assert!(cluster.links(1).is_complete());
}

#[test]
fn an_idle_link_lives_and_a_silent_one_does_not() {
    let mut cluster = Cluster::new(2, 1);
    cluster.pass(10_000);
    assert_eq!(cluster.hangups(), []);
    cluster.partition(1, 2);
    cluster.pass(2500);
    assert_eq!(cluster.hangups(), []);
    cluster.pass(700);
    assert_eq!(cluster.hangups()[0], HangupReason::Silent);
    assert_eq!(comings_and_goings(&cluster, 2), [(true, 1), (false, 1)]);
}

#[test]
fn nodes_that_did_not_run_do_not_blame_each_other() {
    let mut cluster = Cluster::new(2, 1);
    cluster.pass(10_000);
    // Their process is stopped for 150 s.
    cluster.now = cluster.now.plus(150_000);
    cluster.pass(5000);
    assert_eq!(cluster.hangups(), []);
    // Afterwards silence is silence.
    cluster.partition(1, 2);
    cluster.pass(3200);
    assert_eq!(cluster.hangups()[0], HangupReason::Silent);
}

#[test]
fn a_link_without_a_greeting_ends() {
    let mut cluster = Cluster::new(1, 1);
    cluster.tell(1, LinksInput::Opened { link: LinkId(77), toward: None });
    cluster.pass(3100);
    assert_eq!(cluster.hangups(), [HangupReason::Silent]);
    for link in 0..300 {
        cluster.tell(1, LinksInput::Opened { link: LinkId(1000 + link), toward: None });
    }
    assert_eq!(cluster.hangups()[1..], [HangupReason::TooMany; 44]);
}

#[test]
fn a_dialling_of_which_nothing_is_heard_is_begun_anew() {
    let mut cluster = Cluster::new(2, 1);
    cluster.dials_vanish = true;
    let link = cluster.link(1, 2);
    cluster.cut(NodeId(1), link);
    cluster.pass(1000);
    cluster.dials_vanish = false;
    cluster.pass(5000);
    assert!(cluster.links(1).is_complete());
}

#[test]
fn who_is_not_in_the_book_is_hung_up() {
    let mut cluster = Cluster::new(3, 1);
    cluster.remove_member(3);
    cluster.pass(3000);
    let before = cluster.hangups().len();
    knock(&mut cluster, hello(3, 1));
    assert_eq!(cluster.hangups()[before..], [HangupReason::Gone]);
    assert_eq!(comings_and_goings(&cluster, 1), [(true, 2), (true, 3), (false, 3)]);
    assert_eq!(cluster.links(1).peers().collect::<Vec<_>>(), [NodeId(2)]);
}

#[test]
fn a_hello_that_cannot_be_true_ends_its_link() {
    let mut cluster = Cluster::new(2, 5);
    let cases = [
        (hello(1, 1), HangupReason::Malformed),
        (hello(1 << 16 | 2, 1), HangupReason::Malformed),
        (hello(2, 0), HangupReason::Replaced),
        (PeerHello { oldest_version: 9, newest_version: 10, ..hello(2, 1) }, HangupReason::Version),
    ];
    for (hello, reason) in cases {
        knock(&mut cluster, hello);
        assert_eq!(cluster.hangups().last(), Some(&reason));
    }
    assert_eq!(comings_and_goings(&cluster, 1), [(true, 2)]);
}

#[test]
fn the_newer_of_two_links_stays() {
    let mut cluster = Cluster::new(2, 1);
    let old = cluster.link(1, 2);
    knock(&mut cluster, hello(2, 1));
    let hung_up = cluster.seen.iter().any(|(_, effect)| {
        matches!(effect, LinksEffect::Hangup { link, reason: HangupReason::Replaced } if *link == old)
    });
    assert!(hung_up);
    assert_eq!(comings_and_goings(&cluster, 1), [(true, 2), (false, 2), (true, 2)]);
}

#[test]
fn a_newer_life_replaces_the_older_one_and_reads_only_what_it_asks_for() {
    let mut cluster = Cluster::new(2, 1);
    cluster.want(2, entities(0), true);
    cluster.pass(300);
    cluster.start(2, 7);
    cluster.tell_book();
    cluster.pass(1000);
    assert_eq!(comings_and_goings(&cluster, 1), [(true, 2), (false, 2), (true, 2)]);
    assert_eq!(cluster.serving().len(), 0);
    knock(&mut cluster, hello(2, 6));
    assert_eq!(cluster.hangups().last(), Some(&HangupReason::Replaced));
}

#[test]
fn a_second_node_with_a_number_that_is_taken_takes_no_link_from_the_first() {
    let mut cluster = Cluster::new(2, 1);
    let link = cluster.link(1, 2);
    knock(&mut cluster, hello(2, 7));
    assert_eq!(cluster.hangups(), [HangupReason::Gone]);
    assert_eq!(cluster.link(1, 2), link);
    assert_eq!(comings_and_goings(&cluster, 1), [(true, 2)]);
    // Of a next life the book may hear later than the others: that of the first has ended then.
    cluster.partition(1, 2);
    cluster.cut(NodeId(1), link);
    cluster.pass(100);
    knock(&mut cluster, hello(2, 7));
    assert_eq!(comings_and_goings(&cluster, 1), [(true, 2), (false, 2), (true, 2)]);
}

#[test]
fn a_link_that_takes_no_bytes_is_hung_up_when_too_much_waits() {
    let mut cluster = Cluster::new(2, 1);
    let link = cluster.link(1, 2);
    cluster.tell(1, LinksInput::Blocked { link });
    for version in 0..200 {
        let islands = (0..10_000).map(|number| pelago_model::IslandId(version * 20_000 + number));
        cluster.tell(1, LinksInput::Present(islands.collect()));
    }
    assert_eq!(cluster.hangups().first(), Some(&HangupReason::TooSlow));
}

#[test]
fn each_of_these_messages_ends_its_link() {
    let snapshot = |publisher| {
        let snapshot = crate::harness::snapshot(publisher, entities(0), 1, 1);
        let mut message = BytesMut::new();
        put_peer_snapshot(&mut message, &snapshot.to_peer(0));
        payload(message)
    };
    let subscriptions = |version, base| {
        let message = Subscriptions { version, base, ..Subscriptions::default() };
        control(peer_message::Body::Subscriptions(message))
    };
    let held = SubscriptionsHeld { version: 1000 };
    let cases = [
        // Of a third node, and of another life of the second.
        (3, snapshot(PublisherId::new(NodeId(3), 0, Incarnation(1))), HangupReason::Malformed),
        (3, snapshot(PublisherId::new(NodeId(2), 0, Incarnation(2))), HangupReason::Malformed),
        (1, control(peer_message::Body::Hello(hello(2, 1))), HangupReason::Malformed),
        (1, control(peer_message::Body::Held(held)), HangupReason::Malformed),
        (1, subscriptions(0, 0), HangupReason::Malformed),
        (1, subscriptions(5, 5), HangupReason::Malformed),
        (1, subscriptions(9, 8), HangupReason::OutOfStep),
        (2, Bytes::from_static(&[5, 0, 1, 0, 0]), HangupReason::Malformed),
        (4, Bytes::from_static(&[0x80]), HangupReason::Malformed),
    ];
    for (kind, payload, reason) in cases {
        let mut cluster = Cluster::new(3, 1);
        let link = cluster.link(1, 2);
        cluster.tell(1, LinksInput::Received { link, kind, payload });
        assert_eq!(cluster.hangups(), [reason]);
        assert_eq!(cluster.links(1).peers().collect::<Vec<_>>(), [NodeId(3)]);
    }
}

fn some_body() -> impl Strategy<Value = peer_message::Body> {
    let channel = (any::<i16>(), any::<u32>(), 0u32..6).prop_map(|(x, cell, rate)| {
        pelago_wire::peer::Channel {
            island: ISLAND.0,
            x: x.into(),
            y: 0,
            cell,
            rate,
            objects: cell % 2 == 0,
        }
    });
    let channels = prop::collection::vec(channel, 0..5);
    prop_oneof![
        (0u64..4, 0u64..4, channels.clone(), channels).prop_map(|(version, base, add, remove)| {
            peer_message::Body::Subscriptions(Subscriptions { version, base, add, remove })
        }),
        (0u64..4).prop_map(|version| peer_message::Body::Held(SubscriptionsHeld { version })),
        (0u64..4, any::<Vec<u64>>()).prop_map(|(version, islands)| peer_message::Body::Presence(
            Presence { version, islands }
        )),
        (0u32..5, 0u64..4).prop_map(|(node, life)| peer_message::Body::Hello(hello(node, life))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn garbage_ends_its_link_at_worst(kind in 0u8..8, payload: Vec<u8>, established: bool) {
        let mut cluster = Cluster::new(3, 1);
        let link = if established { cluster.link(1, 2) } else { cluster.open(NodeId(1), NodeId(9)).0 };
        cluster.tell(1, LinksInput::Opened { link: LinkId(u64::MAX), toward: None });
        cluster.tell(1, LinksInput::Received { link, kind, payload: payload.into() });
        cluster.pass(4000);
        prop_assert!((1..=3).all(|node| cluster.links(node).is_complete()));
    }

    #[test]
    fn messages_out_of_place_end_their_link_at_worst(bodies in prop::collection::vec(some_body(), 1..12)) {
        let mut cluster = Cluster::new(3, 1);
        let link = cluster.link(1, 2);
        for body in bodies {
            let payload = control(body);
            cluster.tell(1, LinksInput::Received { link, kind: 1, payload });
        }
        cluster.pass(8000);
        prop_assert!((1..=3).all(|node| cluster.links(node).is_complete()));
    }
}
