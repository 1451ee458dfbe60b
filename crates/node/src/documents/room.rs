//! The document of a room: what was said to an island last, in the one order in which everybody is shown it.

use crate::documents::lines::{Line, Speaker, Speakers, append};
use pelago_model::limits::MAX_CHAT_LINES;
use pelago_model::{IslandTime, WorldTime};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// The schema version of room documents.
pub const ROOM_SCHEMA: u16 = 1;

/// What was said to an island.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomDocument {
    /// The number of the next line.
    pub next: u64,
    /// The last [`MAX_CHAT_LINES`], oldest first.
    pub lines: VecDeque<Line>,
    /// The avatars that spoke lately.
    pub speakers: Speakers,
}

impl Default for RoomDocument {
    fn default() -> Self {
        Self { next: 1, lines: VecDeque::new(), speakers: Speakers::default() }
    }
}

impl RoomDocument {
    /// Says something. The oldest line makes room for it.
    pub fn say(
        &mut self,
        speaker: &Speaker,
        words: (String, String),
        (now, at): (WorldTime, IslandTime),
    ) {
        append((&mut self.next, &mut self.lines), speaker.avatar, words, at);
        while self.lines.len() > MAX_CHAT_LINES {
            self.lines.pop_front();
        }
        self.speakers.remember(speaker, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::lines::MAX_SPEAKERS;
    use pelago_model::limits::{MAX_DOCUMENT_BYTES, MAX_NAME_BYTES, MAX_SAY_BYTES};
    use pelago_model::{EntityId, Epoch};

    #[test]
    fn the_longest_room_is_a_document_with_the_last_lines() {
        let mut room = RoomDocument { next: u64::MAX - 1000, ..RoomDocument::default() };
        let now = WorldTime(i64::MAX - 100_000);
        let at = IslandTime(i64::MAX);
        for number in 0..MAX_SPEAKERS as u64 {
            let (avatar, epoch) = (EntityId(u64::MAX - number), Epoch(u64::MAX));
            let speaker = Speaker { avatar, epoch, number: u64::MAX, asked: now };
            let (name, text) = ("\"".repeat(MAX_NAME_BYTES), "\\".repeat(MAX_SAY_BYTES));
            room.say(&speaker, (name, text), (now, at));
        }
        assert_eq!(room.lines.len(), MAX_CHAT_LINES);
        assert_eq!(room.lines.back().map(|line| line.number + 1), Some(room.next));
        let bytes = pelago_game::json::encode(&room).unwrap();
        assert!(bytes.len() <= MAX_DOCUMENT_BYTES, "{}", bytes.len());
    }
}
