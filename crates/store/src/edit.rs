//! Edits at paths inside of a document: read, edited, and replaced if nobody was faster.

use crate::{ReadError, Store, commit_now, load_now};
use pelago_model::edit::{Edit, NotEdited};
use pelago_model::{
    Backoff, CommitOutcome, Document, Key, Retry, Revision, Transaction, Write, json,
};
use std::hash::{BuildHasher, RandomState};
use std::thread::sleep;
use std::time::Duration;

/// A document is read and edited again if somebody was faster.
const AGAIN: Backoff = Backoff { first_ms: 2, longest_ms: 200, attempts: 32 };

/// Why a document was not edited.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// There is no document under the key.
    #[error("there is no document under the key")]
    NoDocument,
    /// It is written once, and never changed.
    #[error("a document of this kind is written once, and never changed")]
    AppendOnly,
    /// It has another revision than was demanded.
    #[error("it has revision {present}")]
    Revision {
        /// The one that it has.
        present: Revision,
    },
    /// An edit does not fit it.
    #[error(transparent)]
    NotEdited(#[from] NotEdited),
    /// What is there is not JSON.
    #[error(transparent)]
    Damaged(#[from] json::DecodeError),
    /// What it would become cannot be kept.
    #[error(transparent)]
    Value(#[from] json::EncodeError),
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store refused: it does not write now, or the document would be too large.
    #[error("the store refused: it takes no writes now, or the document would be too large")]
    Failed,
    /// Nobody knows whether it was edited: read it.
    #[error("nobody knows whether it was edited: read it before you try again")]
    Unknown,
    /// Others changed it, again and again.
    #[error("others changed it each time, {} times", AGAIN.attempts)]
    Contended,
}

/// Edits a document, all edits or none, and returns it as it is afterwards. Its schema stays. If a revision is demanded,
/// it is edited only if it has that one. Waits: not for threads that others wait for.
///
/// # Errors
/// See [`EditError`].
pub fn edit_now(
    store: &dyn Store,
    key: &Key,
    demanded: Option<Revision>,
    edits: &[Edit],
) -> Result<Document, EditError> {
    if key.is_append_only() {
        return Err(EditError::AppendOnly);
    }
    let mut retry = Retry::new(AGAIN);
    loop {
        let present = load_now(store, vec![key.clone()])?.pop().unwrap_or(Document::ABSENT);
        if demanded.is_some_and(|demanded| demanded != present.revision) {
            return Err(EditError::Revision { present: present.revision });
        }
        let Some(bytes) = &present.value else { return Err(EditError::NoDocument) };
        let mut value: serde_json::Value = json::decode(bytes)?;
        edits.iter().try_for_each(|edit| edit.apply(&mut value))?;
        let (expected, schema) = (present.revision, present.schema);
        let value = Some(json::encode(&value)?);
        let write = Write { key: key.clone(), expected, schema, value: value.clone() };
        let transaction = Transaction { checks: Vec::new(), writes: vec![write] };
        match commit_now(store, transaction) {
            CommitOutcome::Committed => {
                return Ok(Document { schema, revision: expected.next(), value });
            }
            CommitOutcome::Conflict { .. } => match retry.failed(RandomState::new().hash_one(())) {
                Some(pause_ms) => sleep(Duration::from_millis(pause_ms.unsigned_abs())),
                None => return Err(EditError::Contended),
            },
            CommitOutcome::Failed => return Err(EditError::Failed),
            CommitOutcome::Unknown => return Err(EditError::Unknown),
        }
    }
}
