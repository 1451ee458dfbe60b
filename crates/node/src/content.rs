//! Content as clients fetch it by its hash. No machine knows of it: the connection of a client answers by itself.

use crate::rate_limits::{kibibytes, slow_down};
use bytes::{Bytes, BytesMut};
use pelago_game::ContentHash;
use pelago_model::{Allowance, Bucket, WorldTime};
use pelago_wire::content::content_head;
use std::collections::BTreeMap;
use std::sync::Arc;

/// All content of a node: the same for everybody.
#[derive(Clone, Debug, Default)]
pub struct Shelf(Arc<BTreeMap<ContentHash, Bytes>>);

/// The answer to a fetch: a message in two parts, of which the second is shared by everybody who fetches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The beginning of the message.
    pub head: BytesMut,
    /// Its end: the content itself, or nothing.
    pub data: Bytes,
    /// Whether more was asked for than may be had now.
    pub is_too_much: bool,
}

impl Shelf {
    /// A shelf with this content.
    pub fn new(content: impl IntoIterator<Item = (ContentHash, Bytes)>) -> Self {
        Self(Arc::new(content.into_iter().collect()))
    }

    /// Answers a fetch, on account of what its connection may have: KiB, a piece counting at least one. A hash that is not
    /// known is answered without data.
    pub fn answer(
        &self,
        now: WorldTime,
        hash: Bytes,
        allowance: Allowance,
        left: &mut Bucket,
    ) -> Piece {
        let found = hash.as_ref().try_into().map(ContentHash).ok();
        let data = found.and_then(|hash| self.0.get(&hash).cloned()).unwrap_or_default();
        if left.take(now, allowance, kibibytes(data.len())) {
            return Piece { head: content_head(hash, "", data.len()), data, is_too_much: false };
        }
        let head = content_head(hash, &slow_down().code, 0);
        Piece { head, data: Bytes::new(), is_too_much: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_counts_against_an_allowance_and_what_is_unknown_a_little() {
        let some = Bytes::from(vec![7; 3000]);
        let hash = ContentHash::of(&some);
        let shelf = Shelf::new([(hash, some)]);
        let allowance = Allowance::new(2, 5);
        let mut left = Bucket::full(allowance, WorldTime(0));
        let mut fetch = |ms, hash: &[u8]| {
            let hash = Bytes::copy_from_slice(hash);
            let piece = shelf.answer(WorldTime(ms), hash, allowance, &mut left);
            (piece.data.len(), piece.is_too_much)
        };
        assert_eq!([0, 0].map(|ms| fetch(ms, &hash.0)), [(3000, false), (0, true)]);
        assert_eq!(fetch(1000, &hash.0), (3000, false));
        assert_eq!([1600; 3].map(|ms| fetch(ms, b"unknown")), [(0, false), (0, false), (0, true)]);
    }
}
