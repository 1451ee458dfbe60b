//! World time from the host's clock.

use pelago_model::{SteadyClock, WorldTime};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// World time of one process. It never steps back, whatever the host's clock does.
#[derive(Debug)]
pub(crate) struct WorldClock {
    epoch_unix_ms: i64,
    /// Guards what was told last.
    steady: Mutex<SteadyClock>,
}

impl WorldClock {
    /// A clock for a world whose time began then.
    pub(crate) fn new(epoch_unix_ms: i64) -> Self {
        Self { epoch_unix_ms, steady: Mutex::default() }
    }

    /// World time now.
    pub(crate) fn now(&self) -> WorldTime {
        let mut steady = self.steady.lock().unwrap_or_else(PoisonError::into_inner);
        steady.read(WorldTime(unix_ms().saturating_sub(self.epoch_unix_ms).max(0)))
    }

    /// When the runtime's timer should fire for a world time.
    pub(crate) fn instant(&self, time: WorldTime) -> Instant {
        let wait = time.since(self.now()).clamp(0, 60_000);
        Instant::now() + Duration::from_millis(wait as u64)
    }
}

/// Milliseconds since 1970 by the host's clock.
pub fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
