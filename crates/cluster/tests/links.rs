//! Several machines, with links between them that the test opens, cuts and fills with garbage.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::{Buf, Bytes};
use pelago_cluster::{
    CallError, CallTarget, LinkId, Links, LinksConfig, LinksEffect, LinksInput, LinksSabotage,
    Member, Roles,
};
use pelago_model::{
    ChannelId, ChunkId, Incarnation, IslandClock, IslandId, Key, Machine, NodeId, PublisherId,
    Tick, WorldTime,
};
use pelago_wire::frame::{Frame, Snapshot, StreamKind};
use pelago_wire::peer::{Done, DurableCall, Rejected, Superseded, answer, call};
use pelago_wire::peer_stream::{PeerFrame, PeerSnapshot};
use pelago_wire::stamp::Stamp;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

const ISLAND: IslandId = IslandId(1);

fn subject(x: i16) -> (ChannelId, StreamKind) {
    (ChannelId::whole(ISLAND, ChunkId::new(x, 0)), StreamKind::Entities)
}

/// Nodes, and what became of what they asked for.
struct Cluster {
    now: WorldTime,
    nodes: BTreeMap<NodeId, Links>,
    /// Each end of a link, and the other end.
    ends: BTreeMap<(NodeId, LinkId), (NodeId, LinkId)>,
    next_link: u64,
    queue: VecDeque<(NodeId, LinksInput)>,
    /// What each node publishes for whom.
    serving: BTreeSet<(NodeId, NodeId, (ChannelId, StreamKind))>,
    seen: Vec<(NodeId, LinksEffect)>,
}

impl Cluster {
    fn new(count: u16) -> Self {
        let mut cluster = Self {
            now: WorldTime(100_000),
            nodes: BTreeMap::new(),
            ends: BTreeMap::new(),
            next_link: 0,
            queue: VecDeque::new(),
            serving: BTreeSet::new(),
            seen: Vec::new(),
        };
        let members: Vec<Member> = (1..=count)
            .map(|number| Member {
                node: NodeId(number),
                incarnation: Incarnation(1),
                address: number.to_string(),
                roles: Roles::ALL,
            })
            .collect();
        for member in &members {
            let links = Links::new(LinksConfig {
                node: member.node,
                incarnation: member.incarnation,
                build: "test".into(),
                clock: IslandClock::IDENTITY,
                sabotage: LinksSabotage::default(),
            });
            cluster.nodes.insert(member.node, links);
        }
        for member in &members {
            cluster.tell(member.node, LinksInput::Present(BTreeSet::from([ISLAND])));
            cluster.tell(member.node, LinksInput::Book(members.clone()));
        }
        cluster.pass(1000);
        cluster
    }

    /// Hands an input to a node, and everything that follows to whom it concerns.
    fn tell(&mut self, node: NodeId, input: LinksInput) {
        self.queue.push_back((node, input));
        while let Some((node, input)) = self.queue.pop_front() {
            let mut effects = Vec::new();
            self.nodes.get_mut(&node).unwrap().handle(self.now, input, &mut effects);
            effects.into_iter().for_each(|effect| self.perform(node, effect));
        }
    }

    fn perform(&mut self, node: NodeId, effect: LinksEffect) {
        match effect {
            LinksEffect::Dial { node: to, .. } => {
                let (one, other) = (LinkId(self.next_link), LinkId(self.next_link + 1));
                self.next_link += 2;
                self.ends.insert((node, one), (to, other));
                self.ends.insert((to, other), (node, one));
                self.queue.push_back((node, LinksInput::Opened { link: one, toward: Some(to) }));
                self.queue.push_back((to, LinksInput::Opened { link: other, toward: None }));
            }
            LinksEffect::Send { link, mut bytes } => {
                let Some((to, link)) = self.ends.get(&(node, link)).copied() else { return };
                while bytes.has_remaining() {
                    let (mut length, mut shift) = (0, 0);
                    while bytes[0] >= 0x80 {
                        length |= usize::from(bytes.get_u8() & 0x7f) << shift;
                        shift += 7;
                    }
                    length |= usize::from(bytes.get_u8()) << shift;
                    let mut payload = bytes.split_to(length);
                    let kind = payload.get_u8();
                    self.queue.push_back((to, LinksInput::Received { link, kind, payload }));
                }
            }
            LinksEffect::Hangup { link, .. } => self.cut(node, link),
            LinksEffect::Serve { reader, subject, version } => {
                self.serving.insert((node, reader, subject));
                let snapshot = Arc::new(snapshot(node, subject, 0, version));
                self.queue.push_back((node, LinksInput::Snapshot { to: reader, snapshot }));
            }
            LinksEffect::Unserve { reader, subject } => {
                self.serving.remove(&(node, reader, subject));
            }
            effect => self.seen.push((node, effect)),
        }
    }

    fn cut(&mut self, node: NodeId, link: LinkId) {
        if let Some((to, other)) = self.ends.remove(&(node, link)) {
            self.ends.remove(&(to, other));
            self.queue.push_back((node, LinksInput::Closed { link }));
            self.queue.push_back((to, LinksInput::Closed { link: other }));
        }
    }

    fn link(&self, from: u16, to: u16) -> LinkId {
        let found = self
            .ends
            .iter()
            .find(|((node, _), (other, _))| (*node, *other) == (NodeId(from), NodeId(to)));
        found.unwrap().0.1
    }

    /// Lets time go by.
    fn pass(&mut self, ms: i64) {
        for _ in 0..ms / 100 {
            self.now = self.now.plus(100);
            for node in self.nodes.keys().copied().collect::<Vec<_>>() {
                self.tell(node, LinksInput::Wake);
            }
        }
    }

    fn want(&mut self, node: u16, x: i16, wanted: bool) {
        let interest = LinksInput::Interest { subject: subject(x), wanted };
        self.tell(NodeId(node), interest);
    }

    /// How many frames and snapshots of `from` has `to` been given.
    fn read(&self, to: u16, from: u16) -> (usize, usize) {
        let mut counts = (0, 0);
        for (_, effect) in self.seen.iter().filter(|(node, _)| *node == NodeId(to)) {
            match effect {
                LinksEffect::Frames(frames) => {
                    let of = frames.iter().filter(|it| it.publisher.node() == NodeId(from));
                    counts.0 += of.count();
                }
                LinksEffect::Snapshot(it) if it.publisher.node() == NodeId(from) => counts.1 += 1,
                _ => {}
            }
        }
        counts
    }

    fn publish(&mut self, node: u16, x: i16, sequence: u64) {
        let (channel, stream) = subject(x);
        let bytes = PeerFrame {
            alias: 0,
            sequence,
            core: Bytes::from(vec![Stamp::new(Tick(5), sequence).to_byte(), 0x01, 0x07]),
            sections: Default::default(),
        };
        let whose = (publisher(NodeId(node)), channel, stream);
        let frame = Frame::decode(whose, Tick(5), &IslandClock::IDENTITY, bytes).unwrap();
        self.tell(NodeId(node), LinksInput::Publish(vec![Arc::new(frame)]));
    }

    fn ended(&self) -> Vec<(u64, Result<answer::Body, CallError>)> {
        let ended = self.seen.iter().filter_map(|(_, effect)| match effect {
            LinksEffect::Ended { number, result } => Some((*number, result.clone())),
            _ => None,
        });
        ended.collect()
    }
}

fn publisher(node: NodeId) -> PublisherId {
    PublisherId::new(node, 0, Incarnation(1))
}

fn snapshot(
    node: NodeId,
    subject: (ChannelId, StreamKind),
    sequence: u64,
    answers: u64,
) -> Snapshot {
    let bytes = PeerSnapshot {
        alias: 0,
        objects: subject.1 == StreamKind::Objects,
        channel: subject.0,
        publisher: publisher(node),
        tick: Tick(5),
        sequence,
        answers,
        stamp: Stamp::new(Tick(5), sequence),
        records: Bytes::new(),
    };
    Snapshot::decode(bytes, &IslandClock::IDENTITY).unwrap()
}

#[test]
fn frames_reach_those_who_subscribed_and_the_node_itself() {
    let mut cluster = Cluster::new(3);
    cluster.want(1, 0, true);
    cluster.want(2, 0, true);
    cluster.publish(1, 0, 1);
    assert_eq!(
        (cluster.read(1, 1), cluster.read(2, 1), cluster.read(3, 1)),
        ((1, 1), (1, 1), (0, 0))
    );
    cluster.want(2, 0, false);
    cluster.publish(1, 0, 2);
    assert_eq!(cluster.read(2, 1), (1, 1));
    assert!(!cluster.serving.contains(&(NodeId(1), NodeId(2), subject(0))));
}

#[test]
fn a_gap_leads_to_a_fresh_snapshot() {
    let mut cluster = Cluster::new(2);
    cluster.want(2, 0, true);
    cluster.publish(1, 0, 1);
    cluster.publish(1, 0, 3);
    assert_eq!(cluster.read(2, 1), (1, 2));
    assert_eq!(cluster.nodes[&NodeId(2)].counters().gaps, 1);
}

#[test]
fn a_lost_link_is_dialled_again_and_reads_what_is_wanted_then() {
    let mut cluster = Cluster::new(2);
    cluster.want(2, 0, true);
    let link = cluster.link(1, 2);
    cluster.cut(NodeId(1), link);
    cluster.tell(NodeId(1), LinksInput::Wake);
    cluster.want(2, 0, false);
    cluster.want(2, 1, true);
    cluster.pass(3000);
    let serves = |x| cluster.serving.contains(&(NodeId(1), NodeId(2), subject(x)));
    assert_eq!((serves(0), serves(1)), (false, true));
}

#[test]
fn a_blocked_link_leaves_frames_out_and_is_answered_anew() {
    let mut cluster = Cluster::new(2);
    cluster.want(2, 0, true);
    let link = cluster.link(1, 2);
    cluster.tell(NodeId(1), LinksInput::Blocked { link });
    cluster.publish(1, 0, 1);
    assert_eq!(cluster.read(2, 1), (0, 1));
    cluster.tell(NodeId(1), LinksInput::Writable { link });
    assert_eq!(cluster.read(2, 1), (0, 2));
    assert_eq!(cluster.nodes[&NodeId(1)].counters().left_out, 1);
}

#[test]
fn silence_ends_a_link() {
    let mut cluster = Cluster::new(2);
    let link = cluster.link(1, 2);
    // Node 2 hears nothing more: its messages go nowhere.
    let end = cluster.ends.remove(&(NodeId(1), link)).unwrap();
    cluster.pass(3500);
    assert!(cluster.seen.iter().any(|(node, effect)| {
        *node == end.0 && matches!(effect, LinksEffect::PeerLost { node: NodeId(1) })
    }));
}

#[test]
fn a_call_that_is_not_answered_is_tried_at_the_next_steward() {
    let mut cluster = Cluster::new(3);
    // A key whose first steward is not node 1.
    let keys = (0..100).map(|x| Key::chunk(ISLAND, ChunkId::new(x, 9)));
    let mut keys = keys.filter(|key| cluster.nodes[&NodeId(1)].stewards(key)[0] != NodeId(1));
    let key = keys.next().unwrap();
    let stewards = cluster.nodes[&NodeId(1)].stewards(&key);
    let body = call::Body::Durable(DurableCall { key: key.to_string(), ..DurableCall::default() });
    let target = CallTarget::Steward(key);
    let call = |number, target, body, repeatable| LinksInput::Call {
        number,
        target,
        body,
        deadline_ms: 5000,
        repeatable,
        trace: 1,
    };
    cluster.tell(NodeId(1), call(7, target, body, true));
    let asked = |cluster: &Cluster| -> Vec<NodeId> {
        let incoming =
            cluster.seen.iter().filter(|(_, it)| matches!(it, LinksEffect::Incoming { .. }));
        incoming.map(|(node, _)| *node).collect()
    };
    assert_eq!(asked(&cluster), stewards[..1]);
    cluster.pass(1200);
    assert_eq!(asked(&cluster), stewards[..2]);
    let superseded = call::Body::Superseded(Superseded::default());
    let unreachable = CallTarget::Node(NodeId(9));
    cluster.tell(NodeId(1), call(8, unreachable, superseded, false));
    assert_eq!(cluster.ended(), [(8, Err(CallError::Unreachable))]);
    cluster.pass(5000);
    assert_eq!(cluster.ended().last(), Some(&(7, Err(CallError::DeadlineExceeded))));
}

#[test]
fn an_answer_ends_a_call_once() {
    let mut cluster = Cluster::new(2);
    let body = call::Body::Superseded(Superseded { avatar: 1, epoch: 2 });
    let target = CallTarget::Node(NodeId(2));
    let input = LinksInput::Call {
        number: 3,
        target,
        body,
        deadline_ms: 5000,
        repeatable: false,
        trace: 0,
    };
    cluster.tell(NodeId(1), input);
    let incoming = cluster.seen.iter().find_map(|(_, effect)| match effect {
        LinksEffect::Incoming { call, .. } => Some(*call),
        _ => None,
    });
    let call = incoming.unwrap();
    for body in
        [answer::Body::Done(Done {}), answer::Body::Rejected(Rejected { code: "late".into() })]
    {
        cluster.tell(NodeId(2), LinksInput::Reply { call, body });
    }
    assert_eq!(cluster.ended(), [(3, Ok(answer::Body::Done(Done {})))]);
    assert_eq!(cluster.nodes[&NodeId(2)].counters().late_answers, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_ends_its_link_and_nothing_else(kind in 0u8..8, payload: Vec<u8>) {
        let mut cluster = Cluster::new(3);
        let link = cluster.link(1, 2);
        let payload = Bytes::from(payload);
        cluster.tell(NodeId(1), LinksInput::Received { link, kind, payload });
        cluster.pass(3000);
        for links in cluster.nodes.values() {
            prop_assert!(links.is_complete());
        }
    }

    #[test]
    fn whatever_happens_everybody_serves_what_the_others_want_in_the_end(
        steps in prop::collection::vec((1u16..=3, 0i16..4, any::<bool>(), 0u8..4), 1..40),
    ) {
        let mut cluster = Cluster::new(3);
        let mut wanted = BTreeSet::new();
        for (node, x, wants, also) in steps {
            cluster.want(node, x, wants);
            if wants { wanted.insert((NodeId(node), subject(x))); } else { wanted.remove(&(NodeId(node), subject(x))); }
            if also == 0 && let Some((node, link)) = cluster.ends.keys().next().copied() {
                cluster.cut(node, link);
            }
            if also == 1 {
                cluster.pass(300);
            }
        }
        cluster.pass(4000);
        let mut expected = BTreeSet::new();
        for (reader, subject) in wanted {
            for node in 1..=3 {
                expected.insert((NodeId(node), reader, subject));
            }
        }
        prop_assert_eq!(&cluster.serving, &expected);
    }
}
