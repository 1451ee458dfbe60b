//! The engine for tests and the simulator: a map.

use crate::apply::{apply, restore};
use crate::tally::Tally;
use crate::{
    Capabilities, Change, CommitDone, FENCED, FeedError, FeedPosition, Fence, LoadDone, ReadError,
    Store, StoreCounters, can_be_forgotten,
};
use pelago_model::{CommitOutcome, Document, Key, Revision, Transaction};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::ops::{Bound, ControlFlow};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Changes that are kept.
const MAX_CHANGES: usize = 65_536;

/// Documents in memory. Answers at once, on the caller's thread. Nothing outlives the process.
#[derive(Debug, Default)]
pub struct Memory {
    /// Guards the documents and whether the store is closed.
    inner: Mutex<Inner>,
    tally: Tally,
}

#[derive(Debug, Default)]
struct Inner {
    documents: BTreeMap<Key, Document>,
    changes: VecDeque<Change>,
    /// How many changes there were.
    changed: u64,
    closed: bool,
    fence: Option<Fence>,
    /// Whether it was asked to commit after its fence was passed.
    fenced: bool,
}

impl Inner {
    /// Whether something may be committed.
    fn takes_commits(&mut self) -> bool {
        let is_passed = |fence: &Fence| self.get(&fence.key).revision != fence.revision;
        let passed = self.fence.as_ref().is_some_and(is_passed);
        self.fenced |= passed;
        !self.closed && !passed
    }

    fn get(&self, key: &Key) -> Document {
        self.documents.get(key).cloned().unwrap_or(Document::ABSENT)
    }

    fn put(&mut self, key: Key, document: Document) {
        if key.is_of_the_world() {
            self.changed += 1;
            let position = FeedPosition { major: self.changed, minor: 0 };
            let change = Change { position, key: key.clone(), document: document.clone() };
            self.changes.push_back(change);
            if self.changes.len() > MAX_CHANGES {
                self.changes.pop_front();
            }
        }
        self.documents.insert(key, document);
    }

    fn feed_end(&self) -> FeedPosition {
        FeedPosition { major: self.changed, minor: 0 }
    }

    fn feed(&self, after: FeedPosition, limit: usize) -> Result<Vec<Change>, FeedError> {
        let before = FeedPosition { major: self.changed - self.changes.len() as u64, minor: 0 };
        if after < before {
            return Err(FeedError::Forgotten { oldest: before });
        }
        let first = self.changes.partition_point(|change| change.position <= after);
        Ok(self.changes.iter().skip(first).take(limit).cloned().collect())
    }
}

/// An open store with these documents.
impl From<BTreeMap<Key, Document>> for Memory {
    fn from(documents: BTreeMap<Key, Document>) -> Self {
        let inner = Inner { documents, ..Inner::default() };
        Self { inner: Mutex::new(inner), tally: Tally::default() }
    }
}

impl Memory {
    /// A document as it stands, also after the store was closed.
    pub fn get(&self, key: &Key) -> Document {
        self.inner().get(key)
    }

    /// All documents as they stand, also after the store was closed: what a crash leaves of a durable engine.
    pub fn snapshot(&self) -> BTreeMap<Key, Document> {
        self.inner().documents.clone()
    }

    /// Commits at once.
    pub fn apply(&self, transaction: Transaction) -> CommitOutcome {
        let mut inner = self.inner();
        if !inner.takes_commits() {
            return CommitOutcome::Failed;
        }
        let revision = |key: &Key| Ok::<Revision, Infallible>(inner.get(key).revision);
        match apply(transaction, revision) {
            Ok(Ok(documents)) => {
                documents.into_iter().for_each(|(key, document)| inner.put(key, document));
                CommitOutcome::Committed
            }
            Ok(Err(outcome)) => outcome,
            Err(never) => match never {},
        }
    }

    fn put_back(&self, documents: Vec<(Key, Document)>) -> CommitOutcome {
        let mut inner = self.inner();
        if !inner.takes_commits() {
            return CommitOutcome::Failed;
        }
        let read = |key: &Key| Ok::<Document, Infallible>(inner.get(key));
        match restore(documents, read) {
            Ok(Ok(missing)) => {
                missing.into_iter().for_each(|(key, document)| inner.put(key, document));
                CommitOutcome::Committed
            }
            Ok(Err(outcome)) => outcome,
            Err(never) => match never {},
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing is left half done under the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `read` says of the documents, unless the store is closed.
    fn read<T>(&self, read: impl FnOnce(&Inner) -> T) -> Result<T, ReadError> {
        let inner = self.inner();
        if inner.closed { Err(ReadError::Busy) } else { Ok(read(&inner)) }
    }
}

impl Store for Memory {
    fn load(&self, keys: Vec<Key>, done: LoadDone) {
        self.tally.loaded();
        let documents = self.read(|inner| keys.iter().map(|key| inner.get(key)).collect());
        done(documents);
    }

    fn commit(&self, transaction: Transaction, done: CommitDone) {
        let outcome = self.apply(transaction);
        self.tally.ended(&outcome);
        done(outcome);
    }

    fn restore(&self, documents: Vec<(Key, Document)>, done: CommitDone) {
        let outcome = self.put_back(documents);
        self.tally.ended(&outcome);
        done(outcome);
    }

    fn forget(&self, keys: &[Key]) -> Result<(), ReadError> {
        can_be_forgotten(keys)?;
        let mut inner = self.inner();
        if !inner.takes_commits() {
            return Err(ReadError::Busy);
        }
        keys.iter().for_each(|key| drop(inner.documents.remove(key)));
        Ok(())
    }

    fn scan_after(
        &self,
        prefix: &str,
        after: Option<&Key>,
        visit: &mut dyn FnMut(Key, Document) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        // Copied, so that `visit` may use the store.
        let first = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()));
        let copy = |(key, document): (&Key, &Document)| (key.clone(), document.clone());
        let documents: Vec<(Key, Document)> = self
            .read(|inner| inner.documents.range((first, Bound::Unbounded)).map(copy).collect())?;
        for (key, document) in
            documents.into_iter().filter(|(key, _)| key.as_str().starts_with(prefix))
        {
            if visit(key, document).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn feed(&self, after: FeedPosition, limit: usize) -> Result<Vec<Change>, FeedError> {
        self.read(|inner| inner.feed(after, limit))?
    }

    fn feed_end(&self) -> Result<FeedPosition, ReadError> {
        self.read(Inner::feed_end)
    }

    fn fence(&self, fence: Fence) {
        self.inner().fence = Some(fence);
    }

    fn broken(&self) -> Option<String> {
        self.inner().fenced.then(|| FENCED.to_owned())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            native_transactions: true,
            scan: true,
            feed: true,
            durable: false,
            exclusive: true,
        }
    }

    fn counters(&self) -> StoreCounters {
        self.tally.read()
    }

    fn close(&self) {
        self.inner().closed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::conformance!(|| std::sync::Arc::new(Memory::default()));

    #[test]
    fn a_snapshot_is_not_changed_by_what_comes_later() {
        let key = Key::world();
        let write = |expected| Transaction {
            checks: Vec::new(),
            writes: vec![pelago_model::Write {
                key: key.clone(),
                expected: Revision(expected),
                schema: 1,
                value: Some("{}".into()),
            }],
        };
        let store = Memory::default();
        assert_eq!(store.apply(write(0)), CommitOutcome::Committed);
        let restored = Memory::from(store.snapshot());
        assert_eq!(store.apply(write(1)), CommitOutcome::Committed);
        assert_eq!(restored.get(&key).revision, Revision(1));
    }
}
