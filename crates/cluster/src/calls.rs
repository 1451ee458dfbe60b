//! Calls: asked of one node, answered or not, tried elsewhere within their deadline.

use crate::link::LinkId;
use bytes::Bytes;
use pelago_model::{Key, NodeId, Role, WorldTime};
use std::collections::BTreeSet;

/// How long one node may take before a repeatable call is also tried at the next, in ms.
pub(crate) const ATTEMPT_MS: i64 = 1000;
/// The pause before nodes are asked again that rejected a call or were lost, in ms.
pub(crate) const ROUND_MS: i64 = 250;
/// Calls of one link that may be unanswered; more are rejected as `busy`.
pub(crate) const MAX_INCOMING: usize = 4096;
/// Calls of this node that may be under way; more are rejected as `busy` without being sent.
pub(crate) const MAX_OUTGOING: usize = 65_536;

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallTarget {
    /// This node and no other.
    Node(NodeId),
    /// The node that is preferred for this key in the call's role; if it does not answer, the next in order.
    Preferred(Key),
}

/// Why a call was not begun: a public code. It may be tried elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection(pub String);

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
    /// Nobody to ask can be reached; it was not begun.
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
    pub(crate) role: Role,
    pub(crate) key: String,
    pub(crate) body: Bytes,
    pub(crate) deadline: WorldTime,
    pub(crate) repeatable: bool,
    pub(crate) trace: u64,
    /// Whom it was sent to last, and by which link; `None` after that node rejected it or was lost.
    pub(crate) at: Option<(NodeId, Option<LinkId>)>,
    /// The nodes that were asked in this round; when all were, the next round begins.
    pub(crate) tried: BTreeSet<NodeId>,
    /// All nodes that were ever asked: their answers count.
    pub(crate) asked: BTreeSet<NodeId>,
    /// Somebody was asked, and has neither answered nor rejected it.
    pub(crate) maybe_begun: bool,
    /// With which code it was last rejected.
    pub(crate) rejected: Option<String>,
    /// When to look after it again.
    pub(crate) look: WorldTime,
}

impl Outgoing {
    /// How it ends when its time is over.
    pub(crate) fn overdue(&self) -> CallError {
        match &self.rejected {
            _ if self.maybe_begun || self.at.is_some() => CallError::DeadlineExceeded,
            Some(code) => CallError::Rejected(code.clone()),
            None => CallError::Unreachable,
        }
    }

    /// The link to the node that was asked last is gone.
    pub(crate) fn lost(&mut self, now: WorldTime) {
        self.at = None;
        self.maybe_begun = true;
        self.look = now;
    }
}
