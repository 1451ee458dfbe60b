//! Trajectories: the position of a moving entity as a function of time.

use crate::limits::{MAX_LEG_UNITS, MAX_SPEED, MAX_WAYPOINTS};
use crate::place::{CHUNK_UNITS, Position};
use crate::time::IslandTime;
use arrayvec::ArrayVec;

/// Leg lengths are kept in 1/16 of a position unit, that is 1/1024 m.
const LENGTH_PER_UNIT: i64 = 16;

/// A path that starts at an instant and is followed at one speed, through up to
/// [`MAX_WAYPOINTS`] waypoints, to stand at the last.
///
/// Evaluation is in integers, pinned by the vectors of `docs/protocol.md`, and no intermediate
/// exceeds 2^53, so that languages with only doubles can follow it to the unit:
///
/// * the length of leg `i` is `L_i = floor(sqrt(256 (dx² + dy²)))`, in 1/16 units;
/// * leg `i` ends `E_i = floor(1000 (L_1 + ... + L_i) / (16 speed))` ms after the start;
/// * within leg `i`, `E_{i-1} <= t < E_i`, each coordinate is
///   `a + floor((2 (b - a) (t - E_{i-1}) + D) / (2 D))` with `D = E_i - E_{i-1}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trajectory {
    start_time: IslandTime,
    start: Position,
    speed: u16,
    waypoints: ArrayVec<Position, MAX_WAYPOINTS>,
    /// E_i of the formula, ms after `start_time`.
    ends: ArrayVec<i64, MAX_WAYPOINTS>,
}

/// Why a path is not a trajectory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTrajectory {
    /// More than [`MAX_WAYPOINTS`].
    #[error("a path has at most {MAX_WAYPOINTS} waypoints")]
    TooManyWaypoints,
    /// A leg of more than [`MAX_LEG_UNITS`] along an axis.
    #[error("a leg is at most {MAX_LEG_UNITS} units along each axis")]
    LegTooLong,
    /// A path without speed, or faster than [`MAX_SPEED`].
    #[error("the speed of a path is 1 to {MAX_SPEED} units per second")]
    SpeedOutOfBounds,
}

impl Trajectory {
    /// Standing at a point from `time` on.
    pub fn still(time: IslandTime, position: Position) -> Self {
        Self {
            start_time: time,
            start: position,
            speed: 0,
            waypoints: ArrayVec::new(),
            ends: ArrayVec::new(),
        }
    }

    /// A path from `start` at `time`. Without waypoints it stands, whatever the speed.
    pub fn new(
        time: IslandTime,
        start: Position,
        speed: u16,
        waypoints: &[Position],
    ) -> Result<Self, InvalidTrajectory> {
        if waypoints.len() > MAX_WAYPOINTS {
            return Err(InvalidTrajectory::TooManyWaypoints);
        }
        if speed > MAX_SPEED || (speed == 0 && !waypoints.is_empty()) {
            return Err(InvalidTrajectory::SpeedOutOfBounds);
        }
        let mut trajectory = Self::still(time, start);
        trajectory.speed = speed;
        let (mut from, mut length) = (start, 0i64);
        for to in waypoints {
            let dx = i64::from(to.x) - i64::from(from.x);
            let dy = i64::from(to.y) - i64::from(from.y);
            if dx.abs().max(dy.abs()) > i64::from(MAX_LEG_UNITS) {
                return Err(InvalidTrajectory::LegTooLong);
            }
            length += ((dx * dx + dy * dy) * LENGTH_PER_UNIT * LENGTH_PER_UNIT).isqrt();
            trajectory.waypoints.push(*to);
            trajectory.ends.push(length * 1000 / (LENGTH_PER_UNIT * i64::from(speed)));
            from = *to;
        }
        Ok(trajectory)
    }

    /// The position at `time`: the start before it begins, the last waypoint after it ends.
    pub fn position_at(&self, time: IslandTime) -> Position {
        let elapsed = time.since(self.start_time);
        if elapsed <= 0 {
            return self.start;
        }
        let (mut from, mut began) = (self.start, 0i64);
        for (to, end) in self.waypoints.iter().zip(&self.ends) {
            if elapsed < *end {
                let between = |a: i32, b: i32| {
                    let (delta, duration) = (i64::from(b) - i64::from(a), end - began);
                    let numerator = 2 * delta * (elapsed - began) + duration;
                    a + numerator.div_euclid(2 * duration) as i32
                };
                return Position::new(between(from.x, to.x), between(from.y, to.y));
            }
            (from, began) = (*to, *end);
        }
        from
    }

    /// For how long after `time` the position is certain to stay in the chunk where it is then, in ms; `None`: for
    /// good.
    ///
    /// The way to the nearest border at its speed, less what rounding can add: leg ends are rounded down to a
    /// millisecond, positions to a unit.
    pub fn stays_in_chunk_ms(&self, time: IslandTime) -> Option<i64> {
        const SLACK_UNITS: i64 = 4;
        const SLACK_MS: i64 = 4;
        if self.waypoints.is_empty() || time >= self.end_time() {
            return None;
        }
        let here = self.position_at(time);
        let corner = here.chunk().corner();
        let to_border = |coordinate: i32, corner: i32| {
            let inside = i64::from(coordinate) - i64::from(corner);
            inside.min(i64::from(CHUNK_UNITS) - 1 - inside)
        };
        let units = to_border(here.x, corner.x).min(to_border(here.y, corner.y)) - SLACK_UNITS;
        Some((units * 1000 / i64::from(self.speed) - SLACK_MS).max(0))
    }

    /// The trajectory that leaves this one at `at`, for other waypoints at another speed.
    pub fn turned(
        &self,
        at: IslandTime,
        speed: u16,
        waypoints: &[Position],
    ) -> Result<Self, InvalidTrajectory> {
        Self::new(at, self.position_at(at), speed, waypoints)
    }

    /// When it begins.
    pub fn start_time(&self) -> IslandTime {
        self.start_time
    }

    /// Where it begins.
    pub fn start(&self) -> Position {
        self.start
    }

    /// When it stands at its last waypoint.
    pub fn end_time(&self) -> IslandTime {
        self.start_time.plus(self.ends.last().copied().unwrap_or(0))
    }

    /// Where it ends.
    pub fn destination(&self) -> Position {
        self.waypoints.last().copied().unwrap_or(self.start)
    }

    /// The speed in 1/64 m per second.
    pub fn speed(&self) -> u16 {
        self.speed
    }

    /// The points it passes after its start.
    pub fn waypoints(&self) -> &[Position] {
        &self.waypoints
    }

    /// The waypoints that are not yet reached at `time`.
    pub fn waypoints_after(&self, time: IslandTime) -> &[Position] {
        let elapsed = time.since(self.start_time);
        let passed = self.ends.iter().take_while(|end| **end <= elapsed).count();
        &self.waypoints[passed..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn points() -> impl Strategy<Value = Position> {
        (-100_000i32..100_000, -100_000i32..100_000).prop_map(|(x, y)| Position::new(x, y))
    }

    fn trajectories() -> impl Strategy<Value = Trajectory> {
        (0i64..1 << 41, points(), 1..=MAX_SPEED, prop::collection::vec(points(), 0..=MAX_WAYPOINTS))
            .prop_map(|(time, start, speed, waypoints)| {
                Trajectory::new(IslandTime(time), start, speed, &waypoints).unwrap()
            })
    }

    fn distance(a: Position, b: Position) -> f64 {
        (a.distance_squared(b) as f64).sqrt()
    }

    #[test]
    fn a_walk_of_ten_metres_at_two_metres_a_second_takes_five_seconds() {
        let walk =
            Trajectory::new(IslandTime(1000), Position::new(0, 0), 128, &[Position::new(640, 0)]);
        let walk = walk.unwrap();
        assert_eq!(walk.end_time(), IslandTime(6000));
        assert_eq!(walk.position_at(IslandTime(3500)), Position::new(320, 0));
        assert_eq!(walk.position_at(IslandTime(0)), Position::new(0, 0));
        assert_eq!(walk.position_at(IslandTime(9000)), Position::new(640, 0));
    }

    #[test]
    fn paths_beyond_the_limits_are_refused() {
        let (time, origin) = (IslandTime(0), Position::default());
        let make = |speed, waypoints: &[Position]| Trajectory::new(time, origin, speed, waypoints);
        assert_eq!(make(64, &[origin; 9]), Err(InvalidTrajectory::TooManyWaypoints));
        assert_eq!(make(0, &[origin]), Err(InvalidTrajectory::SpeedOutOfBounds));
        assert_eq!(make(MAX_SPEED + 1, &[]), Err(InvalidTrajectory::SpeedOutOfBounds));
        assert_eq!(
            make(64, &[Position::new(0, MAX_LEG_UNITS + 1)]),
            Err(InvalidTrajectory::LegTooLong)
        );
        let extremes = [Position::new(i32::MIN, i32::MIN), Position::new(i32::MAX, i32::MAX)];
        assert_eq!(make(64, &extremes), Err(InvalidTrajectory::LegTooLong));
    }

    proptest! {
        #[test]
        fn it_is_continuous_and_keeps_its_speed(walk in trajectories(), offset in 0i64..400_000) {
            let now = walk.start_time().plus(offset);
            let step = distance(walk.position_at(now), walk.position_at(now.plus(1)));
            // A millisecond's way, leg ends rounded to a millisecond (up to two of them here),
            // and each coordinate rounded to a unit.
            let bound = f64::from(walk.speed()) / 1000.0 * 4.0 + 2.0;
            prop_assert!(step <= bound, "{step} > {bound}");
        }

        #[test]
        fn it_stays_within_the_bounds_of_its_points(walk in trajectories(), offset in 0i64..400_000) {
            let position = walk.position_at(walk.start_time().plus(offset));
            let all = || walk.waypoints().iter().copied().chain([walk.start()]);
            prop_assert!(position.x >= all().map(|point| point.x).min().unwrap());
            prop_assert!(position.x <= all().map(|point| point.x).max().unwrap());
            prop_assert!(position.y >= all().map(|point| point.y).min().unwrap());
            prop_assert!(position.y <= all().map(|point| point.y).max().unwrap());
        }

        #[test]
        fn it_begins_and_ends_where_it_says(walk in trajectories()) {
            prop_assert_eq!(walk.position_at(walk.start_time()), walk.start());
            prop_assert_eq!(walk.position_at(walk.end_time()), walk.destination());
            prop_assert!(walk.waypoints_after(walk.end_time()).is_empty());
        }

        #[test]
        fn a_turn_leaves_the_old_path_where_it_stands(walk in trajectories(), offset in 0i64..400_000) {
            let at = walk.start_time().plus(offset);
            let turned = walk.turned(at, 64, &[Position::new(0, 0)]).unwrap();
            prop_assert_eq!(turned.position_at(at), walk.position_at(at));
        }

        #[test]
        fn it_stays_in_its_chunk_for_as_long_as_it_says(walk in trajectories(), offset in 0i64..400_000) {
            let now = walk.start_time().plus(offset);
            let chunk = walk.position_at(now).chunk();
            match walk.stays_in_chunk_ms(now) {
                Some(ms) => for part in 0..=16 {
                    prop_assert_eq!(walk.position_at(now.plus(ms * part / 16)).chunk(), chunk);
                },
                None => prop_assert_eq!(walk.destination().chunk(), chunk),
            }
        }

        #[test]
        fn one_step_equals_many(walk in trajectories(), offset in 0i64..100_000) {
            // Re-rooting the rest of a path moves no point by more than the rounding of its parts.
            let at = walk.start_time().plus(offset);
            let rest = walk.waypoints_after(at).to_vec();
            let again = walk.turned(at, walk.speed(), &rest).unwrap();
            let bound = f64::from(walk.speed()) / 1000.0 * (2.0 * MAX_WAYPOINTS as f64) + 2.0;
            for later in [0, 1, 1000, 100_000] {
                let time = at.plus(later);
                let error = distance(again.position_at(time), walk.position_at(time));
                prop_assert!(error <= bound, "{error} > {bound}");
            }
        }
    }
}
