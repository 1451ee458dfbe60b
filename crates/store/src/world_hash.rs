//! The world hash: whether two stores hold the same world.
//!
//! blake3 over all documents in the order of their keys, each as `key length u32 LE | key | revision u64 LE |
//! present u8 | value length u32 LE | value`. Every part has a fixed length or says its own, so that no two
//! worlds are the same bytes.
//!
//! - Values count byte by byte: canonical JSON has one form per value.
//! - Tombstones count, as `present` 0: that a document was there and how often it was written decides which
//!   later writes succeed, so that two stores that differ in it are different worlds to everyone who writes.
//! - The schema does not: an upgrade rewrites the value, which counts.
//! - Places, sessions and the clock do not: they change while nobody plays ([`Key::is_of_the_world`](pelago_model::Key)).
//! - Leases of ids count: a copy of the world without them would give out ids twice.

use crate::{ReadError, Store};
use pelago_model::{Document, Key};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;

/// The hash of a world, written as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorldHash(pub [u8; 32]);

impl fmt::Display for WorldHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text that is no [`WorldHash`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hash of a world is 64 hexadecimal digits")]
pub struct MalformedHash;

impl FromStr for WorldHash {
    type Err = MalformedHash;

    fn from_str(text: &str) -> Result<Self, MalformedHash> {
        let hash = blake3::Hash::from_hex(text).map_err(|_| MalformedHash)?;
        Ok(Self(*hash.as_bytes()))
    }
}

impl TryFrom<String> for WorldHash {
    type Error = MalformedHash;

    fn try_from(text: String) -> Result<Self, MalformedHash> {
        text.parse()
    }
}

impl From<WorldHash> for String {
    fn from(hash: WorldHash) -> Self {
        hash.to_string()
    }
}

/// Takes the hash of documents that come in the order of their keys.
#[derive(Debug, Default)]
pub struct WorldHasher {
    hasher: blake3::Hasher,
    documents: u64,
}

impl WorldHasher {
    /// Takes the next document, unless it is none of the world.
    pub fn add(&mut self, key: &Key, document: &Document) {
        if !key.is_of_the_world() {
            return;
        }
        let value = document.value.as_deref().unwrap_or_default();
        self.documents += 1;
        self.hasher.update(&(key.as_str().len() as u32).to_le_bytes());
        self.hasher.update(key.as_str().as_bytes());
        self.hasher.update(&document.revision.0.to_le_bytes());
        self.hasher.update(&[u8::from(document.value.is_some())]);
        self.hasher.update(&(value.len() as u32).to_le_bytes());
        self.hasher.update(value);
    }

    /// How many documents of the world were taken.
    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// The hash of all of them.
    pub fn hash(&self) -> WorldHash {
        WorldHash(*self.hasher.finalize().as_bytes())
    }
}

/// The hash of everything durable in a store. The world must be quiet meanwhile: see [`HashReading`].
///
/// # Errors
/// See [`ReadError`].
pub fn world_hash(store: &dyn Store) -> Result<WorldHash, ReadError> {
    watched(store, &mut || ControlFlow::Continue(()))
}

/// The same, while `watch`, which is told of every document, says that it is to go on; otherwise [`ReadError::Busy`].
fn watched(
    store: &dyn Store,
    watch: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<WorldHash, ReadError> {
    let mut hasher = WorldHasher::default();
    let mut flow = ControlFlow::Continue(());
    store.scan_after("", None, &mut |key, document| {
        hasher.add(&key, &document);
        flow = watch();
        flow
    })?;
    if flow.is_break() { Err(ReadError::Busy) } else { Ok(hasher.hash()) }
}

/// A hash, and whether the world was quiet while it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashReading {
    /// The hash.
    pub hash: WorldHash,
    /// Whether nothing changed meanwhile. Otherwise the hash is of no instant that anybody else could name.
    pub quiet: bool,
}

impl HashReading {
    /// Takes the hash of a store that others may be writing to.
    ///
    /// Whether it changed is told by the feed, or by a second reading if the engine has none. `watch` is told of every
    /// document that was read, and may say that nobody wants to know any more.
    ///
    /// # Errors
    /// See [`ReadError`]; `Busy` if `watch` has ended it.
    pub fn take(
        store: &dyn Store,
        watch: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Self, ReadError> {
        if !store.capabilities().feed {
            let hash = watched(store, watch)?;
            return Ok(Self { hash, quiet: watched(store, watch)? == hash });
        }
        let before = store.feed_end()?;
        let hash = watched(store, watch)?;
        Ok(Self { hash, quiet: store.feed_end()? == before })
    }
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
    fn the_form_is_pinned() {
        let store = Memory::default();
        put(&store, Key::world(), "{}");
        put(&store, Key::name("a"), "1");
        let write = Write { key: Key::name("a"), expected: Revision(1), schema: 1, value: None };
        store.apply(Transaction { checks: Vec::new(), writes: vec![write] });
        let mut bytes = b"\x07\0\0\0name/61\x02\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        bytes.extend(b"\x05\0\0\0world\x01\0\0\0\0\0\0\0\x01\x02\0\0\0{}");
        let hash = world_hash(&store).unwrap();
        assert_eq!(hash, WorldHash(*blake3::hash(&bytes).as_bytes()));
        assert_eq!(hash.to_string().len(), 64);
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!("12".parse::<WorldHash>(), Err(MalformedHash));
    }

    #[test]
    fn a_deletion_is_neither_nothing_nor_an_empty_value() {
        let key = Key::avatar(EntityId(1));
        let hash = |value: Option<&'static str>| {
            let value = value.map(Bytes::from);
            let document = pelago_model::Document { schema: 1, revision: Revision(2), value };
            world_hash(&Memory::from(std::collections::BTreeMap::from([(key.clone(), document)])))
                .unwrap()
        };
        assert_ne!(hash(None), hash(Some("")));
        assert_ne!(hash(None), world_hash(&Memory::default()).unwrap());
    }

    #[test]
    fn who_watches_a_reading_hears_of_every_document_and_may_end_it() {
        let store = Memory::default();
        (1..=3).for_each(|number| put(&store, Key::avatar(EntityId(number)), "{}"));
        let mut seen = 0;
        let mut watch = |enough| {
            HashReading::take(&store, &mut || {
                seen += 1;
                if seen == enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
        };
        let hash = world_hash(&store).unwrap();
        assert_eq!(watch(0), Ok(HashReading { hash, quiet: true }));
        assert_eq!(watch(3 + 2), Err(ReadError::Busy));
        assert_eq!(seen, 3 + 2);
    }

    #[test]
    fn places_do_not_count_and_everything_else_does() {
        let store = Memory::default();
        let empty = world_hash(&store).unwrap();
        put(&store, Key::place(EntityId(1)), "{}");
        assert_eq!(world_hash(&store).unwrap(), empty);
        put(&store, Key::serials(), "{}");
        assert_ne!(world_hash(&store).unwrap(), empty);
        put(&store, Key::avatar(EntityId(1)), "{}");
        let one = world_hash(&store).unwrap();
        assert_ne!(one, empty);
        put(&store, Key::avatar(EntityId(1)), "{}");
        assert_ne!(world_hash(&store).unwrap(), one, "the revision is part of the world");
        assert_eq!(Revision(2), store.get(&Key::avatar(EntityId(1))).revision);
    }
}
