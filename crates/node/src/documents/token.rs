//! Tokens: what makes a name somebody's own.

use blake3::Hash;
use pelago_model::Secret;
use pelago_model::limits::{MAX_TOKEN_BYTES, MIN_TOKEN_BYTES};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Keeps these hashes apart from all others of the same bytes.
const CONTEXT: &str = "pelago 2026 token of a name";

/// The hash by which a document remembers a token. Written as 64 hexadecimal digits, shown as nothing.
///
/// It is `blake3::derive_key(CONTEXT, name length u64 LE | name | token)`, so that two names with one token look like
/// strangers. Tokens are random: a slow hash would add nothing but work that a flood of logins could cause.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash(Hash);

impl TokenHash {
    /// The hash of a token of a name; `None` if it is too short or too long for one.
    pub fn of(name: &str, token: &Secret) -> Option<Self> {
        let token = token.reveal();
        if !(MIN_TOKEN_BYTES..=MAX_TOKEN_BYTES).contains(&token.len()) {
            return None;
        }
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(token);
        Some(Self(hasher.finalize()))
    }

    /// The hash in words: 64 hexadecimal digits.
    pub(crate) fn to_text(self) -> String {
        self.0.to_hex().to_string()
    }

    /// The hash that [`TokenHash::to_text`] wrote.
    pub(crate) fn of_text(text: &[u8]) -> Option<Self> {
        Hash::from_hex(text).ok().map(Self)
    }

    /// Whether both are of the same token. It takes as long wherever they differ.
    pub fn is(&self, other: &Self) -> bool {
        // Comparing blake3's hashes is constant in time.
        self.0 == other.0
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

impl Serialize for TokenHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.to_hex().as_str())
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(Self(Hash::from_hex(text).map_err(serde::de::Error::custom)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(name: &str, token: &'static [u8]) -> Option<TokenHash> {
        TokenHash::of(name, &Secret::new(token))
    }

    #[test]
    fn a_hash_depends_on_name_and_token() {
        let anna = hash("Anna", &[7; 32]).unwrap();
        assert!(anna.is(&hash("Anna", &[7; 32]).unwrap()));
        assert!(!anna.is(&hash("Bert", &[7; 32]).unwrap()));
        assert!(!anna.is(&hash("Anna", &[8; 32]).unwrap()));
        // The border between name and token counts.
        assert!(!hash("a", &[b'b'; 17]).unwrap().is(&hash("ab", &[b'b'; 16]).unwrap()));
    }

    /// Never change this: documents out there hold such hashes.
    #[test]
    fn the_hash_is_pinned() {
        let text = serde_json::to_string(&hash("Anna", b"0123456789abcdef").unwrap()).unwrap();
        let pinned = "\"a41811ec5f2158cfd872392981024fa9c0b349c01bf81a6b2ca12e9ac86105c3\"";
        assert_eq!(text, pinned);
        assert!(
            serde_json::from_str::<TokenHash>(&text).unwrap().is(&hash(
                "Anna",
                b"0123456789abcdef"
            )
            .unwrap())
        );
    }

    #[test]
    fn a_token_has_16_to_64_bytes() {
        assert!(hash("Anna", &[1; 15]).is_none());
        assert!(hash("Anna", &[1; 16]).is_some());
        assert!(hash("Anna", &[1; 64]).is_some());
        assert!(hash("Anna", &[1; 65]).is_none());
    }

    #[test]
    fn formatting_shows_nothing() {
        assert_eq!(format!("{:?}", hash("Anna", &[1; 16]).unwrap()), "TokenHash(..)");
    }
}
