//! Documents and transactions: what the store keeps, and how it is asked to change.

use crate::id::Revision;
use crate::key::Key;
use bytes::Bytes;

/// The value under a key, with its revision.
///
/// A key that was never written reads as [`Document::ABSENT`]; a deleted one keeps its revision, so
/// that anyone can tell newer from older.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The version of the value's schema; documents are upgraded on read.
    pub schema: u16,
    /// How often the document was written.
    pub revision: Revision,
    /// The value (canonical JSON), or `None` after a deletion and before the first write.
    pub value: Option<Bytes>,
}

impl Document {
    /// A document that was never written.
    pub const ABSENT: Self = Self { schema: 0, revision: Revision(0), value: None };
}

/// A document that a transaction only read: it must still have this revision at the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The document.
    pub key: Key,
    /// The revision that was read.
    pub revision: Revision,
}

/// A document that a transaction writes: it must have the expected revision, and gets the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The document.
    pub key: Key,
    /// The revision that was read; 0 for a new document.
    pub expected: Revision,
    /// The schema version of the value.
    pub schema: u16,
    /// The new value, or `None` to delete.
    pub value: Option<Bytes>,
}

/// Checks and writes that happen all or not at all. At most
/// [`MAX_TRANSACTION_DOCUMENTS`](crate::limits::MAX_TRANSACTION_DOCUMENTS) documents; a key occurs once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// Documents that must not have changed.
    pub checks: Vec<Check>,
    /// Documents that change.
    pub writes: Vec<Write>,
}

impl Transaction {
    /// Every key of the transaction, checks first.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.checks.iter().map(|check| &check.key).chain(self.writes.iter().map(|write| &write.key))
    }

    /// Whether it leaves alone what is written once: such documents are inserted, never changed or deleted.
    pub fn keeps_history(&self) -> bool {
        let inserts = |write: &Write| write.expected == Revision(0) && write.value.is_some();
        self.writes.iter().all(|write| inserts(write) || !write.key.is_append_only())
    }
}

/// How a commit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// It happened and is durable.
    Committed,
    /// It did not happen: these documents had another revision than expected.
    Conflict {
        /// The documents that were not as expected; never empty.
        keys: Vec<Key>,
    },
    /// It did not happen, and the store says so; it may be tried again later.
    Failed,
    /// Nobody knows whether it happened: read the documents again before trying again.
    Unknown,
}
