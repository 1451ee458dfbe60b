//! Reading documents: every version up to this build's own is understood, a newer one is left alone.
//!
//! During a rollout, or after one that was taken back, documents may be met that a newer build has written. A build
//! that reads such a document gets an error instead of a value, and so has nothing that it could write back.

use pelago_game::json;
use pelago_model::Document;
use serde::de::DeserializeOwned;

/// A document of the platform's own.
pub trait Stored: DeserializeOwned {
    /// The kind of its key.
    const KIND: &'static str;
    /// The newest schema version that this build reads, which is the one that it writes.
    const SCHEMA: u16;
}

/// What a game keeps, read only to be shown or counted.
impl Stored for serde_json::Value {
    const KIND: &'static str = "game's";
    const SCHEMA: u16 = u16::MAX;
}

/// Why a document has no value for this build. The document must not be replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A newer build has written it: this one has to be updated.
    #[error("{kind} documents are read up to schema {newest}, this one has {schema}")]
    Newer {
        /// The kind of its key.
        kind: &'static str,
        /// Its version.
        schema: u16,
        /// The newest that this build reads.
        newest: u16,
    },
    /// It is not what its version says.
    #[error("the {kind} document is damaged: {problem}")]
    Damaged {
        /// The kind of its key.
        kind: &'static str,
        /// What is wrong.
        problem: String,
    },
}

impl From<Unreadable> for String {
    fn from(error: Unreadable) -> Self {
        error.to_string()
    }
}

/// Reads a document's value; `None` if there is none.
///
/// # Errors
/// [`Unreadable`], for the log.
pub fn read<T: Stored>(document: &Document) -> Result<Option<T>, Unreadable> {
    let (kind, newest, schema) = (T::KIND, T::SCHEMA, document.schema);
    if schema > newest {
        return Err(Unreadable::Newer { kind, schema, newest });
    }
    let damaged =
        |error: json::DecodeError| Unreadable::Damaged { kind, problem: error.to_string() };
    document.value.as_ref().map(|bytes| json::decode(bytes)).transpose().map_err(damaged)
}
