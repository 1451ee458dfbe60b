//! A draft: the documents as the turns of a batch leave them, one after the other.

use pelago_model::limits::MAX_TRANSACTION_DOCUMENTS;
use pelago_model::{Check, Document, Key, Revision, Transaction, Write};
use std::collections::BTreeMap;

/// The documents as the turns before left them, and what is to be written and checked.
pub(super) struct Draft {
    pub(super) view: BTreeMap<Key, Document>,
    writes: BTreeMap<Key, Write>,
    checks: BTreeMap<Key, Revision>,
}

impl Draft {
    /// A draft over these documents.
    pub(super) fn new(view: BTreeMap<Key, Document>) -> Self {
        Self { view, writes: BTreeMap::new(), checks: BTreeMap::new() }
    }

    /// Takes in a turn; `false` and unchanged if the transaction would grow too large.
    pub(super) fn apply(&mut self, checks: Vec<Check>, writes: Vec<Write>) -> bool {
        let new = |key: &Key| !self.writes.contains_key(key) && !self.checks.contains_key(key);
        let keys = checks.iter().map(|check| &check.key).chain(writes.iter().map(|w| &w.key));
        let more = keys.filter(|key| new(key)).count();
        if self.writes.len() + self.checks.len() + more > MAX_TRANSACTION_DOCUMENTS {
            return false;
        }
        for check in checks {
            if !self.writes.contains_key(&check.key) {
                self.checks.insert(check.key, check.revision);
            }
        }
        for write in writes {
            let (key, schema, value) = (write.key.clone(), write.schema, write.value.clone());
            // The first write of a document names the revision that the store has.
            let merged = self.writes.entry(key.clone()).or_insert(write);
            (merged.schema, merged.value) = (schema, value.clone());
            let revision = merged.expected.next();
            self.view.insert(key, Document { schema, revision, value });
        }
        true
    }

    /// The transaction of all turns, and the documents that it writes as it leaves them.
    pub(super) fn finish(mut self) -> (Transaction, BTreeMap<Key, Document>) {
        let take = |key: &Key| self.view.remove_entry(key);
        let written: BTreeMap<Key, Document> = self.writes.keys().filter_map(take).collect();
        // A document that is written is guarded by the revision that its write expects.
        let unwritten = |key: &Key| !self.writes.contains_key(key);
        let checks = self.checks.into_iter().filter(|(key, _)| unwritten(key));
        let checks = checks.map(|(key, revision)| Check { key, revision }).collect();
        let writes = self.writes.into_values().collect();
        (Transaction { checks, writes }, written)
    }
}
