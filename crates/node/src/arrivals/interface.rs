//! Configuration, inputs and effects of the arrivals.

use crate::call::{CallResult, OutgoingCall};
use crate::client_event::ClientEvent;
use crate::log::LogLine;
use crate::rate_limits::ClientLimits;
use crate::session::NewSession;
use crate::store_request::{RequestId, StoreAnswer};
use bytes::Bytes;
use pelago_game::{Game, Land};
use pelago_model::{EntityId, Epoch, IslandClock, IslandId, Key, NodeId, Transaction, WorldNumber};
use pelago_world::ClientId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The configuration of the arrivals of a node.
pub struct ArrivalsConfig {
    /// This node.
    pub node: NodeId,
    /// The world, for new ids.
    pub world: WorldNumber,
    /// Lanes, at least one.
    pub lanes: u8,
    /// How many of them share the players who arrive in one chunk.
    pub spread: u8,
    /// The rules.
    pub game: Arc<dyn Game>,
    /// The island on which new avatars appear.
    pub home: IslandId,
    /// The land of every island.
    pub lands: Arc<BTreeMap<IslandId, Arc<Land>>>,
    /// Island time.
    pub clock: IslandClock,
    /// Clients of the node at once, those on lanes included; more are refused as `full`.
    pub max_clients: usize,
    /// The rates and times of each client.
    pub limits: ClientLimits,
}

/// Inputs of the arrivals.
#[derive(Debug)]
pub enum ArrivalsInput {
    /// Something happened on the connection of a client that has no lane, as far as the connection knows.
    Client {
        /// The client.
        client: ClientId,
        /// What.
        event: ClientEvent,
    },
    /// A client of a lane is gone, or its lane has closed its connection: it counts no more.
    Left {
        /// The client.
        client: ClientId,
    },
    /// The store has answered.
    Stored {
        /// The number that question and answer share.
        request: RequestId,
        /// The answer.
        answer: StoreAnswer,
    },
    /// A call has ended.
    Answered {
        /// The number of the call.
        number: u64,
        /// The answer, or why there is none.
        result: CallResult,
    },
    /// The clock.
    Wake,
}

/// Effects of the arrivals.
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
        /// The session that the lane is to join.
        session: Box<NewSession>,
    },
    /// Something happened on the connection of a client before the connection knew of its lane: the lane is told after
    /// it has been told of the session.
    Forward {
        /// The lane.
        lane: u8,
        /// The client.
        client: ClientId,
        /// The event.
        event: ClientEvent,
    },
    /// An avatar has a new session: every lane of every node lets go of older ones.
    Superseded {
        /// The avatar.
        avatar: EntityId,
        /// The new epoch.
        epoch: Epoch,
    },
    /// To ask something of the lanes of a node.
    Call {
        /// The number of the call, named in the answer.
        number: u64,
        /// What is asked, of whom, and how long that may take.
        call: OutgoingCall,
    },
    /// To read documents.
    Load {
        /// To be named in the answer.
        request: RequestId,
        /// The documents to read.
        keys: Vec<Key>,
    },
    /// To commit a transaction.
    Commit {
        /// To be named in the answer.
        request: RequestId,
        /// The transaction.
        transaction: Transaction,
    },
    /// To note something in the log.
    Log(LogLine),
}
