//! The document of the world's clock: the high-water mark of world time.

use pelago_game::json;
use pelago_model::{ClockMark, Key, Revision, WorldTime, Write};
use serde::{Deserialize, Serialize};

/// The schema version of the document of the clock.
pub const CLOCK_SCHEMA: u16 = 1;

/// What the store knows of world time. It is written some seconds ahead, so that a restart never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockDocument {
    /// No time after this one has been told.
    pub mark: WorldTime,
    /// By how much world time is ahead of the wall clocks, in ms: they were found behind the mark at a start.
    pub offset_ms: i64,
}

impl ClockDocument {
    /// What puts a mark in the place of the one of a revision.
    ///
    /// # Errors
    /// If it does not fit JSON, which is a bug.
    pub fn write(mark: ClockMark, expected: Revision) -> Result<Write, json::EncodeError> {
        let value = Some(json::encode(&Self::from(mark))?);
        Ok(Write { key: Key::clock(), expected, schema: CLOCK_SCHEMA, value })
    }
}

impl From<ClockMark> for ClockDocument {
    fn from(ClockMark { mark, offset_ms }: ClockMark) -> Self {
        Self { mark, offset_ms }
    }
}

impl From<ClockDocument> for ClockMark {
    fn from(ClockDocument { mark, offset_ms }: ClockDocument) -> Self {
        Self { mark, offset_ms }
    }
}
