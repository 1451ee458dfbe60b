//! Refusals: what players are told when a command changes nothing.

use std::borrow::Cow;

/// Codes by which the platform tells clients what to do. A rule that refuses with one would make them do it.
const RESERVED: [&str; 6] =
    ["busy", "out_of_order", "repeated", "stale", "superseded", "unavailable"];
/// Characters of a code at most.
const MAX_CODE: usize = 32;
/// Bytes of a sentence at most.
const MAX_SENTENCE: usize = 500;

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

    /// What is wrong with it as a rule's, if something is; for the log.
    pub fn fault(&self) -> Option<String> {
        let Self { code, sentence } = self;
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if code.is_empty() || code.len() > MAX_CODE || !code.bytes().all(is_word) {
            let begin: String = code.chars().take(MAX_CODE).collect();
            return Some(format!("the rule refuses with {begin:?}, which is no code"));
        }
        if RESERVED.contains(&&**code) {
            return Some(format!("the rule refuses with {code:?}, which is the platform's"));
        }
        let length = sentence.len();
        (length > MAX_SENTENCE).then(|| format!("the rule refuses in {length} bytes"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_refuses_with_a_short_code_of_its_own() {
        let refusal = |code: &str, length: usize| Refusal {
            code: code.to_owned().into(),
            sentence: "x".repeat(length).into(),
        };
        for code in ["too_far", "internal", "full", "not_it_2"] {
            assert_eq!(refusal(code, MAX_SENTENCE).fault(), None, "{code}");
        }
        for code in RESERVED.iter().chain(&["", "Too far", "too-far", &"x".repeat(MAX_CODE + 1)]) {
            assert!(refusal(code, 1).fault().is_some(), "{code}");
        }
        assert!(refusal("too_far", MAX_SENTENCE + 1).fault().is_some());
    }
}
