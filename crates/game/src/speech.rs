//! Speech: to whom something is said.

/// The audience of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// To everybody in sight.
    Near,
    /// To everybody on the island.
    Island,
    /// To one player, wherever that player is.
    Whisper,
}
