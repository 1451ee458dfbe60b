//! The document of a mailbox: whispers that a player has not been shown yet.

use crate::documents::lines::{Line, Speaker, Speakers, append};
use pelago_model::limits::MAX_CHAT_LINES;
use pelago_model::{IslandTime, WorldTime};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// The schema version of mailbox documents.
pub const MAILBOX_SCHEMA: u16 = 1;

/// The document of a mailbox: whispers to an avatar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxDocument {
    /// The number of the next line.
    pub next: u64,
    /// At most [`MAX_CHAT_LINES`], oldest first.
    pub lines: VecDeque<Line>,
    /// The avatars that spoke lately.
    pub speakers: Speakers,
}

impl Default for MailboxDocument {
    fn default() -> Self {
        Self { next: 1, lines: VecDeque::new(), speakers: Speakers::default() }
    }
}

impl MailboxDocument {
    /// Whether no line finds room.
    pub fn is_full(&self) -> bool {
        self.lines.len() >= MAX_CHAT_LINES
    }

    /// Adds a whisper. The caller has seen to it that there is room.
    pub fn add(
        &mut self,
        speaker: &Speaker,
        words: (String, String),
        (now, at): (WorldTime, IslandTime),
    ) {
        append((&mut self.next, &mut self.lines), speaker.avatar, words, at);
        self.speakers.remember(speaker, now);
    }

    /// Removes the lines up to a number; whether there were any.
    pub fn take(&mut self, number: u64) -> bool {
        let before = self.lines.len();
        self.lines.retain(|line| line.number > number);
        self.lines.len() < before
    }
}
