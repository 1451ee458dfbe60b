//! A stopwatch for a thread: how long it ran, without the time for which it waited for a core.
//!
//! Linux counts that time in the second number of `/proc/PID/task/TID/schedstat`, in ns (kernel documentation,
//! `sched-stats`). Where there is no such file, all time counts.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A running stopwatch, which other threads may read.
#[derive(Clone)]
pub(crate) struct Stopwatch {
    statistics: Option<Arc<File>>,
    since: Instant,
    waited_before: Duration,
}

impl Stopwatch {
    /// Measures this thread from now on.
    pub(crate) fn of_this_thread() -> Self {
        let path = fs::read_link("/proc/thread-self").map(|task| Path::new("/proc").join(task));
        let statistics = path.and_then(|path| File::open(path.join("schedstat"))).ok();
        Self::since_now(statistics.map(Arc::new))
    }

    /// The same, from now on.
    pub(crate) fn restarted(&self) -> Self {
        Self::since_now(self.statistics.clone())
    }

    fn since_now(statistics: Option<Arc<File>>) -> Self {
        let waited_before = statistics.as_deref().and_then(waited).unwrap_or_default();
        Self { statistics, since: Instant::now(), waited_before }
    }

    /// How long the thread ran, or slept by its own will, since the stopwatch was started.
    pub(crate) fn ran_for(&self) -> Duration {
        let waited = self.statistics.as_deref().and_then(waited).unwrap_or_default();
        self.since.elapsed().saturating_sub(waited.saturating_sub(self.waited_before))
    }
}

/// For how long a thread was ready to run and did not.
fn waited(statistics: &File) -> Option<Duration> {
    let mut bytes = [0; 96];
    let length = statistics.read_at(&mut bytes, 0).ok()?;
    let text = std::str::from_utf8(bytes.get(..length)?).ok()?;
    text.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_sleeps_has_run_and_one_that_is_restarted_has_not() {
        let stopwatch = Stopwatch::of_this_thread();
        std::thread::sleep(Duration::from_millis(30));
        assert!(stopwatch.ran_for() > Duration::ZERO);
        assert!(stopwatch.ran_for() <= stopwatch.since.elapsed());
        assert!(stopwatch.restarted().since > stopwatch.since);
    }
}
