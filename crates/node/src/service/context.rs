//! What a service can do.

use super::interface::ServiceEffect;
use crate::call::{CallTarget, Caller, OutgoingCall, Rejection, Reply};
use crate::lane_call::LaneCall;
use crate::log::{Level, LogLine};
use crate::rule_run::RuleRun;
use crate::service::runs::Runs;
use crate::store_request::{RequestId, Requests, StoreAnswer};
use bytes::Bytes;
use pelago_model::limits::MAX_CALL_BYTES;
use pelago_model::{
    CommitOutcome, EntityId, Epoch, Key, NodeId, PublisherId, Reader, Role, Transaction, WorldTime,
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
    pub(super) role: Role,
    /// Whether it may read and write every document.
    pub(super) is_platforms: bool,
    pub(super) runs: &'a mut Runs,
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

    /// Reads documents; the end is a [`Completion::Stored`](super::Completion::Stored). Those of the platform cannot be
    /// read by a studio's service.
    pub fn load(&mut self, keys: Vec<Key>) -> RequestId {
        let request = self.begin(None);
        if let Some(key) = keys.iter().find(|key| !self.may_read(key)) {
            self.refuse_access(request, key, StoreAnswer::Loaded(None));
            return request;
        }
        self.effects.push(ServiceEffect::Load { request, keys });
        request
    }

    /// Commits a transaction; the end is a [`Completion::Stored`](super::Completion::Stored). A studio's service writes
    /// documents of its own kinds only.
    pub fn commit(&mut self, transaction: Transaction) -> RequestId {
        let request = self.begin(None);
        let unwritable =
            |key: &&Key| !self.may_read(key) || !self.is_platforms && key.kind() == "chunk";
        let forbidden = transaction.writes.iter().map(|write| &write.key).find(unwritable);
        let unreadable = transaction.checks.iter().map(|check| &check.key);
        let forbidden =
            forbidden.or_else(|| unreadable.into_iter().find(|key| !self.may_read(key)));
        if let Some(key) = forbidden {
            self.refuse_access(request, key, StoreAnswer::Committed(CommitOutcome::Failed));
            return request;
        }
        self.effects.push(ServiceEffect::Commit { request, transaction });
        request
    }

    fn may_read(&self, key: &Key) -> bool {
        self.is_platforms || key.is_open_to_rules()
    }

    fn refuse_access(&mut self, request: RequestId, key: &Key, answer: StoreAnswer) {
        let text = format!("the service {} reached for {key}, which is not its own", self.role);
        self.log(Level::Error, 0, text);
        self.effects.push(ServiceEffect::Refused { request, answer });
    }

    /// Hands out rules; the end is a [`Completion::Ran`](super::Completion::Ran), or a
    /// [`Completion::Abandoned`](super::Completion::Abandoned) if they take longer than [`RUN_LIMIT_MS`](super::RUN_LIMIT_MS).
    pub fn run(&mut self, run: RuleRun) -> RequestId {
        let request = self.begin(None);
        self.runs.handed_out(self.now, request, run.progress());
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

    /// A thread was lost to rules that do not return: which they were. A node that has lost two ends.
    pub fn rules_lost(&mut self, what: String) {
        self.effects.push(ServiceEffect::RulesLost { what });
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
