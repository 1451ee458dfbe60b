//! The watch of a node: asks its machines whether they still answer, and looks whether world time goes on. It measures by
//! the monotonic clock alone, which nobody can set.

use crate::clock::WorldClock;
use crate::tasks::Shared;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::sleep;

/// How often the watch looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Over how much time it compares the two clocks, in ms.
const COMPARED_MS: i64 = 2000;
/// So much at least it has to have seen, in ms.
const SEEN_MS: i64 = 1000;
/// Between two looks that are further apart the process did not run (or not well), in ms: that time says nothing.
const ABSENCE_MS: i64 = 1000;
/// World time that gains less than this share of the monotonic clock's stands still, or nearly.
const SLOWEST_SHARE: f64 = 0.5;

/// Looks for as long as the node lives.
pub(crate) async fn run(shared: Arc<Shared>, clock: Arc<WorldClock>) {
    let mut compared = Compared::default();
    loop {
        shared.ask_machines();
        let status = &shared.status;
        compared.look(status.probe_clock.now_ms(), clock.now().0);
        status.time_stands.store(compared.world_time_stands(), Relaxed);
        sleep(LOOK_EVERY).await;
    }
}

/// Readings of both clocks at the same moments: of the monotonic one and of the world's, in ms.
#[derive(Debug, Default)]
struct Compared(VecDeque<(i64, i64)>);

impl Compared {
    fn look(&mut self, now: i64, world: i64) {
        let was_absent = self.0.back().is_some_and(|(last, _)| now - last > ABSENCE_MS);
        if was_absent {
            self.0.clear();
        }
        self.0.push_back((now, world));
        while self.0.front().is_some_and(|(first, _)| now - first > COMPARED_MS) {
            self.0.pop_front();
        }
    }

    fn world_time_stands(&self) -> bool {
        let (Some((first, world_first)), Some((last, world_last))) =
            (self.0.front(), self.0.back())
        else {
            return false;
        };
        let seen = last - first;
        seen >= SEEN_MS && ((world_last - world_first) as f64) < seen as f64 * SLOWEST_SHARE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether time stands after looks at these moments, at which the world has that time.
    fn stands(moments: impl IntoIterator<Item = (i64, i64)>) -> bool {
        let mut compared = Compared::default();
        moments.into_iter().for_each(|(now, world)| compared.look(now, world));
        compared.world_time_stands()
    }

    #[test]
    fn time_that_stands_or_crawls_is_seen_and_time_that_is_disciplined_is_not() {
        let looks = |until: i64| (0..=until / 250).map(|look| look * 250);
        assert!(stands(looks(3000).map(|now| (now, 7))));
        assert!(stands(looks(3000).map(|now| (now, now * 2 / 5))));
        assert!(!stands(looks(3000).map(|now| (now, now))));
        assert!(!stands(looks(3000).map(|now| (now, now * 3 / 4))));
        assert!(!stands(looks(3000).map(|now| (now, now * 2))));
        assert!(!stands(looks(750).map(|now| (now, 7))), "too little was seen");
        // It stood, and goes on.
        let goes_on = looks(9000).map(|now| (now, (now - 4000).max(0)));
        assert!(!stands(goes_on));
    }

    #[test]
    fn a_process_that_was_stopped_does_not_take_its_absence_for_time_that_stood() {
        let before = (0..4).map(|look| (look * 250, look * 250));
        let after = (0..3).map(|look| (150_000 + look * 250, 1000 + look * 250));
        assert!(!stands(before.chain(after)));
    }
}
