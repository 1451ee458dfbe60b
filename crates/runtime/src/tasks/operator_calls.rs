//! Calls of operators to services, on their way through this node.

use super::Shared;
use bytes::Bytes;
use pelago_model::{Key, Role};
use pelago_node::{CallResult, CallTarget, OutgoingCall, Output, ShellEffect};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Calls that one node works on at once; more are refused as `busy`.
const MAX_OPERATOR_CALLS: usize = 1024;
/// How long the call may take between nodes, in ms.
const CALL_MS: u32 = 5000;
/// How long a node may take, longer than the call between nodes; then nobody knows how it ended.
const CALL_TIMEOUT: Duration = Duration::from_secs(8);

/// Those who wait for the end of a call.
#[derive(Default)]
pub(crate) struct OperatorCalls {
    /// Guards who waits, by the number of the request.
    waiting: Mutex<HashMap<u64, oneshot::Sender<CallResult>>>,
}

/// Why a call of an operator has no end.
pub(crate) enum NoEnd {
    /// Too many calls are under way: nothing was done.
    Busy,
    /// Nobody has answered: it may have been carried out.
    Late,
}

impl OperatorCalls {
    /// Keeps a place for a request; `None` if there are too many.
    fn begin(&self, number: u64) -> Option<oneshot::Receiver<CallResult>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MAX_OPERATOR_CALLS {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        waiting.insert(number, sender);
        Some(receiver)
    }

    fn end(&self, number: u64) -> Option<oneshot::Sender<CallResult>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&number)
    }
}

impl Shared {
    /// Whoever made a call is told how it ended.
    pub(super) fn answer_operator(&self, effect: ShellEffect) {
        if let ShellEffect::OperatorAnswered { number, result } = effect
            && let Some(waiting) = self.operator_calls.end(number)
        {
            // Whoever asked may have gone.
            drop(waiting.send(result));
        }
    }

    /// Calls whoever is preferred for a key in a role. The call may be carried out twice, at different nodes.
    pub(crate) async fn operator_call(
        &self,
        number: u64,
        (role, key): (Role, Key),
        body: Bytes,
    ) -> Result<CallResult, NoEnd> {
        let receiver = self.operator_calls.begin(number).ok_or(NoEnd::Busy)?;
        let target = CallTarget::Preferred { role, key };
        let (deadline_ms, trace) = (CALL_MS, number);
        let call = OutgoingCall { target, body, deadline_ms, repeatable: true, trace };
        let mut outputs = Vec::new();
        self.post.composer().operator_call(&self.post.directory(), number, call, &mut outputs);
        for output in outputs {
            match output {
                Output::Machine(input) => {
                    self.post.tell(input, &mut |effect| self.answer_operator(effect));
                }
                Output::Shell(effect) => self.answer_operator(effect),
            }
        }
        let ended = timeout(CALL_TIMEOUT, receiver).await;
        self.operator_calls.end(number);
        ended.ok().and_then(Result::ok).ok_or(NoEnd::Late)
    }
}
