//! The embedded engine on a real disk: conformance, reopening, `kill -9`.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::print_stdout, reason = "the child tells its parent what was acknowledged")]

use bytes::Bytes;
use pelago_model::{CommitOutcome, Document, Key, Revision, Transaction, Write};
use pelago_store::{Embedded, OpenError, Store, commit_now, load_now};
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// A store in a directory that goes with it.
struct Temporary {
    store: Embedded,
    _directory: tempfile::TempDir,
}

impl Store for Temporary {
    fn load(&self, keys: Vec<Key>, done: pelago_store::LoadDone) {
        self.store.load(keys, done);
    }
    fn commit(&self, transaction: Transaction, done: pelago_store::CommitDone) {
        self.store.commit(transaction, done);
    }
    fn audit(
        &self,
        prefix: &str,
        visit: &mut dyn FnMut(Key, Document),
    ) -> Result<(), pelago_store::ReadError> {
        self.store.audit(prefix, visit)
    }
    fn close(&self) {
        self.store.close();
    }
}

fn temporary() -> Arc<Temporary> {
    let directory = tempfile::tempdir().unwrap();
    let store = Embedded::open(directory.path()).unwrap();
    Arc::new(Temporary { store, _directory: directory })
}

pelago_store::conformance!(temporary);

fn pair(number: u64) -> Transaction {
    let value = Some(Bytes::from(number.to_string()));
    let write = |name| Write {
        key: Key::parse(name).unwrap(),
        expected: Revision(number - 1),
        schema: 1,
        value: value.clone(),
    };
    Transaction { checks: Vec::new(), writes: vec![write("a/left"), write("a/right")] }
}

fn revisions(store: &Embedded) -> (u64, u64) {
    let keys = ["a/left", "a/right"].map(|name| Key::parse(name).unwrap()).to_vec();
    let found = load_now(store, keys).unwrap();
    (found[0].revision.0, found[1].revision.0)
}

#[test]
fn a_directory_serves_one_process_at_a_time_and_keeps_everything() {
    let directory = tempfile::tempdir().unwrap();
    let store = Embedded::open(directory.path()).unwrap();
    assert!(matches!(Embedded::open(directory.path()), Err(OpenError::InUse(_))));
    for number in 1..=10 {
        assert_eq!(commit_now(&store, pair(number)), CommitOutcome::Committed);
    }
    drop(store);
    assert_eq!(revisions(&Embedded::open(directory.path()).unwrap()), (10, 10));
}

#[test]
fn a_directory_of_another_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("format"), "pelago embedded store 9\n").unwrap();
    assert!(matches!(Embedded::open(directory.path()), Err(OpenError::Format { .. })));
}

/// The child of the next test: commits pairs and says so, until it is killed.
#[test]
fn child_that_commits() {
    let Ok(directory) = std::env::var("PELAGO_TEST_STORE") else { return };
    let store = Embedded::open(Path::new(&directory)).unwrap();
    let first = revisions(&store).0 + 1;
    let mut out = std::io::stdout();
    for number in first.. {
        assert_eq!(commit_now(&store, pair(number)), CommitOutcome::Committed);
        writeln!(out, "acknowledged {number}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn kill_9_loses_and_tears_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..6u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child_that_commits", "--exact", "--nocapture"])
            .env("PELAGO_TEST_STORE", directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut until = 40 + round * 37;
        for line in lines.map_while(Result::ok) {
            // The test harness may have written on the same line before.
            if let Some((_, number)) = line.split_once("acknowledged ") {
                acknowledged = number.parse().unwrap();
                until -= 1;
            }
            if until == 0 {
                child.kill().unwrap();
                until = u64::MAX;
            }
        }
        child.wait().unwrap();
        let (left, right) = revisions(&Embedded::open(directory.path()).unwrap());
        assert_eq!(left, right, "torn after round {round}");
        assert!(left >= acknowledged, "lost {} after round {round}", acknowledged - left);
    }
    assert!(acknowledged >= 6 * 40);
}
