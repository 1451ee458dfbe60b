//! Several machines of links, with a network, publishers and readers between them.

use bytes::{Buf, Bytes};
use pelago_cluster::{
    CallError, CallTarget, HangupReason, IncomingCall, LinkId, Links, LinksConfig, LinksEffect,
    LinksInput, LinksSabotage, Member, Roles, Subject,
};
use pelago_model::{
    ChannelId, ChunkId, Incarnation, IslandClock, IslandId, Machine, NodeId, PublisherId, Tick,
    WorldTime,
};
use pelago_wire::frame::{Frame, Snapshot, StreamKind};
use pelago_wire::peer::{answer, call};
use pelago_wire::peer_stream::{PeerFrame, PeerSnapshot};
use pelago_wire::tick_stamp::TickStamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) const ISLAND: IslandId = IslandId(1);

pub(crate) fn entities(x: i16) -> Subject {
    (ChannelId::whole(ISLAND, ChunkId::new(x, 0)), StreamKind::Entities)
}

pub(crate) fn objects(x: i16) -> Subject {
    (ChannelId::whole(ISLAND, ChunkId::new(x, 0)), StreamKind::Objects)
}

/// What a node publishes: like a lane, it forgets a subject that nobody reads, and counts from 0 again.
#[derive(Default)]
struct Voice {
    readers: BTreeMap<Subject, BTreeSet<NodeId>>,
    sequences: BTreeMap<Subject, u64>,
    answers: Vec<(NodeId, Subject, u64)>,
}

struct Host {
    links: Links,
    life: Incarnation,
    voice: Voice,
    /// What its readers know: the number of the last frame.
    view: BTreeMap<(Subject, PublisherId), u64>,
}

struct End {
    peer: (NodeId, LinkId),
    last_arrival: WorldTime,
}

/// Nodes, and what became of what they asked for.
pub(crate) struct Cluster {
    pub(crate) now: WorldTime,
    hosts: BTreeMap<NodeId, Host>,
    book: BTreeMap<NodeId, Member>,
    ends: BTreeMap<(NodeId, LinkId), End>,
    next_link: u64,
    events: BTreeMap<(WorldTime, u64), (NodeId, Incarnation, LinksInput)>,
    next_event: u64,
    random: u64,
    /// Pairs that cannot hear each other, smaller number first.
    partitions: BTreeSet<(NodeId, NodeId)>,
    /// Nothing is ever heard of diallings.
    pub(crate) dials_vanish: bool,
    /// What waits for the end of a partition.
    held: Vec<(NodeId, LinkId, u8, Bytes)>,
    /// When somebody was dialled.
    pub(crate) dials: Vec<WorldTime>,
    /// The kinds of the messages that were sent.
    pub(crate) kinds: Vec<u8>,
    /// Whatever else the machines said, in order.
    pub(crate) seen: Vec<(NodeId, LinksEffect)>,
}

impl Cluster {
    /// Nodes 1 to `count`, linked.
    pub(crate) fn new(count: u16, seed: u64) -> Self {
        let mut cluster = Self {
            now: WorldTime(100_000),
            hosts: BTreeMap::new(),
            book: BTreeMap::new(),
            ends: BTreeMap::new(),
            next_link: 0,
            events: BTreeMap::new(),
            next_event: 0,
            random: seed,
            partitions: BTreeSet::new(),
            dials_vanish: false,
            held: Vec::new(),
            dials: Vec::new(),
            kinds: Vec::new(),
            seen: Vec::new(),
        };
        (1..=count).for_each(|node| cluster.start(node, 1));
        cluster.tell_book();
        cluster.pass(1000);
        cluster
    }

    /// Starts a life of a node; what was before it is gone.
    pub(crate) fn start(&mut self, node: u16, life: u64) {
        let (node, life) = (NodeId(node), Incarnation(life));
        self.ends_of(node).into_iter().for_each(|link| self.cut(node, link));
        let links = Links::new(LinksConfig {
            node,
            incarnation: life,
            build: "test".into(),
            clock: IslandClock::IDENTITY,
            sabotage: LinksSabotage::default(),
        });
        let host = Host { links, life, voice: Voice::default(), view: BTreeMap::new() };
        self.hosts.insert(node, host);
        let member =
            Member { node, incarnation: life, address: node.to_string(), roles: Roles::ALL };
        self.book.insert(node, member);
        self.tell(node.0, LinksInput::Present(BTreeSet::from([ISLAND])));
    }

    /// Tells every node who is in the book.
    pub(crate) fn tell_book(&mut self) {
        for node in self.hosts.keys().copied().collect::<Vec<_>>() {
            self.tell(node.0, LinksInput::Book(self.book.values().cloned().collect()));
        }
    }

    /// Takes a node out of the book.
    pub(crate) fn strike(&mut self, node: u16) {
        self.book.remove(&NodeId(node));
        self.tell_book();
    }

    pub(crate) fn links(&self, node: u16) -> &Links {
        &self.hosts[&NodeId(node)].links
    }

    /// Hands an input to a node now.
    pub(crate) fn tell(&mut self, node: u16, input: LinksInput) {
        let node = NodeId(node);
        let mut effects = Vec::new();
        let Some(host) = self.hosts.get_mut(&node) else { return };
        host.links.handle(self.now, input, &mut effects);
        let mut written = BTreeSet::new();
        for effect in effects {
            if let LinksEffect::Send { link, .. } = &effect {
                assert!(written.insert(*link), "two writes to one link");
            }
            self.perform(node, effect);
        }
    }

    fn perform(&mut self, node: NodeId, effect: LinksEffect) {
        match effect {
            LinksEffect::Dial { node: to, .. } if !self.dials_vanish => self.dial(node, to),
            LinksEffect::Send { link, bytes } => self.send(node, link, bytes),
            LinksEffect::Subscribe { reader, subject, version } => {
                let Some(host) = self.hosts.get_mut(&node) else { return };
                host.voice.readers.entry(subject).or_default().insert(reader);
                host.voice.answers.push((reader, subject, version));
            }
            LinksEffect::Unsubscribe { reader, subject } => {
                let Some(host) = self.hosts.get_mut(&node) else { return };
                let voice = &mut host.voice;
                voice.answers.retain(|(to, of, _)| (*to, *of) != (reader, subject));
                let readers = voice.readers.entry(subject).or_default();
                readers.remove(&reader);
                if readers.is_empty() {
                    voice.readers.remove(&subject);
                    voice.sequences.remove(&subject);
                }
            }
            LinksEffect::Snapshot(snapshot) => {
                let stream = ((snapshot.channel, snapshot.stream), snapshot.publisher);
                let Some(host) = self.hosts.get_mut(&node) else { return };
                host.view.insert(stream, snapshot.sequence);
                self.seen.push((node, LinksEffect::Snapshot(snapshot)));
            }
            LinksEffect::Frames(frames) => {
                let Some(host) = self.hosts.get_mut(&node) else { return };
                for frame in &frames {
                    let stream = ((frame.channel, frame.stream), frame.publisher);
                    let known = host.view.insert(stream, frame.sequence);
                    assert_eq!(known, Some(frame.sequence - 1), "a gap that nobody noticed");
                }
                self.seen.push((node, LinksEffect::Frames(frames)));
            }
            LinksEffect::Hangup { link, reason } => {
                self.cut(node, link);
                self.seen.push((node, LinksEffect::Hangup { link, reason }));
            }
            effect => self.seen.push((node, effect)),
        }
    }

    fn dial(&mut self, from: NodeId, to: NodeId) {
        self.dials.push(self.now);
        if !self.hosts.contains_key(&to) || self.is_parted(from, to) {
            return self.after(1, from, LinksInput::DialFailed { node: to });
        }
        let (one, other) = self.open(from, to);
        self.after(1, from, LinksInput::Opened { link: one, toward: Some(to) });
        self.after(1, to, LinksInput::Opened { link: other, toward: None });
    }

    /// Both ends of a new link, of which nobody has been told yet.
    pub(crate) fn open(&mut self, from: NodeId, to: NodeId) -> (LinkId, LinkId) {
        let (one, other) = (LinkId(self.next_link), LinkId(self.next_link + 1));
        self.next_link += 2;
        let end = |peer| End { peer, last_arrival: WorldTime(0) };
        self.ends.insert((from, one), end((to, other)));
        self.ends.insert((to, other), end((from, one)));
        (one, other)
    }

    /// Cuts the bytes into messages, which arrive in order.
    fn send(&mut self, node: NodeId, link: LinkId, mut bytes: Bytes) {
        let delay = 1 + i64::from(self.below(60));
        let Some(end) = self.ends.get_mut(&(node, link)) else { return };
        let (to, link) = end.peer;
        end.last_arrival = end.last_arrival.max(self.now.plus(delay));
        let arrival = end.last_arrival;
        while bytes.has_remaining() {
            let (mut length, mut shift) = (0, 0);
            while bytes[0] >= 0x80 {
                length |= usize::from(bytes.get_u8() & 0x7f) << shift;
                shift += 7;
            }
            length |= usize::from(bytes.get_u8()) << shift;
            let mut payload = bytes.split_to(length);
            let kind = payload.get_u8();
            self.kinds.push(kind);
            if self.is_parted(node, to) {
                self.held.push((to, link, kind, payload));
            } else {
                self.at(arrival, to, LinksInput::Received { link, kind, payload });
            }
        }
    }

    /// From now on two nodes cannot hear each other; what they send is held back, as TCP does.
    pub(crate) fn part(&mut self, one: u16, other: u16) {
        self.partitions.insert((NodeId(one.min(other)), NodeId(one.max(other))));
    }

    /// Ends all partitions.
    pub(crate) fn heal(&mut self) {
        self.partitions.clear();
        for (to, link, kind, payload) in std::mem::take(&mut self.held) {
            let Some(end) = self.ends.get(&(to, link)) else { continue };
            let sender = end.peer;
            let arrival = self.now.plus(1);
            let Some(end) = self.ends.get_mut(&sender) else { continue };
            end.last_arrival = end.last_arrival.max(arrival);
            let arrival = end.last_arrival;
            self.at(arrival, to, LinksInput::Received { link, kind, payload });
        }
    }

    fn is_parted(&self, one: NodeId, other: NodeId) -> bool {
        self.partitions.contains(&(one.min(other), one.max(other)))
    }

    fn at(&mut self, time: WorldTime, node: NodeId, input: LinksInput) {
        let Some(host) = self.hosts.get(&node) else { return };
        self.next_event += 1;
        self.events.insert((time, self.next_event), (node, host.life, input));
    }

    fn after(&mut self, ms: i64, node: NodeId, input: LinksInput) {
        self.at(self.now.plus(ms), node, input);
    }

    /// Cuts a link: what is on the way is lost.
    pub(crate) fn cut(&mut self, node: NodeId, link: LinkId) {
        let Some(end) = self.ends.remove(&(node, link)) else { return };
        self.ends.remove(&end.peer);
        for (node, link) in [(node, link), end.peer] {
            self.events.retain(|_, (to, _, input)| {
                !(*to == node
                    && matches!(input, LinksInput::Received { link: on, .. } if *on == link))
            });
            self.after(1, node, LinksInput::Closed { link });
        }
    }

    fn ends_of(&self, node: NodeId) -> Vec<LinkId> {
        self.ends.keys().filter(|(of, _)| *of == node).map(|(_, link)| *link).collect()
    }

    /// The end of the link from one node to another, if there is one.
    pub(crate) fn find_link(&self, from: u16, to: u16) -> Option<LinkId> {
        let (from, to) = (NodeId(from), NodeId(to));
        let mut ends = self.ends.iter();
        ends.find(|((node, _), end)| (*node, end.peer.0) == (from, to)).map(|((_, link), _)| *link)
    }

    /// The end of the link from one node to another.
    pub(crate) fn link(&self, from: u16, to: u16) -> LinkId {
        self.find_link(from, to).unwrap()
    }

    /// How many links there are.
    pub(crate) fn link_count(&self) -> usize {
        self.ends.len() / 2
    }

    /// Lets time go by, and clocks tick every 50 ms.
    pub(crate) fn pass(&mut self, ms: i64) {
        let end = self.now.plus(ms);
        while self.now < end {
            let step = self.now.plus(10);
            while let Some(next) = self.events.first_entry()
                && next.key().0 <= step
            {
                self.now = self.now.max(next.key().0);
                let (node, life, input) = next.remove();
                if self.hosts.get(&node).is_some_and(|host| host.life == life) {
                    self.tell(node.0, input);
                }
            }
            self.now = step;
            if self.now.0 % 50 == 0 {
                for node in self.hosts.keys().copied().collect::<Vec<_>>() {
                    if self.links(node.0).next_wake().is_some_and(|at| at <= self.now) {
                        self.tell(node.0, LinksInput::Wake);
                    }
                    self.answer(node);
                }
            }
        }
    }

    /// A node's publisher answers those who are new.
    fn answer(&mut self, node: NodeId) {
        let Some(host) = self.hosts.get_mut(&node) else { return };
        let publisher = PublisherId::new(node, 0, host.life);
        for (to, subject, version) in std::mem::take(&mut host.voice.answers) {
            let host = &self.hosts[&node];
            let sequence = host.voice.sequences.get(&subject).copied().unwrap_or(0);
            let snapshot = Arc::new(snapshot(publisher, subject, sequence, version));
            self.tell(node.0, LinksInput::Snapshot { to, snapshot });
        }
    }

    pub(crate) fn want(&mut self, node: u16, subject: Subject, wanted: bool) {
        self.tell(node, LinksInput::Interest { subject, wanted });
    }

    /// A node publishes one frame of each of these subjects that is read.
    pub(crate) fn publish(&mut self, node: u16, subjects: &[Subject]) {
        let Some(host) = self.hosts.get_mut(&NodeId(node)) else { return };
        let publisher = PublisherId::new(NodeId(node), 0, host.life);
        let mut frames = Vec::new();
        for subject in subjects.iter().filter(|it| host.voice.readers.contains_key(it)) {
            let sequence = host.voice.sequences.entry(*subject).or_default();
            *sequence += 1;
            frames.push(Arc::new(frame(publisher, *subject, *sequence, 1)));
        }
        self.tell(node, LinksInput::Publish(frames));
    }

    /// Whom a node's publishers serve with what.
    pub(crate) fn serving(&self) -> BTreeSet<(NodeId, NodeId, Subject)> {
        let mut serving = BTreeSet::new();
        for (node, host) in &self.hosts {
            for (subject, readers) in &host.voice.readers {
                serving.extend(readers.iter().map(|reader| (*node, *reader, *subject)));
            }
        }
        serving
    }

    /// Whether what a node's readers know of another's subject is the newest.
    pub(crate) fn is_fresh(&self, to: u16, from: u16, subject: Subject) -> bool {
        let host = &self.hosts[&NodeId(from)];
        let publisher = PublisherId::new(NodeId(from), 0, host.life);
        let newest = host.voice.sequences.get(&subject);
        newest.is_some() && self.hosts[&NodeId(to)].view.get(&(subject, publisher)) == newest
    }

    /// How many frames and snapshots of `from` has `to` been given.
    pub(crate) fn read(&self, to: u16, from: u16) -> (usize, usize) {
        let of = |publisher: PublisherId| publisher.node() == NodeId(from);
        let mut counts = (0, 0);
        for (_, effect) in self.seen.iter().filter(|(node, _)| *node == NodeId(to)) {
            match effect {
                LinksEffect::Frames(frames) => {
                    counts.0 += frames.iter().filter(|frame| of(frame.publisher)).count();
                }
                LinksEffect::Snapshot(it) if of(it.publisher) => counts.1 += 1,
                _ => {}
            }
        }
        counts
    }

    /// Why links were hung up.
    pub(crate) fn hangups(&self) -> Vec<HangupReason> {
        let reasons = self.seen.iter().filter_map(|(_, effect)| match effect {
            LinksEffect::Hangup { reason, .. } => Some(*reason),
            _ => None,
        });
        reasons.collect()
    }

    pub(crate) fn call(
        &mut self,
        number: u64,
        target: CallTarget,
        body: call::Body,
        (deadline_ms, repeatable): (u32, bool),
    ) {
        let input = LinksInput::Call { number, target, body, deadline_ms, repeatable, trace: 1 };
        self.tell(1, input);
    }

    /// The calls that came, and to whom.
    pub(crate) fn incoming(&self) -> Vec<(u16, IncomingCall)> {
        let incoming = self.seen.iter().filter_map(|(node, effect)| match effect {
            LinksEffect::Incoming { call, .. } => Some((node.0, *call)),
            _ => None,
        });
        incoming.collect()
    }

    /// The calls that ended, and how.
    pub(crate) fn ended(&self) -> Vec<(u64, Result<answer::Body, CallError>)> {
        let ended = self.seen.iter().filter_map(|(_, effect)| match effect {
            LinksEffect::Ended { number, result } => Some((*number, result.clone())),
            _ => None,
        });
        ended.collect()
    }

    /// Less than `limit`, by SplitMix64.
    fn below(&mut self, limit: u32) -> u32 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let hash = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((hash ^ (hash >> 31)) % u64::from(limit)) as u32
    }
}

/// A frame with this many records that say nothing much.
pub(crate) fn frame(
    publisher: PublisherId,
    (channel, stream): Subject,
    sequence: u64,
    records: usize,
) -> Frame {
    let stamp = TickStamp::new(Tick(5), sequence).to_byte();
    let leave = [0x01, 0x07].repeat(records);
    let core = Bytes::from([vec![stamp], leave].concat());
    let bytes = PeerFrame { alias: 0, sequence, core, sections: Default::default() };
    let whose = (publisher, channel, stream);
    Frame::decode(whose, Tick(5), &IslandClock::IDENTITY, bytes).unwrap()
}

pub(crate) fn snapshot(
    publisher: PublisherId,
    subject: Subject,
    sequence: u64,
    answers: u64,
) -> Snapshot {
    let bytes = PeerSnapshot {
        alias: 0,
        objects: subject.1 == StreamKind::Objects,
        channel: subject.0,
        publisher,
        tick: Tick(5),
        sequence,
        answers,
        stamp: TickStamp::new(Tick(5), sequence),
        records: Bytes::new(),
    };
    Snapshot::decode(bytes, &IslandClock::IDENTITY).unwrap()
}
