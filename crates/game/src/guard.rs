//! Calls of a game's functions: a panic of one costs what it was called for, and nothing else.

use crate::refusal::Refusal;
use std::any::Any;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The words of a rule that panicked. They are for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a rule panicked: {0}")]
pub struct RulePanic(pub String);

/// Characters of a panic's words that are kept.
const MAX_WORDS: usize = 300;
/// Bytes of a command's kind in the log.
const MAX_KIND_BYTES: usize = 32;

/// Calls a function of a game. What the function may have left half changed is the caller's to drop.
///
/// # Errors
/// [`RulePanic`] if it panics.
pub fn guarded<T>(rule: impl FnOnce() -> T) -> Result<T, RulePanic> {
    catch_unwind(AssertUnwindSafe(rule))
        .map_err(|panic| RulePanic(words(&*panic).chars().take(MAX_WORDS).collect()))
}

/// A rule that is broken: it panicked, or it refuses with what no player may be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BrokenRule(pub String);

/// Asks a function of a game that may refuse.
///
/// # Errors
/// [`BrokenRule`].
pub fn asked<T>(
    rule: impl FnOnce() -> Result<T, Refusal>,
) -> Result<Result<T, Refusal>, BrokenRule> {
    let answer = guarded(rule).map_err(|panic| BrokenRule(panic.to_string()))?;
    match answer.as_ref().err().and_then(Refusal::fault) {
        Some(fault) => Err(BrokenRule(fault)),
        None => Ok(answer),
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}

/// What kind of command a payload is, for the log: the name of its only field if it is JSON of that form, otherwise its
/// beginning. It comes from a stranger, so that it is short, and nothing in it is a control character.
pub fn command_kind(payload: &[u8]) -> String {
    let kind = match serde_json::from_slice(payload) {
        Ok(serde_json::Value::Object(fields)) => fields.keys().next().cloned().map(Cow::Owned),
        Ok(serde_json::Value::String(text)) => Some(Cow::Owned(text)),
        _ => None,
    };
    let kind = kind.unwrap_or_else(|| String::from_utf8_lossy(payload));
    let mut shown = String::new();
    for character in kind.chars().flat_map(char::escape_default) {
        if shown.len() >= MAX_KIND_BYTES {
            shown.push_str("...");
            break;
        }
        shown.push(character);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_in_its_own_words() {
        assert_eq!(guarded(|| 7), Ok(7));
        assert_eq!(
            guarded(|| panic!("a plain text")),
            Err::<(), _>(RulePanic("a plain text".into()))
        );
        let number = 7;
        let panicked = guarded(|| panic!("number {number}"));
        assert_eq!(panicked, Err::<(), _>(RulePanic("number 7".into())));
    }

    #[test]
    fn the_kind_of_a_command_is_short_and_harmless_in_a_log() {
        assert_eq!(command_kind(br#"{"gather":{"slot":3}}"#), "gather");
        assert_eq!(command_kind(br#""dig""#), "dig");
        assert_eq!(command_kind(b"dig\n\x1b[2J"), "dig\\n\\u{1b}[2J");
        assert_eq!(command_kind(&[b'x'; 1000]).len(), MAX_KIND_BYTES + 3);
        assert_eq!(command_kind(b""), "");
    }
}
