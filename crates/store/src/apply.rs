//! What a transaction and a restoration mean, for engines that check revisions themselves.

use crate::waiting::Work;
use pelago_model::limits::{
    MAX_CHUNK_DOCUMENT_BYTES, MAX_DOCUMENT_BYTES, MAX_TRANSACTION_DOCUMENTS,
};
use pelago_model::{CommitOutcome, Document, Key, Revision, Transaction};
use std::collections::BTreeMap;

/// What becomes of work that is decided together.
pub(crate) struct Decided<E> {
    /// The documents that they write, as they leave them.
    pub(crate) changed: BTreeMap<Key, Document>,
    /// How each ends if those are made durable.
    pub(crate) outcomes: Vec<Result<CommitOutcome, E>>,
}

/// Decides work, one after the other, each upon what those before it write. What a document is needs to be known only for
/// restorations.
pub(crate) fn decide<E>(
    work: impl IntoIterator<Item = Work>,
    present: impl Fn(&Key) -> Result<Revision, E>,
    present_document: impl Fn(&Key) -> Result<Document, E>,
) -> Decided<E> {
    let mut changed: BTreeMap<Key, Document> = BTreeMap::new();
    let mut outcomes = Vec::new();
    for work in work {
        let revision = |key: &Key| match changed.get(key) {
            Some(document) => Ok(document.revision),
            None => present(key),
        };
        let document = |key: &Key| match changed.get(key) {
            Some(document) => Ok(document.clone()),
            None => present_document(key),
        };
        let decision = match work {
            Work::Transaction(transaction) => apply(transaction, revision),
            Work::Restore(documents) => restore(documents, document),
        };
        outcomes.push(decision.map(|applied| match applied {
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

/// Checks documents that are to be restored against the present ones, and returns those that are not there yet.
///
/// # Errors
/// How the restoration ends instead; `E` if a document could not be read.
pub(crate) fn restore<E>(
    documents: Vec<(Key, Document)>,
    mut read: impl FnMut(&Key) -> Result<Document, E>,
) -> Result<Result<Vec<(Key, Document)>, CommitOutcome>, E> {
    if !can_be_restored(&documents) {
        return Ok(Err(CommitOutcome::Failed));
    }
    let mut missing = Vec::new();
    let mut keys = Vec::new();
    for (key, document) in documents {
        let present = read(&key)?;
        if present == Document::ABSENT {
            missing.push((key, document));
        } else if present != document {
            keys.push(key);
        }
    }
    Ok(if keys.is_empty() { Ok(missing) } else { Err(CommitOutcome::Conflict { keys }) })
}

/// Whether they keep to the limits and name each document once.
pub(crate) fn can_be_restored(documents: &[(Key, Document)]) -> bool {
    let mut keys: Vec<&Key> = documents.iter().map(|(key, _)| key).collect();
    keys.sort_unstable();
    keys.is_sorted_by(|key, next| key < next)
        && documents.len() <= MAX_TRANSACTION_DOCUMENTS
        && documents.iter().all(|(key, document)| {
            fits(key, document.value.as_deref()) && document.revision > Document::ABSENT.revision
        })
}

/// Whether a value is no larger than allowed.
pub(crate) fn fits(key: &Key, value: Option<&[u8]>) -> bool {
    let chunk = key.kind() == "chunk";
    let limit = if chunk { MAX_CHUNK_DOCUMENT_BYTES } else { MAX_DOCUMENT_BYTES };
    value.map_or(0, <[u8]>::len) <= limit
}

/// Whether it keeps to the limits and names each document once.
pub(crate) fn is_well_formed(transaction: &Transaction) -> bool {
    let mut keys: Vec<&Key> = transaction.keys().collect();
    keys.sort_unstable();
    let count = transaction.checks.len() + transaction.writes.len();
    keys.is_sorted_by(|key, next| key < next)
        && count <= MAX_TRANSACTION_DOCUMENTS
        && transaction.writes.iter().all(|write| fits(&write.key, write.value.as_deref()))
        && transaction.writes.iter().all(|write| write.expected.0 < u64::MAX)
        && transaction.keeps_history()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use pelago_model::{EntityId, Sequence, Write};

    #[test]
    fn an_audit_is_written_once_and_for_ever() {
        let commit = |key: Key, expected, value: Option<&'static str>| {
            let value = value.map(Bytes::from);
            let writes = vec![Write { key, expected, schema: 1, value }];
            let transaction = Transaction { checks: Vec::new(), writes };
            apply(transaction, |_| Ok::<_, ()>(expected)).unwrap().map(|documents| documents.len())
        };
        let audit = || Key::audit(EntityId(1), Sequence(1));
        assert_eq!(commit(audit(), Revision(0), Some("{}")), Ok(1));
        assert_eq!(commit(audit(), Revision(1), Some("{}")), Err(CommitOutcome::Failed));
        assert_eq!(commit(audit(), Revision(1), None), Err(CommitOutcome::Failed));
        assert_eq!(commit(audit(), Revision(0), None), Err(CommitOutcome::Failed));
        assert_eq!(commit(Key::avatar(EntityId(1)), Revision(1), None), Ok(1));
    }
}
