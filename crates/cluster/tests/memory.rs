//! How much the links of a node hold of each subject that is read.
//!
//! What dropping a machine frees is what it held. One test only: others in this process would be counted, too.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use pelago_cluster::{
    LinkId, Links, LinksConfig, LinksEffect, LinksInput, LinksSabotage, Member, Subject,
};
use pelago_model::{
    ChannelId, ChunkId, Incarnation, IslandClock, IslandId, Machine, NodeId, PublisherId, Reader,
    Role, Tick, WorldTime,
};
use pelago_wire::frame::{Snapshot, StreamKind};
use pelago_wire::message::whole_messages;
use pelago_wire::peer_stream::PeerSnapshot;
use pelago_wire::tick_stamp::TickStamp;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ISLAND: IslandId = IslandId(1);
const LIFE: Incarnation = Incarnation(1);
const NOW: WorldTime = WorldTime(100_000);
/// Of each kind: entities, and objects.
const CHUNKS: i16 = 2000;
/// Measured: 56. The subject, its number and the search for it; the lanes that read it, and from whom.
const MAX_BYTES_ALONE: usize = 63;
/// Measured: 103. A subscription and a stream each way.
const MAX_BYTES_PER_LINK: usize = 115;

/// Nodes 1 to `count` with a link from each to each other, whose number is that of the node at its other end.
struct Nodes {
    links: Vec<Links>,
    inputs: VecDeque<(NodeId, LinksInput)>,
}

impl Nodes {
    fn new(count: u16) -> Self {
        let links = (1..=count).map(|number| Links::new(config(NodeId(number)))).collect();
        let mut nodes = Self { links, inputs: VecDeque::new() };
        let member = |number: u16| Member {
            node: NodeId(number),
            incarnation: LIFE,
            address: String::new(),
            roles: BTreeSet::from([Role::steward(), Role::lane()]),
        };
        for node in (1..=count).map(NodeId) {
            nodes.tell(node, LinksInput::Book((1..=count).map(member).collect()));
            nodes.tell(node, LinksInput::Present(BTreeSet::from([ISLAND])));
        }
        for node in (1..=count).map(NodeId) {
            for other in (1..=count).map(NodeId).filter(|other| *other != node) {
                let toward = (node < other).then_some(other);
                let link = LinkId(other.0.into());
                nodes.inputs.push_back((node, LinksInput::Opened { link, toward }));
            }
        }
        nodes.settle();
        nodes
    }

    fn tell(&mut self, node: NodeId, input: LinksInput) {
        self.inputs.push_back((node, input));
        self.settle();
    }

    /// Until nobody has anything to say.
    fn settle(&mut self) {
        while let Some((node, input)) = self.inputs.pop_front() {
            let mut effects = Vec::new();
            self.links[usize::from(node.0) - 1].handle(NOW, input, &mut effects);
            effects.into_iter().for_each(|effect| self.perform(node, effect));
        }
    }

    fn perform(&mut self, node: NodeId, effect: LinksEffect) {
        match effect {
            LinksEffect::Send { link, bytes } => {
                let back = LinkId(node.0.into());
                for (kind, payload) in whole_messages(&bytes).unwrap() {
                    let input = LinksInput::Received { link: back, kind, payload };
                    self.inputs.push_back((NodeId(link.0 as u16), input));
                }
            }
            LinksEffect::Subscribe { reader, subject, version } => {
                // A lane of this node is answered without the links.
                let Reader::Node(to) = reader else { return };
                let snapshot = Arc::new(empty(node, subject, version));
                self.inputs.push_back((node, LinksInput::Snapshot { to, snapshot }));
            }
            LinksEffect::Hangup { reason, .. } => panic!("{reason}"),
            _ => {}
        }
    }

    /// Every node reads every chunk.
    fn read_all(&mut self) {
        for x in 0..CHUNKS {
            let channel = ChannelId::whole(ISLAND, ChunkId::new(x % 50, x / 50));
            for stream in [StreamKind::Entities, StreamKind::Objects] {
                for node in 1..=self.links.len() as u16 {
                    let subject = (channel, stream);
                    self.tell(
                        NodeId(node),
                        LinksInput::Interest { lane: 0, subject, wanted: true },
                    );
                }
            }
        }
    }

    /// Bytes that the machine of one node holds, on average.
    fn held(self) -> usize {
        let count = self.links.len();
        let region = Region::new(ALLOCATOR);
        drop(self.links);
        region.change().bytes_deallocated / count
    }
}

fn config(node: NodeId) -> LinksConfig {
    LinksConfig {
        node,
        incarnation: LIFE,
        build: String::new(),
        clock: IslandClock::IDENTITY,
        sabotage: LinksSabotage::default(),
    }
}

/// An answer of the only lane, or of the steward.
fn empty(node: NodeId, (channel, stream): Subject, answers: u64) -> Snapshot {
    let objects = stream == StreamKind::Objects;
    let publisher = if objects {
        PublisherId::service(node, 0, LIFE)
    } else {
        PublisherId::lane(node, 0, LIFE)
    };
    let bytes = PeerSnapshot {
        alias: 0,
        objects,
        channel,
        publisher,
        tick: Tick(5),
        sequence: 0,
        answers,
        stamp: TickStamp::new(Tick(5), 0),
        records: Bytes::new(),
    };
    Snapshot::decode(bytes, &IslandClock::IDENTITY).unwrap()
}

/// How much more a node among `count` holds when everybody reads everything.
fn held_of_subjects(count: u16) -> usize {
    let mut nodes = Nodes::new(count);
    nodes.read_all();
    if count > 1 {
        let streams = nodes.links[0].streams(NodeId(2)).unwrap();
        assert!(streams.0.min(streams.1) > usize::from(CHUNKS as u16), "{streams:?}");
    }
    nodes.held() - Nodes::new(count).held()
}

/// A node of three reads each subject of entities from the two others, and of objects from one of the three; as much
/// is read from it. So the streams on a link are 4/3 of the chunks each way.
#[test]
fn a_subject_costs_little_more_than_its_name_and_its_numbers() {
    let chunks = usize::from(CHUNKS as u16);
    let (alone, together) = (held_of_subjects(1), held_of_subjects(3));
    let alone_each = alone / (2 * chunks);
    let link_each = (together - alone) / 2 / (chunks * 4 / 3);
    println!("{alone_each} bytes per subject of a node, {link_each} more per subject of a link");
    println!("{} bytes per chunk of a node with two links", together / chunks);
    assert!(alone_each <= MAX_BYTES_ALONE, "{alone_each}");
    assert!(link_each <= MAX_BYTES_PER_LINK, "{link_each}");
}
