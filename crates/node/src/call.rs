//! Calls between machines, of one node or of several: their targets, their callers, and their ends.

use crate::machine_id::MachineId;
use bytes::Bytes;
use pelago_cluster::IncomingCall;
pub use pelago_cluster::{CallError, Rejection};
use pelago_model::{Key, NodeId, Role};

/// The target of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallTarget {
    /// The node that is preferred for a key in a role. If it does not answer, the next in order is asked.
    Preferred {
        /// The role.
        role: Role,
        /// The key.
        key: Key,
    },
    /// The service with a role on a certain node, whether it is preferred or not.
    Node {
        /// The node.
        node: NodeId,
        /// The role.
        role: Role,
        /// The key.
        key: Key,
    },
    /// A lane of a certain node.
    Lane {
        /// The node.
        node: NodeId,
        /// The lane.
        lane: u8,
    },
    /// All lanes of a certain node. Nobody answers for them: a call to them ends once it is delivered.
    Lanes {
        /// The node.
        node: NodeId,
    },
}

/// A call of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingCall {
    /// The target.
    pub target: CallTarget,
    /// The question. Only the machine that is asked knows its form.
    pub body: Bytes,
    /// The deadline, in ms from now.
    pub deadline_ms: u32,
    /// Whether it may be carried out twice, and therefore be tried elsewhere.
    pub repeatable: bool,
    /// To be found in the logs.
    pub trace: u64,
}

/// The party that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A machine of this node.
    Machine {
        /// The machine.
        machine: MachineId,
        /// The machine's number of the call.
        number: u64,
    },
    /// A machine of another node, or of this one by way of its links.
    Peer(IncomingCall),
    /// An operator's request to this node.
    Operator {
        /// The number of the request.
        number: u64,
    },
    /// Nobody.
    Nobody,
}

/// The end of a call: the body of the answer, or why there is none.
pub type CallResult = Result<Bytes, CallError>;

/// The answer of the machine that was asked.
pub type Reply = Result<Bytes, Rejection>;
