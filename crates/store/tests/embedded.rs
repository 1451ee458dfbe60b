//! The embedded engine on a real disk: conformance, and who may open a directory.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use pelago_model::{CommitOutcome, Document, Key, Revision, Transaction, Write};
use pelago_store::conformance::Temporary;
use pelago_store::{Embedded, OpenError, ReadError, Store, commit_now, load_now, restore_now};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

fn temporary() -> Arc<Temporary<Embedded, tempfile::TempDir>> {
    let place = tempfile::tempdir().unwrap();
    let store = Embedded::open(place.path()).unwrap();
    Arc::new(Temporary { store, place })
}

pelago_store::conformance!(temporary);
pelago_store::conformance_durable!(
    || tempfile::tempdir().unwrap(),
    |directory: &tempfile::TempDir| Arc::new(Embedded::open(directory.path()).unwrap())
);

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
    for format in ["pelago embedded store 9\n", ""] {
        std::fs::write(directory.path().join("format"), format).unwrap();
        assert!(matches!(Embedded::open(directory.path()), Err(OpenError::Format { .. })));
    }
}

#[test]
fn documents_without_a_format_are_somebody_elses() {
    let directory = tempfile::tempdir().unwrap();
    drop(Embedded::open(directory.path()).unwrap());
    std::fs::remove_file(directory.path().join("format")).unwrap();
    for opened in [Embedded::open(directory.path()), Embedded::open_anew(directory.path())] {
        let error = opened.err().unwrap();
        assert!(error.to_string().contains("no file that says their format"), "{error}");
    }
}

#[test]
fn a_start_that_died_before_the_format_was_whole_is_repeated() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("format.new"), "pela").unwrap();
    std::fs::write(directory.path().join("lock"), "").unwrap();
    assert_eq!(revisions(&Embedded::open(directory.path()).unwrap()), (0, 0));
}

#[test]
fn missing_directories_are_created() {
    let directory = tempfile::tempdir().unwrap();
    let address = format!("embedded:{}", directory.path().join("a/b").display());
    let store = pelago_store::open(&address).unwrap();
    assert_eq!(commit_now(&*store, pair(1)), CommitOutcome::Committed);
    store.close();
    let same = pelago_store::open(&address.replace("embedded", "fjall")).unwrap();
    let key = Key::parse("a/left").unwrap();
    assert_eq!(load_now(&*same, vec![key]).unwrap()[0].revision, Revision(1));
}

#[test]
fn who_is_answered_may_drop_the_last_handle() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(Embedded::open(directory.path()).unwrap());
    let (last, is_last) = channel();
    let (sender, answer) = channel();
    let handle = store.clone();
    let done = move |outcome| {
        is_last.recv().unwrap();
        drop(handle);
        sender.send(outcome).unwrap();
    };
    store.commit(pair(1), Box::new(done));
    drop(store);
    last.send(()).unwrap();
    assert_eq!(answer.recv_timeout(Duration::from_secs(10)).unwrap(), CommitOutcome::Committed);
    // The thread lets go of the directory a moment later.
    let reopened = (0..200).find_map(|_| {
        std::thread::sleep(Duration::from_millis(10));
        Embedded::open(directory.path()).ok()
    });
    assert_eq!(revisions(&reopened.unwrap()), (1, 1));
}

#[test]
fn a_panic_of_one_asker_does_not_keep_others_from_their_answers() {
    let store = temporary();
    store.commit(pair(1), Box::new(|_| panic!("a bug of who asked")));
    assert_eq!(commit_now(&*store, pair(2)), CommitOutcome::Committed);
    store.load(Vec::new(), Box::new(|_| panic!("a bug of who asked")));
    assert_eq!(load_now(&*store, Vec::new()), Ok(Vec::new()));
}

#[test]
fn a_damaged_file_is_named_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let key = |number: usize| Key::parse(&format!("a/{number:05}")).unwrap();
    {
        let store = Embedded::open(directory.path()).unwrap();
        // More than is kept in memory, so that there are files.
        for group in 0..400 {
            let documents = (0..50).map(|number| {
                let value = Some(format!("\"{}\"", "x".repeat(1000)).into());
                (key(group * 50 + number), Document { schema: 1, revision: Revision(1), value })
            });
            let restored = restore_now(&store, documents.collect());
            assert_eq!(restored, CommitOutcome::Committed);
        }
    }
    let keyspaces = directory.path().join("documents/keyspaces");
    let tables = std::fs::read_dir(keyspaces).unwrap().flat_map(|keyspace| {
        let tables = std::fs::read_dir(keyspace.unwrap().path().join("tables")).unwrap();
        tables.map(|table| table.unwrap().path()).collect::<Vec<_>>()
    });
    let table = tables.max_by_key(|table| std::fs::metadata(table).unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&table).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 1;
    std::fs::write(&table, &bytes).unwrap();

    let named = |error: &ReadError| error.to_string().contains(&table.display().to_string());
    let store = Embedded::open(directory.path()).unwrap();
    let scanned = store.scan("a/", &mut |_, _| {}).unwrap_err();
    assert!(named(&scanned), "{scanned}");
    let loads: Vec<_> = (0..20_000).map(|number| load_now(&store, vec![key(number)])).collect();
    let unreadable: Vec<_> = loads.iter().filter_map(|load| load.as_ref().err()).collect();
    // One block of the file: everything else is there.
    assert!((1..50).contains(&unreadable.len()), "{} are unreadable", unreadable.len());
    assert!(unreadable.into_iter().all(named));
    store.close();
    drop(store);
    assert_eq!(std::fs::read(&table).unwrap(), bytes);
}
