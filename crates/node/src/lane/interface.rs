//! Inputs and effects of a lane.

use crate::call::{CallResult, Caller, OutgoingCall, Reply};
use crate::client_event::ClientEvent;
use crate::lane_call::LaneCall;
use crate::log::LogLine;
use crate::session::NewSession;
use crate::store_request::{RequestId, StoreAnswer};
use bytes::Bytes;
use pelago_model::{ChannelId, Key, NodeId, PublisherId, Reader, Transaction};
use pelago_wire::frame::{Frame, Snapshot};
use pelago_world::ClientId;
use std::sync::Arc;

/// Inputs of a lane.
#[derive(Debug)]
pub enum LaneInput {
    /// A session begins here.
    Join(Box<NewSession>),
    /// Something happened on the connection of a client of this lane.
    Client {
        /// The client.
        client: ClientId,
        /// What.
        event: ClientEvent,
    },
    /// A reader reads a channel of this lane from now on, or wants to be answered again.
    Subscribe {
        /// The reader.
        reader: Reader,
        /// The channel.
        channel: ChannelId,
        /// To be named in the answer.
        version: u64,
    },
    /// A reader reads a channel no more.
    Unsubscribe {
        /// The reader.
        reader: Reader,
        /// The channel.
        channel: ChannelId,
    },
    /// Frames of other publishers.
    Frames(Vec<Arc<Frame>>),
    /// The answer to a subscription, or of a sibling that reads the same channel.
    Snapshot(Arc<Snapshot>),
    /// Another lane of this node begins to read a channel that this one reads already: it is shown what this one knows
    /// of what other nodes publish there, and then told [`LaneInput::Introduced`].
    Introduce {
        /// The other lane.
        to: u8,
        /// The channel.
        channel: ChannelId,
    },
    /// A sibling will show what it knows of a channel. Frames of streams that are not known yet are held until then.
    AwaitIntroduction {
        /// The channel.
        channel: ChannelId,
    },
    /// The sibling has shown what it knows.
    Introduced {
        /// The channel.
        channel: ChannelId,
        /// Whether it knew anything: otherwise other nodes have to be asked.
        complete: bool,
    },
    /// Frames on these channels were lost because the mailbox was full.
    Missed {
        /// The channels.
        channels: Vec<ChannelId>,
    },
    /// A node is out of reach.
    PeerLost {
        /// The node.
        node: NodeId,
    },
    /// A call for somebody on this lane.
    Call {
        /// The caller that waits for the answer.
        caller: Caller,
        /// The question.
        call: LaneCall,
    },
    /// A call of this lane has ended.
    Answered {
        /// The lane's number of the call.
        number: u64,
        /// The answer, or why there is none.
        result: CallResult,
    },
    /// The store has answered.
    Stored {
        /// The number that question and answer share.
        request: RequestId,
        /// The answer.
        answer: StoreAnswer,
    },
    /// The server is shutting down: the lane says goodbye to everybody.
    Shutdown,
    /// The clock.
    Wake,
}

/// Effects of a lane.
#[derive(Debug)]
pub enum LaneEffect {
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
    /// This lane wants to read a channel, or no more: from its siblings, from other nodes, from the steward of the chunk.
    Interest {
        /// The channel.
        channel: ChannelId,
        /// Whether.
        wanted: bool,
    },
    /// This lane needs a stream of entities from its beginning.
    Resync {
        /// The channel.
        channel: ChannelId,
        /// By whom; `None`: whatever other nodes publish there.
        publisher: Option<PublisherId>,
    },
    /// Frames of this lane, for a sibling that reads them.
    Frames {
        /// The sibling.
        to: u8,
        /// The frames.
        frames: Vec<Arc<Frame>>,
    },
    /// Frames of this lane that other nodes read. Also when there are none: links are flushed when all lanes have published.
    Publish(Vec<Arc<Frame>>),
    /// An answer to a subscription, or what a sibling is shown.
    Snapshot {
        /// The reader.
        to: Reader,
        /// The answer.
        snapshot: Arc<Snapshot>,
    },
    /// A sibling has been shown what this lane knows.
    Introduced {
        /// The sibling.
        to: u8,
        /// The channel.
        channel: ChannelId,
        /// Whether this lane knew the channel.
        complete: bool,
    },
    /// To ask something of a service, or of a lane elsewhere.
    Call {
        /// The lane's number of the call, named in the answer.
        number: u64,
        /// What is asked, of whom, and how long that may take.
        call: OutgoingCall,
    },
    /// The answer to a call that came.
    Reply {
        /// The caller that waits for it.
        caller: Caller,
        /// The answer.
        reply: Reply,
    },
    /// A call that is for another lane of this node, if for any: the next one is asked.
    PassOn {
        /// The caller that waits for the answer.
        caller: Caller,
        /// What the other lane is asked.
        call: LaneCall,
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
