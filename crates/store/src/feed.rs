//! The feed: what has changed, in order.

use pelago_model::{Document, Key};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A place in the feed of a store: after everything up to it. Of one store only: another one counts otherwise.
///
/// Written as `major.minor`. Engines choose what the numbers mean; they only ever grow.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct FeedPosition {
    /// Counts first.
    pub major: u64,
    /// Counts among equals of `major`.
    pub minor: u64,
}

impl FeedPosition {
    /// Before the first change.
    pub const START: Self = Self { major: 0, minor: 0 };
}

impl fmt::Display for FeedPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A text that is no [`FeedPosition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a position in a feed is two numbers with a dot between them")]
pub struct MalformedPosition;

impl FromStr for FeedPosition {
    type Err = MalformedPosition;

    fn from_str(text: &str) -> Result<Self, MalformedPosition> {
        let (major, minor) = text.split_once('.').ok_or(MalformedPosition)?;
        let number = |text: &str| text.parse().map_err(|_| MalformedPosition);
        Ok(Self { major: number(major)?, minor: number(minor)? })
    }
}

impl TryFrom<String> for FeedPosition {
    type Error = MalformedPosition;

    fn try_from(text: String) -> Result<Self, MalformedPosition> {
        text.parse()
    }
}

impl From<FeedPosition> for String {
    fn from(position: FeedPosition) -> Self {
        position.to_string()
    }
}

/// A document was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where in the feed.
    pub position: FeedPosition,
    /// Which document.
    pub key: Key,
    /// As this change left it; a deletion has no value.
    pub document: Document,
}

/// Why a feed could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// The changes that follow the position are no longer kept: read the whole world, and go on from `oldest`.
    #[error("changes before {oldest} are no longer kept")]
    Forgotten {
        /// From which on they are.
        oldest: FeedPosition,
    },
    /// As of any read.
    #[error(transparent)]
    Read(#[from] crate::ReadError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_written() {
        let position = FeedPosition { major: 7, minor: u64::MAX };
        assert_eq!(position.to_string().parse(), Ok(position));
        assert!(FeedPosition::START < position);
        for text in ["", "7", "7.", "7.x", "7.1.1", "-1.0"] {
            assert_eq!(text.parse::<FeedPosition>(), Err(MalformedPosition), "{text:?}");
        }
    }
}
