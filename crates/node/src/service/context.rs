//! What a service can do.

use super::interface::ServiceEffect;
use crate::call::{CallTarget, Caller, OutgoingCall, Rejection, Reply};
use crate::lane_call::LaneCall;
use crate::log::{Level, LogLine};
use crate::rule_run::RuleRun;
use crate::store_request::{RequestId, Requests};
use bytes::Bytes;
use pelago_model::limits::MAX_CALL_BYTES;
use pelago_model::{
    EntityId, Epoch, Key, NodeId, PublisherId, Reader, Role, Transaction, WorldTime,
};
use pelago_wire::frame::{Frame, Snapshot};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How long after its deadline a call is ended that has no end yet, in ms. The links, which know more about how it went,
/// end it before that if it is theirs.
const OVERDUE_MS: i64 = 250;
/// How long a notice to a session may take, in ms.
const NOTIFY_MS: u32 = 5000;

/// Something under way that a service began.
#[derive(Debug)]
pub(super) struct Begun {
    /// Which service of the host.
    pub(super) service: usize,
    /// When it ends at the latest, if it is a call.
    pub(super) overdue: Option<WorldTime>,
}

/// The hands of a service while it handles something. What it asks for is carried out afterwards.
pub struct ServiceContext<'a> {
    pub(super) now: WorldTime,
    pub(super) node: NodeId,
    pub(super) publisher: PublisherId,
    /// Which service of the host this is, for the ends of what it begins.
    pub(super) service: usize,
    pub(super) requests: &'a mut Requests<Begun>,
    pub(super) deadlines: &'a mut BTreeSet<(WorldTime, RequestId)>,
    pub(super) effects: &'a mut Vec<ServiceEffect>,
}

impl ServiceContext<'_> {
    /// World time.
    pub fn now(&self) -> WorldTime {
        self.now
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The voice of this instance on channels.
    pub fn publisher(&self) -> PublisherId {
        self.publisher
    }

    fn begin(&mut self, overdue: Option<WorldTime>) -> RequestId {
        self.requests.begin(Begun { service: self.service, overdue })
    }

    /// Reads documents; the end is a [`Completion::Stored`](super::Completion::Stored).
    pub fn load(&mut self, keys: Vec<Key>) -> RequestId {
        let request = self.begin(None);
        self.effects.push(ServiceEffect::Load { request, keys });
        request
    }

    /// Commits a transaction; the end is a [`Completion::Stored`](super::Completion::Stored).
    pub fn commit(&mut self, transaction: Transaction) -> RequestId {
        let request = self.begin(None);
        self.effects.push(ServiceEffect::Commit { request, transaction });
        request
    }

    /// Hands out rules; the end is a [`Completion::Ran`](super::Completion::Ran).
    pub fn run(&mut self, run: RuleRun) -> RequestId {
        let request = self.begin(None);
        self.effects.push(ServiceEffect::Run { request, run });
        request
    }

    /// Calls a service or lanes; the end is a [`Completion::Answered`](super::Completion::Answered), which comes at the
    /// deadline of the call or soon after it if nobody answers. Bodies of more than [`MAX_CALL_BYTES`] are rejected as
    /// `too_large`.
    pub fn call(&mut self, call: OutgoingCall) -> RequestId {
        let overdue = self.now.plus(i64::from(call.deadline_ms) + OVERDUE_MS);
        let request = self.begin(Some(overdue));
        self.deadlines.insert((overdue, request));
        self.effects.push(ServiceEffect::Call { number: request.0, call });
        request
    }

    /// Calls whoever is preferred for a key in a role, and tries others if that node does not answer.
    pub fn call_role(&mut self, role: Role, key: Key, body: Bytes, deadline_ms: u32) -> RequestId {
        let target = CallTarget::Preferred { role, key };
        self.call(OutgoingCall { target, body, deadline_ms, repeatable: true, trace: 0 })
    }

    /// Tells the lanes of a node something. Nobody answers, and nothing is said again if it is lost.
    pub fn tell_lanes(&mut self, node: NodeId, call: LaneCall) {
        let target = CallTarget::Lanes { node };
        let (body, deadline_ms) = (call.encode(), NOTIFY_MS);
        let call = OutgoingCall { target, body, deadline_ms, repeatable: false, trace: 0 };
        // Number 0 is nobody's: requests are counted from 1.
        self.effects.push(ServiceEffect::Call { number: 0, call });
    }

    /// Tells all lanes of all nodes something, as far as they can be reached.
    pub fn tell_everybody(&mut self, call: LaneCall) {
        self.effects.push(ServiceEffect::TellEverybody(call));
    }

    /// Tells the session of an avatar something, if it is still on that node under that epoch.
    pub fn notify(&mut self, node: NodeId, avatar: EntityId, epoch: Epoch, payload: Bytes) {
        self.tell_lanes(node, LaneCall::Notify { avatar, epoch, payload });
    }

    /// Answers a call, in at most [`MAX_CALL_BYTES`]. A longer answer fits no message between nodes: it is noted in the
    /// log and not sent, and the call ends at its deadline as one whose end nobody knows.
    pub fn reply(&mut self, caller: Caller, body: Bytes) {
        if body.len() > MAX_CALL_BYTES {
            let sentence =
                format!("an answer of {} bytes is too large, and is not sent", body.len());
            return self.log(Level::Error, 0, sentence);
        }
        self.effects.push(ServiceEffect::Reply { caller, reply: Ok(body) });
    }

    /// Refuses to begin with a call: whoever asked may try elsewhere.
    pub fn reject(&mut self, caller: Caller, code: &str) {
        let reply: Reply = Err(Rejection(code.to_owned()));
        self.effects.push(ServiceEffect::Reply { caller, reply });
    }

    /// Publishes a frame for these readers.
    pub fn publish(&mut self, frame: Arc<Frame>, readers: impl IntoIterator<Item = Reader>) {
        let mut others = false;
        for reader in readers {
            match reader {
                Reader::Lane(to) => {
                    let frames = vec![frame.clone()];
                    self.effects.push(ServiceEffect::Frames { to, frames });
                }
                Reader::Node(_) => others = true,
            }
        }
        if others {
            self.effects.push(ServiceEffect::Publish(vec![frame]));
        }
    }

    /// Answers a subscription.
    pub fn snapshot(&mut self, to: Reader, snapshot: Arc<Snapshot>) {
        self.effects.push(ServiceEffect::Snapshot { to, snapshot });
    }

    /// Notes something in the log.
    pub fn log(&mut self, level: Level, trace: u64, text: impl Into<String>) {
        self.effects.push(ServiceEffect::Log(LogLine::traced(level, trace, text)));
    }
}
