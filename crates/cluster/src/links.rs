//! The machine of links: one to every other member, dialled by the node with the smaller number.
//!
//! * Subscriptions are state: what this node wants is reconciled with what each link was told, in versioned
//!   changes, whole on a new link. What comes on a channel before the snapshot that answers its last subscription is ignored.
//! * This node reads from itself the same way, without a link.
//! * A blocked link leaves out frames, and its readers get fresh snapshots when it takes bytes again. Calls and
//!   subscriptions wait for it, within a limit.
//! * Calls that may be repeated go to the next node when one does not answer.

use crate::book::{Member, Roles};
use crate::calls::{ATTEMPT_MS, CallError, CallTarget, IncomingCall, MAX_INCOMING, Outgoing};
use crate::link::{HangupReason, InStream, Link, LinkId, MAX_SUBSCRIPTIONS, Subject};
use crate::rendezvous::preferred;
use bytes::Bytes;
use pelago_model::{
    ChannelId, Incarnation, IslandClock, IslandId, Key, Machine, NodeId, PublisherId, WorldTime,
};
use pelago_wire::client_stream::decode_close;
use pelago_wire::frame::{Frame, Snapshot, StreamKind};
use pelago_wire::message::{Kind, decode_control};
use pelago_wire::peer::{
    Answer, Call, Heartbeat, PeerHello, PeerMessage, Presence, Rejected, Subscriptions,
    SubscriptionsHeld, answer, call, peer_message,
};
use pelago_wire::peer_stream::{decode_peer_frames, decode_peer_snapshot};
use pelago_wire::{Malformed, PROTOCOL_NEWEST, PROTOCOL_OLDEST, negotiate};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A link on which nothing else was sent gets a heartbeat this often, in ms.
const HEARTBEAT_MS: i64 = 500;
/// A link on which nothing is heard for this long is hung up, in ms.
const SILENCE_MS: i64 = 3000;
/// The first wait before dialling again, in ms; doubled up to the last.
const REDIAL_FIRST_MS: i64 = 100;
/// The longest wait before dialling again, in ms.
const REDIAL_LAST_MS: i64 = 2000;
/// How often the machine looks at its clocks, in ms.
const WAKE_MS: i64 = 100;

/// Who this node is.
#[derive(Clone, Debug)]
pub struct LinksConfig {
    /// Its number.
    pub node: NodeId,
    /// Its present life.
    pub incarnation: Incarnation,
    /// Program and version, for the logs of others.
    pub build: String,
    /// Island time, to decode frames with.
    pub clock: IslandClock,
    /// For tests only: a broken promise.
    pub sabotage: LinksSabotage,
}

/// Bugs planted on purpose, which the simulator must find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinksSabotage {
    /// Changes of subscriptions are sent once, and not again on a new link.
    pub forget_subscriptions: bool,
    /// A snapshot is taken for one frame newer than it is.
    pub snapshot_off_by_one: bool,
}

/// What can wake it.
#[derive(Debug)]
pub enum LinksInput {
    /// The address book as it stands; it may name this node.
    Book(Vec<Member>),
    /// A link is open: dialled to a node, or accepted.
    Opened {
        /// The link.
        link: LinkId,
        /// Whom we dialled.
        toward: Option<NodeId>,
    },
    /// Dialling has failed.
    DialFailed {
        /// Whom we dialled.
        node: NodeId,
    },
    /// A link is gone.
    Closed {
        /// The link.
        link: LinkId,
    },
    /// A message came.
    Received {
        /// On which link.
        link: LinkId,
        /// Which kind.
        kind: u8,
        /// Its payload.
        payload: Bytes,
    },
    /// A link takes no more bytes for now.
    Blocked {
        /// The link.
        link: LinkId,
    },
    /// A link takes bytes again.
    Writable {
        /// The link.
        link: LinkId,
    },
    /// This node wants to read a subject, or no more.
    Interest {
        /// What.
        subject: Subject,
        /// Whether.
        wanted: bool,
    },
    /// A part of this node wants to be answered anew.
    Again {
        /// What.
        subject: Subject,
        /// By whom.
        publisher: PublisherId,
    },
    /// On which islands this node has anybody.
    Present(BTreeSet<IslandId>),
    /// Frames of this node's parts, for all who read them.
    Publish(Vec<Arc<Frame>>),
    /// A part's answer to a subscription.
    Snapshot {
        /// Who subscribed.
        to: NodeId,
        /// The answer.
        snapshot: Arc<Snapshot>,
    },
    /// To ask something of another node, or of this one.
    Call {
        /// The caller's number.
        number: u64,
        /// Whom.
        target: CallTarget,
        /// What.
        body: call::Body,
        /// Until when, in ms from now.
        deadline_ms: u32,
        /// Whether it may be carried out twice.
        repeatable: bool,
        /// To be found in the logs.
        trace: u64,
    },
    /// The answer to a call that came.
    Reply {
        /// Which.
        call: IncomingCall,
        /// The answer.
        body: answer::Body,
    },
    /// The clock.
    Wake,
}

/// What it asks for.
#[derive(Debug)]
pub enum LinksEffect {
    /// To open a link.
    Dial {
        /// To whom.
        node: NodeId,
        /// Where.
        address: String,
    },
    /// To close a link.
    Hangup {
        /// The link.
        link: LinkId,
        /// Why.
        reason: HangupReason,
    },
    /// To write to a link.
    Send {
        /// The link.
        link: LinkId,
        /// Whole messages.
        bytes: Bytes,
    },
    /// The parts of this node shall publish for a reader, and answer it with a snapshot.
    Serve {
        /// Who reads.
        reader: NodeId,
        /// What.
        subject: Subject,
        /// To be named in the answer.
        version: u64,
    },
    /// The parts of this node need not publish for a reader any more.
    Unserve {
        /// Who reads.
        reader: NodeId,
        /// What.
        subject: Subject,
    },
    /// Frames, of this node and of others, decoded.
    Frames(Vec<Arc<Frame>>),
    /// An answer to a subscription.
    Snapshot(Arc<Snapshot>),
    /// A node is out of reach.
    PeerLost {
        /// Which.
        node: NodeId,
    },
    /// A node is within reach.
    PeerUp {
        /// Which.
        node: NodeId,
    },
    /// A call came.
    Incoming {
        /// To be named in the reply.
        call: IncomingCall,
        /// What is asked.
        body: call::Body,
        /// To be found in the logs.
        trace: u64,
    },
    /// A call has ended.
    Ended {
        /// The caller's number.
        number: u64,
        /// How.
        result: Result<answer::Body, CallError>,
    },
}

/// Numbers for operators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinksCounters {
    /// Links hung up for what they sent.
    pub malformed: u64,
    /// Subscriptions removed that were not there.
    pub unmatched_removals: u64,
    /// Snapshots that answered an older subscription.
    pub stale_snapshots: u64,
    /// Gaps in streams.
    pub gaps: u64,
    /// Frames on streams that are not open.
    pub unknown_frames: u64,
    /// Frames left out for blocked links.
    pub left_out: u64,
    /// Calls tried at another node.
    pub retried: u64,
    /// Answers that nobody waited for.
    pub late_answers: u64,
    /// Frames read from other nodes.
    pub frames: u64,
}

#[derive(Debug, Default)]
struct Dialling {
    next: WorldTime,
    wait_ms: i64,
    under_way: bool,
}

/// All links of a node.
pub struct Links {
    config: LinksConfig,
    members: BTreeMap<NodeId, Member>,
    dialling: BTreeMap<NodeId, Dialling>,
    links: BTreeMap<LinkId, Link>,
    /// The link in use to each node.
    peers: BTreeMap<NodeId, LinkId>,
    interests: BTreeSet<Subject>,
    /// What this node reads from itself: subject to version.
    own: BTreeMap<Subject, u64>,
    own_version: u64,
    present: BTreeSet<IslandId>,
    presence_version: u64,
    calls: BTreeMap<u64, Outgoing>,
    next_call: u64,
    next_wake: WorldTime,
    counters: LinksCounters,
}

impl Links {
    /// A node without links.
    pub fn new(config: LinksConfig) -> Self {
        Self {
            config,
            members: BTreeMap::new(),
            dialling: BTreeMap::new(),
            links: BTreeMap::new(),
            peers: BTreeMap::new(),
            interests: BTreeSet::new(),
            own: BTreeMap::new(),
            own_version: 0,
            present: BTreeSet::new(),
            presence_version: 0,
            calls: BTreeMap::new(),
            next_call: 0,
            next_wake: WorldTime(0),
            counters: LinksCounters::default(),
        }
    }

    /// Its numbers.
    pub fn counters(&self) -> LinksCounters {
        self.counters
    }

    /// The nodes within reach.
    pub fn peers(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.peers.keys().copied()
    }

    /// Whether every member is within reach.
    pub fn is_complete(&self) -> bool {
        self.members.keys().all(|node| *node == self.config.node || self.peers.contains_key(node))
    }

    /// What a peer reads from this node.
    pub fn served(&self, node: NodeId) -> Option<impl Iterator<Item = Subject> + '_> {
        let link = self.links.get(self.peers.get(&node)?)?;
        Some(link.served.keys().copied())
    }

    /// The stewards of a key in order of preference.
    pub fn stewards(&self, key: &Key) -> Vec<NodeId> {
        let stewards = self.members.values().filter(|member| member.roles.contains(Roles::STEWARD));
        preferred(key, stewards.map(|member| member.node))
    }

    fn steward_of(&self, channel: &ChannelId) -> Option<NodeId> {
        self.stewards(&Key::chunk(channel.island, channel.chunk)).first().copied()
    }

    fn is_wanted_from(
        &self,
        subject: &Subject,
        node: NodeId,
        islands: &BTreeSet<IslandId>,
    ) -> bool {
        match subject.1 {
            StreamKind::Entities => islands.contains(&subject.0.island),
            StreamKind::Objects => self.steward_of(&subject.0) == Some(node),
        }
    }

    // --- what this node wants -----------------------------------------------------------------

    fn interest(&mut self, subject: Subject, wanted: bool, effects: &mut Vec<LinksEffect>) {
        let changed =
            if wanted { self.interests.insert(subject) } else { self.interests.remove(&subject) };
        if !changed {
            return;
        }
        let steward = match subject.1 {
            StreamKind::Objects => self.steward_of(&subject.0),
            StreamKind::Entities => None,
        };
        for link in self.links.values_mut().filter(|link| link.is_established()) {
            let here = match subject.1 {
                StreamKind::Entities => link.islands.contains(&subject.0.island),
                StreamKind::Objects => link.node == steward,
            };
            if here || !wanted {
                link.want(subject, wanted);
            }
        }
        let ours = subject.1 == StreamKind::Entities || steward == Some(self.config.node);
        if wanted && ours {
            self.serve_own(subject, effects);
        } else if !wanted && self.own.remove(&subject).is_some() {
            effects.push(LinksEffect::Unserve { reader: self.config.node, subject });
        }
    }

    fn serve_own(&mut self, subject: Subject, effects: &mut Vec<LinksEffect>) {
        self.own_version += 1;
        self.own.insert(subject, self.own_version);
        let (reader, version) = (self.config.node, self.own_version);
        effects.push(LinksEffect::Serve { reader, subject, version });
    }

    fn again(&mut self, subject: Subject, publisher: PublisherId, effects: &mut Vec<LinksEffect>) {
        if !self.interests.contains(&subject) {
            return;
        }
        if publisher.node() == self.config.node {
            if self.own.contains_key(&subject) {
                self.serve_own(subject, effects);
            }
            return;
        }
        let link = self.peers.get(&publisher.node()).and_then(|link| self.links.get_mut(link));
        if let Some(link) = link
            && link.wanted.contains_key(&subject)
        {
            link.want(subject, true);
        }
    }

    /// After a change of members or of presence: everybody is asked for what they have.
    fn reconcile_all(&mut self, effects: &mut Vec<LinksEffect>) {
        for node in self.peers.keys().copied().collect::<Vec<_>>() {
            self.reconcile(node);
        }
        let own_node = self.config.node;
        for subject in self.interests.iter().copied().collect::<Vec<_>>() {
            let ours =
                subject.1 == StreamKind::Entities || self.steward_of(&subject.0) == Some(own_node);
            if ours && !self.own.contains_key(&subject) {
                self.serve_own(subject, effects);
            } else if !ours && self.own.remove(&subject).is_some() {
                effects.push(LinksEffect::Unserve { reader: own_node, subject });
            }
        }
    }

    fn reconcile(&mut self, node: NodeId) {
        let Some(link) = self.peers.get(&node).and_then(|link| self.links.get(link)) else {
            return;
        };
        let desired: BTreeSet<Subject> = self
            .interests
            .iter()
            .filter(|subject| self.is_wanted_from(subject, node, &link.islands))
            .copied()
            .collect();
        if let Some(link) = self.peers.get(&node).and_then(|link| self.links.get_mut(link)) {
            link.reconcile(&desired);
        }
    }

    // --- links --------------------------------------------------------------------------------

    fn book(&mut self, members: Vec<Member>, effects: &mut Vec<LinksEffect>) {
        self.members = members.into_iter().map(|member| (member.node, member)).collect();
        self.dialling.retain(|node, _| self.members.contains_key(node));
        let gone: Vec<LinkId> = self
            .peers
            .iter()
            .filter(|(node, _)| !self.members.contains_key(node))
            .map(|(_, link)| *link)
            .collect();
        for link in gone {
            self.hang_up(link, HangupReason::Gone, effects);
        }
        self.reconcile_all(effects);
    }

    fn opened(&mut self, now: WorldTime, id: LinkId, toward: Option<NodeId>) {
        if let Some(dialling) = toward.and_then(|node| self.dialling.get_mut(&node)) {
            dialling.under_way = false;
        }
        let mut link = Link::new(id, toward, now);
        link.control(peer_message::Body::Hello(PeerHello {
            oldest_version: PROTOCOL_OLDEST,
            newest_version: PROTOCOL_NEWEST,
            node: self.config.node.0.into(),
            incarnation: self.config.incarnation.0,
            build: self.config.build.clone(),
        }));
        self.links.insert(id, link);
    }

    fn hang_up(&mut self, id: LinkId, reason: HangupReason, effects: &mut Vec<LinksEffect>) {
        if self.links.contains_key(&id) {
            effects.push(LinksEffect::Hangup { link: id, reason });
            self.closed(id, effects);
        }
    }

    fn closed(&mut self, id: LinkId, effects: &mut Vec<LinksEffect>) {
        let Some(link) = self.links.remove(&id) else { return };
        let Some(node) = link.node else { return };
        if let Some(dialling) = self.dialling.get_mut(&node) {
            dialling.under_way = false;
        }
        if self.peers.get(&node) == Some(&id) {
            self.peers.remove(&node);
            for subject in link.served.into_keys() {
                effects.push(LinksEffect::Unserve { reader: node, subject });
            }
            effects.push(LinksEffect::PeerLost { node });
        }
        // What was asked on this link has no answer: it may be tried elsewhere.
        for call in self.calls.values_mut().filter(|call| call.at == Some((node, Some(id)))) {
            call.attempt_until = WorldTime(0);
        }
        self.next_wake = WorldTime(0);
    }

    fn hello(
        &mut self,
        id: LinkId,
        hello: &PeerHello,
        effects: &mut Vec<LinksEffect>,
    ) -> Result<(), HangupReason> {
        let versions = (hello.oldest_version, hello.newest_version);
        negotiate(versions, (PROTOCOL_OLDEST, PROTOCOL_NEWEST)).ok_or(HangupReason::Version)?;
        let node = u16::try_from(hello.node).map(NodeId).map_err(|_| HangupReason::Malformed)?;
        let incarnation = Incarnation(hello.incarnation);
        let link = self.links.get(&id).ok_or(HangupReason::Replaced)?;
        if node == self.config.node
            || link.node.is_some_and(|expected| expected != node)
            || link.is_established()
        {
            return Err(HangupReason::Malformed);
        }
        if let Some(old) = self.peers.get(&node).copied() {
            if self.links.get(&old).and_then(|link| link.incarnation) > Some(incarnation) {
                return Err(HangupReason::Replaced);
            }
            self.hang_up(old, HangupReason::Replaced, effects);
        }
        if let Some(dialling) = self.dialling.get_mut(&node) {
            dialling.wait_ms = 0;
        }
        self.peers.insert(node, id);
        if let Some(link) = self.links.get_mut(&id) {
            link.node = Some(node);
            link.incarnation = Some(incarnation);
            link.control(presence(self.presence_version, &self.present));
        }
        if !self.config.sabotage.forget_subscriptions {
            self.reconcile(node);
        }
        effects.push(LinksEffect::PeerUp { node });
        Ok(())
    }

    // --- what others send ---------------------------------------------------------------------

    fn received(
        &mut self,
        now: WorldTime,
        id: LinkId,
        kind: u8,
        payload: &Bytes,
        effects: &mut Vec<LinksEffect>,
    ) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.last_received = now;
        let established = link.is_established();
        let result = match Kind::from_number(kind) {
            Some(Kind::Control) => match decode_control::<PeerMessage>(payload) {
                Ok(message) => self.control(id, message, effects),
                Err(_) => Err(HangupReason::Malformed),
            },
            _ if !established => Err(HangupReason::Malformed),
            Some(Kind::Frames) => self.frames(id, payload, effects).map_err(|_| malformed()),
            Some(Kind::Snapshot) => self.snapshot(id, payload, effects).map_err(|_| malformed()),
            Some(Kind::Close) => self.close_aliases(id, payload).map_err(|_| malformed()),
            // A newer version may have more kinds.
            None => Ok(()),
        };
        if let Err(reason) = result {
            if reason == HangupReason::Malformed {
                self.counters.malformed += 1;
            }
            self.hang_up(id, reason, effects);
        }
    }

    fn control(
        &mut self,
        id: LinkId,
        message: PeerMessage,
        effects: &mut Vec<LinksEffect>,
    ) -> Result<(), HangupReason> {
        let Some(body) = message.body else { return Ok(()) };
        if let peer_message::Body::Hello(hello) = &body {
            return self.hello(id, hello, effects);
        }
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        let Some(node) = link.node.filter(|_| link.is_established()) else {
            return Err(HangupReason::Malformed);
        };
        match body {
            peer_message::Body::Hello(_) | peer_message::Body::Heartbeat(_) => Ok(()),
            peer_message::Body::Subscriptions(change) => {
                self.subscriptions(id, node, &change, effects)
            }
            peer_message::Body::Held(_) => Ok(()),
            peer_message::Body::Presence(presence) => {
                link.islands = presence.islands.into_iter().map(IslandId).collect();
                if !self.config.sabotage.forget_subscriptions {
                    self.reconcile(node);
                }
                Ok(())
            }
            peer_message::Body::Call(call) => self.incoming(id, call, effects),
            peer_message::Body::Answer(answer) => {
                self.answered(node, answer, effects);
                Ok(())
            }
        }
    }

    fn subscriptions(
        &mut self,
        id: LinkId,
        node: NodeId,
        change: &Subscriptions,
        effects: &mut Vec<LinksEffect>,
    ) -> Result<(), HangupReason> {
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        if change.base != 0 && change.base != link.served_version {
            return Err(HangupReason::OutOfStep);
        }
        let subject = |channel: &pelago_wire::peer::Channel| {
            let kind = if channel.objects { StreamKind::Objects } else { StreamKind::Entities };
            ChannelId::try_from(channel).map(|id| (id, kind)).map_err(|_| malformed())
        };
        let add: BTreeSet<Subject> = change.add.iter().map(subject).collect::<Result<_, _>>()?;
        let mut remove: BTreeSet<Subject> =
            change.remove.iter().map(subject).collect::<Result<_, _>>()?;
        if change.base == 0 {
            remove.extend(link.served.keys().filter(|subject| !add.contains(subject)));
        }
        if link.served.len() + add.len() > MAX_SUBSCRIPTIONS {
            return Err(HangupReason::TooSlow);
        }
        link.served_version = change.version;
        for subject in remove {
            if link.unserve(subject) {
                effects.push(LinksEffect::Unserve { reader: node, subject });
            } else {
                self.counters.unmatched_removals += 1;
            }
        }
        for subject in add {
            link.served.insert(subject, change.version);
            effects.push(LinksEffect::Serve { reader: node, subject, version: change.version });
        }
        link.control(peer_message::Body::Held(SubscriptionsHeld { version: change.version }));
        Ok(())
    }

    fn frames(
        &mut self,
        id: LinkId,
        payload: &Bytes,
        effects: &mut Vec<LinksEffect>,
    ) -> Result<(), Malformed> {
        let (tick, encoded) = decode_peer_frames(payload)?;
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        let mut frames = Vec::with_capacity(encoded.len());
        for bytes in encoded {
            let alias = bytes.alias;
            let Some(stream) = link.in_streams.get_mut(&alias) else {
                self.counters.unknown_frames += 1;
                continue;
            };
            let (subject, publisher) = (stream.subject, stream.publisher);
            if bytes.sequence <= stream.sequence {
                continue;
            }
            if bytes.sequence != stream.sequence + 1 {
                self.counters.gaps += 1;
                link.in_streams.remove(&alias);
                link.want(subject, true);
                continue;
            }
            stream.sequence = bytes.sequence;
            let whose = (publisher, subject.0, subject.1);
            frames.push(Arc::new(Frame::decode(whose, tick, &self.config.clock, bytes)?));
        }
        self.counters.frames += frames.len() as u64;
        if !frames.is_empty() {
            effects.push(LinksEffect::Frames(frames));
        }
        Ok(())
    }

    fn snapshot(
        &mut self,
        id: LinkId,
        payload: &Bytes,
        effects: &mut Vec<LinksEffect>,
    ) -> Result<(), Malformed> {
        let bytes = decode_peer_snapshot(payload)?;
        let alias = bytes.alias;
        let snapshot = Snapshot::decode(bytes, &self.config.clock)?;
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        if link.node != Some(snapshot.publisher.node()) {
            return Err(Malformed::OutOfRange);
        }
        let subject = (snapshot.channel, snapshot.stream);
        link.in_streams.remove(&alias);
        if link.wanted.get(&subject).is_none_or(|version| snapshot.answers < *version) {
            self.counters.stale_snapshots += 1;
            return Ok(());
        }
        link.forget_stream(subject, Some(snapshot.publisher));
        let ahead = u64::from(self.config.sabotage.snapshot_off_by_one);
        let sequence = snapshot.sequence + ahead;
        let stream = InStream { subject, publisher: snapshot.publisher, sequence };
        link.in_streams.insert(alias, stream);
        effects.push(LinksEffect::Snapshot(Arc::new(snapshot)));
        Ok(())
    }

    fn close_aliases(&mut self, id: LinkId, payload: &Bytes) -> Result<(), Malformed> {
        let aliases = decode_close(payload)?;
        if let Some(link) = self.links.get_mut(&id) {
            for alias in aliases {
                link.in_streams.remove(&alias);
            }
        }
        Ok(())
    }

    // --- what this node publishes ---------------------------------------------------------------

    fn publish(&mut self, frames: &[Arc<Frame>], effects: &mut Vec<LinksEffect>) {
        for link in self.links.values_mut().filter(|link| link.is_established()) {
            self.counters.left_out += link.publish(frames.iter().map(|frame| &**frame));
        }
        let own = |frame: &&Arc<Frame>| self.own.contains_key(&(frame.channel, frame.stream));
        let own: Vec<Arc<Frame>> = frames.iter().filter(own).cloned().collect();
        if !own.is_empty() {
            effects.push(LinksEffect::Frames(own));
        }
    }

    fn answer(&mut self, to: NodeId, snapshot: Arc<Snapshot>, effects: &mut Vec<LinksEffect>) {
        if to != self.config.node {
            if let Some(link) = self.peers.get(&to).and_then(|link| self.links.get_mut(link)) {
                link.answer(&snapshot);
            }
        } else if self
            .own
            .get(&(snapshot.channel, snapshot.stream))
            .is_some_and(|version| *version <= snapshot.answers)
        {
            effects.push(LinksEffect::Snapshot(snapshot));
        }
    }

    // --- calls ----------------------------------------------------------------------------------

    /// Sends a call to the next node that has not been tried, or ends it.
    fn attempt(&mut self, now: WorldTime, id: u64, effects: &mut Vec<LinksEffect>) {
        let Some(call) = self.calls.get(&id) else { return };
        let begun = call.at.is_some();
        let error = if call.deadline <= now {
            Some(CallError::DeadlineExceeded)
        } else if begun && !call.repeatable {
            Some(CallError::LinkLost)
        } else {
            None
        };
        if let Some(error) = error {
            return self.end(id, Err(error), effects);
        }
        let candidates = match &call.target {
            CallTarget::Node(node) => vec![*node],
            CallTarget::Steward(key) => self.stewards(key),
        };
        let reachable = |node: &NodeId| *node == self.config.node || self.peers.contains_key(node);
        let next = candidates.iter().find(|node| !call.tried.contains(node) && reachable(node));
        let Some(node) = next.copied() else {
            if begun && candidates.len() > 1 {
                // Everybody was asked: from the front again, a little later.
                if let Some(call) = self.calls.get_mut(&id) {
                    call.tried.clear();
                    call.at = None;
                    call.attempt_until = now.plus(ATTEMPT_MS / 4);
                }
                return;
            }
            return self.end(id, Err(CallError::Unreachable), effects);
        };
        if begun {
            self.counters.retried += 1;
        }
        let link = self.peers.get(&node).copied();
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.tried.insert(node);
        call.attempt_until = now.plus(ATTEMPT_MS).min(call.deadline);
        if node == self.config.node {
            call.at = Some((node, None));
            call.attempt_until = call.deadline;
            let incoming = IncomingCall { link: None, number: id };
            let (body, trace) = (call.body.clone(), call.trace);
            effects.push(LinksEffect::Incoming { call: incoming, body, trace });
        } else if let Some(link) = link.and_then(|link| self.links.get_mut(&link)) {
            call.at = Some((node, Some(link.id)));
            let deadline_ms = u32::try_from(call.deadline.since(now)).unwrap_or(0);
            link.control(peer_message::Body::Call(Call {
                number: id,
                deadline_ms,
                repeatable: call.repeatable,
                trace: call.trace,
                body: Some(call.body.clone()),
            }));
        }
    }

    fn end(
        &mut self,
        id: u64,
        result: Result<answer::Body, CallError>,
        effects: &mut Vec<LinksEffect>,
    ) {
        if let Some(call) = self.calls.remove(&id) {
            effects.push(LinksEffect::Ended { number: call.number, result });
        } else {
            self.counters.late_answers += 1;
        }
    }

    fn incoming(
        &mut self,
        id: LinkId,
        call: Call,
        effects: &mut Vec<LinksEffect>,
    ) -> Result<(), HangupReason> {
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        let incoming = IncomingCall { link: Some(id), number: call.number };
        let code = match &call.body {
            None => "unknown",
            Some(_) if link.incoming.len() >= MAX_INCOMING => "busy",
            Some(_) => "",
        };
        if let Some(body) = call.body.filter(|_| code.is_empty()) {
            link.incoming.insert(call.number);
            effects.push(LinksEffect::Incoming { call: incoming, body, trace: call.trace });
        } else {
            let body = answer::Body::Rejected(Rejected { code: code.into() });
            let answer = Answer { number: call.number, body: Some(body) };
            link.control(peer_message::Body::Answer(answer));
        }
        Ok(())
    }

    fn answered(&mut self, node: NodeId, answer: Answer, effects: &mut Vec<LinksEffect>) {
        let Some(call) = self.calls.get_mut(&answer.number) else {
            self.counters.late_answers += 1;
            return;
        };
        match answer.body {
            // Of a node that was given up meanwhile, a rejection says nothing.
            Some(answer::Body::Rejected(_)) if call.at.is_none_or(|(at, _)| at != node) => {}
            Some(answer::Body::Rejected(rejected)) => {
                if call.repeatable && matches!(call.target, CallTarget::Steward(_)) {
                    call.attempt_until = WorldTime(0);
                    self.next_wake = WorldTime(0);
                } else {
                    let result = Err(CallError::Rejected(rejected.code));
                    self.end(answer.number, result, effects);
                }
            }
            // An answer of a node that was given up is as good.
            Some(body) => self.end(answer.number, Ok(body), effects),
            None => {}
        }
    }

    fn reply(&mut self, call: IncomingCall, body: answer::Body, effects: &mut Vec<LinksEffect>) {
        match call.link {
            None => self.end(call.number, Ok(body), effects),
            Some(id) => {
                if let Some(link) = self.links.get_mut(&id) {
                    link.incoming.remove(&call.number);
                    let answer = Answer { number: call.number, body: Some(body) };
                    link.control(peer_message::Body::Answer(answer));
                }
            }
        }
    }

    // --- the clock ------------------------------------------------------------------------------

    fn wake(&mut self, now: WorldTime, effects: &mut Vec<LinksEffect>) {
        self.next_wake = now.plus(WAKE_MS);
        let silent: Vec<LinkId> = self
            .links
            .values()
            .filter(|link| link.last_received.plus(SILENCE_MS) <= now)
            .map(|link| link.id)
            .collect();
        for link in silent {
            self.hang_up(link, HangupReason::Silent, effects);
        }
        for link in self.links.values_mut().filter(|link| link.is_established()) {
            if link.last_sent.plus(HEARTBEAT_MS) <= now && !link.blocked {
                link.control(peer_message::Body::Heartbeat(Heartbeat { world_time_ms: now.0 }));
            }
        }
        self.dial(now, effects);
        let overdue = |call: &Outgoing| call.attempt_until <= now || call.deadline <= now;
        let overdue: Vec<u64> =
            self.calls.iter().filter(|(_, call)| overdue(call)).map(|(id, _)| *id).collect();
        for id in overdue {
            self.attempt(now, id, effects);
        }
        self.next_wake = now.plus(WAKE_MS);
    }

    fn dial(&mut self, now: WorldTime, effects: &mut Vec<LinksEffect>) {
        for member in self.members.values() {
            if member.node <= self.config.node || self.peers.contains_key(&member.node) {
                continue;
            }
            let dialling = self.dialling.entry(member.node).or_default();
            let open = self.links.values().any(|link| link.node == Some(member.node));
            if !dialling.under_way && !open && dialling.next <= now {
                dialling.under_way = true;
                dialling.wait_ms = (dialling.wait_ms * 2).clamp(REDIAL_FIRST_MS, REDIAL_LAST_MS);
                dialling.next = now.plus(dialling.wait_ms);
                let address = member.address.clone();
                effects.push(LinksEffect::Dial { node: member.node, address });
            }
        }
    }

    /// Writes what has gathered, once per link.
    fn flush(&mut self, now: WorldTime, effects: &mut Vec<LinksEffect>) {
        let mut too_slow = Vec::new();
        for link in self.links.values_mut() {
            if link.is_established()
                && let Some(change) = link.next_subscriptions()
            {
                link.control(peer_message::Body::Subscriptions(change));
            }
            match link.take_out(now) {
                Ok(Some(bytes)) => effects.push(LinksEffect::Send { link: link.id, bytes }),
                Ok(None) => {}
                Err(reason) => too_slow.push((link.id, reason)),
            }
        }
        for (link, reason) in too_slow {
            self.hang_up(link, reason, effects);
        }
    }
}

impl Machine for Links {
    type Input = LinksInput;
    type Effect = LinksEffect;

    fn handle(&mut self, now: WorldTime, input: LinksInput, effects: &mut Vec<LinksEffect>) {
        match input {
            LinksInput::Book(members) => {
                self.book(members, effects);
                self.dial(now, effects);
            }
            LinksInput::Opened { link, toward } => self.opened(now, link, toward),
            LinksInput::DialFailed { node } => {
                if let Some(dialling) = self.dialling.get_mut(&node) {
                    dialling.under_way = false;
                }
            }
            LinksInput::Closed { link } => self.closed(link, effects),
            LinksInput::Received { link, kind, payload } => {
                self.received(now, link, kind, &payload, effects);
            }
            LinksInput::Blocked { link } => {
                if let Some(link) = self.links.get_mut(&link) {
                    link.block();
                }
            }
            LinksInput::Writable { link: id } => {
                if let Some(link) = self.links.get_mut(&id)
                    && let Some(reader) = link.node
                {
                    for subject in link.unblock() {
                        let version = link.served.get(&subject).copied().unwrap_or(0);
                        effects.push(LinksEffect::Serve { reader, subject, version });
                    }
                }
            }
            LinksInput::Interest { subject, wanted } => self.interest(subject, wanted, effects),
            LinksInput::Again { subject, publisher } => self.again(subject, publisher, effects),
            LinksInput::Present(islands) => {
                if islands != self.present {
                    self.present = islands;
                    self.presence_version += 1;
                    for link in self.links.values_mut().filter(|link| link.is_established()) {
                        link.control(presence(self.presence_version, &self.present));
                    }
                }
            }
            LinksInput::Publish(frames) => self.publish(&frames, effects),
            LinksInput::Snapshot { to, snapshot } => self.answer(to, snapshot, effects),
            LinksInput::Call { number, target, body, deadline_ms, repeatable, trace } => {
                self.next_call += 1;
                let call = Outgoing {
                    number,
                    target,
                    body,
                    deadline: now.plus(deadline_ms.into()),
                    repeatable,
                    trace,
                    tried: BTreeSet::new(),
                    at: None,
                    attempt_until: now,
                };
                self.calls.insert(self.next_call, call);
                self.attempt(now, self.next_call, effects);
            }
            LinksInput::Reply { call, body } => self.reply(call, body, effects),
            LinksInput::Wake => {}
        }
        if self.next_wake <= now {
            self.wake(now, effects);
        }
        self.flush(now, effects);
    }

    fn next_wake(&self) -> Option<WorldTime> {
        Some(self.next_wake)
    }
}

fn presence(version: u64, islands: &BTreeSet<IslandId>) -> peer_message::Body {
    let islands = islands.iter().map(|island| island.0).collect();
    peer_message::Body::Presence(Presence { version, islands })
}

const fn malformed() -> HangupReason {
    HangupReason::Malformed
}
