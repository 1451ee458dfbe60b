//! Keys of documents. All constructors stand here, so that no two subjects ever share a key.
//!
//! A key is ASCII, `kind/...`. Constructors stand here and not in the `store` crate because the
//! cores, which name documents, may not use a driver.
//!
//! | kind | key | what it holds | written by |
//! | --- | --- | --- | --- |
//! | `world` | `world` | number, seed, secret, home | whoever begins the world |
//! | `clock` | `clock` | the high-water mark of world time | one node of a process; not part of the world |
//! | `island` | `island/ISLAND` | seed, size, generator version | whoever begins the island |
//! | `ids` | `ids/serials` | the next serial that nobody leased | logins |
//! | `name` | `name/HEX` | which avatar bears a name, and whose it is | logins |
//! | `avatar` | `avatar/AVATAR` | epoch, sequence, outcomes, the game's state | logins, stewards |
//! | `place` | `place/AVATAR` | where it was last | logins, lanes; not part of the world |
//! | `probe` | `probe/NODE` | a count: that it can be written shows that the store commits | each node; not part of the world |
//! | `chunk` | `chunk/ISLAND/X/Y`, `chunk/ISLAND/X/Y/PAGE` | what players changed about a chunk: slots 0 to 31, and 32 more for every page from 1 on | stewards, by the game's rules |
//! | `room` | `room/ISLAND` | the last lines said to the island, and who said them | chat |
//! | `skeleton` | `skeleton/HEX` | which name is taken of those that look alike; `skeleton/all`: those of all names are there | logins, starts |
//! | `mailbox` | `mailbox/AVATAR` | whispers that their player has not been shown yet | chat |
//! | `lease` | `lease/world`, `lease/fence` | which process runs the world, and how often another one took over | that process; not part of the world |
//! | `backup` | `backup/last` | up to when the last whole backup has everything | `pelago ctl backup`, through the API; not part of the world |
//! | `audit` | `audit/AVATAR/SEQUENCE`, `audit/AVATAR/grant/KEY` | what a command or grant did to the economy | stewards; once, until a retention rule removes it |
//!
//! A game's rules may use kinds of their own beside `chunk`, and see no others: [`Key::is_open_to_rules`]. Avatars and islands are 16 hexadecimal digits.

use crate::chunk_page::ChunkPage;
use crate::id::{EntityId, IslandId, Sequence};
use crate::limits;
use crate::place::ChunkId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

/// The key of a document. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

/// Every kind of document that the platform writes.
pub const KINDS: [&str; 15] = [
    "audit", "avatar", "backup", "chunk", "clock", "ids", "island", "lease", "mailbox", "name",
    "place", "probe", "room", "skeleton", "world",
];

/// Kinds that are kept for the platform beside [`KINDS`], so that no game's documents stand in the way of a later build.
const RESERVED_KINDS: [&str; 4] = ["canary", "feed", "mark", "session"];

/// A text that cannot be a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key is 1 to {max} characters of a-z, 0-9, '/', '-', '_' and '.'", max = limits::MAX_KEY_BYTES)]
pub struct MalformedKey;

impl Key {
    /// A key from its text.
    ///
    /// # Errors
    /// [`MalformedKey`].
    pub fn parse(text: &str) -> Result<Self, MalformedKey> {
        if is_key(text, limits::MAX_KEY_BYTES) { Ok(Self(text.into())) } else { Err(MalformedKey) }
    }

    /// The world itself: its number, seed and generator version.
    pub fn world() -> Self {
        Self("world".into())
    }

    /// The high-water mark of world time. Not part of the world hash.
    pub fn clock() -> Self {
        Self("clock".into())
    }

    /// Which process runs the world. Written again and again by that one.
    pub fn world_lease() -> Self {
        Self("lease/world".into())
    }

    /// The fence of the world: its revision says how often a process has taken the lease.
    pub fn world_fence() -> Self {
        Self("lease/fence".into())
    }

    /// Up to when the last backup has everything.
    pub fn last_backup() -> Self {
        Self("backup/last".into())
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

    /// What a node writes to see whether its store commits. Not part of the world hash.
    pub fn probe(node: u16) -> Self {
        Self(format!("probe/{node}").into())
    }

    /// Which avatar bears a name. The name is written as hexadecimal UTF-8.
    pub fn name(name: &str) -> Self {
        Self::of_text("name/", name, limits::MAX_NAME_BYTES)
    }

    /// Which name of all that look alike is taken: those with this skeleton.
    pub fn skeleton(skeleton: &str) -> Self {
        // Of a skeleton that is longer than names are, the beginning has to do.
        Self::of_text("skeleton/", skeleton, limits::MAX_NAME_BYTES)
    }

    /// That the skeletons of all names are reserved.
    pub fn skeletons() -> Self {
        Self("skeleton/all".into())
    }

    fn of_text(kind: &str, text: &str, most: usize) -> Self {
        let digits = text.bytes().take(most).map(|byte| format!("{byte:02x}"));
        Self(digits.fold(kind.to_owned(), |key, digits| key + &digits).into())
    }

    /// The name of a name document's key.
    pub fn as_name(&self) -> Option<String> {
        let digits = self.0.strip_prefix("name/")?.as_bytes();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        String::from_utf8(digits.chunks(2).map(byte).collect::<Option<_>>()?).ok()
    }

    /// An island: seed, size, generator version.
    pub fn island(island: IslandId) -> Self {
        Self(format!("island/{island}").into())
    }

    /// What was said to an island.
    pub fn room(island: IslandId) -> Self {
        Self(format!("room/{island}").into())
    }

    /// What was whispered to an avatar.
    pub fn mailbox(avatar: EntityId) -> Self {
        Self(format!("mailbox/{avatar}").into())
    }

    /// What players changed in a chunk, of its first slots. It stands for the chunk as a whole, too: see
    /// [`Key::steward_key`].
    pub fn chunk(island: IslandId, chunk: ChunkId) -> Self {
        Self(format!("chunk/{island}/{}/{}", chunk.x, chunk.y).into())
    }

    /// What players changed in a chunk, of the slots of a page.
    pub fn chunk_page(island: IslandId, chunk: ChunkId, page: ChunkPage) -> Self {
        if page == ChunkPage::FIRST {
            return Self::chunk(island, chunk);
        }
        Self(format!("chunk/{island}/{}/{}/{}", chunk.x, chunk.y, page.number()).into())
    }

    /// What a durable command of an avatar did to the economy. In the order of the commands.
    pub fn audit(avatar: EntityId, sequence: Sequence) -> Self {
        Self(format!("audit/{avatar}/{:020}", sequence.0).into())
    }

    /// What a grant to an avatar did; that the document is there means that it was granted.
    pub fn grant(avatar: EntityId, key: &GrantKey) -> Self {
        Self(format!("audit/{avatar}/grant/{key}").into())
    }

    /// With what the keys of all audits of an avatar begin: those of its commands come before those of grants.
    pub fn audits(avatar: EntityId) -> String {
        format!("audit/{avatar}/")
    }

    /// The key as stores and operators write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the document is written once and never changed or deleted afterwards.
    pub fn is_append_only(&self) -> bool {
        self.kind() == "audit"
    }

    /// Whether a game's rules and a studio's services may read the document: chunks, and kinds that are not the platform's.
    /// What is left holds secrets, fences and names, by which a rule could lock a player out or end the world.
    pub fn is_open_to_rules(&self) -> bool {
        match self.kind() {
            "chunk" => self.as_chunk().is_some(),
            kind => !KINDS.contains(&kind) && !RESERVED_KINDS.contains(&kind),
        }
    }

    /// Whether the document may be removed without a trace by a rule of retention: the audit of a command. That of a
    /// grant is the memory of it, without which it could be granted twice.
    pub fn can_be_forgotten(&self) -> bool {
        let mut names = self.0.split('/');
        let is_number = |name: &str| name.len() == 20 && name.bytes().all(|it| it.is_ascii_digit());
        names.next() == Some("audit")
            && names.next().is_some()
            && names.next().is_some_and(is_number)
            && names.next().is_none()
    }

    /// Whether the document is part of the world: of its hash and its feed. Places, probes, sessions, leases, marks of
    /// backups and the clock are not: they change while nobody plays.
    pub fn is_of_the_world(&self) -> bool {
        !matches!(self.kind(), "backup" | "clock" | "lease" | "place" | "probe" | "session")
    }

    /// Whether the document goes with a world that is moved: what is of the world, and its clock, since documents say
    /// at which times they were true.
    pub fn is_moved_with_the_world(&self) -> bool {
        self.is_of_the_world() || *self == Self::clock()
    }

    /// The first segment: which kind of document it is.
    pub fn kind(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// The island, chunk and page of a chunk document's key.
    pub fn as_chunk(&self) -> Option<(IslandId, ChunkId, ChunkPage)> {
        let mut names = self.0.strip_prefix("chunk/")?.split('/');
        let island = names.next()?.parse().ok()?;
        let chunk = ChunkId { x: names.next()?.parse().ok()?, y: names.next()?.parse().ok()? };
        let page = match names.next() {
            Some(number) => ChunkPage::new(number.parse().ok()?)?,
            None => ChunkPage::FIRST,
        };
        // A number has other forms, and each would be another document.
        (Self::chunk_page(island, chunk, page) == *self).then_some((island, chunk, page))
    }

    /// The key whose steward decides turns about this document. All pages of a chunk have one steward, so that a
    /// watcher of the chunk hears of all of them.
    pub fn steward_key(&self) -> Self {
        match self.as_chunk() {
            Some((island, chunk, page)) if page != ChunkPage::FIRST => Self::chunk(island, chunk),
            _ => self.clone(),
        }
    }

    /// The avatar of an avatar document's key.
    pub fn as_avatar(&self) -> Option<EntityId> {
        self.0.strip_prefix("avatar/")?.parse().ok()
    }
}

fn is_key(text: &str, limit: usize) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"/-_.".contains(&byte);
    !text.is_empty() && text.len() <= limit && text.bytes().all(allowed)
}

/// The idempotency key of a grant: a second request with the same avatar and key asks for the same grant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantKey(Arc<str>);

/// A text that cannot be the key of a grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a grant's key is 1 to {max} characters of a-z, 0-9, '/', '-', '_' and '.'",
    max = limits::MAX_GRANT_KEY_BYTES
)]
pub struct MalformedGrantKey;

impl GrantKey {
    /// A key from its text.
    ///
    /// # Errors
    /// [`MalformedGrantKey`].
    pub fn parse(text: &str) -> Result<Self, MalformedGrantKey> {
        let fits = is_key(text, limits::MAX_GRANT_KEY_BYTES);
        if fits { Ok(Self(text.into())) } else { Err(MalformedGrantKey) }
    }
}

impl fmt::Display for GrantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for GrantKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for GrantKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
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
        assert_eq!(key.as_chunk(), Some((island, ChunkId::new(-3, 12), ChunkPage::FIRST)));
        assert_eq!(Key::name("Åsa").as_str(), "name/c3857361");
        assert_eq!(Key::name("Åsa").as_name().as_deref(), Some("Åsa"));
        assert_eq!(Key::skeleton("Asa").as_str(), "skeleton/417361");
        assert_eq!(Key::avatar(EntityId(7)).as_avatar(), Some(EntityId(7)));
        assert!(key.is_of_the_world() && !Key::place(EntityId(7)).is_of_the_world());
        assert!(
            key.is_moved_with_the_world() && !Key::place(EntityId(7)).is_moved_with_the_world()
        );
        assert!(!Key::clock().is_of_the_world() && Key::clock().is_moved_with_the_world());
    }

    #[test]
    fn every_constructor_makes_a_parsable_key() {
        let keys = [
            Key::world(),
            Key::clock(),
            Key::world_lease(),
            Key::world_fence(),
            Key::last_backup(),
            Key::serials(),
            Key::probe(u16::MAX),
            Key::avatar(EntityId(1)),
            Key::place(EntityId(1)),
            Key::name(&"ÿ".repeat(200)),
            Key::skeleton(&"ÿ".repeat(200)),
            Key::skeletons(),
            Key::island(IslandId(1)),
            Key::room(IslandId(u64::MAX)),
            Key::mailbox(EntityId(u64::MAX)),
            Key::chunk(IslandId(1), ChunkId::new(i16::MIN, i16::MIN)),
            Key::chunk_page(IslandId(1), ChunkId::new(0, 0), ChunkPage::of(u16::MAX)),
            Key::audit(EntityId(u64::MAX), Sequence(u64::MAX)),
            Key::grant(EntityId(u64::MAX), &GrantKey::parse(&"x".repeat(64)).unwrap()),
        ];
        for key in &keys {
            assert_eq!(Key::parse(key.as_str()), Ok(key.clone()));
        }
        let kinds: std::collections::BTreeSet<&str> = keys.iter().map(Key::kind).collect();
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), KINDS);
        assert_eq!(Key::parse("Name"), Err(MalformedKey));
        assert_eq!(Key::parse(""), Err(MalformedKey));
    }

    #[test]
    fn only_chunks_and_kinds_of_the_games_own_are_open_to_rules() {
        for kind in KINDS.iter().chain(&RESERVED_KINDS).filter(|kind| **kind != "chunk") {
            for text in [kind.to_string(), format!("{kind}/1"), format!("{kind}/")] {
                assert!(!Key::parse(&text).unwrap().is_open_to_rules(), "{text}");
            }
        }
        for text in ["chunk", "chunk/1", "chunk/0000000000000001/0/0/x", "chunk/../world"] {
            assert!(!Key::parse(text).unwrap().is_open_to_rules(), "{text}");
        }
        for text in ["campfire/1", "worlds", "avatars/1", "chunk/0000000000000001/0/-7/2"] {
            assert!(Key::parse(text).unwrap().is_open_to_rules(), "{text}");
        }
    }

    #[test]
    fn parts_of_a_chunk_meet_at_its_first() {
        let (island, chunk) = (IslandId(1), ChunkId::new(-3, 12));
        let whole = Key::chunk(island, chunk);
        for slot in [0, 31, 32, 255, u16::MAX] {
            let page = ChunkPage::of(slot);
            let key = Key::chunk_page(island, chunk, page);
            assert_eq!(key.as_chunk(), Some((island, chunk, page)));
            assert_eq!(key.steward_key(), whole);
        }
        assert_eq!(Key::chunk_page(island, chunk, ChunkPage::FIRST), whole);
        assert_eq!(
            Key::chunk_page(island, chunk, ChunkPage::of(255)).as_str(),
            "chunk/0000000000000001/-3/12/7"
        );
        for text in ["0", "01", "-1", "2048", "70000", "x", "1/1", ""] {
            let key = Key::parse(&format!("{whole}/{text}")).unwrap();
            assert_eq!((key.as_chunk(), key.steward_key()), (None, key.clone()), "{key}");
        }
        assert_eq!(Key::parse("chunk/1/-3/12").unwrap().as_chunk(), None);
        assert_eq!(Key::avatar(EntityId(7)).steward_key(), Key::avatar(EntityId(7)));
    }

    #[test]
    fn audits_of_an_avatar_stand_together_in_the_order_of_its_commands() {
        let avatar = EntityId(7);
        let grant = GrantKey::parse("mail/2026-11/3").unwrap();
        let keys = [
            Key::audit(avatar, Sequence(9)),
            Key::audit(avatar, Sequence(10)),
            Key::audit(avatar, Sequence(u64::MAX)),
            Key::grant(avatar, &grant),
        ];
        assert_eq!(keys[0].as_str(), "audit/0000000000000007/00000000000000000009");
        assert_eq!(keys[3].as_str(), "audit/0000000000000007/grant/mail/2026-11/3");
        assert!(keys.is_sorted());
        let can_go: Vec<bool> = keys.iter().map(Key::can_be_forgotten).collect();
        assert_eq!(can_go, [true, true, true, false]);
        let like_one = GrantKey::parse(&"1".repeat(20)).unwrap();
        assert!(!Key::grant(avatar, &like_one).can_be_forgotten());
        for key in keys {
            assert!(key.as_str().starts_with(&Key::audits(avatar)));
            assert!(key.is_append_only() && key.is_of_the_world());
        }
        assert!(!Key::avatar(avatar).is_append_only());
    }

    #[test]
    fn a_grants_key_is_short_and_of_few_characters() {
        for text in ["", "Mail", "mail 1", "mail:1", &"x".repeat(65)] {
            assert_eq!(GrantKey::parse(text), Err(MalformedGrantKey), "{text}");
        }
    }
}
