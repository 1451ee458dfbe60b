//! Several machines of links, with a network, publishers and readers between them.

mod reading;

pub(crate) use reading::{frame, snapshot};

use bytes::{Bytes, BytesMut};
use pelago_cluster::{
    CallError, CallTarget, HangupReason, IncomingCall, LinkId, Links, LinksConfig, LinksEffect,
    LinksInput, LinksSabotage, Member, Subject,
};
use pelago_model::{
    ChannelId, ChunkId, Incarnation, IslandClock, IslandId, Key, Machine, NodeId, PublisherId,
    Reader, Role, WorldTime,
};
use pelago_wire::frame::StreamKind;
use pelago_wire::message::{put_control, whole_messages};
use pelago_wire::peer::{PeerMessage, peer_message};
use reading::Voice;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const ISLAND: IslandId = IslandId(1);

pub(crate) fn entities(x: i16) -> Subject {
    (ChannelId::whole(ISLAND, ChunkId::new(x, 0)), StreamKind::Entities)
}

pub(crate) fn objects(x: i16) -> Subject {
    (ChannelId::whole(ISLAND, ChunkId::new(x, 0)), StreamKind::Objects)
}

struct Host {
    links: Links,
    life: Incarnation,
    voice: Voice,
    /// What its lanes know: the number of the last frame.
    view: BTreeMap<(u8, Subject, PublisherId), u64>,
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
        let roles = BTreeSet::from([Role::steward(), Role::lane()]);
        let member = Member { node, incarnation: life, address: node.to_string(), roles };
        self.book.insert(node, member);
        self.tell(node.0, LinksInput::Present(BTreeSet::from([ISLAND])));
    }

    /// Tells every node who is in the book.
    pub(crate) fn tell_book(&mut self) {
        for node in self.hosts.keys().copied().collect::<Vec<_>>() {
            self.tell(node.0, LinksInput::Book(self.book.values().cloned().collect()));
        }
    }

    /// From now on a node has these roles and no others.
    pub(crate) fn set_roles(&mut self, node: u16, roles: &[Role]) {
        if let Some(member) = self.book.get_mut(&NodeId(node)) {
            member.roles = roles.iter().copied().collect();
        }
        self.tell_book();
    }

    /// Takes a node out of the book.
    pub(crate) fn remove_member(&mut self, node: u16) {
        self.book.remove(&NodeId(node));
        self.tell_book();
    }

    pub(crate) fn links(&self, node: u16) -> &Links {
        &self.hosts[&NodeId(node)].links
    }

    /// Hands an input to a node now.
    pub(crate) fn tell(&mut self, node: u16, input: LinksInput) {
        self.sent_by(node, input);
    }

    /// Hands an input to a node now. Returns what it writes to links because of that.
    pub(crate) fn sent_by(&mut self, node: u16, input: LinksInput) -> Vec<Bytes> {
        let node = NodeId(node);
        let mut effects = Vec::new();
        let Some(host) = self.hosts.get_mut(&node) else { return Vec::new() };
        host.links.handle(self.now, input, &mut effects);
        let mut written = BTreeMap::new();
        for effect in effects {
            if let LinksEffect::Send { link, bytes } = &effect {
                assert!(written.insert(*link, bytes.clone()).is_none(), "two writes to one link");
            }
            self.perform(node, effect);
        }
        written.into_values().collect()
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
                if let Reader::Lane(lane) = reader {
                    host.view.retain(|(by, of, _), _| (*by, *of) != (lane, subject));
                }
                let readers = voice.readers.entry(subject).or_default();
                readers.remove(&reader);
                if readers.is_empty() {
                    voice.readers.remove(&subject);
                    voice.sequences.remove(&subject);
                }
            }
            LinksEffect::Snapshot { lane, snapshot } => {
                self.shown(node, lane, &snapshot);
                self.seen.push((node, LinksEffect::Snapshot { lane, snapshot }));
            }
            LinksEffect::Frames { lane, frames } => {
                frames.iter().for_each(|frame| self.read_frame(node, lane, frame));
                self.seen.push((node, LinksEffect::Frames { lane, frames }));
            }
            LinksEffect::Introduce { from, to, channel } => {
                self.introduce(node, from, to, channel);
                self.seen.push((node, LinksEffect::Introduce { from, to, channel }));
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
    fn send(&mut self, node: NodeId, link: LinkId, bytes: Bytes) {
        let delay = 1 + i64::from(self.below(60));
        let Some(end) = self.ends.get_mut(&(node, link)) else { return };
        let (to, link) = end.peer;
        end.last_arrival = end.last_arrival.max(self.now.plus(delay));
        let arrival = end.last_arrival;
        for (kind, payload) in whole_messages(&bytes).unwrap() {
            self.kinds.push(kind);
            if self.is_parted(node, to) {
                self.held.push((to, link, kind, payload));
            } else {
                self.at(arrival, to, LinksInput::Received { link, kind, payload });
            }
        }
    }

    /// From now on two nodes cannot hear each other; what they send is held back, as TCP does.
    pub(crate) fn partition(&mut self, one: u16, other: u16) {
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

    /// Why links were hung up.
    pub(crate) fn hangups(&self) -> Vec<HangupReason> {
        let reasons = self.seen.iter().filter_map(|(_, effect)| match effect {
            LinksEffect::Hangup { reason, .. } => Some(*reason),
            _ => None,
        });
        reasons.collect()
    }

    /// Node 1 asks something.
    pub(crate) fn call(
        &mut self,
        number: u64,
        target: CallTarget,
        (deadline_ms, repeatable): (u32, bool),
    ) {
        self.call_role(number, Role::steward(), target, (deadline_ms, repeatable));
    }

    pub(crate) fn call_role(
        &mut self,
        number: u64,
        role: Role,
        target: CallTarget,
        (deadline_ms, repeatable): (u32, bool),
    ) {
        let key = match &target {
            CallTarget::Preferred(key) => key.clone(),
            CallTarget::Node(_) => Key::world(),
        };
        self.tell(
            1,
            LinksInput::Call {
                number,
                target,
                role,
                key: key.to_string(),
                body: question(),
                deadline_ms,
                repeatable,
                trace: 1,
            },
        );
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
    pub(crate) fn ended(&self) -> Vec<(u64, Result<Bytes, CallError>)> {
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

/// The payload of a message.
pub(crate) fn payload(message: BytesMut) -> Bytes {
    whole_messages(&message.freeze()).unwrap().remove(0).1
}

/// The payload of a control message.
pub(crate) fn control(body: peer_message::Body) -> Bytes {
    let mut message = BytesMut::new();
    put_control(&mut message, &PeerMessage { body: Some(body) });
    payload(message)
}

/// What is asked in every call.
pub(crate) fn question() -> Bytes {
    Bytes::from_static(b"how are you?")
}
