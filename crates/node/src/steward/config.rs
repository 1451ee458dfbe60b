//! What stewards are made of.

use crate::service::ServiceSeat;
use pelago_game::{Game, Land};
use pelago_model::{IslandClock, IslandId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What an instance of the stewards is made of. It does not change, and is shared with the rules that are handed out.
pub struct StewardConfig {
    /// The rules.
    pub game: Arc<dyn Game>,
    /// The land of every island.
    pub lands: Arc<BTreeMap<IslandId, Arc<Land>>>,
    /// Island time.
    pub clock: IslandClock,
    /// The server's secret, from which turns get their randomness.
    pub secret: [u8; 32],
    /// Turns of one commit, from 1 to [`MAX_BATCH_TURNS`](super::MAX_BATCH_TURNS).
    pub batch_turns: usize,
    /// For tests only: breaks a promise on purpose.
    pub sabotage: StewardSabotage,
}

/// Bugs planted on purpose, which the simulator must find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StewardSabotage {
    /// Answers before the commit has ended.
    pub acknowledge_before_commit: bool,
    /// Runs commands of any epoch.
    pub ignore_epoch: bool,
    /// Answers a session whose epoch is over from the outcomes of the session that came after it. Such a session is
    /// refused new commands as usual.
    pub answer_old_epochs: bool,
    /// Grants again what was granted before.
    pub repeat_grants: bool,
}

impl StewardConfig {
    /// The configuration for a seat.
    pub fn for_seat(seat: &ServiceSeat, batch_turns: usize, sabotage: StewardSabotage) -> Self {
        Self {
            game: seat.game.clone(),
            lands: seat.lands.clone(),
            clock: seat.clock,
            secret: seat.secret,
            batch_turns,
            sabotage,
        }
    }
}
