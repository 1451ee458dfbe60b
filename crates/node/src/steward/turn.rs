//! Turns, and those who wait for them.

use crate::call::Caller;
use crate::service::ServiceContext;
use crate::turn::{DurableCommand, DurableResult, StewardCall};
use pelago_game::{Game, Refusal, command_kind, guarded};
use pelago_model::limits::MAX_TURN_DOCUMENTS;
use pelago_model::{EntityId, Key, WorldTime};
use std::sync::Arc;

/// A turn that is to be decided. The steward and the run that decides it share it.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    pub(super) call: Arc<StewardCall>,
    /// How often it was tried without success.
    pub(super) attempts: usize,
    /// Its rule has not returned: it is not run again, and what is committed is that it failed.
    pub(super) never_returned: bool,
}

impl Turn {
    /// The avatar whose document it changes.
    pub(super) fn avatar(&self) -> EntityId {
        match &*self.call {
            StewardCall::Command(command) => command.actor.avatar,
            StewardCall::Grant(grant) => grant.avatar,
        }
    }

    /// The documents that the turn is known to need. A game whose function panics asks for its documents when it is run.
    pub(super) fn keys(&self, game: &dyn Game) -> Vec<Key> {
        let mut keys = match &*self.call {
            StewardCall::Command(DurableCommand { actor, payload, .. }) => {
                let mut keys = guarded(|| game.keys(actor, payload)).unwrap_or_default();
                keys.retain(Key::is_open_to_rules);
                keys.truncate(MAX_TURN_DOCUMENTS);
                keys
            }
            StewardCall::Grant(grant) => vec![Key::grant(grant.avatar, &grant.key)],
        };
        keys.push(Key::avatar(self.avatar()));
        keys
    }

    /// What it is, for the log.
    pub(super) fn described(&self) -> String {
        match &*self.call {
            StewardCall::Command(DurableCommand { key, actor, payload, .. }) => {
                let (kind, number) = (command_kind(payload), actor.sequence.0);
                format!(
                    "the command {kind:?} of avatar {}, number {number}, at {key}",
                    actor.avatar
                )
            }
            StewardCall::Grant(grant) => {
                let kind = command_kind(grant.what.as_bytes());
                format!("the grant {kind:?} under {} to avatar {}", grant.key, grant.avatar)
            }
        }
    }
}

/// A turn, and the caller that waits for its answer. It stays with the steward while the turn is being decided
/// elsewhere.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) turn: Turn,
    pub(super) deadline: WorldTime,
    caller: Caller,
    is_answered: bool,
}

impl Waiting {
    pub(super) fn new(caller: Caller, call: StewardCall, deadline: WorldTime) -> Self {
        let turn = Turn { call: Arc::new(call), attempts: 0, never_returned: false };
        Self { turn, deadline, caller, is_answered: false }
    }

    /// Whether nobody waits for it any more.
    pub(super) fn is_answered(&self) -> bool {
        self.is_answered
    }

    /// Whether its time is over and its caller has not been told anything yet.
    pub(super) fn is_overdue(&self, now: WorldTime) -> bool {
        self.deadline <= now && !self.is_answered
    }

    /// Tells the caller what became of the turn, unless it was told before that nobody knows.
    pub(super) fn answer(&mut self, cx: &mut ServiceContext<'_>, result: DurableResult) {
        if !self.is_answered {
            self.is_answered = true;
            cx.reply(self.caller, result.encode());
        }
    }

    /// Tells the caller that the turn is refused.
    pub(super) fn refuse(&mut self, cx: &mut ServiceContext<'_>, refusal: Refusal) {
        self.answer(cx, DurableResult::Refused(refusal));
    }
}
