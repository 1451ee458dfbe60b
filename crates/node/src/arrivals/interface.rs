//! What can wake the arrivals, and what they ask for.

use crate::client_event::ClientEvent;
use crate::log::LogLine;
use crate::session::NewSession;
use crate::store_request::{RequestId, StoreAnswer};
use bytes::Bytes;
use pelago_model::{EntityId, Epoch, Key, Transaction};
use pelago_world::ClientId;

/// What can wake the arrivals.
#[derive(Debug)]
pub enum ArrivalsInput {
    /// Something happened on the connection of a client that has no lane.
    Client {
        /// The client.
        client: ClientId,
        /// What.
        event: ClientEvent,
    },
    /// A client that had been placed is gone.
    Left {
        /// The client.
        client: ClientId,
    },
    /// The store has answered.
    Stored {
        /// The request.
        request: RequestId,
        /// The answer.
        answer: StoreAnswer,
    },
    /// The clock.
    Wake,
}

/// What the arrivals ask for.
#[derive(Debug)]
pub enum ArrivalsEffect {
    /// To write whole messages to a client.
    Send {
        /// The client.
        client: ClientId,
        /// The messages.
        bytes: Bytes,
    },
    /// To end a client's connection once what was sent before is written.
    Close {
        /// The client.
        client: ClientId,
    },
    /// A client has a lane: from now on what happens on its connection is that lane's business.
    Place {
        /// The lane.
        lane: u8,
        /// What the lane is told.
        session: Box<NewSession>,
    },
    /// An avatar has a new session: whoever holds an older one lets go, on all lanes of all nodes.
    Superseded {
        /// The avatar.
        avatar: EntityId,
        /// The new epoch.
        epoch: Epoch,
    },
    /// To read documents.
    Load {
        /// To be named in the answer.
        request: RequestId,
        /// What to read.
        keys: Vec<Key>,
    },
    /// To commit a transaction.
    Commit {
        /// To be named in the answer.
        request: RequestId,
        /// What to commit.
        transaction: Transaction,
    },
    /// To note something in the log.
    Log(LogLine),
}
