//! World time, island time and ticks.

use serde::{Deserialize, Serialize};

/// The length of a tick in ms.
pub const TICK_MS: i64 = 100;
/// How long after a tick its frames are delivered to clients, in ms: by then those of other nodes have come.
pub const DELIVERY_DELAY_MS: i64 = 20;

macro_rules! instant {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl $name {
            /// The instant `ms` later (earlier if negative), saturating.
            pub const fn plus(self, ms: i64) -> Self {
                Self(self.0.saturating_add(ms))
            }

            /// Milliseconds from `earlier` to this one, saturating; negative if it is later.
            pub const fn since(self, earlier: Self) -> i64 {
                self.0.saturating_sub(earlier.0)
            }
        }
    };
}

instant! {
    /// Milliseconds since the world's epoch, the same on all nodes.
    WorldTime
}
instant! {
    /// Milliseconds of an island's own clock: the time of trajectories, gauges and documents.
    IslandTime
}

/// The number of a tick: tick `n` begins at world time `100 n` ms, on all nodes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Tick(pub u64);

impl Tick {
    /// The tick that holds this instant. Before the world's epoch there is only tick 0.
    pub fn at(time: WorldTime) -> Self {
        Self(u64::try_from(time.0.div_euclid(TICK_MS)).unwrap_or(0))
    }

    /// When the tick begins.
    pub fn starts(self) -> WorldTime {
        WorldTime(i64::try_from(self.0).unwrap_or(i64::MAX).saturating_mul(TICK_MS))
    }

    /// The one after.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The map from world time to an island's time: linear, with a speed in thousandths.
///
/// The identity until crowds need to slow a place. A change of speed makes a new clock that
/// continues where the old one stood, see [`IslandClock::with_speed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IslandClock {
    /// From when on the speed holds.
    pub world: WorldTime,
    /// The island's time at that instant.
    pub island: IslandTime,
    /// Island milliseconds in 1000 world milliseconds.
    pub speed_permille: u16,
}

impl IslandClock {
    /// Island time is world time.
    pub const IDENTITY: Self =
        Self { world: WorldTime(0), island: IslandTime(0), speed_permille: 1000 };

    /// The island's time at a world time, rounded down.
    pub fn at(&self, time: WorldTime) -> IslandTime {
        let elapsed = i128::from(time.since(self.world)) * i128::from(self.speed_permille);
        let elapsed = elapsed.div_euclid(1000);
        self.island.plus(i64::try_from(elapsed).unwrap_or(if elapsed < 0 {
            i64::MIN
        } else {
            i64::MAX
        }))
    }

    /// The clock that continues this one from `time` at another speed.
    pub fn with_speed(&self, time: WorldTime, speed_permille: u16) -> Self {
        Self { world: time, island: self.at(time), speed_permille }
    }
}

impl Default for IslandClock {
    fn default() -> Self {
        Self::IDENTITY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_identity_is_the_identity() {
        assert_eq!(IslandClock::IDENTITY.at(WorldTime(123_456)), IslandTime(123_456));
        assert_eq!(IslandClock::IDENTITY.at(WorldTime(i64::MIN)), IslandTime(i64::MIN));
    }

    proptest! {
        #[test]
        fn a_tick_holds_the_instants_after_its_start(ms in 0i64..1 << 50) {
            let tick = Tick::at(WorldTime(ms));
            prop_assert!(tick.starts() <= WorldTime(ms) && WorldTime(ms) < tick.next().starts());
        }

        #[test]
        fn island_time_never_steps_back(
            change in 0i64..1_000_000, speed in 0u16..=1000, a in 0i64..2_000_000, b in 0i64..2_000_000,
        ) {
            let slowed = IslandClock::IDENTITY.with_speed(WorldTime(change), speed);
            prop_assert_eq!(slowed.at(WorldTime(change)), IslandTime(change));
            let (early, late) = (a.min(b), a.max(b));
            prop_assert!(slowed.at(WorldTime(early)) <= slowed.at(WorldTime(late)));
        }
    }
}
