//! A question to the store now and then, so that a node knows whether it answers.

use crate::clock::WorldClock;
use pelago_model::{Key, WorldTime};
use pelago_store::Store;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::sleep;

/// How often the store is asked for a document.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// A question that the store has not answered for this long is asked anew, in ms. Engines bound what waits for them.
const PROBE_TIMEOUT_MS: i64 = 10_000;

/// When the store has answered.
#[derive(Debug)]
pub(crate) struct StoreProbe {
    /// World time at which it has answered last.
    answered: AtomicI64,
    /// World time at which a question was asked that is not answered yet.
    asked: AtomicI64,
}

/// No time at all, far enough from the ends of its range to be reckoned with.
const NEVER: i64 = i64::MIN / 2;

impl Default for StoreProbe {
    fn default() -> Self {
        Self { answered: AtomicI64::new(NEVER), asked: AtomicI64::new(NEVER) }
    }
}

impl StoreProbe {
    /// When the store has answered last; long ago if it never has.
    pub(crate) fn answered(&self) -> WorldTime {
        WorldTime(self.answered.load(Relaxed))
    }

    pub(crate) fn note_answer(&self, now: WorldTime) {
        self.answered.store(now.0, Relaxed);
    }
}

/// Asks the store for a document, again and again. Never ends.
pub(crate) async fn run(probe: Arc<StoreProbe>, store: Arc<dyn Store>, clock: Arc<WorldClock>) {
    loop {
        let now = clock.now();
        if now.0 - probe.asked.load(Relaxed) >= PROBE_TIMEOUT_MS {
            probe.asked.store(now.0, Relaxed);
            let (probe, clock) = (probe.clone(), clock.clone());
            let done = move |result: Result<_, pelago_store::ReadError>| {
                if result.is_ok() {
                    probe.note_answer(clock.now());
                }
                probe.asked.store(NEVER, Relaxed);
            };
            store.load(vec![Key::world()], Box::new(done));
        }
        sleep(PROBE_EVERY).await;
    }
}
