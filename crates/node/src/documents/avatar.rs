//! The document of an avatar: what makes "acknowledged means durable, repeated means once" true.

use crate::documents::reading::Unreadable;
use crate::documents::token::TokenHash;
use blake3::Hash;
use pelago_model::limits::OUTCOME_RING;
use pelago_model::{Document, EntityId, Epoch, IslandId, IslandTime, NodeId, Position, Sequence};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::documents::reading::read;

/// The schema version of avatar documents.
pub const AVATAR_SCHEMA: u16 = 1;
/// The schema version of place documents.
pub const PLACE_SCHEMA: u16 = 1;
/// The schema version of name documents: 1 knew no tokens.
pub const NAME_SCHEMA: u16 = 2;
/// The schema version of the document of serials.
pub const SERIALS_SCHEMA: u16 = 1;

/// An avatar, without its movement since the last durable command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AvatarDocument {
    /// Its name.
    pub name: String,
    /// The fencing number of its ownership.
    pub epoch: Epoch,
    /// The node that took that epoch.
    pub owner: NodeId,
    /// The number of its last durable command.
    pub sequence: Sequence,
    /// The hash chain over all its outcomes.
    pub chain: ChainHash,
    /// The last [`OUTCOME_RING`] outcomes, oldest first.
    pub outcomes: Vec<StoredOutcome>,
    /// Its place at its last durable command.
    pub place: Place,
    /// The game's state.
    pub game: Value,
}

/// One outcome of the ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredOutcome {
    /// The command's number.
    pub sequence: Sequence,
    /// blake3 of the command's payload.
    pub command: ChainHash,
    /// The chain after this outcome.
    pub chain: ChainHash,
    /// What the player was told (JSON).
    pub effects: String,
    /// Whether the rule was broken: nothing but this outcome came of the command, and the player was told `internal`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
}

/// A place: an island, and a position at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// On which island.
    pub island: IslandId,
    /// Where.
    pub position: Position,
    /// When.
    pub at: IslandTime,
}

/// The document of the checkpointed place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceDocument {
    /// The epoch under which it was written.
    pub epoch: Epoch,
    /// The place.
    pub place: Place,
    /// Whether the session had ended by then. Otherwise nobody knows for how long the avatar did something.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_left: bool,
}

/// The document of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameDocument {
    /// The avatar that bears the name.
    pub avatar: EntityId,
    /// Of the token that opens it. `None` in documents of schema 1 only: the next login binds them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenHash>,
}

impl NameDocument {
    /// Reads a document of any schema up to [`NAME_SCHEMA`]; `None` if nobody bears the name.
    ///
    /// # Errors
    /// [`Unreadable`]. A document that should have a token and has none is damaged: it opens to nobody.
    pub fn read(document: &Document) -> Result<Option<Self>, Unreadable> {
        let name: Option<Self> = read(document)?;
        match &name {
            Some(Self { token: None, .. }) if document.schema == NAME_SCHEMA => {
                Err(Unreadable::Damaged { kind: "name", problem: "it has lost its token".into() })
            }
            _ => Ok(name),
        }
    }
}

/// The document of serials: the first one that is not leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SerialsDocument {
    /// The first serial that nobody leased.
    pub next: u64,
}

/// A blake3 hash, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChainHash(pub [u8; 32]);

impl ChainHash {
    /// Before the first outcome.
    pub const START: Self = Self([0; 32]);

    /// The hash of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The chain after one more outcome:
    /// `blake3(chain | sequence u64 LE | blake3(payload) | blake3(effects))`.
    pub fn then(self, sequence: Sequence, command: Self, effects: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0);
        hasher.update(&sequence.0.to_le_bytes());
        hasher.update(&command.0);
        hasher.update(&Self::of(effects).0);
        Self(*hasher.finalize().as_bytes())
    }
}

impl Serialize for ChainHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl<'de> Deserialize<'de> for ChainHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let hash = Hash::from_hex(text).map_err(serde::de::Error::custom)?;
        Ok(Self(*hash.as_bytes()))
    }
}

/// How a command's number relates to an avatar's document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SequenceCheck {
    /// It is the next one: to be decided.
    Next,
    /// It was decided: the outcome is known.
    Known(StoredOutcome),
    /// It was another command that bore this number.
    Other,
    /// It is older than the ring.
    Stale,
    /// Others must come first.
    OutOfOrder,
}

impl AvatarDocument {
    /// A new avatar, owned by nobody yet.
    pub fn new(name: String, place: Place, game: Value) -> Self {
        Self {
            name,
            epoch: Epoch(0),
            owner: NodeId(0),
            sequence: Sequence(0),
            chain: ChainHash::START,
            outcomes: Vec::new(),
            place,
            game,
        }
    }

    /// How a command's number relates to it.
    pub fn check(&self, sequence: Sequence, payload: &[u8]) -> SequenceCheck {
        if sequence > self.sequence.next() {
            return SequenceCheck::OutOfOrder;
        }
        if sequence == self.sequence.next() {
            return SequenceCheck::Next;
        }
        match self.outcomes.iter().find(|outcome| outcome.sequence == sequence) {
            Some(outcome) if outcome.command == ChainHash::of(payload) => {
                SequenceCheck::Known(outcome.clone())
            }
            Some(_) => SequenceCheck::Other,
            None => SequenceCheck::Stale,
        }
    }

    /// Takes in the outcome of the next command.
    pub fn record(&mut self, payload: &[u8], effects: String) -> StoredOutcome {
        self.remember(payload, effects, false)
    }

    /// Notes that the rule of the next command is broken, so that nobody runs it for this command again.
    pub fn record_failure(&mut self, payload: &[u8]) -> StoredOutcome {
        self.remember(payload, String::new(), true)
    }

    fn remember(&mut self, payload: &[u8], effects: String, failed: bool) -> StoredOutcome {
        let sequence = self.sequence.next();
        let command = ChainHash::of(payload);
        let chain = self.chain.then(sequence, command, effects.as_bytes());
        let outcome = StoredOutcome { sequence, command, chain, effects, failed };
        (self.sequence, self.chain) = (sequence, chain);
        if self.outcomes.len() >= OUTCOME_RING {
            self.outcomes.remove(0);
        }
        self.outcomes.push(outcome.clone());
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn avatar() -> AvatarDocument {
        let place = Place { island: IslandId(1), position: Position::new(1, 2), at: IslandTime(3) };
        AvatarDocument::new("Åsa".into(), place, json!({"held": {}}))
    }

    #[test]
    fn a_repeated_command_is_known_and_an_old_one_is_stale() {
        let mut avatar = avatar();
        for number in 1..=20u64 {
            assert_eq!(avatar.check(Sequence(number), b"dig"), SequenceCheck::Next);
            assert_eq!(avatar.check(Sequence(number + 1), b"dig"), SequenceCheck::OutOfOrder);
            let outcome = avatar.record(b"dig", format!("{number}"));
            assert_eq!(avatar.check(Sequence(number), b"dig"), SequenceCheck::Known(outcome));
            assert_eq!(avatar.check(Sequence(number), b"eat"), SequenceCheck::Other);
        }
        assert_eq!(avatar.outcomes.len(), OUTCOME_RING);
        assert_eq!(avatar.check(Sequence(4), b"dig"), SequenceCheck::Stale);
        assert!(matches!(avatar.check(Sequence(5), b"dig"), SequenceCheck::Known(_)));
    }

    #[test]
    fn the_chain_depends_on_every_outcome() {
        let (mut one, mut other) = (avatar(), avatar());
        one.record(b"dig", "1".into());
        other.record(b"dig", "2".into());
        assert_ne!(one.chain, other.chain);
        assert_eq!(one.chain, ChainHash::START.then(Sequence(1), ChainHash::of(b"dig"), b"1"));
    }

    #[test]
    fn the_chain_is_that_of_the_vectors() {
        let text = include_str!("../../../../docs/vectors/chain.json");
        let bytes = |value: &Value| {
            let digits = value.as_str().unwrap().as_bytes();
            let pair = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
            digits.chunks(2).map(pair).collect::<Vec<u8>>()
        };
        let mut chain = ChainHash::START;
        for vector in serde_json::from_str::<Vec<Value>>(text).unwrap() {
            assert_eq!(chain.0[..], bytes(&vector["before"]));
            let sequence = &vector["sequence"];
            let sequence = sequence.as_u64().or_else(|| sequence.as_str()?.parse().ok()).unwrap();
            let command = ChainHash::of(&bytes(&vector["payload"]));
            chain = chain.then(Sequence(sequence), command, &bytes(&vector["effects"]));
            assert_eq!(chain.0[..], bytes(&vector["chain"]), "sequence {sequence}");
        }
    }

    #[test]
    fn name_documents_of_every_schema_are_read() {
        let document = |schema: u16, value: &'static str| {
            let value = Some(bytes::Bytes::from(value));
            NameDocument::read(&Document { schema, revision: pelago_model::Revision(3), value })
        };
        const OLD: &str = r#"{"avatar":"0000100000000001"}"#;
        const BOUND: &str = r#"{"avatar":"0000100000000001","token":"c9e01a92b6e0e1bb9cca81f29cc5a4a3b0b0d2c4c38e20ff8ffd9c9bd3cf5b46"}"#;
        let old = document(1, OLD).unwrap().unwrap();
        assert_eq!((old.avatar, old.token), (EntityId(0x0000_1000_0000_0001), None));
        let bound = document(2, BOUND).unwrap().unwrap();
        assert_eq!(pelago_game::json::encode(&bound).unwrap(), BOUND.as_bytes());
        assert_eq!(NameDocument::read(&Document::ABSENT), Ok(None));
        assert!(document(2, OLD).unwrap_err().to_string().contains("lost its token"));
        let newer = Unreadable::Newer { kind: "name", schema: 3, newest: 2 };
        assert_eq!(document(3, BOUND), Err(newer));
    }

    #[test]
    fn the_document_keeps_its_written_form() {
        let mut avatar = avatar();
        avatar.record(b"dig", "{}".into());
        let bytes = pelago_game::json::encode(&avatar).unwrap();
        let text = std::str::from_utf8(&bytes).unwrap();
        assert!(text.starts_with(r#"{"chain":""#), "{text}");
        assert!(text.contains(r#""epoch":0,"game":{"held":{}},"name":"Åsa","outcomes":[{"#));
        assert_eq!(pelago_game::json::decode::<AvatarDocument>(&bytes).unwrap(), avatar);
    }
}
