//! The store as operators see it: how much waits for it, and how long it takes.

use metrics::{Gauge, Histogram};
use pelago_model::{Key, Transaction};
use pelago_store::{CommitDone, LoadDone, Store, StoreLayer};
use std::sync::Arc;
use std::time::Instant;

/// The upper ends of the buckets of waiting times, in seconds: from a memory's to the patience of a player.
pub(crate) const BUCKETS: [f64; 12] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];
/// The histogram of waiting times.
pub(crate) const SECONDS: &str = "pelago_store_seconds";
/// The gauge of what waits.
pub(crate) const WAITING: &str = "pelago_store_waiting";

/// An engine whose answers are timed.
pub struct MeasuredStore {
    store: Arc<dyn Store>,
    loads: Meter,
    commits: Meter,
}

#[derive(Clone)]
struct Meter {
    seconds: Histogram,
    waiting: Gauge,
}

impl Meter {
    fn new(of: &'static str) -> Self {
        Self {
            seconds: metrics::histogram!(SECONDS, "of" => of),
            waiting: metrics::gauge!(WAITING, "of" => of),
        }
    }

    /// Counts a request as waiting until the end that is returned.
    fn begin(&self) -> impl FnOnce() + Send + 'static {
        let (meter, began) = (self.clone(), Instant::now());
        meter.waiting.increment(1);
        move || {
            meter.waiting.decrement(1);
            meter.seconds.record(began.elapsed());
        }
    }
}

impl MeasuredStore {
    /// Times an engine. The recorder of metrics is there already.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, loads: Meter::new("load"), commits: Meter::new("commit") }
    }
}

impl StoreLayer for MeasuredStore {
    fn beneath(&self) -> &dyn Store {
        &*self.store
    }

    fn load(&self, keys: Vec<Key>, done: LoadDone) {
        let end = self.loads.begin();
        let answer = move |documents| {
            end();
            done(documents);
        };
        self.store.load(keys, Box::new(answer));
    }

    fn commit(&self, transaction: Transaction, done: CommitDone) {
        let end = self.commits.begin();
        let answer = move |outcome| {
            end();
            done(outcome);
        };
        self.store.commit(transaction, Box::new(answer));
    }
}
