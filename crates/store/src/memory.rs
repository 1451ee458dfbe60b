//! The engine for tests and the simulator: a map.

use crate::apply::apply;
use crate::{CommitDone, LoadDone, ReadError, Store};
use pelago_model::{CommitOutcome, Document, Key, Revision, Transaction};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Documents in memory. Answers at once, on the caller's thread. Nothing outlives the process.
#[derive(Debug, Default)]
pub struct Memory {
    /// Guards the documents and whether the store is closed.
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    documents: BTreeMap<Key, Document>,
    closed: bool,
}

impl Memory {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing is left half done under the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A document as it stands.
    pub fn get(&self, key: &Key) -> Document {
        self.inner().documents.get(key).cloned().unwrap_or(Document::ABSENT)
    }

    /// Commits at once.
    pub fn apply(&self, transaction: Transaction) -> CommitOutcome {
        let mut inner = self.inner();
        if inner.closed {
            return CommitOutcome::Failed;
        }
        let revision = |key: &Key| {
            let found = inner.documents.get(key);
            Ok::<_, Infallible>(found.map_or(Revision(0), |document| document.revision))
        };
        match apply(transaction, revision) {
            Ok(Ok(documents)) => {
                inner.documents.extend(documents);
                CommitOutcome::Committed
            }
            Ok(Err(outcome)) => outcome,
            Err(never) => match never {},
        }
    }
}

impl Store for Memory {
    fn load(&self, keys: Vec<Key>, done: LoadDone) {
        let documents = keys.iter().map(|key| self.get(key)).collect();
        done(Ok(documents));
    }

    fn commit(&self, transaction: Transaction, done: CommitDone) {
        let outcome = self.apply(transaction);
        done(outcome);
    }

    fn audit(&self, prefix: &str, visit: &mut dyn FnMut(Key, Document)) -> Result<(), ReadError> {
        let documents = self.inner().documents.clone();
        for (key, document) in documents {
            if key.as_str().starts_with(prefix) {
                visit(key, document);
            }
        }
        Ok(())
    }

    fn close(&self) {
        self.inner().closed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::conformance!(|| std::sync::Arc::new(Memory::default()));
}
