//! World time of a process: what its host's clocks say, put into [`DisciplinedClock`], and its mark in the store.

mod mark;

pub(crate) use mark::keep;

use pelago_model::{
    ClockMark, ClockReading, ClockStart, DisciplinedClock, MarkLease, Revision, WorldTime,
};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// A clock that nobody sets. That of the boot goes on while the host sleeps, so that a sleeping host is to the world
/// what a stopped process is.
#[cfg(target_os = "linux")]
const MONOTONIC: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const MONOTONIC: ClockId = ClockId::Monotonic;
/// How often the wall clock is looked at, in µs.
const DISCIPLINE_EVERY_US: i64 = 100_000;
/// A process that stood still between its looks at both clocks has not read them at one moment, in µs.
const SAME_MOMENT_US: i64 = 10_000;
/// The longest that is slept at once: the rate may change meanwhile, and a host may sleep.
const LONGEST_SLEEP_US: i64 = 60_000_000;

/// World time of one process, shared by its nodes. It never steps back, whatever the host's clocks do.
#[derive(Debug)]
pub(crate) struct WorldClock {
    epoch_unix_ms: i64,
    /// Guards what was told last and what is leased.
    state: Mutex<State>,
    standing: Arc<ClockStanding>,
    /// Nodes that tell this time.
    nodes: AtomicUsize,
    /// Whoever holds it keeps the mark; the revision of its document.
    mark: tokio::sync::Mutex<Revision>,
}

#[derive(Debug)]
struct State {
    clock: DisciplinedClock,
    /// When the wall clock was read last, on the monotonic clock.
    disciplined_us: i64,
    lease: MarkLease,
}

/// How it stands with the clock: what alarms are made of.
#[derive(Debug, Default)]
pub(crate) struct ClockStanding {
    /// Whether the wall clock says what world time says.
    pub(crate) agrees: AtomicBool,
    /// Whether the store knows how far world time may have come.
    pub(crate) leased: AtomicBool,
}

/// World time beside the clock of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockAnswer {
    /// By how much world time is ahead of the wall clock on purpose, in ms: the wall clock was behind at a start.
    pub offset_ms: i64,
    /// By how much the wall clock is ahead of world time beside that, in ms.
    pub skew_ms: i64,
    /// By how many millionths world time runs fast to make up for it, or slow if negative.
    pub rate_ppm: i64,
}

impl WorldClock {
    /// A clock for a world whose time began then and of which the store has this mark.
    fn start(
        epoch_unix_ms: i64,
        stored: Option<ClockMark>,
        revision: Revision,
    ) -> (Self, ClockStart) {
        let reading = read(epoch_unix_ms, monotonic_us());
        let (clock, start) = DisciplinedClock::start(reading, stored);
        let disciplined_us = reading.monotonic_us;
        let state = Mutex::new(State { clock, disciplined_us, lease: MarkLease::default() });
        let mark = tokio::sync::Mutex::new(revision);
        let agrees = AtomicBool::new(!clock.disagrees());
        let standing = Arc::new(ClockStanding { agrees, leased: AtomicBool::new(false) });
        let nodes = AtomicUsize::new(0);
        (Self { epoch_unix_ms, state, standing, nodes, mark }, start)
    }

    /// World time now.
    pub(crate) fn now(&self) -> WorldTime {
        let mut state = self.state();
        let monotonic = monotonic_us();
        let now = state.clock.at(monotonic);
        if monotonic - state.disciplined_us >= DISCIPLINE_EVERY_US {
            let reading = read(self.epoch_unix_ms, monotonic);
            if monotonic_us() - monotonic <= SAME_MOMENT_US {
                state.disciplined_us = monotonic;
                state.clock.discipline(reading);
                self.standing.agrees.store(!state.clock.disagrees(), Relaxed);
                self.standing.leased.store(!state.lease.is_over(now), Relaxed);
            }
        }
        now
    }

    /// When the runtime's timer should fire for a world time.
    pub(crate) fn instant(&self, time: WorldTime) -> Instant {
        let at = self.state().clock.monotonic_us(time);
        let wait = at.saturating_sub(monotonic_us()).clamp(0, LONGEST_SLEEP_US);
        Instant::now() + Duration::from_micros(wait.unsigned_abs())
    }

    /// What alarms are made of.
    pub(crate) fn standing(&self) -> Arc<ClockStanding> {
        self.standing.clone()
    }

    /// What operators are told.
    pub(crate) fn answer(&self) -> ClockAnswer {
        let clock = self.state().clock;
        ClockAnswer {
            offset_ms: clock.offset_ms(),
            skew_ms: clock.skew_ms(),
            rate_ppm: clock.rate_ppm(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(epoch_unix_ms: i64, monotonic_us: i64) -> ClockReading {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let unix_us = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
    let wall_us = unix_us.saturating_sub(epoch_unix_ms.saturating_mul(1000));
    // The nodes of a process share this clock; links do not tell their time yet.
    ClockReading { monotonic_us, wall_us, links_us: None }
}

fn monotonic_us() -> i64 {
    let time = clock_gettime(MONOTONIC);
    time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1000)
}

/// Milliseconds since 1970 by the host's clock.
pub fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_waited_for_on_the_runtimes_timer() {
        let (clock, start) = WorldClock::start(unix_ms(), None, Revision(0));
        assert_eq!(start, ClockStart::First);
        let before = Instant::now();
        let at = clock.instant(clock.now().plus(10_000));
        assert!(at > before + Duration::from_secs(8) && at < before + Duration::from_secs(40));
        assert!(clock.instant(WorldTime(i64::MAX)) <= Instant::now() + Duration::from_secs(60));
        assert!(clock.instant(WorldTime(0)) <= Instant::now());
    }
}
