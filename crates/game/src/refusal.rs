//! Refusals: what players are told when a command changes nothing.

use std::borrow::Cow;

/// A command that is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {sentence}")]
pub struct Refusal {
    /// The public code: lower case, words joined by `_`. Clients may rely on it.
    pub code: Cow<'static, str>,
    /// A sentence for the player. It tells nothing about the server's inside.
    pub sentence: Cow<'static, str>,
}

impl Refusal {
    /// A refusal with a code and a sentence.
    pub const fn new(code: &'static str, sentence: &'static str) -> Self {
        Self { code: Cow::Borrowed(code), sentence: Cow::Borrowed(sentence) }
    }

    /// The platform or the game failed; details are in the logs only.
    pub const fn internal() -> Self {
        Self::new("internal", "Something went wrong. It has been noted.")
    }

    /// The command cannot be understood.
    pub const fn malformed() -> Self {
        Self::new("malformed", "That was not understood.")
    }
}
