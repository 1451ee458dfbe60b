//! Keys of documents: typed in one place, so that no two subjects ever share one.
//!
//! A key is ASCII, `kind/...`. Constructors stand here and not in the `store` crate because the
//! cores, which name documents, may not use a driver.

use crate::id::{EntityId, IslandId};
use crate::limits;
use crate::place::ChunkId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

/// The key of a document. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

/// A text that cannot be a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key is 1 to {max} characters of a-z, 0-9, '/', '-', '_' and '.'", max = limits::MAX_KEY_BYTES)]
pub struct MalformedKey;

impl Key {
    /// A key from its text.
    pub fn parse(text: &str) -> Result<Self, MalformedKey> {
        let allowed = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"/-_.".contains(&byte)
        };
        if text.is_empty() || text.len() > limits::MAX_KEY_BYTES || !text.bytes().all(allowed) {
            return Err(MalformedKey);
        }
        Ok(Self(text.into()))
    }

    /// The world itself: its number, seed and generator version.
    pub fn world() -> Self {
        Self("world".into())
    }

    /// The next unleased serial of ids.
    pub fn serials() -> Self {
        Self("ids/serials".into())
    }

    /// An avatar: epoch, sequence, outcomes, hash chain, game state.
    pub fn avatar(avatar: EntityId) -> Self {
        Self(format!("avatar/{avatar}").into())
    }

    /// The checkpointed place of an avatar. Not part of the world hash.
    pub fn place(avatar: EntityId) -> Self {
        Self(format!("place/{avatar}").into())
    }

    /// Which avatar bears a name. The name is written as hexadecimal UTF-8.
    pub fn name(name: &str) -> Self {
        let mut text = String::from("name/");
        for byte in name.bytes().take(limits::MAX_NAME_BYTES) {
            text.push_str(&format!("{byte:02x}"));
        }
        Self(text.into())
    }

    /// An island: seed, size, generator version.
    pub fn island(island: IslandId) -> Self {
        Self(format!("island/{island}").into())
    }

    /// What players changed in a chunk.
    pub fn chunk(island: IslandId, chunk: ChunkId) -> Self {
        Self(format!("chunk/{island}/{}/{}", chunk.x, chunk.y).into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the document is part of the world: of its hash, its exports and its feed. Places and sessions are not:
    /// they change while nobody plays.
    pub fn is_of_the_world(&self) -> bool {
        !matches!(self.kind(), "place" | "session")
    }

    /// The first part: which kind of document it is.
    pub fn kind(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// The island and chunk of a chunk document's key.
    pub fn as_chunk(&self) -> Option<(IslandId, ChunkId)> {
        let mut parts = self.0.strip_prefix("chunk/")?.split('/');
        let island = parts.next()?.parse().ok()?;
        let (x, y) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        parts.next().is_none().then_some((island, ChunkId { x, y }))
    }

    /// The avatar of an avatar document's key.
    pub fn as_avatar(&self) -> Option<EntityId> {
        self.0.strip_prefix("avatar/")?.parse().ok()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_what_the_documentation_says() {
        let island = IslandId(0x0000_1000_0000_0001);
        let key = Key::chunk(island, ChunkId::new(-3, 12));
        assert_eq!(key.as_str(), "chunk/0000100000000001/-3/12");
        assert_eq!(key.kind(), "chunk");
        assert_eq!(key.as_chunk(), Some((island, ChunkId::new(-3, 12))));
        assert_eq!(Key::name("Åsa").as_str(), "name/c3857361");
        assert_eq!(Key::avatar(EntityId(7)).as_avatar(), Some(EntityId(7)));
        assert!(key.is_of_the_world() && !Key::place(EntityId(7)).is_of_the_world());
    }

    #[test]
    fn every_constructor_makes_a_parsable_key() {
        let keys = [
            Key::world(),
            Key::serials(),
            Key::avatar(EntityId(1)),
            Key::place(EntityId(1)),
            Key::name(&"ÿ".repeat(200)),
            Key::island(IslandId(1)),
            Key::chunk(IslandId(1), ChunkId::new(i16::MIN, i16::MIN)),
        ];
        for key in keys {
            assert_eq!(Key::parse(key.as_str()), Ok(key.clone()));
        }
        assert_eq!(Key::parse("Name"), Err(MalformedKey));
        assert_eq!(Key::parse(""), Err(MalformedKey));
    }
}
