//! Live turns: functions over the live state of one real, run on its lane.

use crate::refusal::Refusal;
use pelago_model::{EntityId, Position};

/// The live state of a real that rules may change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveState {
    /// The game's number of how it stands: upright, waving, lying.
    pub stance: u16,
}

/// What a live rule sees and changes.
#[derive(Clone, Debug)]
pub struct LiveContext {
    /// The avatar that acts.
    pub actor: EntityId,
    /// Where the actor was when its lane sent the command.
    pub actor_position: Position,
    /// The avatar whose state this is.
    pub target: EntityId,
    /// Where it is now.
    pub target_position: Position,
    pub(crate) state: LiveState,
    pub(crate) stance_ms: Option<i64>,
    pub(crate) gesture: Option<u16>,
}

impl LiveContext {
    /// A turn of `actor` on `target`.
    pub fn new(
        (actor, actor_position): (EntityId, Position),
        (target, target_position): (EntityId, Position),
        state: LiveState,
    ) -> Self {
        Self {
            actor,
            actor_position,
            target,
            target_position,
            state,
            stance_ms: None,
            gesture: None,
        }
    }

    /// How the target stands.
    pub fn stance(&self) -> u16 {
        self.state.stance
    }

    /// Lets the target stand like this, for `ms` milliseconds if given, then as 0 again.
    pub fn set_stance(&mut self, stance: u16, ms: Option<i64>) {
        self.state.stance = stance;
        self.stance_ms = ms;
    }

    /// Shows everybody in sight of the actor a gesture of the actor towards the target.
    pub fn gesture(&mut self, gesture: u16) {
        self.gesture = Some(gesture);
    }

    /// What the rule left behind: the state, how long its stance lasts, and the gesture.
    pub fn finish(self) -> (LiveState, Option<i64>, Option<u16>) {
        (self.state, self.stance_ms, self.gesture)
    }

    /// Refuses if actor and target are farther apart than `units` (1/64 m).
    ///
    /// # Errors
    /// `too_far`.
    pub fn within(&self, units: u32) -> Result<(), Refusal> {
        let reach = u64::from(units).pow(2);
        if self.actor_position.distance_squared(self.target_position) > reach {
            return Err(Refusal::new("too_far", "That is too far away."));
        }
        Ok(())
    }
}
