//! The thread that commits: takes what waits, decides it in order, makes it durable together.

use super::opened::Opened;
use crate::apply::decide;
use crate::tally::Tally;
use crate::waiting::Commit;
use crate::{Fence, ReadError};
use pelago_model::{CommitOutcome, Document, Key};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Transactions of one group; the rest waits for the next.
pub const MAX_GROUP: usize = 4096;
/// Bytes of one group, exceeded by at most one transaction; the rest waits for the next.
pub const MAX_GROUP_BYTES: usize = 16 * 1024 * 1024;
/// How often it is looked whether the store is still there while nothing is to be committed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Decides transactions. `W` makes a group durable; it is a parameter so that a test can let the disk fail.
pub(super) struct Committer<W> {
    opened: Arc<Opened>,
    write: W,
    fence: Arc<OptionalFence>,
    tally: Arc<Tally>,
}

/// What has to hold for every commit; guarded for the moment in which it is set or read.
pub(super) type OptionalFence = Mutex<Option<Fence>>;

/// Why it takes no more commits.
#[derive(Debug)]
pub(super) enum Ended<E> {
    Disk(E),
    Fenced,
}

impl<W, E> Committer<W>
where
    W: FnMut(&BTreeMap<Key, Document>) -> Result<(), E>,
    E: Display,
{
    pub(super) fn new(
        opened: Arc<Opened>,
        write: W,
        fence: Arc<OptionalFence>,
        tally: Arc<Tally>,
    ) -> Self {
        Self { opened, write, fence, tally }
    }

    /// Commits until nobody can ask any more, or the fence is passed.
    ///
    /// # Errors
    /// Why it ended otherwise. After an error of the disk what the group was is unknown, and nothing is known of the disk.
    pub(super) fn run(&mut self, requests: &Receiver<Commit>) -> Result<(), Ended<E>> {
        loop {
            match requests.recv_timeout(LOOK_EVERY) {
                Ok(first) => {
                    let group = gather(first, requests);
                    if self.is_fenced() {
                        return Err(Ended::Fenced);
                    }
                    self.commit(group).map_err(Ended::Disk)?;
                }
                Err(RecvTimeoutError::Timeout) => {
                    (self.write)(&BTreeMap::new()).map_err(Ended::Disk)?;
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn is_fenced(&self) -> bool {
        let fence = self.fence.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(fence) = fence else { return false };
        // What cannot be read is as good as passed.
        let found = self.opened.read(|documents| documents.view().revision(&fence.key));
        found.ok() != Some(fence.revision)
    }

    fn commit(&mut self, group: Vec<Commit>) -> Result<(), E> {
        let (work, mut askers): (Vec<_>, Vec<_>) =
            group.into_iter().map(|commit| (commit.work, commit.asker)).unzip();
        let decided = self.opened.read(|documents| {
            let view = documents.view();
            Ok::<_, ReadError>(decide(work, |key| view.revision(key), |key| view.read(key)))
        });
        let decided = match decided {
            Ok(decided) => decided,
            Err(error) => {
                tracing::error!(%error, "no document can be read for a commit");
                return Ok(());
            }
        };
        let mut outcomes = Vec::with_capacity(askers.len());
        for (outcome, asker) in decided.outcomes.into_iter().zip(&mut askers) {
            let outcome = outcome.unwrap_or_else(|error| {
                tracing::error!(%error, "a document could not be read for a commit");
                CommitOutcome::Failed
            });
            if outcome == CommitOutcome::Committed {
                // Also for a transaction that only checks: it may have seen what this group writes.
                asker.expect(CommitOutcome::Unknown);
            }
            outcomes.push(outcome);
        }
        let written = if decided.changed.is_empty() {
            Ok(())
        } else {
            self.tally.group(askers.len());
            (self.write)(&decided.changed)
        };
        // Conflicts, too, are answered only now: a caller that reads after one must find the newer document.
        for (asker, outcome) in askers.into_iter().zip(outcomes) {
            if written.is_ok() || outcome != CommitOutcome::Committed {
                asker.answer(outcome);
            }
        }
        written
    }
}

/// What waits, up to the limits of a group.
fn gather(first: Commit, requests: &Receiver<Commit>) -> Vec<Commit> {
    let mut bytes = first.asker.bytes();
    let mut group = vec![first];
    while group.len() < MAX_GROUP
        && bytes < MAX_GROUP_BYTES
        && let Ok(request) = requests.try_recv()
    {
        bytes += request.asker.bytes();
        group.push(request);
    }
    group
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::directory::Directory;
    use crate::waiting::Work;
    use pelago_model::{Check, Revision, Transaction, Write};
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
        tally: &Arc<Tally>,
    ) -> Commit {
        let answers = answers.clone();
        let done = Box::new(move |outcome| answers.send(outcome).unwrap());
        Commit::new(Work::Transaction(transaction), done, tally).unwrap()
    }

    /// Runs transactions that wait together on a disk that fails, and more that come later.
    fn run_on<W: FnMut(&BTreeMap<Key, Document>) -> Result<(), &'static str>>(
        disk: W,
        transactions: Vec<Transaction>,
    ) -> Vec<CommitOutcome> {
        let directory = tempfile::tempdir().unwrap();
        let opened = Opened::open(Directory::claim(directory.path()).unwrap()).unwrap();
        let (sender, answers) = channel();
        let (requests, waiting) = channel();
        let tally = Arc::<Tally>::default();
        for transaction in transactions {
            requests.send(commit(transaction, &sender, &tally)).unwrap();
        }
        let run = std::panic::AssertUnwindSafe(|| {
            Committer::new(Arc::new(opened), disk, Arc::default(), Arc::default()).run(&waiting)
        });
        let _ = std::panic::catch_unwind(run);
        drop(waiting);
        // A request that comes after the thread has ended goes back to the sender, which drops it.
        drop(requests.send(commit(write("a/9", 0), &sender, &tally)));
        drop(sender);
        assert_eq!(tally.read().waiting_bytes, 0);
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
}
