//! What must be true of the documents of a world, whatever happened to it.
//!
//! All books are made anew from the audit, entry by entry: what was acknowledged is in it, once, and what avatars and chunks
//! hold is the sum of what it says.

mod archive;

use crate::journal::Acknowledged;
use anyhow::{Context, Result};
use archive::Documents;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// How much there is of each item, by the column of the books: held, gathered, consumed.
type Books = BTreeMap<String, BTreeMap<String, i64>>;

/// What is known of a world from comparison to comparison.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    /// Revisions of all documents, as they were seen last.
    revisions: BTreeMap<String, u64>,
    /// Epochs of all avatars, as they were seen last.
    epochs: BTreeMap<String, u64>,
    /// How many documents were compared.
    pub(crate) documents: usize,
    pub(crate) comparisons: usize,
}

impl Checker {
    /// Compares the documents in an archive with what was acknowledged before it was made. Returns what is wrong.
    pub(crate) fn compare(
        &mut self,
        archive: &Path,
        acknowledged: &[Acknowledged],
    ) -> Result<Vec<String>> {
        let documents = archive::read(archive)?;
        self.documents += documents.len();
        self.comparisons += 1;
        let mut wrong = Vec::new();
        check_journal(acknowledged, &mut wrong);
        check_acknowledged(acknowledged, &documents, &mut wrong);
        check_sequences(&documents, &mut wrong)?;
        check_books(&documents, &mut wrong)?;
        self.check_progress(&documents, &mut wrong);
        Ok(wrong)
    }

    /// Nothing goes back: no revision, no epoch.
    fn check_progress(&mut self, documents: &Documents, wrong: &mut Vec<String>) {
        for (key, before) in &self.revisions {
            match documents.get(key) {
                Some(document) if document.revision < *before => {
                    let now = document.revision;
                    wrong.push(format!("{key}: was at revision {before}, is at {now}"));
                }
                None if is_kept(key) => wrong.push(format!("{key} is gone")),
                _ => {}
            }
        }
        for (key, before) in &self.epochs {
            let now = documents.get(key).and_then(|avatar| avatar.value["epoch"].as_u64());
            if now.is_none_or(|now| now < *before) {
                wrong.push(format!("{key}: was at epoch {before}, is at {now:?}"));
            }
        }
        self.revisions =
            documents.iter().map(|(key, document)| (key.clone(), document.revision)).collect();
        let epoch = |(key, avatar): (&String, &archive::Document)| {
            Some((key.clone(), avatar.value["epoch"].as_u64()?))
        };
        self.epochs = of_kind(documents, "avatar/").filter_map(epoch).collect();
    }
}

/// Kinds of which no document is ever deleted.
fn is_kept(key: &str) -> bool {
    ["audit/", "avatar/", "chunk/", "name/"].iter().any(|kind| key.starts_with(kind))
}

fn of_kind<'a>(
    documents: &'a Documents,
    kind: &'a str,
) -> impl Iterator<Item = (&'a String, &'a archive::Document)> {
    documents.range(kind.to_owned()..).take_while(move |(key, _)| key.starts_with(kind))
}

/// Every name is one avatar, whose acknowledged numbers ascend.
fn check_journal(acknowledged: &[Acknowledged], wrong: &mut Vec<String>) {
    let mut last: BTreeMap<&str, &Acknowledged> = BTreeMap::new();
    for line in acknowledged {
        if let Some(before) = last.insert(&line.name, line) {
            if before.avatar != line.avatar {
                wrong.push(format!("{}: was {}, is {}", line.name, before.avatar, line.avatar));
            }
            if before.sequence >= line.sequence {
                let (before, now) = (before.sequence, line.sequence);
                wrong.push(format!("{}: {now} was acknowledged after {before}", line.name));
            }
        }
    }
}

/// What was acknowledged is in the audit and, unless later outcomes have displaced it, in the avatar's document.
fn check_acknowledged(
    acknowledged: &[Acknowledged],
    documents: &Documents,
    wrong: &mut Vec<String>,
) {
    for line in acknowledged {
        let Acknowledged { avatar, sequence, chain, .. } = line;
        if !documents.contains_key(&format!("audit/{avatar}/{sequence:020}")) {
            wrong.push(format!("{avatar}: {sequence} was acknowledged and is not in the audit"));
        }
        let Some(document) = documents.get(&format!("avatar/{avatar}")) else {
            wrong.push(format!("{avatar} was acknowledged something and does not exist"));
            continue;
        };
        let outcomes = document.value["outcomes"].as_array().map_or(&[][..], Vec::as_slice);
        let same = |outcome: &&Value| outcome["sequence"] == *sequence;
        match outcomes.iter().find(same) {
            Some(outcome) if outcome["chain"] != **chain => {
                wrong.push(format!("{avatar}: {sequence} has another chain than was acknowledged"));
            }
            _ => {}
        }
    }
    // A player has one command under way: more than one beyond its last acknowledgement was never asked for.
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for line in acknowledged {
        let highest = last.entry(&line.avatar).or_default();
        *highest = line.sequence.max(*highest);
    }
    for (avatar, highest) in last {
        let document = documents.get(&format!("avatar/{avatar}"));
        let at = document.and_then(|document| document.value["sequence"].as_u64());
        // Players play on while an archive is made: only what is behind is wrong.
        if at.is_none_or(|at| at < highest) {
            wrong.push(format!("{avatar}: {highest} was acknowledged, its document is at {at:?}"));
        }
    }
}

/// The audit of an avatar has every number from 1 to its sequence, once.
fn check_sequences(documents: &Documents, wrong: &mut Vec<String>) -> Result<()> {
    for (key, avatar) in of_kind(documents, "avatar/") {
        let id = key.trim_start_matches("avatar/");
        let sequence = avatar.value["sequence"].as_u64().unwrap_or_default();
        let prefix = format!("audit/{id}/");
        let mut expected = 1;
        for (key, entry) in of_kind(documents, &prefix) {
            let number: u64 = key[prefix.len()..].parse().with_context(|| key.clone())?;
            let says = entry.value["cause"]["command"]["sequence"].as_u64();
            if number != expected || says != Some(number) {
                wrong.push(format!("{key}: says {says:?}, {expected} was to follow"));
            }
            expected = number + 1;
        }
        if expected != sequence + 1 {
            let audited = expected - 1;
            wrong.push(format!("{key}: is at {sequence}, its audit at {audited}"));
        }
    }
    Ok(())
}

/// What avatars hold, and what was taken from chunks, is what the audit says.
fn check_books(documents: &Documents, wrong: &mut Vec<String>) -> Result<()> {
    let mut audited: BTreeMap<&str, Books> = BTreeMap::new();
    for (key, entry) in of_kind(documents, "audit/") {
        let changes = entry.value["changes"].as_object().with_context(|| key.clone())?;
        for (document, items) in changes {
            let books = audited.entry(document).or_default();
            for (item, columns) in items.as_object().into_iter().flatten() {
                for (column, change) in columns.as_object().into_iter().flatten() {
                    let total = books.entry(column.clone()).or_default();
                    *total.entry(item.clone()).or_default() += change.as_i64().unwrap_or_default();
                }
            }
        }
    }
    for (key, avatar) in of_kind(documents, "avatar/") {
        // What an avatar has gathered and consumed is its own statistics; the audit books it where it lay.
        compare(key, "held", &avatar.value["game"]["held"], audited.get(key.as_str()), wrong);
    }
    for (key, chunk) in of_kind(documents, "chunk/") {
        compare(key, "gathered", &chunk.value["taken"], audited.get(key.as_str()), wrong);
    }
    let sum = |column: &str| {
        let all = audited.values().filter_map(|books| books.get(column));
        let mut total: BTreeMap<&str, i64> = BTreeMap::new();
        for (item, count) in all.flatten() {
            *total.entry(item).or_default() += count;
        }
        total.retain(|_, count| *count != 0);
        total
    };
    let (mut made, held, lying) = (sum("gathered"), sum("held"), sum("lying"));
    for (item, count) in sum("consumed") {
        *made.entry(item).or_default() -= count;
    }
    let mut there = held;
    for (item, count) in lying {
        *there.entry(item).or_default() += count;
    }
    made.retain(|_, count| *count != 0);
    if made != there {
        wrong.push(format!("made and not used up: {made:?}, there: {there:?}"));
    }
    Ok(())
}

fn compare(
    key: &str,
    column: &str,
    document: &Value,
    audited: Option<&Books>,
    wrong: &mut Vec<String>,
) {
    let number = |(item, count): (&String, &Value)| (item.clone(), count.as_i64().unwrap_or(-1));
    let mut has: BTreeMap<String, i64> =
        document.as_object().into_iter().flatten().map(number).collect();
    let mut should = audited.and_then(|books| books.get(column)).cloned().unwrap_or_default();
    has.retain(|_, count| *count != 0);
    should.retain(|_, count| *count != 0);
    if has != should {
        wrong.push(format!("{key}: {column} {has:?}, by the audit {should:?}"));
    }
}

#[cfg(test)]
#[path = "checker/tests.rs"]
mod tests;
