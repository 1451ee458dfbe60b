//! Edits: what stands at a path inside of a document's value is set or removed.
//!
//! Paths are JSON pointers (RFC 6901): `/stock/2/wood`; the empty path is the whole value. `~1` stands for a `/` in a
//! name, `~0` for a `~`. `-` as the last segment of a path adds to the end of an array.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One edit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "do")]
pub enum Edit {
    /// The value there is replaced; a member of an object may be new.
    Set {
        /// The path.
        path: String,
        /// The new value.
        value: Value,
    },
    /// The value there is removed; later elements of an array move up.
    Remove {
        /// The path.
        path: String,
    },
}

/// Why a value is left as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotEdited {
    /// The text is no JSON pointer.
    #[error("{0:?} is no path: it is empty, or begins with '/', and '~' is written '~0'")]
    Malformed(String),
    /// There is nothing to set or remove at the path.
    #[error("there is no {0:?} in the document")]
    Absent(String),
}

impl Edit {
    /// The path.
    pub fn path(&self) -> &str {
        match self {
            Self::Set { path, .. } | Self::Remove { path } => path,
        }
    }

    /// Edits a value, or leaves it as it is.
    ///
    /// # Errors
    /// See [`NotEdited`].
    pub fn apply(&self, value: &mut Value) -> Result<(), NotEdited> {
        let absent = || NotEdited::Absent(self.path().to_owned());
        let Some((parents, name)) = split(self.path())? else {
            return match self {
                Self::Set { value: new, .. } => {
                    *value = new.clone();
                    Ok(())
                }
                Self::Remove { .. } => Err(absent()),
            };
        };
        match (value.pointer_mut(parents).ok_or_else(absent)?, self) {
            (Value::Object(fields), Self::Set { value, .. }) => {
                fields.insert(name, value.clone());
            }
            (Value::Object(fields), Self::Remove { .. }) => {
                fields.remove(&name).ok_or_else(absent)?;
            }
            (Value::Array(items), Self::Set { value, .. }) if name == "-" => {
                items.push(value.clone());
            }
            (Value::Array(items), edit) => {
                let at = index(&name).filter(|at| *at < items.len()).ok_or_else(absent)?;
                match edit {
                    Self::Set { value, .. } => items[at] = value.clone(),
                    Self::Remove { .. } => drop(items.remove(at)),
                }
            }
            _ => return Err(absent()),
        }
        Ok(())
    }
}

/// The path of what holds it, and its name there; `None` for the whole value.
fn split(path: &str) -> Result<Option<(&str, String)>, NotEdited> {
    let malformed = || NotEdited::Malformed(path.to_owned());
    if path.is_empty() {
        return Ok(None);
    }
    if !path.starts_with('/') {
        return Err(malformed());
    }
    let mut escapes = path.split('~').skip(1);
    if !escapes.all(|escape| escape.starts_with(['0', '1'])) {
        return Err(malformed());
    }
    let (parents, name) = path.rsplit_once('/').ok_or_else(malformed)?;
    Ok(Some((parents, name.replace("~1", "/").replace("~0", "~"))))
}

/// RFC 6901, section 4: digits without leading zeros.
fn index(name: &str) -> Option<usize> {
    let canonical = name == "0" || !name.starts_with(['0', '+']);
    name.parse().ok().filter(|_| canonical)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn set(path: &str, value: Value) -> Edit {
        Edit::Set { path: path.to_owned(), value }
    }

    fn remove(path: &str) -> Edit {
        Edit::Remove { path: path.to_owned() }
    }

    #[test]
    fn values_are_set_and_removed() {
        for (edit, expected) in [
            (set("", json!(7)), json!(7)),
            (set("/a", json!(7)), json!({"a": 7, "b": [1, 2], "c/~": {}})),
            (set("/d", json!(7)), json!({"a": 0, "b": [1, 2], "c/~": {}, "d": 7})),
            (set("/b/0", json!(7)), json!({"a": 0, "b": [7, 2], "c/~": {}})),
            (set("/b/-", json!(7)), json!({"a": 0, "b": [1, 2, 7], "c/~": {}})),
            (set("/c~1~0/", json!(7)), json!({"a": 0, "b": [1, 2], "c/~": {"": 7}})),
            (remove("/a"), json!({"b": [1, 2], "c/~": {}})),
            (remove("/b/0"), json!({"a": 0, "b": [2], "c/~": {}})),
            (remove("/c~1~0"), json!({"a": 0, "b": [1, 2]})),
        ] {
            let mut value = json!({"a": 0, "b": [1, 2], "c/~": {}});
            assert_eq!(edit.apply(&mut value), Ok(()), "{edit:?}");
            assert_eq!(value, expected, "{edit:?}");
        }
    }

    #[test]
    fn what_cannot_be_edited_stays_as_it_is() {
        let before = json!({"a": 0, "b": [1, 2]});
        let absent = [
            remove(""),
            remove("/c"),
            set("/a/x", json!(7)),
            set("/c/x", json!(7)),
            set("/b/2", json!(7)),
            set("/b/00", json!(7)),
            set("/b/+1", json!(7)),
            remove("/b/-"),
            remove("/b/2"),
        ];
        let malformed = [set("a", json!(7)), set("/~", json!(7)), remove("/a~2")];
        for (edit, error) in [
            (&absent[..], NotEdited::Absent as fn(String) -> NotEdited),
            (&malformed[..], NotEdited::Malformed),
        ]
        .into_iter()
        .flat_map(|(edits, error)| edits.iter().map(move |edit| (edit, error)))
        {
            let mut value = before.clone();
            assert_eq!(edit.apply(&mut value), Err(error(edit.path().to_owned())), "{edit:?}");
            assert_eq!(value, before);
        }
    }

    #[test]
    fn an_edit_is_read_as_it_is_written() {
        let edit: Edit =
            serde_json::from_value(json!({"do": "set", "path": "/a", "value": [1]})).unwrap();
        assert_eq!(edit, set("/a", json!([1])));
        let unknown = json!({"do": "remove", "path": "/a", "value": 1});
        assert!(serde_json::from_value::<Edit>(unknown).is_err());
    }

    proptest! {
        #[test]
        fn what_was_set_stands_there(path in "(/[a-c~/0-2-]{0,3}){0,3}") {
            let mut value = json!({"a": {"b": [0, 1]}, "b": [[], 2]});
            if set(&path, json!("new")).apply(&mut value) == Ok(()) && !path.ends_with('-') {
                prop_assert_eq!(value.pointer(&path), Some(&json!("new")));
            }
        }
    }
}
