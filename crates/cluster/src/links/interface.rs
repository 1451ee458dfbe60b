//! Configuration, inputs and effects of the machine of links.

use crate::book::Member;
use crate::calls::{CallError, CallTarget, IncomingCall, Rejection};
use crate::hangup::HangupReason;
use crate::link::LinkId;
use crate::subjects::Subject;
use bytes::Bytes;
use pelago_model::{
    ChannelId, Incarnation, IslandClock, IslandId, LimitCounts, NodeId, PublisherId, Reader, Role,
};
use pelago_wire::frame::{Frame, Snapshot};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The identity of this node.
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
    /// For tests only: a planted bug.
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

/// Inputs of the links.
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
    /// A lane of this node wants to read a subject of other nodes, or no more. Of objects it may be this node's own.
    Interest {
        /// The lane.
        lane: u8,
        /// What.
        subject: Subject,
        /// Whether.
        wanted: bool,
    },
    /// A lane of this node wants to be answered anew.
    Resync {
        /// What.
        subject: Subject,
        /// By whom; `None`: by all other nodes that are read.
        publisher: Option<PublisherId>,
    },
    /// On which islands this node has anybody.
    Present(BTreeSet<IslandId>),
    /// Frames of this node's lanes and services, for the other nodes that read them.
    Publish(Vec<Arc<Frame>>),
    /// Frames of these channels were lost on their way here: the other nodes that read them are answered anew. They would
    /// see a gap only with the next frame, which may never come.
    Missed(Vec<ChannelId>),
    /// A lane's or a service's answer to another node's subscription.
    Snapshot {
        /// The reader that subscribed.
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
        /// The service that is asked.
        role: Role,
        /// The key that it is about.
        key: String,
        /// What; opaque.
        body: Bytes,
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
        /// The body of the answer, or why it was not begun.
        reply: Result<Bytes, Rejection>,
    },
    /// The clock.
    Wake,
}

/// Effects of the links.
#[derive(Debug)]
pub enum LinksEffect {
    /// To open a link.
    Dial {
        /// The node.
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
    /// Lanes (entities) or the steward (objects) of this node shall publish for a reader, and answer it with a snapshot.
    /// The reader is another node, or a lane of this one that reads objects of this node's own steward.
    Subscribe {
        /// The reader.
        reader: Reader,
        /// What.
        subject: Subject,
        /// To be named in the answer.
        version: u64,
    },
    /// They need not publish for a reader any more.
    Unsubscribe {
        /// The reader.
        reader: Reader,
        /// What.
        subject: Subject,
    },
    /// A lane begins to read entities of a channel that this node reads already, for other lanes. A sibling is to show it
    /// what it knows; frames that come after this go to both.
    Introduce {
        /// The lane that reads the channel already.
        from: u8,
        /// The lane that begins to.
        to: u8,
        /// The channel.
        channel: ChannelId,
    },
    /// Frames of other nodes, decoded, for a lane that reads them.
    Frames {
        /// The lane.
        lane: u8,
        /// The frames.
        frames: Vec<Arc<Frame>>,
    },
    /// Another node's answer to a subscription, for a lane that reads it.
    Snapshot {
        /// The lane.
        lane: u8,
        /// The answer.
        snapshot: Arc<Snapshot>,
    },
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
        /// The service that is asked.
        role: Role,
        /// The key that it is about.
        key: String,
        /// The question.
        body: Bytes,
        /// To be found in the logs.
        trace: u64,
    },
    /// A call has ended.
    Ended {
        /// The caller's number.
        number: u64,
        /// How.
        result: Result<Bytes, CallError>,
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
