//! Stewards: durable turns, run over documents, committed in batches, acknowledged afterwards.
//!
//! A key has one steward by preference and any number in fact: revisions keep them right. Per key,
//! one batch is under way: the documents are loaded, the rules are handed out to be run over them one turn after the other,
//! the result is one transaction. A conflict or an unknown outcome leads to another run over fresh
//! documents; a turn that was committed after all is found in its avatar's ring of outcomes, or in its audit if it is a grant.
//!
//! A steward never runs a rule itself, because a rule that does not return cannot be stopped. While a batch is out, its key
//! is busy as it is during a commit; other keys go on.
//!
//! Whatever the store and the rules do, each caller is answered within [`TURN_DEADLINE_MS`]. What was under way goes on
//! without the caller: if it is committed after all, the same command under the same number gets its outcome, another one
//! is `repeated`.

mod batch;
mod changed;
mod config;
mod decide;
mod draft;
mod failure;
mod objects;
mod queue;
mod run;
mod service;
mod turn;

pub use batch::{MAX_ATTEMPTS, MAX_BATCH_TURNS};
pub use config::{StewardConfig, StewardSabotage};
pub use queue::{MAX_QUEUES, MAX_WAITING};
pub use service::{MAX_REMEMBERED, Steward, TURN_DEADLINE_MS};

use crate::service::ServiceKind;
use pelago_model::Role;

/// The stewards as a service: `batch_turns` turns share a commit at most.
pub fn kind(batch_turns: usize, sabotage: StewardSabotage) -> ServiceKind {
    ServiceKind::of_platform(Role::steward(), move |seat| {
        Steward::new(seat.publisher, StewardConfig::for_seat(seat, batch_turns, sabotage))
    })
}
