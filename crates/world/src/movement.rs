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

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use pelago_game::{
        Actor, Arrival, DurableContext, Game, Halt, IslandSpec, LiveContext, ObjectView, Refusal,
        Route, Tile, Total,
    };
    use pelago_model::{ChunkId, Document, IslandId, IslandTime, Key};
    use std::collections::BTreeMap;

    /// A meadow with a wall: the cells from 20 m to 22 m east.
    struct Walled;

    impl Game for Walled {
        fn name(&self) -> &str {
            "walled"
        }
        fn content(&self) -> Bytes {
            Bytes::new()
        }
        fn max_speed(&self) -> u16 {
            300
        }
        fn tile(&self, _: &IslandSpec, chunk: ChunkId) -> Option<Tile> {
            let wall = |cell: usize| u8::from(chunk.x == 0 && cell % 15 == 10);
            Some(Tile { ground: std::array::from_fn(wall), naturals: Vec::new() })
        }
        fn walkable(&self, ground: u8) -> bool {
            ground == 0
        }
        fn spawn(&self, _: &Land, _: Arrival, _: u64) -> Position {
            Position::default()
        }
        fn new_avatar(&self, _: &str) -> serde_json::Value {
            serde_json::Value::Null
        }
        fn player_view(&self, _: &serde_json::Value) -> Bytes {
            Bytes::new()
        }
        fn route(&self, _: &Actor, _: &[u8]) -> Result<Route, Refusal> {
            Err(Refusal::malformed())
        }
        fn durable(&self, _: &mut DurableContext<'_>, _: &[u8]) -> Result<Bytes, Halt> {
            Err(Refusal::malformed().into())
        }
        fn live(&self, _: &mut LiveContext, _: &[u8]) -> Result<Bytes, Refusal> {
            Err(Refusal::malformed())
        }
        fn objects(&self, _: &Document) -> Vec<ObjectView> {
            Vec::new()
        }
        fn count(&self, _: &Key, _: &serde_json::Value, _: &mut BTreeMap<String, Total>) {}
    }

    const NOW: WorldTime = WorldTime(100_000);

    fn ask(at: i64, speed: u16, waypoints: &[(i32, i32)]) -> Result<Trajectory, MoveRefusal> {
        let spec = IslandSpec { id: IslandId(1), seed: 1, size: 3, generator: 1 };
        let land = Land::new(&Walled, spec);
        let old = Trajectory::still(IslandTime(99_900), Position::new(640, 640));
        let waypoints = waypoints.iter().map(|(x, y)| Position::new(*x, *y)).collect();
        let request = MoveRequest { at: WorldTime(at), speed, waypoints };
        check_move(NOW, &IslandClock::IDENTITY, &land, 300, &old, &request)
    }

    #[test]
    fn a_walk_over_the_meadow_is_allowed() {
        let walk = ask(99_950, 256, &[(640, 1600), (100, 1600)]).unwrap();
        assert_eq!(
            (walk.start_time(), walk.start()),
            (IslandTime(99_950), Position::new(640, 640))
        );
        assert_eq!(walk.destination(), Position::new(100, 1600));
    }

    #[test]
    fn nobody_walks_through_a_wall_or_off_the_island() {
        assert_eq!(ask(100_000, 256, &[(1800, 640)]), Err(MoveRefusal::Blocked));
        assert_eq!(ask(100_000, 256, &[(640, 1600), (1400, 100)]), Err(MoveRefusal::Blocked));
        assert_eq!(ask(100_000, 256, &[(-100, 640)]), Err(MoveRefusal::Blocked));
    }

    #[test]
    fn nobody_is_too_fast_or_moves_in_another_time() {
        assert_eq!(ask(100_000, 301, &[(700, 640)]), Err(MoveRefusal::TooFast));
        assert_eq!(ask(100_000, 0, &[(700, 640)]), Err(MoveRefusal::Malformed));
        assert_eq!(ask(99_699, 256, &[(700, 640)]), Err(MoveRefusal::Late));
        assert_eq!(ask(100_051, 256, &[(700, 640)]), Err(MoveRefusal::Early));
        assert_eq!(ask(100_000, 256, &[(700, 640); 9]), Err(MoveRefusal::TooLong));
    }

    #[test]
    fn the_past_that_others_were_shown_is_not_rewritten() {
        let walk = ask(99_800, 256, &[(700, 640)]).unwrap();
        assert_eq!(walk.start_time(), IslandTime(99_900));
    }

    #[test]
    fn who_stops_stands_where_he_is() {
        let stop = ask(100_000, 256, &[]).unwrap();
        assert_eq!((stop.speed(), stop.destination()), (0, Position::new(640, 640)));
    }
}
