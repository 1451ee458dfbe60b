//! The world hash: whether two stores hold the same world.
//!
//! blake3 over all documents in the order of their keys, each as `key length u32 LE | key | revision u64 LE |
//! present u8 | value length u32 LE | value`. Tombstones count: their revision is part of the truth. Places,
//! sessions and feeds do not: they change while nobody plays.

use crate::{ReadError, Store};
use std::fmt;

/// Kinds of documents that are not part of the world hash.
const LEFT_OUT: [&str; 3] = ["place", "session", "feed"];

/// The hash of a world, written as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorldHash(pub [u8; 32]);

impl fmt::Display for WorldHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The hash of everything durable in a store. The world must be quiet meanwhile.
///
/// # Errors
/// See [`ReadError`].
pub fn world_hash(store: &dyn Store) -> Result<WorldHash, ReadError> {
    let mut hasher = blake3::Hasher::new();
    store.audit("", &mut |key, document| {
        if LEFT_OUT.contains(&key.kind()) {
            return;
        }
        let value = document.value.as_deref().unwrap_or_default();
        hasher.update(&(key.as_str().len() as u32).to_le_bytes());
        hasher.update(key.as_str().as_bytes());
        hasher.update(&document.revision.0.to_le_bytes());
        hasher.update(&[u8::from(document.value.is_some())]);
        hasher.update(&(value.len() as u32).to_le_bytes());
        hasher.update(value);
    })?;
    Ok(WorldHash(*hasher.finalize().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Memory, commit_now};
    use bytes::Bytes;
    use pelago_model::{EntityId, Key, Revision, Transaction, Write};

    fn put(store: &Memory, key: Key, value: &'static str) {
        let expected = store.get(&key).revision;
        let write = Write { key, expected, schema: 1, value: Some(Bytes::from(value)) };
        commit_now(store, Transaction { checks: Vec::new(), writes: vec![write] });
    }

    #[test]
    fn places_do_not_count_and_everything_else_does() {
        let store = Memory::default();
        let empty = world_hash(&store).unwrap();
        put(&store, Key::place(EntityId(1)), "{}");
        assert_eq!(world_hash(&store).unwrap(), empty);
        put(&store, Key::avatar(EntityId(1)), "{}");
        let one = world_hash(&store).unwrap();
        assert_ne!(one, empty);
        put(&store, Key::avatar(EntityId(1)), "{}");
        assert_ne!(world_hash(&store).unwrap(), one, "the revision is part of the world");
        assert_eq!(Revision(2), store.get(&Key::avatar(EntityId(1))).revision);
    }
}
