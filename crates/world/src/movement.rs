//! Movement: whether a path that a client asks for is one that its avatar may walk.

use pelago_game::Land;
use pelago_model::limits::MAX_WAYPOINTS;
use pelago_model::trajectory::InvalidTrajectory;
use pelago_model::{IslandClock, Position, Trajectory, WorldTime};

/// How far in the past a move may start, in ms of world time.
pub const MAX_MOVE_AGE_MS: i64 = 300;
/// How far in the future a move may start, in ms of world time.
pub const MAX_MOVE_LEAD_MS: i64 = 50;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveRequest {
    /// When it leaves its trajectory, by the client's estimate of world time.
    pub at: WorldTime,
    /// 1/64 m per second.
    pub speed: u16,
    /// Where it goes.
    pub waypoints: Vec<Position>,
}

/// Why a move is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoveRefusal {
    /// It starts more than [`MAX_MOVE_AGE_MS`] ago.
    #[error("the move starts too far in the past")]
    Late,
    /// It starts more than [`MAX_MOVE_LEAD_MS`] from now.
    #[error("the move starts too far in the future")]
    Early,
    /// It is faster than the avatar may go.
    #[error("the move is too fast")]
    TooFast,
    /// Something is in the way.
    #[error("the way is blocked")]
    Blocked,
    /// It has too many or too long legs.
    #[error("the path is too long")]
    TooLong,
    /// A path without speed.
    #[error("the path has no speed")]
    Malformed,
}

impl MoveRefusal {
    /// The public code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Early => "early",
            Self::TooFast => "too_fast",
            Self::Blocked => "blocked",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
        }
    }
}

/// Checks a move against the clock, the avatar's own trajectory, its speed and the land, and returns the
/// trajectory that replaces the old one.
///
/// A move that starts before the last accepted one starts with it: the past that others were
/// shown is not rewritten.
///
/// # Errors
/// See [`MoveRefusal`].
pub fn check_move(
    now: WorldTime,
    clock: &IslandClock,
    land: &Land,
    max_speed: u16,
    old: &Trajectory,
    request: &MoveRequest,
) -> Result<Trajectory, MoveRefusal> {
    let age = now.since(request.at);
    if age > MAX_MOVE_AGE_MS {
        return Err(MoveRefusal::Late);
    }
    if age < -MAX_MOVE_LEAD_MS {
        return Err(MoveRefusal::Early);
    }
    if request.waypoints.len() > MAX_WAYPOINTS {
        return Err(MoveRefusal::TooLong);
    }
    if request.waypoints.is_empty() {
        let at = clock.at(request.at).max(old.start_time());
        return Ok(Trajectory::still(at, old.position_at(at)));
    }
    if request.speed > max_speed {
        return Err(MoveRefusal::TooFast);
    }
    let at = clock.at(request.at).max(old.start_time());
    let new =
        old.turned(at, request.speed, &request.waypoints).map_err(|invalid| match invalid {
            InvalidTrajectory::TooManyWaypoints | InvalidTrajectory::LegTooLong => {
                MoveRefusal::TooLong
            }
            InvalidTrajectory::SpeedOutOfBounds => MoveRefusal::Malformed,
        })?;
    let mut from = new.start();
    for to in new.waypoints() {
        if !land.is_clear(from, *to) {
            return Err(MoveRefusal::Blocked);
        }
        from = *to;
    }
    Ok(new)
}
