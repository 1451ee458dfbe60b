//! What an engine counts of itself.

use crate::StoreCounters;
use pelago_model::CommitOutcome;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters that the threads of an engine share.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    committed: AtomicU64,
    conflicts: AtomicU64,
    failed: AtomicU64,
    groups: AtomicU64,
    loads: AtomicU64,
}

impl Tally {
    /// A transaction has ended.
    pub(crate) fn ended(&self, outcome: &CommitOutcome) {
        let counter = match outcome {
            CommitOutcome::Committed => &self.committed,
            CommitOutcome::Conflict { .. } => &self.conflicts,
            CommitOutcome::Failed | CommitOutcome::Unknown => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A group was written.
    pub(crate) fn group(&self) {
        self.groups.fetch_add(1, Ordering::Relaxed);
    }

    /// A load was answered.
    pub(crate) fn loaded(&self) {
        self.loads.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> StoreCounters {
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreCounters {
            committed: number(&self.committed),
            conflicts: number(&self.conflicts),
            failed: number(&self.failed),
            groups: number(&self.groups),
            loads: number(&self.loads),
        }
    }
}
