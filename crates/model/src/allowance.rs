//! Allowances: how often something may happen, with a reserve for bursts (a token bucket).

use crate::WorldTime;

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// How many per second in the long run.
    pub per_second: u32,
    /// How many at once, after a pause.
    pub burst: u32,
}

impl Allowance {
    /// An allowance of so many per second, and so many at once.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst }
    }

    /// An allowance of so many per minute, and so many at once, if each is taken at [`Self::MINUTE_COST`].
    pub const fn per_minute(count: u32, burst: u32) -> Self {
        Self::new(count, burst.saturating_mul(Self::MINUTE_COST))
    }

    /// What something costs of which so many a minute are allowed.
    pub const MINUTE_COST: u32 = 60;
}

/// What is left of an allowance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Thousandths: what an allowance of one per second gains in a millisecond.
    left_milli: u64,
    at: WorldTime,
}

impl Bucket {
    /// A full bucket.
    pub fn full(allowance: Allowance, now: WorldTime) -> Self {
        Self { left_milli: u64::from(allowance.burst) * 1000, at: now }
    }

    /// What has come together in so many ms, from nothing.
    pub fn filled_for(allowance: Allowance, now: WorldTime, ms: i64) -> Self {
        let mut bucket = Self { left_milli: 0, at: now };
        bucket.gain(ms, allowance);
        bucket
    }

    /// When it will be full, if nothing is taken.
    pub fn full_at(&self, allowance: Allowance) -> WorldTime {
        let missing = (u64::from(allowance.burst) * 1000).saturating_sub(self.left_milli);
        let ms = missing.div_ceil(u64::from(allowance.per_second).max(1));
        self.at.plus(i64::try_from(ms).unwrap_or(i64::MAX))
    }

    fn gain(&mut self, ms: i64, allowance: Allowance) {
        let most = u64::from(allowance.burst) * 1000;
        // A clock that steps back gains nobody anything.
        let gained = u64::try_from(ms).unwrap_or(0).saturating_mul(allowance.per_second.into());
        self.left_milli = self.left_milli.saturating_add(gained).min(most);
    }

    /// Takes `cost` if there is that much, or everything if `cost` is more than there can ever be.
    pub fn take(&mut self, now: WorldTime, allowance: Allowance, cost: u32) -> bool {
        let most = u64::from(allowance.burst) * 1000;
        self.gain(now.since(self.at), allowance);
        self.at = self.at.max(now);
        let cost = (u64::from(cost) * 1000).min(most);
        let is_left = self.left_milli >= cost;
        if is_left {
            self.left_milli -= cost;
        }
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let allowance = Allowance::new(10, 3);
        let mut bucket = Bucket::full(allowance, WorldTime(0));
        let taken = |bucket: &mut Bucket, ms| bucket.take(WorldTime(ms), allowance, 1);
        assert_eq!([0, 0, 0, 0].map(|ms| taken(&mut bucket, ms)), [true, true, true, false]);
        assert_eq!(
            [99, 100, 100, 199, 200].map(|ms| taken(&mut bucket, ms)),
            [false, true, false, false, true]
        );
        assert_eq!(
            [9000, 9000, 9000, 9000].map(|ms| taken(&mut bucket, ms)),
            [true, true, true, false]
        );
    }

    #[test]
    fn what_costs_more_than_the_burst_takes_all_of_it() {
        let allowance = Allowance::new(1, 5);
        let mut bucket = Bucket::full(allowance, WorldTime(0));
        assert!(bucket.take(WorldTime(0), allowance, 1000));
        assert!(!bucket.take(WorldTime(4999), allowance, 1000));
        assert!(bucket.take(WorldTime(5000), allowance, 1000));
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_the_burst_and_the_rate(
            per_second in 0u32..2000, burst in 1u32..50,
            steps in prop::collection::vec(-50i64..200, 1..200),
        ) {
            let allowance = Allowance::new(per_second, burst);
            let mut bucket = Bucket::full(allowance, WorldTime(1000));
            let (mut now, mut latest, mut taken) = (1000, 1000, 0u64);
            for step in steps {
                now += step;
                latest = latest.max(now);
                taken += u64::from(bucket.take(WorldTime(now), allowance, 1));
            }
            let elapsed = u64::try_from(latest - 1000).unwrap();
            let most = u64::from(burst) + elapsed * u64::from(per_second) / 1000;
            prop_assert!(taken <= most, "{taken} of {most}");
        }
    }
}
