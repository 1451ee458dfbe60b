//! Chat: what is said to an island, and what is whispered to somebody who may be anywhere or away.
//!
//! What is ordered or counted is a document: the room of an island holds its last lines, the mailbox of an avatar those that
//! its player has not been shown. Both number their lines, and both remember for a while who said what, so that a call that
//! is repeated is carried out once. Any instance may write any of them: revisions keep them right, and the preferred
//! instance only saves conflicts.
//!
//! Lanes read those documents themselves. After a commit they are told what is new, but that is a hint, which may be lost or
//! come twice: a lane that sees a gap in the numbers reads the document, and it looks again now and then.
//!
//! Per key one batch of calls is under way: the documents are loaded, `decide` is handed out to be run over them (the game
//! says who is muted), and the result is one transaction, which checks that no speaker has got another session meanwhile.

mod batch;
mod decide;
mod service;

pub use batch::{MAX_ATTEMPTS, MAX_BATCH_CALLS};
pub use service::{CALL_TIME_MS, Chat, MAX_QUEUES, MAX_WAITING};

use crate::service::ServiceKind;
use pelago_game::Game;
use pelago_model::{IslandClock, Role};
use std::sync::Arc;

/// What an instance is made of. It does not change, and is shared with what is handed out.
pub struct ChatConfig {
    /// The rules.
    pub game: Arc<dyn Game>,
    /// Island time.
    pub clock: IslandClock,
    /// For tests only: breaks a promise on purpose.
    pub sabotage: ChatSabotage,
}

/// Bugs planted on purpose, which the simulator must find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChatSabotage {
    /// Lets sessions of any epoch speak.
    pub ignore_epoch: bool,
    /// Does not remember who said what.
    pub forget_speakers: bool,
}

/// The chat as a service.
pub fn kind(sabotage: ChatSabotage) -> ServiceKind {
    ServiceKind::of_platform(Role::chat(), move |seat| {
        let (game, clock) = (seat.game.clone(), seat.clock);
        Chat::new(ChatConfig { game, clock, sabotage })
    })
}
