//! The client's estimate of world time, from round trips.
//!
//! A pong was written between the ping and its own arrival: world time is then between what it says and that plus the
//! round trip, however long that took. Within these bounds the fastest round trip counts. An estimate that is outside of
//! them is wrong, whatever was believed before: the server's time runs at another rate, or has stepped, or this client
//! has slept.

use super::effects::LocalTime;
use pelago_model::WorldTime;

/// How fast the estimate drifts towards a better one, in thousandths of the time that passes.
const DRIFT_PERMILLE: i64 = 50;
/// An estimate that is shown to be wrong by more than this is given up at once, in ms. Less is drifted away within two
/// seconds, which is how often a client pings.
const JUMP_MS: i64 = 100;
/// A round trip that took longer tells nothing.
const MAX_ROUND_TRIP_MS: i64 = 60_000;

/// World time by the fastest round trip. Within a session it steps only where it was wrong by more than [`JUMP_MS`]: a
/// better estimate is drifted to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimate {
    /// World time minus local time, as it was told at `since`.
    offset_ms: i64,
    since: LocalTime,
    /// World time minus local time, as it should be told.
    wanted_ms: i64,
    /// Of the fastest round trip. Old records fade by a millisecond per pong, so that a changed route is noticed.
    round_trip_ms: i64,
    /// No pong has been faster than the welcome.
    is_first: bool,
}

impl Estimate {
    /// A node answered the hello that was sent at `sent` with this world time. The time of a login is in between, so that
    /// half of the round trip tells nothing.
    pub(super) fn begin(now: LocalTime, sent: LocalTime, world: WorldTime) -> Self {
        let offset_ms = world.0.saturating_sub(now.0);
        let round_trip_ms = now.since(sent).clamp(0, MAX_ROUND_TRIP_MS);
        Self { offset_ms, since: now, wanted_ms: offset_ms, round_trip_ms, is_first: true }
    }

    /// World time.
    pub(super) fn at(&self, now: LocalTime) -> WorldTime {
        WorldTime(now.0.saturating_add(self.offset_at(now)))
    }

    fn offset_at(&self, now: LocalTime) -> i64 {
        let passed = i128::from(now.since(self.since).max(0));
        let most = i64::try_from(passed * i128::from(DRIFT_PERMILLE) / 1000).unwrap_or(i64::MAX);
        let missing = self.wanted_ms.saturating_sub(self.offset_ms).clamp(-most, most);
        self.offset_ms.saturating_add(missing)
    }

    /// A pong to a ping that was sent at `sent` told this world time. Returns the round trip in ms, or nothing if
    /// it was none.
    pub(super) fn pong(
        &mut self,
        now: LocalTime,
        sent: LocalTime,
        world: WorldTime,
    ) -> Option<i64> {
        let round_trip_ms = now.since(sent);
        if !(0..=MAX_ROUND_TRIP_MS).contains(&round_trip_ms) {
            return None;
        }
        let told = self.at(now);
        let wanted_ms = world.0.saturating_add(round_trip_ms / 2).saturating_sub(now.0);
        let within = told.clamp(world, world.plus(round_trip_ms));
        let missing_ms = within.since(told);
        if missing_ms.saturating_abs() > JUMP_MS {
            self.is_first = false;
            (self.offset_ms, self.wanted_ms, self.since) = (wanted_ms, wanted_ms, now);
            self.round_trip_ms = round_trip_ms;
        } else if round_trip_ms <= self.round_trip_ms {
            let is_first = std::mem::take(&mut self.is_first);
            self.offset_ms = if is_first { wanted_ms } else { self.offset_at(now) };
            (self.since, self.wanted_ms) = (now, wanted_ms);
        } else if missing_ms != 0 {
            // A slow round trip tells less than a fast one, but that the estimate is wrong it tells.
            self.offset_ms = self.offset_at(now);
            (self.since, self.wanted_ms) = (now, self.offset_ms.saturating_add(missing_ms));
        }
        self.round_trip_ms = round_trip_ms.min(self.round_trip_ms + 1);
        Some(round_trip_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_fastest_round_trip_counts() {
        let mut estimate = Estimate::begin(LocalTime(100), LocalTime(0), WorldTime(5_000));
        assert_eq!(estimate.at(LocalTime(200)), WorldTime(5_100));
        // One that is slower than the welcome was, and contradicts nothing, changes nothing.
        assert_eq!(estimate.pong(LocalTime(250), LocalTime(100), WorldTime(5_020)), Some(150));
        assert_eq!(estimate.at(LocalTime(250)), WorldTime(5_150));
        assert_eq!(estimate.pong(LocalTime(300), LocalTime(200), WorldTime(5_120)), Some(100));
        assert_eq!(estimate.at(LocalTime(300)), WorldTime(5_170));
        // A slower one changes nothing.
        assert_eq!(estimate.pong(LocalTime(900), LocalTime(400), WorldTime(5_400)), Some(500));
        assert_eq!(estimate.at(LocalTime(900)), WorldTime(5_770));
        // A faster one is drifted to.
        assert_eq!(estimate.pong(LocalTime(1000), LocalTime(990), WorldTime(5_885)), Some(10));
        assert_eq!(estimate.at(LocalTime(1000)), WorldTime(5_870));
        assert_eq!(estimate.at(LocalTime(1200)), WorldTime(6_080));
        assert_eq!(estimate.at(LocalTime(2000)), WorldTime(6_890));
    }

    #[test]
    fn a_slow_round_trip_tells_that_an_estimate_is_wrong() {
        let mut estimate = Estimate::begin(LocalTime(0), LocalTime(0), WorldTime(5_000));
        estimate.pong(LocalTime(10), LocalTime(0), WorldTime(5_005));
        assert_eq!(estimate.at(LocalTime(1000)), WorldTime(6_000));
        // Between 5,880 and 5,980, says a node whose time has lost a little: it is drifted to.
        estimate.pong(LocalTime(1000), LocalTime(900), WorldTime(5_880));
        assert_eq!(estimate.at(LocalTime(1000)), WorldTime(6_000));
        assert_eq!(estimate.at(LocalTime(2000)), WorldTime(6_980));
    }

    #[test]
    fn a_step_of_the_servers_time_is_followed_with_the_next_pong() {
        for step in [-60_000, 60_000, -86_400_000, 3_600_000] {
            let mut estimate = Estimate::begin(LocalTime(0), LocalTime(0), WorldTime(100_000_000));
            estimate.pong(LocalTime(10), LocalTime(0), WorldTime(100_000_005));
            let world = WorldTime(100_002_000 + step);
            // Also if this round trip is slower than any before.
            assert_eq!(estimate.pong(LocalTime(2050), LocalTime(1950), world), Some(100));
            assert_eq!(estimate.at(LocalTime(2050)), world.plus(50));
            assert_eq!(estimate.at(LocalTime(3050)), world.plus(1050));
        }
    }

    #[test]
    fn any_rate_that_a_server_may_have_is_followed() {
        for ppm in [-5_000i64, 5_000] {
            let world = |local: i64| WorldTime(local + local * ppm / 1_000_000);
            let mut estimate = Estimate::begin(LocalTime(0), LocalTime(0), world(0));
            for ping in 1..300 {
                // Round trips of 2 to 30 ms, as chance has it.
                let (sent, trip) = (ping * 2000, 2 + ping * 7 % 29);
                let now = LocalTime(sent + trip);
                let wrong = estimate.at(now).since(world(now.0));
                assert!(ping < 3 || wrong.abs() <= 40, "{wrong} ms after {ping} pings");
                estimate.pong(now, LocalTime(sent), world(sent + trip / 2));
            }
        }
    }

    #[test]
    fn numbers_that_no_ping_had_are_no_round_trips() {
        let mut estimate = Estimate::begin(LocalTime(100), LocalTime(0), WorldTime(5_000));
        for sent in [i64::MIN, -1_000_000, 101, i64::MAX] {
            assert_eq!(estimate.pong(LocalTime(100), LocalTime(sent), WorldTime(i64::MAX)), None);
        }
        assert_eq!(estimate.at(LocalTime(100)), WorldTime(5_000));
    }

    proptest! {
        #[test]
        fn after_the_first_pong_time_steps_only_where_it_was_wrong(
            pongs in prop::collection::vec((1i64..4000, 0i64..3000, -10_000i64..10_000), 1..40),
        ) {
            let mut estimate = Estimate::begin(LocalTime(0), LocalTime(-9), WorldTime(0));
            let mut now = LocalTime(10_000);
            estimate.pong(now, now, WorldTime(10_000));
            let mut last = estimate.at(now);
            for (passed, round_trip, wrong) in pongs {
                now = now.plus(passed);
                let told = estimate.at(now);
                prop_assert!(told >= last);
                let said = WorldTime(now.0 + wrong);
                estimate.pong(now, now.plus(-round_trip), said);
                last = estimate.at(now);
                // It steps only where it was shown to be wrong, and then to where it was shown to be.
                let bounds = said.plus(-JUMP_MS)..=said.plus(round_trip + JUMP_MS);
                prop_assert!(last == told || !bounds.contains(&told));
                prop_assert!(bounds.contains(&last));
            }
        }

        #[test]
        fn no_number_of_a_node_is_too_large(world: i64, sent: i64, now: i64, later: i64) {
            let mut estimate = Estimate::begin(LocalTime(now), LocalTime(sent), WorldTime(world));
            estimate.pong(LocalTime(later), LocalTime(sent), WorldTime(world));
            estimate.at(LocalTime(now.max(later)));
        }
    }
}
