//! What the machines of a node ask for: of each other, and of the shell.

use crate::control::ControlInput;
use crate::lane::LaneInput;
use crate::login::LoginInput;
use crate::steward::{DurableResult, StewardInput};
use bytes::Bytes;
use pelago_cluster::{HangupReason, LinkId};
use pelago_model::{Key, NodeId, Transaction};
use pelago_world::ClientId;

/// A machine of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The lane with this index.
    Lane(u8),
    /// The keyed stewards.
    Steward,
    /// Those who arrive.
    Login,
    /// Links, subscriptions and calls.
    Control,
}

/// The number of a request to the store, per part; it comes back with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// An input for another machine of the same node.
#[derive(Debug)]
pub enum Message {
    /// For a lane.
    Lane(u8, LaneInput),
    /// For the stewards.
    Steward(StewardInput),
    /// For the login.
    Login(LoginInput),
    /// For control.
    Control(ControlInput),
}

/// What a machine asks for.
#[derive(Debug)]
pub enum Effect {
    /// To hand an input to another machine of the node.
    To(Message),
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
    /// To write to a link.
    SendLink {
        /// The link.
        link: LinkId,
        /// Whole messages.
        bytes: Bytes,
    },
    /// To write to a client.
    SendClient {
        /// The client.
        client: ClientId,
        /// Whole messages.
        bytes: Bytes,
    },
    /// To end a client's connection once what was sent before is written.
    CloseClient {
        /// The client.
        client: ClientId,
    },
    /// To read documents; the answer comes as `Loaded`.
    Load {
        /// Who asks.
        part: Part,
        /// For the answer.
        request_id: RequestId,
        /// What to read.
        keys: Vec<Key>,
    },
    /// To commit a transaction; the answer comes as `Committed`.
    Commit {
        /// Who asks.
        part: Part,
        /// For the answer.
        request_id: RequestId,
        /// What to commit.
        transaction: Transaction,
    },
    /// To tell an operator what became of a grant.
    GrantEnded {
        /// Of the request.
        number: u64,
        /// How it ended.
        result: DurableResult,
    },
    /// To note something in the log.
    Log {
        /// How bad it is.
        level: Level,
        /// The trace that a player was told, or 0.
        trace: u64,
        /// What happened.
        text: String,
    },
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Of use when looking for a cause.
    Debug,
    /// Worth a line.
    Info,
    /// Somebody should look at it.
    Warn,
    /// Our own bug, or lost hardware.
    Error,
}
