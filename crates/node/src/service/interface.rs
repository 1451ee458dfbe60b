//! What can wake an instance of the services, and what it asks for.

use crate::call::{CallResult, Caller, OutgoingCall, Reply};
use crate::lane_call::LaneCall;
use crate::log::LogLine;
use crate::rule_run::{RuleEnd, RuleRun};
use crate::store_request::{RequestId, StoreAnswer};
use bytes::Bytes;
use pelago_model::{ChannelId, Key, Reader, Role, Transaction};
use pelago_wire::frame::{Frame, Snapshot};
use std::sync::Arc;

/// A question to a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceCall {
    /// The caller, which waits for the answer.
    pub caller: Caller,
    /// The key that it is about.
    pub key: Key,
    /// What is asked; its form is the service's own.
    pub body: Bytes,
    /// To be found in the logs.
    pub trace: u64,
}

/// What can wake an instance of the services.
#[derive(Debug)]
pub enum ServiceInput {
    /// A call.
    Call {
        /// The service that is asked.
        role: Role,
        /// What is asked of it.
        call: ServiceCall,
    },
    /// A reader reads what a service publishes on a channel from now on.
    Subscribe {
        /// The service.
        role: Role,
        /// The reader.
        reader: Reader,
        /// The channel.
        channel: ChannelId,
        /// To be named in the answer.
        version: u64,
    },
    /// A reader reads it no more.
    Unsubscribe {
        /// The service.
        role: Role,
        /// The reader.
        reader: Reader,
        /// The channel.
        channel: ChannelId,
    },
    /// The store has answered.
    Stored {
        /// The number that question and answer share.
        request: RequestId,
        /// The answer.
        answer: StoreAnswer,
    },
    /// A call of this instance has ended.
    Answered {
        /// The number of the call.
        number: u64,
        /// The answer, or why there is none.
        result: CallResult,
    },
    /// Rules have been run.
    Ran {
        /// The number that question and answer share.
        request: RequestId,
        /// What they decided.
        end: RuleEnd,
    },
    /// Rules were abandoned.
    Abandoned {
        /// The number that question and answer share.
        request: RequestId,
        /// The step of the run that was under way.
        step: u32,
    },
    /// The clock.
    Wake,
}

/// What an instance of the services asks for.
#[derive(Debug)]
pub enum ServiceEffect {
    /// The answer to a call.
    Reply {
        /// The caller, which waits for it.
        caller: Caller,
        /// The answer.
        reply: Reply,
    },
    /// To ask something of a service or of lanes.
    Call {
        /// The number of the call, named in the answer.
        number: u64,
        /// What is asked, of whom, and how long that may take.
        call: OutgoingCall,
    },
    /// To tell all lanes of all nodes something.
    TellEverybody(LaneCall),
    /// Frames for a lane of this node that reads them.
    Frames {
        /// The lane.
        to: u8,
        /// The frames.
        frames: Vec<Arc<Frame>>,
    },
    /// Frames that other nodes read.
    Publish(Vec<Arc<Frame>>),
    /// An answer to a subscription.
    Snapshot {
        /// The reader.
        to: Reader,
        /// The answer.
        snapshot: Arc<Snapshot>,
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
    /// To run rules, where they may take their time.
    Run {
        /// To be named in the answer.
        request: RequestId,
        /// What to run.
        run: RuleRun,
    },
    /// To leave the thread alone on which rules are run, and go on with another, if they are still under way.
    Abandon {
        /// The number that question and answer share.
        request: RequestId,
    },
    /// A thread was lost to rules that do not return.
    RulesLost {
        /// Which they were, for the log.
        what: String,
    },
    /// The answer to a request that is refused before anybody carries it out.
    Refused {
        /// The number that question and answer share.
        request: RequestId,
        /// The answer.
        answer: StoreAnswer,
    },
    /// To note something in the log.
    Log(LogLine),
}
