//! Calls: asked of one node, answered or not, tried elsewhere within their deadline.

use crate::link::LinkId;
use pelago_model::{Key, NodeId, WorldTime};
use pelago_wire::peer::call;
use std::collections::BTreeSet;

/// How long one node may take before a repeatable call is tried at the next, in ms.
pub(crate) const ATTEMPT_MS: i64 = 1000;
/// Calls of one link that may be unanswered; more are rejected as `busy`.
pub(crate) const MAX_INCOMING: usize = 4096;

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallTarget {
    /// This node and no other.
    Node(NodeId),
    /// The steward of a key; if it does not answer, the next in order.
    Steward(Key),
}

/// A call that came to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IncomingCall {
    /// By which link; `None` if this node asked itself.
    pub link: Option<LinkId>,
    /// Its number there.
    pub number: u64,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nobody to ask can be reached.
    #[error("nobody can be reached")]
    Unreachable,
    /// The time is over; it may have been carried out.
    #[error("no answer in time")]
    DeadlineExceeded,
    /// It was not begun.
    #[error("rejected: {0}")]
    Rejected(String),
    /// The link was lost after it was sent; it may have been carried out, and must not be repeated.
    #[error("the link was lost")]
    LinkLost,
}

/// A call on its way.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// The caller's number.
    pub(crate) number: u64,
    pub(crate) target: CallTarget,
    pub(crate) body: call::Body,
    pub(crate) deadline: WorldTime,
    pub(crate) repeatable: bool,
    pub(crate) trace: u64,
    pub(crate) tried: BTreeSet<NodeId>,
    /// Whom it was sent to, and until when that node may take.
    pub(crate) at: Option<(NodeId, Option<LinkId>)>,
    pub(crate) attempt_until: WorldTime,
}
