//! The thread that commits: takes what waits, decides it in order, makes it durable together.

use super::MAX_WAITING_BYTES;
use super::documents::Documents;
use crate::apply::apply;
use crate::pending::Pending;
use crate::tally::Tally;
use pelago_model::{CommitOutcome, Document, Key, Transaction};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;

/// Transactions of one group; the rest waits for the next.
pub const MAX_GROUP: usize = 4096;
/// Bytes of one group, exceeded by at most one transaction; the rest waits for the next.
pub const MAX_GROUP_BYTES: usize = 16 * 1024 * 1024;

/// A transaction that waits. Dropped, it has failed.
pub(super) struct Commit {
    pub(super) transaction: Transaction,
    pub(super) pending: Pending<CommitOutcome>,
    pub(super) weight: Weight,
}

/// The bytes of a transaction that is not answered yet; dropped with the answer.
pub(super) struct Weight {
    waiting_bytes: Arc<AtomicUsize>,
    bytes: usize,
}

impl Weight {
    /// Weighs a transaction; `None` if more than [`MAX_WAITING_BYTES`] would wait with it.
    pub(super) fn of(transaction: &Transaction, waiting_bytes: &Arc<AtomicUsize>) -> Option<Self> {
        let values = transaction.writes.iter().filter_map(|write| write.value.as_ref());
        let keys = transaction.keys().map(|key| key.as_str().len());
        let bytes = values.map(bytes::Bytes::len).chain(keys).sum();
        let add = |waiting: usize| Some(waiting + bytes).filter(|sum| *sum <= MAX_WAITING_BYTES);
        waiting_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok()?;
        Some(Self { waiting_bytes: waiting_bytes.clone(), bytes })
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.waiting_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Decides transactions. `W` makes a group durable; it is a parameter so that a test can let the disk fail.
pub(super) struct Committer<W> {
    documents: Documents,
    write: W,
    tally: Arc<Tally>,
}

impl<W, E> Committer<W>
where
    W: FnMut(&BTreeMap<Key, Document>) -> Result<(), E>,
    E: Display,
{
    pub(super) fn new(documents: Documents, write: W, tally: Arc<Tally>) -> Self {
        Self { documents, write, tally }
    }

    /// Commits until nobody can ask any more, or the disk fails: then what waits and what comes fails.
    pub(super) fn run(mut self, requests: &Receiver<Commit>) {
        while let Ok(first) = requests.recv() {
            if let Err(error) = self.commit(gather(first, requests)) {
                tracing::error!(%error, "the disk failed: the store takes no more commits");
                return;
            }
        }
    }

    fn commit(&mut self, group: Vec<Commit>) -> Result<(), E> {
        let view = self.documents.view();
        let mut changed: BTreeMap<Key, Document> = BTreeMap::new();
        let mut decided = Vec::with_capacity(group.len());
        for Commit { transaction, mut pending, weight } in group {
            let revision = |key: &Key| match changed.get(key) {
                Some(document) => Ok(document.revision),
                None => view.revision(key),
            };
            let outcome = match apply(transaction, revision) {
                Ok(Ok(documents)) => {
                    changed.extend(documents);
                    // Also for a transaction that only checks: it may have seen what this group writes.
                    pending.expect(CommitOutcome::Unknown);
                    CommitOutcome::Committed
                }
                Ok(Err(outcome)) => outcome,
                Err(error) => {
                    tracing::error!(%error, "a document could not be read for a commit");
                    CommitOutcome::Failed
                }
            };
            decided.push((pending, outcome, weight));
        }
        let written = if changed.is_empty() {
            Ok(())
        } else {
            self.tally.group();
            (self.write)(&changed)
        };
        // Conflicts, too, are answered only now: who reads after one must find the newer document.
        for (pending, outcome, _weight) in decided {
            match &written {
                Err(_) if outcome == CommitOutcome::Committed => {
                    self.tally.ended(&CommitOutcome::Unknown);
                    drop(pending);
                }
                _ => {
                    self.tally.ended(&outcome);
                    pending.answer(outcome);
                }
            }
        }
        written
    }
}

/// What waits, up to the limits of a group.
fn gather(first: Commit, requests: &Receiver<Commit>) -> Vec<Commit> {
    let mut bytes = first.weight.bytes;
    let mut group = vec![first];
    while group.len() < MAX_GROUP
        && bytes < MAX_GROUP_BYTES
        && let Ok(request) = requests.try_recv()
    {
        bytes += request.weight.bytes;
        group.push(request);
    }
    group
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::directory;
    use pelago_model::{Check, Revision, Write};
    use std::sync::mpsc::{Sender, channel};

    fn key(name: &str) -> Key {
        Key::parse(name).unwrap()
    }

    fn write(name: &str, expected: u64) -> Transaction {
        let value = Some("1".into());
        let write = Write { key: key(name), expected: Revision(expected), schema: 1, value };
        Transaction { checks: Vec::new(), writes: vec![write] }
    }

    fn commit(
        transaction: Transaction,
        answers: &Sender<CommitOutcome>,
        waiting_bytes: &Arc<AtomicUsize>,
    ) -> Commit {
        let answers = answers.clone();
        let done = Box::new(move |outcome| answers.send(outcome).unwrap());
        let weight = Weight::of(&transaction, waiting_bytes).unwrap();
        Commit { transaction, pending: Pending::new(done, CommitOutcome::Failed), weight }
    }

    /// Runs transactions that wait together on a disk that fails, and more that come later.
    fn run_on<W: FnMut(&BTreeMap<Key, Document>) -> Result<(), &'static str>>(
        disk: W,
        transactions: Vec<Transaction>,
    ) -> Vec<CommitOutcome> {
        let directory = tempfile::tempdir().unwrap();
        let lock = directory::claim(directory.path()).unwrap();
        let documents = Documents::open(directory.path(), lock).unwrap();
        let (sender, answers) = channel();
        let (requests, waiting) = channel();
        let waiting_bytes = Arc::default();
        for transaction in transactions {
            requests.send(commit(transaction, &sender, &waiting_bytes)).unwrap();
        }
        let run = std::panic::AssertUnwindSafe(|| {
            Committer::new(documents, disk, Arc::default()).run(&waiting)
        });
        let _ = std::panic::catch_unwind(run);
        drop(waiting);
        // What comes after the thread has ended comes back to the sender, who drops it.
        drop(requests.send(commit(write("a/9", 0), &sender, &waiting_bytes)));
        drop(sender);
        assert_eq!(waiting_bytes.load(Ordering::Relaxed), 0);
        answers.iter().collect()
    }

    #[test]
    fn after_a_failed_sync_the_group_is_unknown_and_everything_later_fails() {
        let check = Check { key: key("a/1"), revision: Revision(1) };
        let mut group = vec![
            write("a/1", 0),
            Transaction { checks: vec![check], writes: Vec::new() },
            write("a/2", 7),
        ];
        group.extend((3..MAX_GROUP).map(|number| write(&format!("b/{number}"), 0)));
        let later = vec![write("a/1", 1), write("a/3", 0)];
        let answers = run_on(|_| Err("no space"), [group, later].concat());
        assert_eq!(answers[..2], [CommitOutcome::Unknown, CommitOutcome::Unknown]);
        assert_eq!(answers[2], CommitOutcome::Conflict { keys: vec![key("a/2")] });
        assert!(answers[3..MAX_GROUP].iter().all(|answer| *answer == CommitOutcome::Unknown));
        assert_eq!(answers[MAX_GROUP..], vec![CommitOutcome::Failed; 3]);
    }

    #[test]
    fn a_panic_while_a_group_is_written_forgets_nobody() {
        let answers = run_on(|_| panic!("a bug"), vec![write("a/1", 0), write("a/2", 7)]);
        // What could not have happened has failed; the rest is unknown.
        assert_eq!(answers[0], CommitOutcome::Unknown);
        assert_eq!(answers[1..], [CommitOutcome::Failed, CommitOutcome::Failed]);
    }

    #[test]
    fn groups_end_at_their_limits_and_nothing_is_lost_between_them() {
        let mut sizes = Vec::new();
        let transactions = (0..=MAX_GROUP).map(|number| write(&format!("b/{number}"), 0)).collect();
        let disk = |group: &BTreeMap<Key, Document>| {
            sizes.push(group.len());
            if sizes.len() == 2 { Err("enough") } else { Ok(()) }
        };
        run_on(disk, transactions);
        assert_eq!(sizes, [MAX_GROUP, 1]);
    }

    #[test]
    fn more_than_the_limit_of_bytes_does_not_wait() {
        let waiting_bytes = Arc::new(AtomicUsize::new(MAX_WAITING_BYTES - 3));
        assert!(Weight::of(&write("a/1", 0), &waiting_bytes).is_none());
        assert!(Weight::of(&Transaction::default(), &waiting_bytes).is_some());
        assert_eq!(waiting_bytes.load(Ordering::Relaxed), MAX_WAITING_BYTES - 3);
    }
}
