//! The directory of an embedded store: made whole or not at all, deleted whole or not at all, its owner's alone, and
//! missed when it is gone.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "threads live in real time")]

use bytes::Bytes;
use pelago_model::{CommitOutcome, Key, Revision, Transaction, Write};
use pelago_store::files::{beside, deleted};
use pelago_store::{Embedded, OpenError, Store, commit_now, load_now};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

fn write(store: &Embedded, number: u64) -> CommitOutcome {
    let key = Key::parse("a/1").unwrap();
    let value = Some(Bytes::from(number.to_string()));
    let write = Write { key, expected: Revision(number - 1), schema: 1, value };
    commit_now(store, Transaction { checks: Vec::new(), writes: vec![write] })
}

/// How often the document was written.
fn revision(store: &Embedded) -> u64 {
    load_now(store, vec![Key::parse("a/1").unwrap()]).unwrap()[0].revision.0
}

/// A store with a document.
fn store_in(directory: &Path) {
    let store = Embedded::open(directory).unwrap();
    assert_eq!(write(&store, 1), CommitOutcome::Committed);
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn wherever_making_or_deleting_ended_the_next_start_has_all_or_nothing() {
    // What a process that died has left, and how often the document was written.
    type Left = fn(&Path);
    let states: [(&str, Left, u64); 8] = [
        ("claimed", |at| leave(at, &["lock"]), 0),
        ("begun", |at| rename(at, "format", "format.new", &["lock"]), 0),
        (
            "half made",
            |at| {
                rename(at, "documents", "documents.new", &["lock", "format", "documents.new"]);
                fs::rename(at.join("format"), at.join("format.new")).unwrap();
                fs::remove_file(at.join("documents.new/version")).unwrap();
            },
            0,
        ),
        (
            "made",
            |at| {
                fs::rename(at.join("documents"), at.join("documents.new")).unwrap();
                fs::rename(at.join("format"), at.join("format.new")).unwrap();
            },
            0,
        ),
        ("without its name", |at| fs::rename(at.join("format"), at.join("format.new")).unwrap(), 1),
        (
            "with what an earlier one has left",
            |at| {
                for left in [beside(&at.join("documents")), deleted(&at.join("documents"))] {
                    fs::create_dir(&left).unwrap();
                    fs::write(left.join("0.jnl"), "half").unwrap();
                }
                fs::write(at.join("probe"), "half").unwrap();
            },
            1,
        ),
        (
            "deleted",
            |at| {
                fs::rename(at.join("documents"), at.join("documents.deleted")).unwrap();
                fs::rename(at.join("format"), at.join("format.new")).unwrap();
            },
            0,
        ),
        (
            "half deleted",
            |at| {
                fs::rename(at.join("documents"), at.join("documents.deleted")).unwrap();
                fs::rename(at.join("format"), at.join("format.new")).unwrap();
                fs::remove_dir_all(at.join("documents.deleted/keyspaces")).unwrap();
            },
            0,
        ),
    ];
    for (name, left, expected) in states {
        let directory = tempfile::tempdir().unwrap();
        store_in(directory.path());
        left(directory.path());
        assert_eq!(Embedded::is_in(directory.path()), expected > 0, "{name}");
        let store =
            Embedded::open(directory.path()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(revision(&store), expected, "{name}");
        assert_eq!(write(&store, expected + 1), CommitOutcome::Committed, "{name}");
        drop(store);
        assert_eq!(names(directory.path()), ["documents", "format", "lock"], "{name}");
        assert_eq!(revision(&Embedded::open(directory.path()).unwrap()), expected + 1, "{name}");
    }
}

/// Removes everything but these.
fn leave(directory: &Path, kept: &[&str]) {
    for name in names(directory).iter().filter(|name| !kept.contains(&name.as_str())) {
        pelago_store::files::remove(&directory.join(name)).unwrap();
    }
}

fn rename(directory: &Path, from: &str, to: &str, kept: &[&str]) {
    fs::rename(directory.join(from), directory.join(to)).unwrap();
    let kept = [kept, &[to]].concat();
    leave(directory, &kept);
}

#[test]
fn a_store_that_lost_something_is_not_taken_for_a_new_one_until_it_is_asked_for() {
    for lost in ["documents", "documents/version"] {
        let directory = tempfile::tempdir().unwrap();
        store_in(directory.path());
        pelago_store::files::remove(&directory.path().join(lost)).unwrap();
        let error = Embedded::open(directory.path()).err().unwrap().to_string();
        assert!(error.contains("--reset"), "{error}");
        let store = Embedded::open_anew(directory.path()).unwrap();
        assert_eq!(revision(&store), 0);
        assert_eq!(write(&store, 1), CommitOutcome::Committed);
    }
}

#[test]
fn a_store_begins_anew_but_neither_one_in_use_nor_anything_else() {
    let directory = tempfile::tempdir().unwrap();
    let store = Embedded::open(directory.path()).unwrap();
    assert_eq!(write(&store, 1), CommitOutcome::Committed);
    assert!(matches!(Embedded::open_anew(directory.path()), Err(OpenError::InUse(_))));
    assert_eq!(write(&store, 2), CommitOutcome::Committed);
    drop(store);
    for _ in 0..2 {
        let store = Embedded::open_anew(directory.path()).unwrap();
        assert_eq!(revision(&store), 0);
        assert_eq!(write(&store, 1), CommitOutcome::Committed);
    }
    // Somebody else's documents, and those of a build that is yet to come.
    fs::write(directory.path().join("format"), "pelago embedded store 9\n").unwrap();
    assert!(matches!(Embedded::open_anew(directory.path()), Err(OpenError::Format { .. })));
    fs::remove_file(directory.path().join("format")).unwrap();
    assert!(matches!(Embedded::open_anew(directory.path()), Err(OpenError::Format { .. })));
    assert_eq!(names(directory.path()), ["documents", "lock"]);
}

fn remove_journals(store: &Path) {
    for entry in fs::read_dir(store.join("documents")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "jnl") {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn a_store_that_has_lost_its_journals_is_not_taken_for_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    store_in(directory.path());
    remove_journals(directory.path());
    let error = Embedded::open(directory.path()).err().unwrap().to_string();
    assert!(error.contains("journal"), "{error}");
    drop(Embedded::open_anew(directory.path()).unwrap());
}

#[test]
fn a_store_that_is_deleted_moved_or_replaced_acknowledges_nothing_more() {
    type Lose = fn(&Path);
    let ways: [(&str, Lose); 6] = [
        ("deleted", |store| fs::remove_dir_all(store).unwrap()),
        ("moved", |store| fs::rename(store, store.with_extension("moved")).unwrap()),
        ("emptied", |store| fs::remove_dir_all(store.join("documents")).unwrap()),
        ("without journals", remove_journals),
        ("without keyspaces", |store| {
            fs::remove_dir_all(store.join("documents/keyspaces")).unwrap()
        }),
        ("replaced", |store| {
            fs::rename(store, store.with_extension("moved")).unwrap();
            store_in(store);
        }),
    ];
    for (name, lose) in ways {
        for idle in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let place = directory.path().join("store");
            let store = Embedded::open(&place).unwrap();
            assert_eq!(write(&store, 1), CommitOutcome::Committed);
            assert_eq!(store.broken(), None);
            lose(&place);
            if !idle {
                let outcome = write(&store, 2);
                let is_acknowledged = outcome == CommitOutcome::Committed;
                assert!(!is_acknowledged, "{name}");
            }
            let began = Instant::now();
            let reason = loop {
                if let Some(reason) = store.broken() {
                    break reason;
                }
                assert!(began.elapsed() < PATIENCE, "{name}: nobody has noticed");
                std::thread::sleep(Duration::from_millis(20));
            };
            assert!(reason.contains("not in its place") && reason.contains("store/"), "{reason}");
        }
    }
}

#[test]
fn an_existing_store_is_closed_to_others_and_what_is_beside_it_is_not() {
    let modes = |directory: &Path| {
        ["", "lock", "format", "documents", "documents/version", "documents/keyspaces"]
            .map(|name| fs::metadata(directory.join(name)).unwrap().permissions().mode() & 0o777)
    };
    for others in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("store");
        store_in(&place);
        assert_eq!(modes(&place)[0], 0o700);
        for (name, mode) in [
            ("", 0o755),
            ("lock", 0o644),
            ("format", 0o664),
            ("documents", 0o755),
            ("documents/version", 0o666),
            ("documents/keyspaces", 0o777),
        ] {
            fs::set_permissions(place.join(name), Permissions::from_mode(mode)).unwrap();
        }
        if others {
            fs::write(place.join("letter"), "dear").unwrap();
        }
        drop(Embedded::open(&place).unwrap());
        let own = if others { 0o755 } else { 0o700 };
        assert_eq!(modes(&place), [own, 0o600, 0o600, 0o700, 0o600, 0o700]);
    }
}
