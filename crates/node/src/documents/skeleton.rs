//! The document of a skeleton: which name is taken of all that look alike.

use pelago_game::json;
use pelago_model::{Document, Key, Name, Revision, Write};
use serde::{Deserialize, Serialize};

/// The schema version of skeleton documents.
pub const SKELETON_SCHEMA: u16 = 1;

/// A name that is taken. Others that look like it are not to be had.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkeletonDocument {
    /// The name, in its canonical form.
    pub name: String,
}

/// The write that takes a name for those who look like it. `found` is the document of its skeleton, which is absent.
///
/// # Errors
/// If it does not fit JSON, which is a bug.
pub fn reserve(name: &Name, found: &Document) -> Result<Write, json::EncodeError> {
    write(Key::skeleton(&name.skeleton()), name.as_str(), found.revision)
}

/// The write that says that the skeletons of all names are reserved.
///
/// # Errors
/// If it does not fit JSON, which is a bug.
pub fn reserved_all(expected: Revision) -> Result<Write, json::EncodeError> {
    write(Key::skeletons(), "", expected)
}

fn write(key: Key, name: &str, expected: Revision) -> Result<Write, json::EncodeError> {
    let value = json::encode(&SkeletonDocument { name: name.to_owned() })?;
    Ok(Write { key, expected, schema: SKELETON_SCHEMA, value: Some(value) })
}
