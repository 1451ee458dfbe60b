//! One link to another node: its greeting, what waits to be written, what is read and served on it.

use crate::aliases::{InStreams, OutStreams, Stream};
use crate::hangup::HangupReason;
use crate::subjects::{Subject, SubjectNumber};
use crate::subscriptions::{Served, Wanted};
use bytes::{Bytes, BytesMut};
use pelago_model::limits::MAX_MESSAGE_BYTES;
use pelago_model::{Incarnation, IslandId, NodeId, PublisherId, WorldTime};
use pelago_wire::client_stream::put_close;
use pelago_wire::frame::{Frame, Snapshot};
use pelago_wire::message::put_control;
use pelago_wire::peer::{PeerMessage, peer_message};
use pelago_wire::peer_stream::{
    PeerSnapshot, put_peer_frame, put_peer_frames_message, put_peer_snapshot,
};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of control messages that wait for a blocked link; beyond it is hung up.
pub(crate) const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;
/// Room that a message leaves for its own header and the fields around its records.
const HEADER_BYTES: usize = 256;

/// A connection to another node, numbered by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Subjects of which something was left out.
#[derive(Debug, Default)]
pub(crate) struct NotSent {
    /// Frames left out because the link was blocked.
    pub(crate) left_out: u64,
    /// Subjects with a frame that does not fit a message: to be answered anew.
    pub(crate) too_large: BTreeSet<SubjectNumber>,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    /// Known when we dialled, or from its hello.
    pub(crate) node: Option<NodeId>,
    /// From its hello: which life of the node it is.
    pub(crate) incarnation: Option<Incarnation>,
    pub(crate) last_received: WorldTime,
    pub(crate) last_sent: WorldTime,
    pub(crate) blocked: bool,
    /// Control messages for when it is not blocked any more.
    waiting: BytesMut,
    out: BytesMut,
    /// The subscriptions of this node.
    pub(crate) wanted: Wanted,
    pub(crate) in_streams: InStreams,
    /// The subscriptions of the other node.
    pub(crate) served: Served,
    out_streams: OutStreams,
    /// Subjects whose answer fell into the time when it was blocked.
    unanswered: BTreeSet<SubjectNumber>,
    /// On which islands the other has somebody, and the version of that.
    pub(crate) islands: BTreeSet<IslandId>,
    pub(crate) islands_version: u64,
    /// Calls of the other that are not answered yet, and until when it waits for them.
    pub(crate) incoming: BTreeMap<u64, WorldTime>,
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
            wanted: Wanted::default(),
            in_streams: InStreams::default(),
            served: Served::default(),
            out_streams: OutStreams::default(),
            unanswered: BTreeSet::new(),
            islands: BTreeSet::new(),
            islands_version: 0,
            incoming: BTreeMap::new(),
        }
    }

    /// Whether the other has said hello.
    pub(crate) fn is_established(&self) -> bool {
        self.incarnation.is_some()
    }

    /// The publisher that is a part of this life of the other node.
    pub(crate) fn publisher(&self, part: u16) -> Option<PublisherId> {
        Some(PublisherId::new(self.node?, part, self.incarnation?))
    }

    /// Bytes that are to be written.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting.len() + self.out.len()
    }

    /// Subjects whose answer was left out.
    pub(crate) fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// Streams that the other reads.
    pub(crate) fn out_streams(&self) -> usize {
        self.out_streams.len()
    }

    /// Queues a control message for the next write.
    pub(crate) fn control(&mut self, body: peer_message::Body) {
        put_control(self.queue(), &PeerMessage { body: Some(body) });
    }

    fn queue(&mut self) -> &mut BytesMut {
        if self.blocked { &mut self.waiting } else { &mut self.out }
    }

    /// From the next write on we read the subject (anew), or read it no more.
    pub(crate) fn want(&mut self, number: SubjectNumber, subject: Subject, wanted: bool) {
        if wanted {
            self.wanted.want(number, subject);
        } else {
            self.wanted.let_go(number, subject);
            self.in_streams.forget(number);
        }
    }

    /// Queues what has changed in what we read.
    pub(crate) fn tell_subscriptions(&mut self) {
        while let Some(change) = self.wanted.next() {
            self.control(peer_message::Body::Subscriptions(change));
        }
    }

    /// Queues frames that the other reads. A blocked link leaves them out.
    pub(crate) fn publish<'a>(
        &mut self,
        frames: impl Iterator<Item = (SubjectNumber, &'a Frame)>,
    ) -> NotSent {
        let mut not_sent = NotSent::default();
        let mut entries = BytesMut::new();
        let mut message_tick = None;
        for (subject, frame) in frames {
            let stream = Stream::new(subject, frame.publisher.part());
            let bytes = frame.core.len() + frame.sections.iter().map(Bytes::len).sum::<usize>();
            let too_large = bytes + HEADER_BYTES > MAX_MESSAGE_BYTES;
            let alias = match self.out_streams.alias(stream, self.blocked || too_large) {
                Ok(Some(alias)) => alias,
                Ok(None) => continue,
                Err(_) => {
                    not_sent.left_out += 1;
                    if too_large && !self.blocked {
                        not_sent.too_large.insert(subject);
                    }
                    continue;
                }
            };
            if let Some(tick) = message_tick
                && (tick != frame.tick || entries.len() + bytes + HEADER_BYTES > MAX_MESSAGE_BYTES)
            {
                put_peer_frames_message(&mut self.out, tick, &entries);
                entries.clear();
            }
            message_tick = Some(frame.tick);
            put_peer_frame(&mut entries, &frame.to_peer(alias));
        }
        if let Some(tick) = message_tick {
            put_peer_frames_message(&mut self.out, tick, &entries);
        }
        not_sent
    }

    /// Queues the answer to a subscription, which opens the stream. False if it does not fit a message.
    pub(crate) fn answer(&mut self, subject: SubjectNumber, snapshot: &Snapshot) -> bool {
        let Some(answers) = self.served.answered(subject, snapshot.answers) else { return true };
        if self.blocked {
            self.unanswered.insert(subject);
            return true;
        }
        if snapshot.bytes.len() + HEADER_BYTES > MAX_MESSAGE_BYTES {
            return false;
        }
        let alias = self.out_streams.open(Stream::new(subject, snapshot.publisher.part()));
        let bytes = PeerSnapshot { answers, ..snapshot.to_peer(alias) };
        put_peer_snapshot(&mut self.out, &bytes);
        true
    }

    /// The other reads a subject no more: its aliases end.
    pub(crate) fn end_streams(&mut self, subject: SubjectNumber) {
        self.unanswered.remove(&subject);
        let aliases = self.out_streams.close(subject);
        if !aliases.is_empty() {
            put_close(self.queue(), &aliases);
        }
    }

    /// The link takes bytes again. Returns the subjects that are to be answered anew: those of which a
    /// frame or an answer was left out.
    pub(crate) fn unblock(&mut self) -> BTreeSet<SubjectNumber> {
        self.blocked = false;
        self.out.unsplit(std::mem::take(&mut self.waiting));
        let mut anew = self.out_streams.stale();
        anew.append(&mut self.unanswered);
        anew.retain(|subject| self.served.contains(*subject));
        anew
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
