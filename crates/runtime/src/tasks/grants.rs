//! Grants of an operator, on their way through this node.

use super::Shared;
use pelago_game::Refusal;
use pelago_model::{EntityId, GrantKey, IslandTime, Role};
use pelago_node::{
    CallResult, CallTarget, DurableResult, Grant, OutgoingCall, Output, ShellEffect, StewardCall,
};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Grants that one node works on at once; more are refused as `busy`.
const MAX_GRANTS: usize = 1024;
/// How long the call may take between nodes, in ms.
const CALL_MS: u32 = 5000;
/// How long a node may take, longer than the call between nodes; then nobody knows how it ended.
const GRANT_TIMEOUT: Duration = Duration::from_secs(8);

/// Callers that wait for the end of a grant.
#[derive(Default)]
pub(crate) struct Grants {
    /// Guards the callers that wait, by the number of the request.
    waiting: Mutex<HashMap<u64, oneshot::Sender<CallResult>>>,
}

impl Grants {
    /// Keeps a place for a request; `None` if there are too many.
    fn begin(&self, number: u64) -> Option<oneshot::Receiver<CallResult>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MAX_GRANTS {
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
    /// The operator who asked for a grant is told how it ended.
    pub(super) fn answer_operator(&self, effect: ShellEffect) {
        if let ShellEffect::OperatorAnswered { number, result } = effect
            && let Some(waiting) = self.grants.end(number)
        {
            // The asker may have gone.
            drop(waiting.send(result));
        }
    }

    /// Calls the steward of a grant, wherever it is.
    fn operator_call(&self, number: u64, call: StewardCall) {
        let (trace, target) =
            (call.trace(), CallTarget::Preferred { role: Role::steward(), key: call.key() });
        let body = call.encode();
        let call = OutgoingCall { target, body, deadline_ms: CALL_MS, repeatable: true, trace };
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
    }

    /// Grants something to an avatar. A refusal as `unknown` means that it may have happened: the same grant is to be asked for
    /// again, here or at another node.
    pub(crate) async fn grant(
        &self,
        (key, avatar): (GrantKey, EntityId),
        what: String,
        reason: String,
        received: IslandTime,
    ) -> DurableResult {
        let number = self.next_connection();
        let grant = Grant { key, avatar, what, reason, received, trace: number };
        let refused = |refusal| DurableResult::Refused(refusal);
        if !grant.fits() {
            return refused(Refusal::malformed());
        }
        let Some(receiver) = self.grants.begin(number) else {
            return refused(Refusal::new("busy", "Too much is granted at once: ask again later."));
        };
        self.operator_call(number, StewardCall::Grant(grant));
        let ended = timeout(GRANT_TIMEOUT, receiver).await;
        self.grants.end(number);
        match ended.map(|told| told.map(DurableResult::of_call)) {
            Ok(Ok(DurableResult::Refused(refusal))) if refusal.code == "unavailable" => {
                refused(unknown())
            }
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => refused(unknown()),
        }
    }
}

fn unknown() -> Refusal {
    Refusal::new(
        "unknown",
        "It may have been granted or not: ask again with the same key to find out.",
    )
}
