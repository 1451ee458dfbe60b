//! What a transaction means, for engines that check revisions themselves.

use pelago_model::limits::{
    MAX_CHUNK_DOCUMENT_BYTES, MAX_DOCUMENT_BYTES, MAX_TRANSACTION_DOCUMENTS,
};
use pelago_model::{CommitOutcome, Document, Key, Revision, Transaction};
use std::collections::BTreeMap;

/// What becomes of transactions that are decided together.
pub(crate) struct Decided<E> {
    /// The documents that they write, as they leave them.
    pub(crate) changed: BTreeMap<Key, Document>,
    /// How each ends if those are made durable.
    pub(crate) outcomes: Vec<Result<CommitOutcome, E>>,
}

/// Decides transactions one after the other, each upon what those before it write.
pub(crate) fn decide<E>(
    transactions: impl IntoIterator<Item = Transaction>,
    present: impl Fn(&Key) -> Result<Revision, E>,
) -> Decided<E> {
    let mut changed: BTreeMap<Key, Document> = BTreeMap::new();
    let mut outcomes = Vec::new();
    for transaction in transactions {
        let revision = |key: &Key| match changed.get(key) {
            Some(document) => Ok(document.revision),
            None => present(key),
        };
        outcomes.push(apply(transaction, revision).map(|applied| match applied {
            Ok(documents) => {
                changed.extend(documents);
                CommitOutcome::Committed
            }
            Err(outcome) => outcome,
        }));
    }
    Decided { changed, outcomes }
}

/// Checks a transaction against the present revisions, and returns the documents that it writes.
///
/// # Errors
/// How the commit ends instead; `E` if a revision could not be read.
pub(crate) fn apply<E>(
    transaction: Transaction,
    mut revision: impl FnMut(&Key) -> Result<Revision, E>,
) -> Result<Result<Vec<(Key, Document)>, CommitOutcome>, E> {
    if !is_well_formed(&transaction) {
        return Ok(Err(CommitOutcome::Failed));
    }
    let checks = transaction.checks.iter().map(|check| (&check.key, check.revision));
    let writes = transaction.writes.iter().map(|write| (&write.key, write.expected));
    let mut keys = Vec::new();
    for (key, expected) in checks.chain(writes) {
        if revision(key)? != expected {
            keys.push(key.clone());
        }
    }
    if !keys.is_empty() {
        return Ok(Err(CommitOutcome::Conflict { keys }));
    }
    let document = |write: pelago_model::Write| {
        let revision = write.expected.next();
        (write.key, Document { schema: write.schema, revision, value: write.value })
    };
    Ok(Ok(transaction.writes.into_iter().map(document).collect()))
}

/// Whether it keeps to the limits and names each document once.
pub(crate) fn is_well_formed(transaction: &Transaction) -> bool {
    let mut keys: Vec<&Key> = transaction.keys().collect();
    keys.sort_unstable();
    let count = transaction.checks.len() + transaction.writes.len();
    let fits = |key: &Key, len| {
        let chunk = key.kind() == "chunk";
        len <= if chunk { MAX_CHUNK_DOCUMENT_BYTES } else { MAX_DOCUMENT_BYTES }
    };
    keys.is_sorted_by(|key, next| key < next)
        && count <= MAX_TRANSACTION_DOCUMENTS
        && transaction
            .writes
            .iter()
            .all(|write| fits(&write.key, write.value.as_ref().map_or(0, |value| value.len())))
        && transaction.writes.iter().all(|write| write.expected.0 < u64::MAX)
}
