//! One link to another node: what we read from it, what it reads from us.

use bytes::{Bytes, BytesMut};
use pelago_model::{ChannelId, Incarnation, IslandId, NodeId, PublisherId, WorldTime};
use pelago_wire::client_stream::put_close;
use pelago_wire::frame::{Frame, Snapshot, StreamKind};
use pelago_wire::message::put_control;
use pelago_wire::peer::{Channel, PeerMessage, Subscriptions, peer_message};
use pelago_wire::peer_stream::{put_peer_frame, put_peer_frames_message, put_peer_snapshot};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes that wait for a blocked link; beyond it is hung up.
pub(crate) const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;
/// Channels that one node may read from another; beyond it the link is hung up.
pub(crate) const MAX_SUBSCRIPTIONS: usize = 65_536;

/// A connection to another node, numbered by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// What one may subscribe to.
pub type Subject = (ChannelId, StreamKind);

/// Why a link is hung up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HangupReason {
    /// Bytes that are not what the protocol says.
    #[error("malformed bytes")]
    Malformed,
    /// No version in common.
    #[error("no protocol version in common")]
    Version,
    /// Nothing was heard for too long.
    #[error("silence")]
    Silent,
    /// A newer link to the same node, or a newer life of it.
    #[error("replaced by a newer link")]
    Replaced,
    /// The node is not in the address book any more.
    #[error("not in the address book")]
    Gone,
    /// The other side counts subscriptions otherwise.
    #[error("subscriptions out of step")]
    OutOfStep,
    /// Too much waits for it.
    #[error("too slow")]
    TooSlow,
}

/// A stream that we publish on the link.
#[derive(Clone, Copy, Debug)]
struct OutStream {
    alias: u32,
    /// Frames were left out: wants a fresh snapshot.
    stale: bool,
}

/// A stream that we read from the link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InStream {
    pub(crate) subject: Subject,
    pub(crate) publisher: PublisherId,
    pub(crate) sequence: u64,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    /// Known when we dialled, or from its hello.
    pub(crate) node: Option<NodeId>,
    pub(crate) incarnation: Option<Incarnation>,
    pub(crate) last_received: WorldTime,
    pub(crate) last_sent: WorldTime,
    pub(crate) blocked: bool,
    waiting: BytesMut,
    out: BytesMut,
    /// What we read: subject to the version that last added it.
    pub(crate) wanted: BTreeMap<Subject, u64>,
    version: u64,
    add: BTreeSet<Subject>,
    remove: BTreeSet<Subject>,
    whole: bool,
    /// What the other reads: subject to the version that last added it.
    pub(crate) served: BTreeMap<Subject, u64>,
    pub(crate) served_version: u64,
    out_streams: BTreeMap<(Subject, PublisherId), OutStream>,
    free_aliases: Vec<u32>,
    next_alias: u32,
    pub(crate) in_streams: BTreeMap<u32, InStream>,
    /// On which islands the other has somebody.
    pub(crate) islands: BTreeSet<IslandId>,
    /// Calls of the other that are not answered yet.
    pub(crate) incoming: BTreeSet<u64>,
}

impl Link {
    pub(crate) fn new(id: LinkId, node: Option<NodeId>, now: WorldTime) -> Self {
        Self {
            id,
            node,
            incarnation: None,
            last_received: now,
            last_sent: now,
            blocked: false,
            waiting: BytesMut::new(),
            out: BytesMut::new(),
            wanted: BTreeMap::new(),
            version: 0,
            add: BTreeSet::new(),
            remove: BTreeSet::new(),
            whole: true,
            served: BTreeMap::new(),
            served_version: 0,
            out_streams: BTreeMap::new(),
            free_aliases: Vec::new(),
            next_alias: 0,
            in_streams: BTreeMap::new(),
            islands: BTreeSet::new(),
            incoming: BTreeSet::new(),
        }
    }

    /// Whether both have said hello.
    pub(crate) fn is_established(&self) -> bool {
        self.incarnation.is_some()
    }

    /// Queues a control message for the next write.
    pub(crate) fn control(&mut self, body: peer_message::Body) {
        let out = if self.blocked { &mut self.waiting } else { &mut self.out };
        put_control(out, &PeerMessage { body: Some(body) });
    }

    /// From the next write on we read, or read no more.
    pub(crate) fn want(&mut self, subject: Subject, wanted: bool) {
        if wanted {
            self.remove.remove(&subject);
            self.add.insert(subject);
        } else {
            self.add.remove(&subject);
            if self.wanted.contains_key(&subject) {
                self.remove.insert(subject);
            }
            self.forget_stream(subject, None);
        }
    }

    /// Drops what we know of a subject's streams, of one publisher or of all.
    pub(crate) fn forget_stream(&mut self, subject: Subject, publisher: Option<PublisherId>) {
        self.in_streams.retain(|_, stream| {
            stream.subject != subject || publisher.is_some_and(|other| other != stream.publisher)
        });
    }

    /// Makes the set that we read equal to `desired`.
    pub(crate) fn reconcile(&mut self, desired: &BTreeSet<Subject>) {
        let planned = |subject: &Subject| {
            self.add.contains(subject)
                || (self.wanted.contains_key(subject) && !self.remove.contains(subject))
        };
        let missing: Vec<Subject> =
            desired.iter().filter(|subject| !planned(subject)).copied().collect();
        let surplus: Vec<Subject> = self
            .wanted
            .keys()
            .chain(&self.add)
            .filter(|subject| !desired.contains(subject) && planned(subject))
            .copied()
            .collect();
        missing.into_iter().for_each(|subject| self.want(subject, true));
        surplus.into_iter().for_each(|subject| self.want(subject, false));
    }

    /// Turns what changed into the next version; `None` if nothing did.
    pub(crate) fn next_subscriptions(&mut self) -> Option<Subscriptions> {
        if self.add.is_empty() && self.remove.is_empty() && !self.whole {
            return None;
        }
        let base = if self.whole { 0 } else { self.version };
        self.whole = false;
        self.version += 1;
        let channel = |subject: &Subject| Channel {
            objects: subject.1 == StreamKind::Objects,
            ..Channel::from(&subject.0)
        };
        let message = Subscriptions {
            version: self.version,
            base,
            add: self.add.iter().map(channel).collect(),
            remove: self.remove.iter().map(channel).collect(),
        };
        for subject in std::mem::take(&mut self.remove) {
            self.wanted.remove(&subject);
        }
        for subject in std::mem::take(&mut self.add) {
            self.wanted.insert(subject, self.version);
        }
        Some(message)
    }

    /// Queues frames that the other reads. A blocked link leaves them out.
    pub(crate) fn publish<'a>(&mut self, frames: impl Iterator<Item = &'a Frame>) -> u64 {
        let mut left_out = 0;
        let mut entries = BytesMut::new();
        let mut tick = None;
        for frame in frames {
            let key = ((frame.channel, frame.stream), frame.publisher);
            let Some(stream) = self.out_streams.get_mut(&key) else { continue };
            if self.blocked || stream.stale {
                stream.stale = true;
                left_out += 1;
                continue;
            }
            if let Some(other) = tick.filter(|other| *other != frame.tick) {
                put_peer_frames_message(&mut self.out, other, &entries);
                entries.clear();
            }
            tick = Some(frame.tick);
            put_peer_frame(&mut entries, &frame.to_peer(stream.alias));
        }
        if let Some(tick) = tick {
            put_peer_frames_message(&mut self.out, tick, &entries);
        }
        left_out
    }

    /// Queues the answer to a subscription, which opens the stream.
    pub(crate) fn answer(&mut self, snapshot: &Snapshot) {
        let subject = (snapshot.channel, snapshot.stream);
        if self.blocked || !self.served.contains_key(&subject) {
            return;
        }
        let key = (subject, snapshot.publisher);
        let alias = self.out_streams.get(&key).map(|stream| stream.alias).unwrap_or_else(|| {
            self.free_aliases.pop().unwrap_or_else(|| {
                self.next_alias += 1;
                self.next_alias - 1
            })
        });
        self.out_streams.insert(key, OutStream { alias, stale: false });
        put_peer_snapshot(&mut self.out, &snapshot.to_peer(alias));
    }

    /// The other reads a subject no more: its aliases end.
    pub(crate) fn unserve(&mut self, subject: Subject) -> bool {
        if self.served.remove(&subject).is_none() {
            return false;
        }
        let (first, last) = (PublisherId(0), PublisherId(u64::MAX));
        let ended: Vec<(Subject, PublisherId)> = self
            .out_streams
            .range((subject, first)..=(subject, last))
            .map(|(key, _)| *key)
            .collect();
        let aliases: Vec<u32> = ended
            .iter()
            .filter_map(|key| self.out_streams.remove(key))
            .map(|stream| stream.alias)
            .collect();
        if !aliases.is_empty() {
            let out = if self.blocked { &mut self.waiting } else { &mut self.out };
            put_close(out, &aliases);
            self.free_aliases.extend(aliases);
        }
        true
    }

    /// The link takes no bytes for now.
    pub(crate) fn block(&mut self) {
        self.blocked = true;
        self.out_streams.values_mut().for_each(|stream| stream.stale = true);
    }

    /// The link takes bytes again: what is to be answered anew.
    pub(crate) fn unblock(&mut self) -> Vec<Subject> {
        self.blocked = false;
        self.out.unsplit(std::mem::take(&mut self.waiting));
        let stale: BTreeSet<Subject> = self
            .out_streams
            .iter()
            .filter(|(_, stream)| stream.stale)
            .map(|((subject, _), _)| *subject)
            .collect();
        // Also those whose first answer fell into the time when it was blocked.
        let opened: BTreeSet<Subject> =
            self.out_streams.keys().map(|(subject, _)| *subject).collect();
        let unanswered = self.served.keys().filter(|subject| !opened.contains(subject)).copied();
        stale.into_iter().chain(unanswered).collect()
    }

    /// What is to be written now; `Err` if too much waits for a blocked link.
    pub(crate) fn take_out(&mut self, now: WorldTime) -> Result<Option<Bytes>, HangupReason> {
        if self.waiting.len() > MAX_WAITING_BYTES {
            return Err(HangupReason::TooSlow);
        }
        if self.blocked || self.out.is_empty() {
            return Ok(None);
        }
        self.last_sent = now;
        Ok(Some(self.out.split().freeze()))
    }
}
