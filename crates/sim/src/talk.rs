//! What a player has said and was shown.

use pelago_model::Key;

/// What a player has said and was shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Talk {
    /// How many lines it ever thought of.
    pub(crate) count: u64,
    /// The line without an answer: its number, where it is to stand if there is such a place, and its text.
    pub(crate) asked: Option<(u64, Option<Key>, String)>,
    /// The last line of the room that the present client was shown, and the last whisper.
    pub(crate) room: u64,
    pub(crate) whisper: u64,
}

impl Talk {
    /// Another client begins, which has been shown nothing.
    pub(crate) fn start_again(&mut self) {
        *self = Self { count: self.count, ..Self::default() };
    }
}
