//! The clock by which readiness is measured.

use std::time::Instant;

/// Milliseconds of the monotonic clock, which nobody can set, since the node was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProbeClock(Instant);

impl Default for ProbeClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl ProbeClock {
    pub(crate) fn now_ms(self) -> i64 {
        i64::try_from(self.0.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}
