//! The rule by which a process makes world time out of its host's clocks.
//!
//! World time runs on a clock that nobody sets (the monotonic one), and is disciplined by the wall clock: it runs a
//! little faster or slower until both agree. A wall clock that jumps raises an alarm and changes nothing at once.
//!
//! **Restarts.** A [`ClockMark`] in the store says which times may have been told. A process that starts goes on from
//! the mark if its wall clock is behind it, and keeps the difference as an offset for as long as that is needed. A wall
//! clock that is ahead of the mark is believed: the world may have stood still for that long.
//!
//! **Links.** In a world in which other nodes live, the median of what they say is the time. The wall clock disciplines
//! it only while both agree to within [`CLOCK_TOLERANCE_MS`].

mod lease;

pub use lease::{MARK_LEASE_MS, MARK_RENEW_MS, MarkLease};

use crate::time::WorldTime;

/// The most that world time runs fast or slow against the monotonic clock, in millionths: 0.5 %.
///
/// The oscillators of hosts are off by less than 0.02 %, so that every clock that is merely inexact is followed. A client
/// that hears of the time every 2 s is off by 10 ms at most, of the 50 ms by which a move may be early.
pub const MAX_RATE_PPM: i64 = 5_000;
/// How far the wall clock may be from world time before that is an alarm, in ms.
pub const CLOCK_TOLERANCE_MS: i64 = 500;
/// A difference is brought to nothing in about this many seconds, if the greatest rate allows that.
const SMOOTHING_S: i64 = 10;

/// What the clocks of a host, and other nodes, say at one moment. All in µs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockReading {
    /// A clock that nobody sets, and that goes on while the process is stopped.
    pub monotonic_us: i64,
    /// World time by the wall clock: what has passed since the world's epoch.
    pub wall_us: i64,
    /// World time by the median of what the links say, if there are links that say it.
    pub links_us: Option<i64>,
}

/// What the store knows of world time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockMark {
    /// No time after this one has been told.
    pub mark: WorldTime,
    /// By how much world time is ahead of the wall clocks, in ms.
    pub offset_ms: i64,
}

/// How a process found the time when it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockStart {
    /// Nobody has told a time before.
    First,
    /// The wall clock is ahead of the mark by so many ms, with or without the stored offset: it is believed.
    Ahead {
        /// How far.
        by_ms: i64,
    },
    /// The wall clock, with the stored offset, is behind the mark by so many ms: world time goes on from the mark.
    Behind {
        /// How far.
        by_ms: i64,
    },
    /// Other nodes told the time.
    Joined,
}

/// World time that never steps back, whatever is done to the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DisciplinedClock {
    /// The monotonic clock and world time when the rate was chosen last, in µs.
    since: (i64, i64),
    /// Millionths by which world time runs fast, or slow if negative.
    rate_ppm: i64,
    offset_us: i64,
    /// By how much the wall clock, with the offset, is ahead of world time, as it was read last.
    skew_us: i64,
    /// What was told last, in µs.
    told_us: i64,
}

impl DisciplinedClock {
    /// The clock of a process that starts, and how it found the time.
    pub fn start(reading: ClockReading, stored: Option<ClockMark>) -> (Self, ClockStart) {
        let wall = reading.wall_us;
        let known = stored.map(|stored| (us(stored.mark.0).max(0), us(stored.offset_ms)));
        let (world, offset, start) = match (reading.links_us, known) {
            (Some(links), known) => {
                (links.max(0), known.map_or(0, |(_, offset)| offset), ClockStart::Joined)
            }
            (None, None) => (wall.max(0), 0i64.saturating_sub(wall).max(0), ClockStart::First),
            // An offset ends as soon as the wall clock alone has passed the mark.
            (None, Some((mark, _))) if wall >= mark => {
                (wall, 0, ClockStart::Ahead { by_ms: wall.saturating_sub(mark) / 1000 })
            }
            (None, Some((mark, offset))) => {
                let here = wall.saturating_add(offset);
                if here >= mark {
                    (here, offset, ClockStart::Ahead { by_ms: here.saturating_sub(mark) / 1000 })
                } else {
                    let by_ms = mark.saturating_sub(here) / 1000;
                    (mark, mark.saturating_sub(wall), ClockStart::Behind { by_ms })
                }
            }
        };
        let mut clock = Self {
            since: (reading.monotonic_us, world),
            rate_ppm: 0,
            offset_us: offset,
            skew_us: 0,
            told_us: world,
        };
        clock.discipline(reading);
        (clock, start)
    }

    /// World time, when the monotonic clock says this.
    pub fn at(&mut self, monotonic_us: i64) -> WorldTime {
        self.told_us = self.told_us.max(self.world_us(monotonic_us));
        WorldTime(self.told_us / 1000)
    }

    /// When the monotonic clock will say so, world time will be this, unless the rate changes.
    pub fn monotonic_us(&self, time: WorldTime) -> i64 {
        let (monotonic, world) = self.since;
        let missing = i128::from(us(time.0)) - i128::from(world);
        // Rounded up: not before.
        let runs = 1_000_000 + i128::from(self.rate_ppm);
        let passed = (missing * 1_000_000 + runs - 1).div_euclid(runs);
        let at = i128::from(monotonic) + passed;
        i64::try_from(at).unwrap_or(if at < 0 { i64::MIN } else { i64::MAX })
    }

    /// Chooses at which rate world time runs from now on.
    pub fn discipline(&mut self, reading: ClockReading) {
        let world = self.world_us(reading.monotonic_us).max(self.told_us);
        self.since = (reading.monotonic_us, world);
        let wall = reading.wall_us.saturating_add(self.offset_us);
        let (reference, compared) = match reading.links_us {
            Some(links) if is_far(wall.saturating_sub(links)) => (links, links),
            Some(links) => (wall, links),
            None => (wall, world),
        };
        self.skew_us = wall.saturating_sub(compared);
        let missing = reference.saturating_sub(world);
        self.rate_ppm = (missing / SMOOTHING_S).clamp(-MAX_RATE_PPM, MAX_RATE_PPM);
    }

    /// By how much world time is ahead of the wall clock on purpose, in ms: what the store is to keep.
    pub fn offset_ms(&self) -> i64 {
        self.offset_us / 1000
    }

    /// By how much the wall clock, with the offset, is ahead of world time (or of the links, if there are any), in ms.
    pub fn skew_ms(&self) -> i64 {
        self.skew_us / 1000
    }

    /// By how many millionths world time runs fast at present, or slow if negative.
    pub fn rate_ppm(&self) -> i64 {
        self.rate_ppm
    }

    /// Whether the wall clock says something else than world time: it was set while the process ran, or is not the
    /// other nodes'.
    pub fn disagrees(&self) -> bool {
        is_far(self.skew_us)
    }

    fn world_us(&self, monotonic_us: i64) -> i64 {
        let (monotonic, world) = self.since;
        let passed = i128::from(monotonic_us.saturating_sub(monotonic).max(0));
        let passed = passed * (1_000_000 + i128::from(self.rate_ppm)) / 1_000_000;
        world.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
    }
}

/// The median of what links say, if there are any: of an even number, the smaller of the two in the middle.
pub fn median_us(mut said: Vec<i64>) -> Option<i64> {
    said.sort_unstable();
    said.get(said.len().saturating_sub(1) / 2).copied()
}

const fn us(ms: i64) -> i64 {
    ms.saturating_mul(1000)
}

const fn is_far(us: i64) -> bool {
    us.saturating_abs() > CLOCK_TOLERANCE_MS * 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: i64 = 1_000_000;
    const DAY_MS: i64 = 86_400_000;

    fn reading(monotonic_us: i64, wall_us: i64) -> ClockReading {
        ClockReading { monotonic_us, wall_us, links_us: None }
    }

    fn mark(mark_ms: i64, offset_ms: i64) -> Option<ClockMark> {
        Some(ClockMark { mark: WorldTime(mark_ms), offset_ms })
    }

    /// A host: a monotonic clock that began at some time, and a wall clock that is set now and then.
    struct Host {
        clock: DisciplinedClock,
        monotonic_us: i64,
        wall_us: i64,
    }

    impl Host {
        fn start(wall_ms: i64, stored: Option<ClockMark>) -> (Self, ClockStart) {
            let (monotonic_us, wall_us) = (77 * SECOND, wall_ms * 1000);
            let (clock, start) = DisciplinedClock::start(reading(monotonic_us, wall_us), stored);
            (Self { clock, monotonic_us, wall_us }, start)
        }

        /// Lets so much time pass, and returns how much of it world time has seen, in ms.
        fn run(&mut self, seconds: i64) -> i64 {
            let before = self.now();
            for _ in 0..seconds * 10 {
                self.monotonic_us += SECOND / 10;
                self.wall_us += SECOND / 10;
                self.clock.discipline(reading(self.monotonic_us, self.wall_us));
            }
            self.now() - before
        }

        fn now(&mut self) -> i64 {
            self.clock.at(self.monotonic_us).0
        }
    }

    /// So many seconds took this many ms, within the stated rate.
    fn is_normal(ms: i64, seconds: i64) -> bool {
        (ms - seconds * 1000).abs() <= seconds * 1000 * MAX_RATE_PPM / 1_000_000 + 1
    }

    #[test]
    fn a_clock_that_is_right_is_followed_exactly() {
        let (mut host, start) = Host::start(5_000, None);
        assert_eq!((host.now(), start), (5_000, ClockStart::First));
        assert_eq!(host.run(100), 100_000);
        assert_eq!((host.clock.skew_ms(), host.clock.rate_ppm()), (0, 0));
    }

    #[test]
    fn an_oscillator_that_is_inexact_is_corrected() {
        let (mut host, _) = Host::start(0, None);
        // The monotonic clock loses 200 ppm against the wall clock.
        for _ in 0..6000 {
            host.monotonic_us += 99_980;
            host.wall_us += 100_000;
            host.clock.discipline(reading(host.monotonic_us, host.wall_us));
        }
        assert!((host.now() - 600_000).abs() <= 3, "{}", host.now());
        assert!((host.clock.rate_ppm() - 200).abs() <= 1);
        assert!(!host.clock.disagrees());
    }

    #[test]
    fn a_jump_of_the_wall_clock_while_running_is_an_alarm_and_changes_nothing_at_once() {
        for jump_ms in [3_600_000, -60_000, DAY_MS, -DAY_MS] {
            let (mut host, _) = Host::start(10 * DAY_MS, None);
            host.run(10);
            host.wall_us += jump_ms * 1000;
            assert!(is_normal(host.run(20), 20), "{jump_ms}");
            assert!(host.clock.disagrees(), "{jump_ms}");
            assert!((host.clock.skew_ms() - jump_ms).abs() < 200);
            // When it is set right again, nothing is left of it but what the rate has done.
            host.wall_us -= jump_ms * 1000;
            assert!(is_normal(host.run(40), 40), "{jump_ms}");
            assert!(!host.clock.disagrees() && host.clock.skew_ms().abs() < 10, "{jump_ms}");
        }
    }

    #[test]
    fn a_start_behind_the_mark_goes_on_from_it_at_the_normal_rate_and_keeps_the_offset() {
        // The host was a day ahead for one run.
        let (mut host, start) = Host::start(10 * DAY_MS, mark(11 * DAY_MS, 0));
        assert_eq!(start, ClockStart::Behind { by_ms: DAY_MS });
        assert_eq!((host.now(), host.clock.offset_ms()), (11 * DAY_MS, DAY_MS));
        assert_eq!(host.run(100), 100_000);
        assert!(!host.clock.disagrees());
        // The next start goes on where this one ended.
        let stored = mark(host.now(), host.clock.offset_ms());
        let (mut host, start) = Host::start(10 * DAY_MS + 160_000, stored);
        assert_eq!(start, ClockStart::Ahead { by_ms: 60_000 });
        assert_eq!((host.now(), host.clock.offset_ms()), (11 * DAY_MS + 160_000, DAY_MS));
    }

    #[test]
    fn a_start_ahead_of_the_mark_is_accepted_and_ends_the_offset() {
        let (mut host, start) = Host::start(20 * DAY_MS, mark(11 * DAY_MS, DAY_MS));
        assert_eq!(start, ClockStart::Ahead { by_ms: 9 * DAY_MS });
        assert_eq!((host.now(), host.clock.offset_ms()), (20 * DAY_MS, 0));
    }

    #[test]
    fn a_wall_clock_from_before_the_world_begins_at_its_beginning() {
        let (mut host, start) = Host::start(-70 * 365 * DAY_MS, None);
        assert_eq!((host.now(), start), (0, ClockStart::First));
        assert_eq!(host.run(60), 60_000);
    }

    #[test]
    fn time_goes_on_while_the_process_is_stopped() {
        let (mut host, _) = Host::start(0, None);
        host.monotonic_us += 150 * SECOND;
        host.wall_us += 150 * SECOND;
        assert_eq!(host.now(), 150_000);
    }

    #[test]
    fn who_joins_takes_the_time_of_the_links_and_not_that_of_a_wall_clock_that_is_far_off() {
        let links_us = median_us(vec![900 * SECOND, 5 * SECOND, 901 * SECOND]);
        assert_eq!(links_us, Some(900 * SECOND));
        let at = |wall_us| ClockReading { monotonic_us: 0, wall_us, links_us };
        let (mut near, start) = DisciplinedClock::start(at(900 * SECOND + 400_000), None);
        assert_eq!((near.at(0), start), (WorldTime(900_000), ClockStart::Joined));
        assert!(!near.disagrees() && near.rate_ppm() > 0, "its wall clock disciplines it");
        let (mut far, _) = DisciplinedClock::start(at(902 * SECOND), None);
        assert_eq!((far.at(0), far.rate_ppm()), (WorldTime(900_000), 0));
        assert!(far.disagrees());
        assert_eq!(median_us(Vec::new()), None);
    }

    proptest! {
        #[test]
        fn time_never_steps_back_and_never_leaves_the_stated_rate(
            wall: i64, stored: Option<(i64, i64)>,
            steps in prop::collection::vec((0i64..10_000_000, any::<i64>(), any::<Option<i64>>()), 1..50),
        ) {
            let stored = stored.and_then(|(at, offset)| mark(at, offset));
            let (mut clock, _) = DisciplinedClock::start(reading(0, wall), stored);
            let (mut monotonic, mut last) = (0, clock.at(0).0);
            for (passed, wall_us, links_us) in steps {
                monotonic += passed;
                let now = clock.at(monotonic).0;
                let most = passed + passed * MAX_RATE_PPM / 1_000_000;
                let least = passed - passed * MAX_RATE_PPM / 1_000_000;
                let run = (now - last).saturating_mul(1000);
                // Each of both readings is rounded down to a ms. The end of all time is nobody's rate.
                prop_assert!(now >= last && run <= most + 1000, "{run} in {passed}");
                prop_assert!(run >= least - 1002 || now > i64::MAX / 2000, "{run} in {passed}");
                clock.discipline(ClockReading { monotonic_us: monotonic, wall_us, links_us });
                prop_assert_eq!(clock.at(monotonic).0, now);
                last = now;
            }
        }

        #[test]
        fn no_restart_goes_behind_the_mark(wall in -1i64 << 50..1 << 50, at in 0i64..1 << 40, offset in 0i64..1 << 40) {
            let (mut host, _) = Host::start(wall / 1000, mark(at, offset));
            prop_assert!(host.now() >= at);
        }

        #[test]
        fn a_time_is_waited_for_until_it_has_come(
            wall in 0i64..1 << 50, behind in -10_000_000i64..10_000_000, ahead in 0i64..100_000,
        ) {
            let (mut clock, _) = DisciplinedClock::start(reading(0, wall), None);
            clock.discipline(reading(0, wall + behind));
            let wanted = clock.at(0).plus(ahead);
            let at = clock.monotonic_us(wanted);
            prop_assert!(clock.at(at) >= wanted);
        }
    }
}
