//! Verification: the journal of acknowledged commands against the books of the world.

use anyhow::{Context, Result};
use pelago_model::EntityId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) avatar: EntityId,
    pub(crate) sequence: u64,
    pub(crate) chain: String,
}

/// The books of an avatar: the answer to `GET /api/v1/books/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AvatarBooks {
    /// Of the avatar.
    pub name: String,
    /// The avatar.
    pub avatar: EntityId,
    /// Of its last session.
    pub epoch: u64,
    /// Of its last durable command.
    pub sequence: u64,
    /// The hash chain over its outcomes, in hexadecimal digits.
    pub chain: String,
    /// Its last outcomes, oldest first.
    pub outcomes: Vec<StoredOutcome>,
    /// The items that it has.
    pub totals: BTreeMap<String, Totals>,
}

/// An outcome as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredOutcome {
    /// Of the command.
    pub sequence: u64,
    /// blake3 of the command's payload, in hexadecimal digits.
    pub command: String,
    /// The chain after this outcome, in hexadecimal digits.
    pub chain: String,
}

/// How much there is of an item. Conserved: held + lying = gathered - consumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// By avatars.
    pub held: i64,
    /// In the world.
    pub lying: i64,
    /// Ever made.
    pub gathered: i64,
    /// Ever used up.
    pub consumed: i64,
}

/// The result of a verification.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Lines of the journal.
    pub acknowledged: u64,
    /// Avatars compared.
    pub avatars: u64,
    /// What is wrong; empty if all is well.
    pub objections: Vec<String>,
}

/// A journal of acknowledged commands: the last line of every avatar, and what is wrong with the lines themselves.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    acknowledged: u64,
    last: BTreeMap<String, Line>,
    objections: Vec<String>,
}

impl Journal {
    /// Reads a journal that bots have written.
    ///
    /// # Errors
    /// If it cannot be read, or is none.
    pub fn read(path: &Path) -> Result<Self> {
        let mut journal = Self::default();
        let file = File::open(path).with_context(|| format!("journal {}", path.display()))?;
        for (number, line) in BufReader::new(file).lines().enumerate() {
            let line: Line = serde_json::from_str(&line?)
                .with_context(|| format!("line {} of the journal", number + 1))?;
            journal.add(line);
        }
        Ok(journal)
    }

    fn add(&mut self, line: Line) {
        self.acknowledged += 1;
        if let Some(before) = self.last.get(&line.name) {
            let object = |text: &str| format!("{} {}: {text}", line.name, line.sequence);
            if before.avatar != line.avatar {
                self.objections.push(object("the name has changed its avatar"));
            }
            if before.sequence >= line.sequence {
                self.objections.push(object("acknowledged twice"));
            }
        }
        self.last.insert(line.name.clone(), line);
    }

    /// The names of the avatars whose books are needed for [`Journal::compare`].
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.last.keys().map(String::as_str)
    }

    /// Compares the journal with the books of its avatars and the totals of the world.
    pub fn compare(
        &self,
        books: &BTreeMap<String, AvatarBooks>,
        totals: &BTreeMap<String, Totals>,
    ) -> Verdict {
        let mut objections = self.objections.clone();
        objections.extend(self.last.values().filter_map(|line| object(line, books)));
        for (item, total) in totals {
            if total.held + total.lying != total.gathered - total.consumed {
                objections.push(format!(
                    "{item}: {} held + {} lying is not {} gathered - {} consumed",
                    total.held, total.lying, total.gathered, total.consumed
                ));
            }
        }
        let avatars = self.last.len() as u64;
        Verdict { acknowledged: self.acknowledged, avatars, objections }
    }
}

fn object(line: &Line, books: &BTreeMap<String, AvatarBooks>) -> Option<String> {
    let name = &line.name;
    let Some(books) = books.get(name).filter(|books| books.avatar == line.avatar) else {
        return Some(format!("{name}: the books know another avatar, or none"));
    };
    // One more may have been committed whose acknowledgement nobody lived to hear.
    if !matches!(books.sequence.checked_sub(line.sequence), Some(0 | 1)) {
        let (acknowledged, found) = (line.sequence, books.sequence);
        return Some(format!("{name}: {acknowledged} was acknowledged, the books are at {found}"));
    }
    let chain = if books.sequence == line.sequence {
        Some(&books.chain)
    } else {
        let at_line = books.outcomes.iter().find(|outcome| outcome.sequence == line.sequence);
        at_line.map(|outcome| &outcome.chain)
    };
    (chain != Some(&line.chain))
        .then(|| format!("{name}: the outcomes up to {} are others in the books", line.sequence))
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(sequence: u64, chain: &str) -> Line {
        Line { name: "Anna".into(), avatar: EntityId(7), sequence, chain: chain.into() }
    }

    fn journal(lines: &[Line]) -> Journal {
        let mut journal = Journal::default();
        lines.iter().cloned().for_each(|line| journal.add(line));
        journal
    }

    fn books(avatar: u64, sequence: u64, chain: &str) -> BTreeMap<String, AvatarBooks> {
        let stored = |(sequence, chain): (u64, &str)| StoredOutcome {
            sequence,
            command: String::new(),
            chain: chain.into(),
        };
        let books = AvatarBooks {
            name: "Anna".into(),
            avatar: EntityId(avatar),
            epoch: 1,
            sequence,
            chain: chain.into(),
            outcomes: [(1, "aa"), (2, "bb"), (3, "cc")].map(stored).into(),
            totals: BTreeMap::new(),
        };
        BTreeMap::from([("Anna".to_owned(), books)])
    }

    #[test]
    fn a_journal_is_right_if_the_books_are_where_it_ends_or_one_further() {
        let journal = journal(&[line(1, "aa"), line(2, "bb")]);
        let none = BTreeMap::new();
        for (books, expected) in [
            (books(7, 2, "bb"), None),
            (books(7, 3, "cc"), None),
            (books(7, 1, "aa"), Some("the books are at 1")),
            (books(7, 4, "dd"), Some("the books are at 4")),
            (books(7, 2, "xx"), Some("are others in the books")),
            (books(8, 2, "bb"), Some("another avatar")),
            (BTreeMap::new(), Some("or none")),
        ] {
            let verdict = journal.compare(&books, &none);
            assert_eq!((verdict.acknowledged, verdict.avatars), (2, 1));
            match expected {
                None => assert!(verdict.objections.is_empty(), "{verdict:?}"),
                Some(text) => assert!(verdict.objections.concat().contains(text), "{verdict:?}"),
            }
        }
    }

    #[test]
    fn what_was_acknowledged_twice_and_what_came_from_nothing_is_objected_to() {
        let journal = journal(&[line(2, "bb"), line(2, "bb")]);
        let totals = Totals { held: 3, gathered: 2, ..Totals::default() };
        let totals = BTreeMap::from([("berry".to_owned(), totals)]);
        let verdict = journal.compare(&books(7, 2, "bb"), &totals);
        assert_eq!(verdict.objections.len(), 2, "{verdict:?}");
        assert!(verdict.objections[0].contains("acknowledged twice"));
        assert!(verdict.objections[1].contains("3 held"));
    }
}
