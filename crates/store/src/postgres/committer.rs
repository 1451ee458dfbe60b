//! The tasks that commit: each takes a group of what waits and makes one transaction of the database of it.
//!
//! A group takes two round trips:
//!
//! 1. `BEGIN`; rows are made for documents that are expected to be absent, because only what is there can be locked;
//!    the rows of all keys, also of those that are only checked, are locked in the order of their keys, and their
//!    present revisions read. From here on nobody else changes them.
//! 2. What the transactions of the group write, decided one after the other, by one statement; `COMMIT`.
//!
//! Those that conflict change nothing and hold nobody else back. Since everything that a decision depends on is locked,
//! read committed is isolation enough. Rows are made in the order of keys and locked in that order, so that groups of
//! several processes do not wait for each other in a circle; if the database thinks that they do, the group is decided
//! anew.
//!
//! Rows of documents that were only checked and are absent stay, with revision 0.

use super::connector::{Connector, Purpose};
use super::errors::{Failure, Remedy};
use super::feed::Feed;
use super::loads::read;
use super::rows::revision;
use super::session::{Session, Statements};
use super::{PATIENCE, Shared};
use crate::Fence;
use crate::apply::{can_be_restored, decide, is_well_formed};
use crate::waiting::{Commit, Work};
use futures_util::future::{join, join3};
use pelago_model::{Backoff, CommitOutcome, Document, Key, Retry, Revision};
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_postgres::types::ToSql;

/// Transactions of one group; the rest waits for the next.
pub const MAX_GROUP: usize = 1024;
/// Bytes of one group, exceeded by at most one transaction; the rest waits for the next.
pub const MAX_GROUP_BYTES: usize = 4 * 1024 * 1024;
/// How many of what waits are looked at for a group: more would take longer than a group does.
const MAX_LOOKED_AT: usize = 4 * MAX_GROUP;
/// The tries of a group that others are in the way of.
const AGAIN: Backoff = Backoff { first_ms: 2, longest_ms: 500, attempts: 8 };

/// Not even the timeout of statements may end the wait for standbys: it would make visible to everybody what those do
/// not have. A caller that waits here gives up by itself; the documents stay locked and as they were until the standbys
/// answer.
const COMMIT: &str = "SET LOCAL statement_timeout = 0; COMMIT";

/// The keys of the groups that are under way.
#[derive(Default)]
pub(super) struct Busy {
    /// Guards them for the moment in which a group is chosen or ends. Taken while the queue's lock is held.
    keys: Mutex<HashSet<Key>>,
}

impl Busy {
    fn keys(&self) -> MutexGuard<'_, HashSet<Key>> {
        // Nothing is left half done under the lock.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn free(&self, keys: &[Key]) {
        let mut busy = self.keys();
        for key in keys {
            busy.remove(key);
        }
    }
}

/// Commits over one connection.
pub(super) struct Committer {
    shared: Arc<Shared>,
    feed: Option<Arc<Feed>>,
    connector: Connector,
}

/// How a group ended, beside being decided and done.
enum Ended {
    /// Nothing has happened.
    Undone(Failure),
    /// Nobody knows. This is how they would have ended.
    Unknown(Failure, Vec<CommitOutcome>),
    /// Nothing has happened, and nothing will: another process has taken over.
    Fenced,
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Undone(failure)
    }
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, feed: Option<Arc<Feed>>) -> Self {
        let connector = Connector::new(shared.clone(), Purpose::Commit);
        Self { connector, feed, shared }
    }

    /// Commits until the queue is closed and empty.
    pub(super) async fn run(mut self) {
        while !self.shared.commits.is_done() {
            // Nothing is taken without a connection: it would be kept from others that have one.
            if self.connector.session().await.is_none() {
                continue;
            }
            let choose = |waiting: &mut VecDeque<Commit>| {
                let group = choose(waiting, &mut self.shared.busy.keys());
                Some(group).filter(|group| !group.is_empty())
            };
            let Some(group) = self.shared.commits.take(choose).await else { return };
            let keys: Vec<Key> =
                group.iter().flat_map(|commit| commit.work.keys().cloned()).collect();
            if let Some(group) = self.commit(group).await {
                // Before their keys are free: nobody who came later may pass by.
                self.shared.commits.put_back(group);
            }
            self.shared.busy.free(&keys);
            self.shared.commits.reconsider();
        }
    }

    /// Commits a group, or returns it because the connection was lost before anything happened.
    async fn commit(&mut self, mut group: Vec<Commit>) -> Option<Vec<Commit>> {
        self.shared.tally.group(group.len());
        let mut retry = Retry::new(AGAIN);
        loop {
            let Some((session, statements)) = self.connector.session().await else {
                return Some(group);
            };
            let fence = self.shared.fence();
            match transact(session, statements, fence.as_ref(), &mut group).await {
                Ok((outcomes, told)) => {
                    if let Some(feed) = &self.feed {
                        feed.has_told(told);
                    }
                    answer(group, outcomes);
                    return None;
                }
                Err(Ended::Unknown(failure, outcomes)) => {
                    tracing::warn!(%failure, transactions = group.len(), "nobody knows how a group of commits ended");
                    self.connector.give_up(&failure);
                    self.shared.doubts.raise();
                    answer(group, outcomes);
                    return None;
                }
                Err(Ended::Fenced) => {
                    self.shared.end_fenced();
                    return None;
                }
                Err(Ended::Undone(failure)) => match failure.remedy() {
                    Remedy::Retry => {}
                    Remedy::Reconnect => {
                        self.shared.health.is_gone(&failure);
                        self.connector.give_up(&failure);
                        return Some(group);
                    }
                    Remedy::GiveUp => {
                        tracing::error!(%failure, transactions = group.len(), "the database refuses a group of commits");
                        return None;
                    }
                },
            }
            let is_late = |commit: &Commit| commit.asker.asked().elapsed() > PATIENCE;
            let pause = retry.failed(RandomState::new().hash_one(()));
            let Some(pause_ms) = pause.filter(|_| !group.iter().all(is_late)) else {
                // Dropped, they have failed.
                return None;
            };
            self.shared.tally.retried();
            tokio::time::sleep(Duration::from_millis(pause_ms.unsigned_abs())).await;
        }
    }
}

/// Takes what waits, up to the limits of a group, but for what has a key in common with what is under way or was
/// left waiting: of those each is decided after the other.
fn choose(waiting: &mut VecDeque<Commit>, busy: &mut HashSet<Key>) -> Vec<Commit> {
    let (mut group, mut left) = (Vec::new(), Vec::new());
    let mut left_keys = HashSet::new();
    let mut bytes = 0;
    while group.len() < MAX_GROUP
        && bytes < MAX_GROUP_BYTES
        && group.len() + left.len() < MAX_LOOKED_AT
        && let Some(commit) = waiting.pop_front()
    {
        let must_wait = |key: &Key| busy.contains(key) || left_keys.contains(key);
        if commit.work.keys().any(must_wait) {
            left_keys.extend(commit.work.keys().cloned());
            left.push(commit);
        } else {
            bytes += commit.asker.bytes();
            group.push(commit);
        }
    }
    left.into_iter().rev().for_each(|commit| waiting.push_front(commit));
    busy.extend(group.iter().flat_map(|commit| commit.work.keys().cloned()));
    group
}

fn answer(group: Vec<Commit>, outcomes: Vec<CommitOutcome>) {
    for (commit, outcome) in group.into_iter().zip(outcomes) {
        commit.asker.answer(outcome);
    }
}

/// Decides a group and makes it durable; says how each ended, and how many changes the feed was told.
async fn transact(
    session: &Session,
    statements: &Statements,
    fence: Option<&Fence>,
    group: &mut [Commit],
) -> Result<(Vec<CommitOutcome>, u64), Ended> {
    let wanted = Wanted::of(group.iter().map(|commit| &commit.work));
    let (revisions, documents) = match lock(session, statements, &wanted).await {
        Ok(locked) => locked,
        Err(failure) => {
            roll_back(session).await;
            return Err(failure.into());
        }
    };
    let present = |key: &Key| {
        Ok::<_, Infallible>(revisions.get(key.as_str()).copied().unwrap_or(Revision(0)))
    };
    let present_document = |key: &Key| Ok(documents.get(key).cloned().unwrap_or(Document::ABSENT));
    let work = group.iter().map(|commit| commit.work.clone());
    let decided = decide(work, present, present_document);
    let outcomes: Vec<CommitOutcome> = decided
        .outcomes
        .into_iter()
        .map(|outcome| outcome.unwrap_or_else(|never| match never {}))
        .collect();
    if decided.changed.is_empty() {
        // Nothing to make durable: what was checked was so while it was locked.
        roll_back(session).await;
        return Ok((outcomes, 0));
    }
    // Should the task end here, nobody will know how they ended.
    for (commit, outcome) in group.iter_mut().zip(&outcomes) {
        commit.asker.expect(if_unknown(outcome.clone()));
    }
    match write(session, statements, fence, &decided.changed).await {
        Ok(told) => Ok((outcomes, told)),
        Err(Ended::Unknown(failure, _)) => {
            Err(Ended::Unknown(failure, outcomes.into_iter().map(if_unknown).collect()))
        }
        Err(undone) => {
            group.iter_mut().for_each(|commit| commit.asker.expect(CommitOutcome::Failed));
            Err(undone)
        }
    }
}

/// What is said of a transaction if nobody knows whether its group was committed.
fn if_unknown(outcome: CommitOutcome) -> CommitOutcome {
    match outcome {
        CommitOutcome::Committed => CommitOutcome::Unknown,
        other => other,
    }
}

/// Locks the rows of all keys and reads the present revisions, and those documents that are to be restored.
async fn lock(
    session: &Session,
    statements: &Statements,
    wanted: &Wanted,
) -> Result<(BTreeMap<String, Revision>, BTreeMap<Key, Document>), Failure> {
    let Wanted { keys, new, restored } = wanted;
    let client = &session.client;
    let begin = client.batch_execute("BEGIN");
    let place = async {
        if new.is_empty() {
            return Ok(0);
        }
        client.execute(&statements.place, &[new]).await
    };
    let lock_parameters: [&(dyn ToSql + Sync); 1] = [keys];
    let lock = client.query(&statements.lock, &lock_parameters);
    // Sent together, in this order.
    let (begun, placed, locked) = session.all_within(join3(begin, place, lock)).await?;
    begun?;
    placed?;
    let mut revisions = BTreeMap::new();
    for row in locked? {
        revisions.insert(row.try_get::<_, String>(0)?, revision(row.try_get(1)?));
    }
    // With snapshot isolation, where read committed is not to be had, somebody else's new row may not be seen.
    let unseen = new.iter().any(|key| !revisions.contains_key(key.as_str()));
    if unseen {
        return Err(Failure::Raced);
    }
    let documents = match &restored[..] {
        [] => BTreeMap::new(),
        keys => read(session, statements, keys.to_vec()).await?,
    };
    Ok((revisions, documents))
}

/// What has to be locked for a group.
struct Wanted {
    /// The keys of all that can be committed, in order.
    keys: Vec<String>,
    /// Of these the documents that are expected to be absent.
    new: Vec<String>,
    /// Of these those that are to be restored.
    restored: Vec<String>,
}

impl Wanted {
    fn of<'a>(work: impl Iterator<Item = &'a Work>) -> Self {
        let (mut keys, mut new) = (BTreeSet::new(), BTreeSet::new());
        let mut restored = BTreeSet::new();
        for work in work {
            match work {
                Work::Transaction(transaction) if is_well_formed(transaction) => {
                    let checks = transaction.checks.iter().map(|it| (&it.key, it.revision));
                    let writes = transaction.writes.iter().map(|it| (&it.key, it.expected));
                    for (key, expected) in checks.chain(writes) {
                        keys.insert(key.as_str());
                        if expected == Revision(0) {
                            new.insert(key.as_str());
                        }
                    }
                }
                Work::Restore(documents) if can_be_restored(documents) => {
                    let named = || documents.iter().map(|(key, _)| key.as_str());
                    keys.extend(named());
                    new.extend(named());
                    restored.extend(named());
                }
                // Refused when it is decided.
                Work::Transaction(_) | Work::Restore(_) => {}
            }
        }
        let texts = |keys: BTreeSet<&str>| keys.into_iter().map(str::to_owned).collect();
        Self { keys: texts(keys), new: texts(new), restored: texts(restored) }
    }
}

/// Writes documents and commits; says how many changes the feed was told.
async fn write(
    session: &Session,
    statements: &Statements,
    fence: Option<&Fence>,
    changed: &BTreeMap<Key, Document>,
) -> Result<u64, Ended> {
    let keys: Vec<&str> = changed.keys().map(Key::as_str).collect();
    let told: Vec<bool> = changed.keys().map(Key::is_of_the_world).collect();
    let documents = changed.values();
    let revisions: Vec<i64> = documents.clone().map(|it| it.revision.0.cast_signed()).collect();
    let schemas: Vec<i32> = documents.clone().map(|it| i32::from(it.schema)).collect();
    let values: Vec<Option<&[u8]>> = documents.map(|it| it.value.as_deref()).collect();
    let fence_key = fence.map(|fence| fence.key.as_str());
    let fence_revision = fence.map(|fence| fence.revision.0.cast_signed());
    let parameters: [&(dyn ToSql + Sync); 7] =
        [&keys, &revisions, &schemas, &values, &told, &fence_key, &fence_revision];
    session.expect_warnings();
    let write = session.client.query_one(&statements.write, &parameters);
    let commit = session.client.batch_execute(COMMIT);
    // Sent together: a COMMIT after a statement that failed rolls back.
    let unknown = |failure| Ended::Unknown(failure, Vec::new());
    let (written, committed) = session.all_within(join(write, commit)).await.map_err(unknown)?;
    let written = match written.map_err(Failure::Said) {
        Ok(row) => row.try_get::<_, i64>(0).map_err(|error| unknown(error.into()))?,
        Err(failure) if failure.is_refusal() => return Err(Ended::Undone(failure)),
        Err(failure) => return Err(unknown(failure)),
    };
    match committed.map_err(Failure::Said) {
        Ok(()) => {}
        Err(failure) if failure.undid_the_commit() => return Err(Ended::Undone(failure)),
        Err(failure) => return Err(unknown(failure)),
    }
    if session.has_warned() {
        let problem = "the database warned at COMMIT: it may not have waited for its standbys";
        return Err(unknown(Failure::Odd(problem.to_owned())));
    }
    if written == 0 && fence.is_some() {
        return Err(Ended::Fenced);
    }
    if written != keys.len() as i64 {
        let problem = format!("{written} rows were written instead of {}", keys.len());
        return Err(unknown(Failure::Odd(problem)));
    }
    Ok(told.iter().filter(|told| **told).count() as u64)
}

/// If that fails, the session is closed, which rolls back as well.
async fn roll_back(session: &Session) {
    let rolled_back = session.within(session.client.batch_execute("ROLLBACK")).await;
    if let Err(failure) = rolled_back {
        tracing::debug!(%failure, "a transaction could not be rolled back");
    }
}
