//! What an engine counts of itself.

use crate::StoreCounters;
use pelago_model::CommitOutcome;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Counters that the threads of an engine share.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    committed: AtomicU64,
    conflicts: AtomicU64,
    failed: AtomicU64,
    unknown: AtomicU64,
    groups: AtomicU64,
    grouped: AtomicU64,
    retries: AtomicU64,
    reconnects: AtomicU64,
    loads: AtomicU64,
    waiting_bytes: AtomicUsize,
}

impl Tally {
    /// A transaction has ended.
    pub(crate) fn ended(&self, outcome: &CommitOutcome) {
        add(match outcome {
            CommitOutcome::Committed => &self.committed,
            CommitOutcome::Conflict { .. } => &self.conflicts,
            CommitOutcome::Failed => &self.failed,
            CommitOutcome::Unknown => &self.unknown,
        });
    }

    /// A group of so many transactions is written.
    pub(crate) fn group(&self, transactions: usize) {
        add(&self.groups);
        self.grouped.fetch_add(transactions as u64, Ordering::Relaxed);
    }

    /// A group is tried again.
    pub(crate) fn retried(&self) {
        add(&self.retries);
    }

    /// A connection that was lost is there again.
    pub(crate) fn reconnected(&self) {
        add(&self.reconnects);
    }

    /// A load was answered.
    pub(crate) fn loaded(&self) {
        add(&self.loads);
    }

    /// A transaction of so many bytes waits from now on, unless more than `limit` would wait with it.
    pub(crate) fn begin_to_wait(&self, bytes: usize, limit: usize) -> bool {
        let sum = |waiting: usize| Some(waiting + bytes).filter(|sum| *sum <= limit);
        self.waiting_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).is_ok()
    }

    /// It waits no more.
    pub(crate) fn end_to_wait(&self, bytes: usize) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> StoreCounters {
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreCounters {
            committed: number(&self.committed),
            conflicts: number(&self.conflicts),
            failed: number(&self.failed),
            unknown: number(&self.unknown),
            groups: number(&self.groups),
            grouped: number(&self.grouped),
            retries: number(&self.retries),
            reconnects: number(&self.reconnects),
            loads: number(&self.loads),
            waiting_bytes: self.waiting_bytes.load(Ordering::Relaxed) as u64,
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
