//! The embedded engine and sudden death: `kill -9`, and a journal that ends in the middle.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::print_stdout, reason = "the child tells its parent what was acknowledged")]

use bytes::Bytes;
use pelago_model::{CommitOutcome, Document, Key, Revision, Transaction, Write};
use pelago_store::{Embedded, commit_now, load_now};
use std::collections::BTreeMap;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Threads of the child, so that groups hold several transactions.
const WRITERS: u64 = 8;
const ROUNDS: usize = 6;

fn keys(writer: u64) -> [Key; 2] {
    ["left", "right"].map(|side| Key::parse(&format!("a/{side}/{writer}")).unwrap())
}

/// Long enough that a group covers several pages of the journal; every byte tells the number.
fn value(number: u64) -> Bytes {
    Bytes::from(format!("{number} ").repeat(500))
}

fn pair(writer: u64, number: u64) -> Transaction {
    let write =
        |key| Write { key, expected: Revision(number - 1), schema: 1, value: Some(value(number)) };
    Transaction { checks: Vec::new(), writes: keys(writer).map(write).to_vec() }
}

/// The number under both keys of a writer, which must be the same.
fn number(store: &Embedded, writer: u64) -> u64 {
    let found = load_now(store, keys(writer).to_vec()).unwrap();
    assert_eq!(found[0], found[1], "torn");
    let number = found[0].revision.0;
    let whole = Document { schema: 1, revision: Revision(number), value: Some(value(number)) };
    assert_eq!(found[0], if number == 0 { Document::ABSENT } else { whole });
    number
}

/// The child of the next test: commits pairs and says so, until it is killed.
#[test]
fn child_that_commits() {
    let Ok(directory) = std::env::var("PELAGO_TEST_STORE") else { return };
    let store = Embedded::open(Path::new(&directory)).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = &store;
            scope.spawn(move || {
                for number in number(store, writer) + 1.. {
                    assert_eq!(commit_now(store, pair(writer, number)), CommitOutcome::Committed);
                    // One write of less than a pipe's atomic size: the kill leaves a line or none.
                    let line = format!("acknowledged {writer} {number}\n");
                    std::io::stdout().write_all(line.as_bytes()).unwrap();
                }
            });
        }
    });
}

#[test]
fn kill_9_loses_and_tears_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeMap<u64, u64> = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child_that_commits", "--exact", "--nocapture"])
            .env("PELAGO_TEST_STORE", directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut hear = |line: std::io::Result<String>| {
            // The test harness may have written on the same line before.
            let line = line.unwrap();
            let Some((_, rest)) = line.split_once("acknowledged ") else { return false };
            let (writer, number) = rest.split_once(' ').unwrap();
            acknowledged.insert(writer.parse().unwrap(), number.parse().unwrap());
            true
        };
        // It runs once it has acknowledged something; then it lives for a random while.
        while !hear(lines.next().unwrap()) {}
        let random = std::hash::RandomState::new().build_hasher().finish();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_micros(random % 300_000));
            child.kill().unwrap();
            child.wait().unwrap();
        });
        for line in lines {
            hear(line);
        }
        killer.join().unwrap();
        let store = Embedded::open(directory.path()).unwrap();
        for (writer, acknowledged) in &acknowledged {
            let found = number(&store, *writer);
            assert!(
                found >= *acknowledged,
                "round {round} lost {acknowledged} of {writer}, which is at {found}"
            );
        }
    }
    assert!(acknowledged.values().sum::<u64>() >= ROUNDS as u64);
}

fn journal(directory: &Path) -> PathBuf {
    let is_journal = |path: &PathBuf| path.extension().is_some_and(|end| end == "jnl");
    let entries = fs::read_dir(directory.join("documents")).unwrap();
    entries.map(|entry| entry.unwrap().path()).find(is_journal).unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

#[test]
fn a_journal_that_ends_in_the_middle_is_read_up_to_its_last_whole_group() {
    const WHOLE: u64 = 3;
    let directory = tempfile::tempdir().unwrap();
    let store = Embedded::open(directory.path()).unwrap();
    let mut ends = Vec::new();
    for number in 1..=WHOLE {
        assert_eq!(commit_now(&store, pair(0, number)), CommitOutcome::Committed);
        let bytes = fs::read(journal(directory.path())).unwrap();
        ends.push(bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1);
    }
    drop(store);
    let bytes = fs::read(journal(directory.path())).unwrap();
    let (last, end) = (ends[1], ends[2]);
    for cut in (last..end).step_by((end - last) / 12).chain([end - 1, end]) {
        for zeros in [0, 4096] {
            let damaged = tempfile::tempdir().unwrap();
            copy(directory.path(), damaged.path());
            let mut bytes = bytes[..cut].to_vec();
            bytes.resize(cut + zeros, 0);
            fs::write(journal(damaged.path()), bytes).unwrap();
            let store = Embedded::open(damaged.path())
                .unwrap_or_else(|error| panic!("cut at {cut} of {last}..{end}, {zeros}: {error}"));
            let found = number(&store, 0);
            assert!(found >= WHOLE - 1, "cut at {cut} of {last}..{end}, {zeros}: {found}");
            // It goes on from there, and what it writes then is found again.
            assert_eq!(commit_now(&store, pair(0, found + 1)), CommitOutcome::Committed);
            drop(store);
            assert_eq!(number(&Embedded::open(damaged.path()).unwrap(), 0), found + 1);
        }
    }
}
