//! The client's estimate of world time, from round trips.

use super::effects::LocalTime;
use pelago_model::WorldTime;

/// How fast the estimate drifts towards a better one, in thousandths of the time that passes.
const DRIFT_PERMILLE: i64 = 50;
/// A round trip that took longer tells nothing.
const MAX_ROUND_TRIP_MS: i64 = 60_000;

/// World time by the fastest round trip. Within a session it never steps back: a better estimate is drifted to.
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
        let wanted_ms = world.0.saturating_add(round_trip_ms / 2).saturating_sub(now.0);
        // A pong that the application let wait has a long round trip, and tells less than the welcome.
        if round_trip_ms <= self.round_trip_ms {
            let is_first = std::mem::take(&mut self.is_first);
            self.offset_ms = if is_first { wanted_ms } else { self.offset_at(now) };
            (self.since, self.wanted_ms) = (now, wanted_ms);
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
        // One that is slower than the welcome was changes nothing.
        assert_eq!(estimate.pong(LocalTime(250), LocalTime(100), WorldTime(9_000)), Some(150));
        assert_eq!(estimate.at(LocalTime(250)), WorldTime(5_150));
        assert_eq!(estimate.pong(LocalTime(300), LocalTime(200), WorldTime(6_000)), Some(100));
        assert_eq!(estimate.at(LocalTime(300)), WorldTime(6_050));
        // A slower one changes nothing.
        assert_eq!(estimate.pong(LocalTime(900), LocalTime(400), WorldTime(9_000)), Some(500));
        assert_eq!(estimate.at(LocalTime(900)), WorldTime(6_650));
        // A faster one is drifted to.
        assert_eq!(estimate.pong(LocalTime(1000), LocalTime(990), WorldTime(6_765)), Some(10));
        assert_eq!(estimate.at(LocalTime(1000)), WorldTime(6_750));
        assert_eq!(estimate.at(LocalTime(1200)), WorldTime(6_960));
        assert_eq!(estimate.at(LocalTime(2000)), WorldTime(7_770));
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
        fn after_the_first_pong_time_never_steps_back(
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
                estimate.pong(now, now.plus(-round_trip), WorldTime(now.0 + wrong));
                prop_assert_eq!(estimate.at(now), told);
                last = told;
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
