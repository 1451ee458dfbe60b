//! Effects of a node for its shell.

use crate::call::CallResult;
use crate::log::LogLine;
use crate::machine_id::MachineId;
use crate::rule_run::RuleRun;
use crate::store_request::RequestId;
use bytes::Bytes;
use pelago_cluster::{HangupReason, LinkId};
use pelago_model::{Key, NodeId, Transaction};
use pelago_world::ClientId;

/// An effect that the shell of a node carries out with sockets, the store, threads and the log.
#[derive(Debug)]
pub enum ShellEffect {
    /// To open a link to a node.
    Dial {
        /// The node.
        node: NodeId,
        /// Its address in the address book.
        address: String,
    },
    /// To close a link.
    Hangup {
        /// The link.
        link: LinkId,
        /// Why, for the log.
        reason: HangupReason,
    },
    /// To write whole messages to a link.
    SendLink {
        /// The link.
        link: LinkId,
        /// The messages.
        bytes: Bytes,
    },
    /// To write whole messages to a client.
    SendClient {
        /// The client.
        client: ClientId,
        /// The messages.
        bytes: Bytes,
    },
    /// To end a client's connection once what was sent before is written.
    CloseClient {
        /// The client.
        client: ClientId,
    },
    /// From now on what happens on a client's connection is for a lane. The lane is told of the client afterwards.
    Placed {
        /// The client.
        client: ClientId,
        /// The lane.
        lane: u8,
    },
    /// To read documents; the answer comes by [`MachineInput::stored`](super::MachineInput::stored).
    Load {
        /// The machine that asks.
        machine: MachineId,
        /// To be named in the answer.
        request: RequestId,
        /// The documents to read.
        keys: Vec<Key>,
    },
    /// To commit a transaction; the answer comes by [`MachineInput::stored`](super::MachineInput::stored).
    Commit {
        /// The machine that asks.
        machine: MachineId,
        /// To be named in the answer.
        request: RequestId,
        /// The transaction.
        transaction: Transaction,
    },
    /// To run rules; the end comes by [`MachineInput::ran`](super::MachineInput::ran).
    Run {
        /// The machine that asks.
        machine: MachineId,
        /// To be named in the answer.
        request: RequestId,
        /// The rules to be run.
        run: RuleRun,
    },
    /// To abandon rules that take too long, with the thread that they are run on, if they are still under way. That comes
    /// by [`MachineInput::abandoned`](super::MachineInput::abandoned), and nothing comes if they have ended, or if they
    /// have hardly begun.
    Abandon {
        /// The machine that handed them out.
        machine: MachineId,
        /// The number that question and answer share.
        request: RequestId,
    },
    /// A thread was lost to rules that do not return. A node that has lost two has to end.
    RulesLost {
        /// Which they were, for the log.
        what: String,
    },
    /// To tell an operator how its call ended.
    OperatorAnswered {
        /// The number of the operator's call.
        number: u64,
        /// How it ended.
        result: CallResult,
    },
    /// To note something in the log.
    Log(LogLine),
}
