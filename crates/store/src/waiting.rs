//! What waits for an engine: transactions and loads that are not answered yet, and how many may be.

use crate::pending::Pending;
use crate::tally::Tally;
use crate::{CommitDone, LoadDone, ReadError};
use pelago_model::{CommitOutcome, Document, Key, Transaction};
use std::sync::Arc;
use std::time::Instant;

/// Commits that wait, and loads that wait; more fail at once.
pub const MAX_WAITING: usize = 65_536;
/// Bytes of keys and values of the transactions that are not answered yet; more fail at once.
pub const MAX_WAITING_BYTES: usize = 256 * 1024 * 1024;

/// What is to be committed.
#[derive(Clone)]
pub(crate) enum Work {
    Transaction(Transaction),
    /// Documents that are put back as they were.
    Restore(Vec<(Key, Document)>),
}

impl Work {
    /// Every key of it.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        let (transaction, documents) = match self {
            Self::Transaction(transaction) => (Some(transaction), &[][..]),
            Self::Restore(documents) => (None, &documents[..]),
        };
        let restored = documents.iter().map(|(key, _)| key);
        transaction.into_iter().flat_map(Transaction::keys).chain(restored)
    }

    /// Of its keys and values.
    fn bytes(&self) -> usize {
        let values: usize = match self {
            Self::Transaction(transaction) => {
                let values = transaction.writes.iter().filter_map(|write| write.value.as_ref());
                values.map(bytes::Bytes::len).sum()
            }
            Self::Restore(documents) => {
                let values = documents.iter().filter_map(|(_, document)| document.value.as_ref());
                values.map(bytes::Bytes::len).sum()
            }
        };
        values + self.keys().map(|key| key.as_str().len()).sum::<usize>()
    }
}

/// Work that waits. Dropped, it has failed.
pub(crate) struct Commit {
    pub(crate) work: Work,
    pub(crate) asker: Asker,
}

impl Commit {
    /// Work that waits from now on; `None` if more than [`MAX_WAITING_BYTES`] would wait with it: then it is
    /// answered already.
    pub(crate) fn new(work: Work, done: CommitDone, tally: &Arc<Tally>) -> Option<Self> {
        let bytes = work.bytes();
        let waits = tally.begin_to_wait(bytes, MAX_WAITING_BYTES);
        let asker = Asker {
            pending: Pending::new(done, CommitOutcome::Failed),
            outcome: CommitOutcome::Failed,
            asked: Instant::now(),
            bytes: waits.then_some(bytes),
            tally: tally.clone(),
        };
        waits.then_some(Self { work, asker })
    }
}

/// A caller that waits for the end of a transaction. Dropping it answers and counts, so that no path can forget to.
pub(crate) struct Asker {
    pending: Pending<CommitOutcome>,
    outcome: CommitOutcome,
    asked: Instant,
    /// What it weighs, if that is counted among what waits.
    bytes: Option<usize>,
    tally: Arc<Tally>,
}

impl Asker {
    /// Changes what it gets if nobody says anything else.
    pub(crate) fn expect(&mut self, outcome: CommitOutcome) {
        self.outcome = outcome;
    }

    /// Answers.
    pub(crate) fn answer(mut self, outcome: CommitOutcome) {
        self.expect(outcome);
    }

    /// When it asked.
    pub(crate) fn asked(&self) -> Instant {
        self.asked
    }

    /// Bytes of the keys and values of its transaction.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.unwrap_or_default()
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        if let Some(bytes) = self.bytes {
            self.tally.end_to_wait(bytes);
        }
        self.tally.ended(&self.outcome);
        self.pending.expect(std::mem::replace(&mut self.outcome, CommitOutcome::Failed));
    }
}

/// A load that waits. Dropped, it is answered that the store is busy.
pub(crate) struct Load {
    pub(crate) keys: Vec<Key>,
    pending: Pending<Result<Vec<Document>, ReadError>>,
    asked: Instant,
}

impl Load {
    /// A load that waits from now on.
    pub(crate) fn new(keys: Vec<Key>, done: LoadDone) -> Self {
        Self { keys, pending: Pending::new(done, Err(ReadError::Busy)), asked: Instant::now() }
    }

    /// When it was asked for.
    pub(crate) fn asked(&self) -> Instant {
        self.asked
    }

    /// Answers.
    pub(crate) fn answer(self, documents: Result<Vec<Document>, ReadError>, tally: &Tally) {
        tally.loaded();
        self.pending.answer(documents);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn more_than_the_limit_of_bytes_does_not_wait() {
        let check = pelago_model::Check { key: Key::world(), revision: pelago_model::Revision(0) };
        let heavy = Transaction { checks: vec![check], writes: Vec::new() };
        let tally = Arc::<Tally>::default();
        assert!(tally.begin_to_wait(MAX_WAITING_BYTES - 3, MAX_WAITING_BYTES));
        let (sender, answers) = channel();
        let done = || -> CommitDone {
            let sender = sender.clone();
            Box::new(move |outcome| sender.send(outcome).unwrap())
        };
        assert!(Commit::new(Work::Transaction(heavy), done(), &tally).is_none());
        assert_eq!(answers.recv(), Ok(CommitOutcome::Failed));
        let light = Commit::new(Work::Transaction(Transaction::default()), done(), &tally).unwrap();
        light.asker.answer(CommitOutcome::Committed);
        assert_eq!(answers.recv(), Ok(CommitOutcome::Committed));
        let counters = tally.read();
        assert_eq!(counters.waiting_bytes, MAX_WAITING_BYTES as u64 - 3);
        assert_eq!((counters.committed, counters.failed), (1, 1));
    }
}
