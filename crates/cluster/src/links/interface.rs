//! What the machine of links is made of, what can wake it, and what it asks for.

use crate::book::Member;
use crate::calls::{CallError, CallTarget, IncomingCall};
use crate::hangup::HangupReason;
use crate::link::LinkId;
use crate::subjects::Subject;
use bytes::Bytes;
use pelago_model::{Incarnation, IslandClock, IslandId, LimitCounts, NodeId, PublisherId};
use pelago_wire::frame::{Frame, Snapshot};
use pelago_wire::peer::{answer, call};
use std::collections::BTreeSet;
use std::sync::Arc;

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
    /// A call of another node is remembered after its answer, for as long as the link stands.
    pub keep_calls: bool,
    /// A link that takes no bytes is written to all the same.
    pub ignore_blocked: bool,
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
    Resync {
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
    Subscribe {
        /// Who reads.
        reader: NodeId,
        /// What.
        subject: Subject,
        /// To be named in the answer.
        version: u64,
    },
    /// The parts of this node need not publish for a reader any more.
    Unsubscribe {
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
    /// Frames and snapshots that do not fit a message; their readers wait for a snapshot that does.
    pub too_large: u64,
    /// Limits that were met.
    pub limits: LimitCounts,
}
