//! Names of avatars: which texts are names, which of them are written differently and yet one name, and which look alike.
//!
//! A name's canonical form is its NFKC, without blanks at its ends, with single blanks inside. Two names that look alike
//! have one skeleton ([UTS 39](https://www.unicode.org/reports/tr39/), section 4), and only one of them can be taken.

use crate::key::Key;
use crate::limits::MAX_NAME_BYTES;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_security::{
    GeneralSecurityProfile, RestrictionLevel, RestrictionLevelDetection, skeleton,
};

/// What may stand in a name beside letters and digits. A name begins with none of them.
const PUNCTUATION: [char; 5] = [' ', '-', '_', '.', '\''];
/// Marks over or under one letter at most (UTS 39, section 5.4).
const MAX_MARKS: usize = 4;

/// A text that is a name, in its canonical form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

/// A text that is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoName {
    /// Nothing is left of it in its canonical form.
    #[error("a name has a letter or a digit")]
    Empty,
    /// Its canonical form has too many bytes.
    #[error("a name has at most {MAX_NAME_BYTES} bytes")]
    TooLong,
    /// It holds a character that names do not have: a symbol, something invisible, what turns the direction of writing.
    #[error("a name is of letters, digits, blanks and - _ . '")]
    Character,
    /// It is of several scripts that are easily taken for each other.
    #[error("a name is of one script, or of one that is written beside Latin")]
    Scripts,
}

impl Name {
    /// The name that a text stands for.
    ///
    /// # Errors
    /// [`NoName`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, NoName> {
        // Normalization makes up to 18 characters of one.
        if text.len() > 4 * MAX_NAME_BYTES {
            return Err(NoName::TooLong);
        }
        let normal: String = text.nfkc().map(|c| if c == '\u{2019}' { '\'' } else { c }).collect();
        let name = normal.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        if name.len() > MAX_NAME_BYTES {
            return Err(NoName::TooLong);
        }
        if !name.starts_with(char::is_alphanumeric) {
            let is_empty = !name.contains(char::is_alphanumeric);
            return Err(if is_empty { NoName::Empty } else { NoName::Character });
        }
        if !name.chars().all(is_allowed) || too_many_marks(&name) {
            return Err(NoName::Character);
        }
        let letters: String = name.chars().filter(|c| !PUNCTUATION.contains(c)).collect();
        if letters.detect_restriction_level() > RestrictionLevel::HighlyRestrictive {
            return Err(NoName::Scripts);
        }
        Ok(Self(name))
    }

    /// The canonical form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What all names have in common that look like this one. It is not to be shown.
    pub fn skeleton(&self) -> String {
        skeleton(&self.0).collect()
    }
}

/// Where the bearer of a name is looked up, in this order: names that are older than this rule are found as they are
/// written, and all others by their canonical form.
pub fn keys_of_name(text: &str) -> Vec<Key> {
    let exact = (!text.is_empty() && text.len() <= MAX_NAME_BYTES).then(|| Key::name(text));
    let canonical = Name::parse(text).ok().map(|name| Key::name(name.as_str()));
    let canonical = canonical.filter(|key| exact.as_ref() != Some(key));
    exact.into_iter().chain(canonical).collect()
}

/// UTS 39 allows the joiners, which are not seen, in identifiers of some scripts.
fn is_allowed(c: char) -> bool {
    let is_joiner = matches!(c, '\u{200c}' | '\u{200d}');
    match c.is_ascii() {
        true => c.is_ascii_alphanumeric() || PUNCTUATION.contains(&c),
        false => {
            let is_of_words = c.is_alphanumeric() || is_combining_mark(c);
            c.identifier_allowed() && is_of_words && !is_joiner
        }
    }
}

/// A dot over one of these is not seen: they have one already (UTS 39, section 5.4).
const DOTTED: [char; 4] = ['i', 'j', '\u{456}', '\u{458}'];

fn too_many_marks(name: &str) -> bool {
    let (mut marks, mut last, mut letter) = (0, ' ', ' ');
    // In the canonical form a mark may be part of its letter.
    name.nfd().any(|c| {
        marks = if is_combining_mark(c) { marks + 1 } else { 0 };
        if marks == 0 {
            letter = c;
        }
        let is_unseen = c == '\u{307}' && DOTTED.contains(&letter);
        let is_repeated = marks > 1 && c == last;
        last = c;
        marks > MAX_MARKS || is_repeated || is_unseen
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(text: &str) -> Result<String, NoName> {
        Name::parse(text).map(|name| name.0)
    }

    #[test]
    fn names_are_those_of_the_vectors() {
        let text = include_str!("../../../docs/vectors/names.json");
        for vector in serde_json::from_str::<Vec<serde_json::Value>>(text).unwrap() {
            let name = canonical(vector["text"].as_str().unwrap()).ok();
            assert_eq!(name.as_deref(), vector["name"].as_str(), "{vector}");
            if let Some(other) = vector["looks_like"].as_str() {
                let skeleton = |text: &str| Name::parse(text).unwrap().skeleton();
                assert_eq!(skeleton(name.as_deref().unwrap()), skeleton(other), "{vector}");
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_text_is_said() {
        assert_eq!(canonical(" . "), Err(NoName::Empty));
        assert_eq!(canonical(&"x".repeat(MAX_NAME_BYTES + 1)), Err(NoName::TooLong));
        assert_eq!(canonical(&"x".repeat(MAX_NAME_BYTES)), Ok("x".repeat(MAX_NAME_BYTES)));
        assert_eq!(canonical(&"\u{fdfa}".repeat(16)), Err(NoName::TooLong), "it grows");
        assert_eq!(canonical("Anna\u{200b}"), Err(NoName::Character));
        assert_eq!(canonical("Аnna"), Err(NoName::Scripts));
    }

    #[test]
    fn marks_do_not_pile_up() {
        assert_eq!(canonical("Việt"), Ok("Việt".into()));
        assert!(canonical(&format!("a{}", "\u{301}".repeat(2))).is_err());
        for unseen in ["Bi\u{307}rd", "Bj\u{307}rd", "Bi\u{328}\u{307}rd", "\u{456}\u{307}ван"] {
            assert_eq!(canonical(unseen), Err(NoName::Character), "{unseen}");
        }
        assert_eq!(canonical("Ż"), Ok("Ż".into()));
        assert!(canonical("a\u{301}\u{302}\u{303}\u{304}\u{306}").is_err());
    }

    #[test]
    fn an_old_name_is_looked_up_as_it_is_written_and_then_by_its_canonical_form() {
        assert_eq!(keys_of_name("Anna"), [Key::name("Anna")]);
        assert_eq!(keys_of_name("Anna "), [Key::name("Anna "), Key::name("Anna")]);
        assert_eq!(keys_of_name("\u{200b}"), [Key::name("\u{200b}")]);
        assert_eq!(keys_of_name(""), []);
        assert_eq!(keys_of_name(&"\u{200b}".repeat(99)), []);
    }

    proptest! {
        #[test]
        fn a_name_is_its_own_canonical_form_and_its_key_is_one(text in ".{0,40}") {
            if let Ok(name) = Name::parse(&text) {
                prop_assert_eq!(Name::parse(name.as_str()), Ok(name.clone()));
                for key in [Key::name(name.as_str()), Key::skeleton(&name.skeleton())] {
                    prop_assert_eq!(Key::parse(key.as_str()), Ok(key.clone()));
                }
            }
        }
    }
}
