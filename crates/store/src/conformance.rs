//! One suite for every engine: what a store promises, as tests.
//!
//! `conformance!` for every engine, `conformance_durable!` for those that outlive their process, too.

use crate::{
    Change, EditError, FeedPosition, Fence, ReadError, Store, StoreLayer, commit_now, edit_now,
    load_now, restore_now,
};
use bytes::Bytes;
use pelago_model::edit::{Edit, NotEdited};
use pelago_model::limits::{
    MAX_CHUNK_DOCUMENT_BYTES, MAX_DOCUMENT_BYTES, MAX_TRANSACTION_DOCUMENTS,
};
use pelago_model::{Check, CommitOutcome, Document, Key, Revision, Transaction, Write, json};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs the suite over an engine: `conformance!(|| Arc::new(Engine::new()))`.
#[macro_export]
macro_rules! conformance {
    ($make:expr) => {
        $crate::conformance!($make;
            what_was_never_written_is_absent,
            a_document_is_inserted_replaced_and_deleted,
            a_deleted_document_keeps_its_revision,
            a_conflict_names_the_documents_and_changes_nothing,
            what_was_only_read_is_checked,
            a_check_alone_is_answered_and_changes_nothing,
            malformed_transactions_fail,
            what_is_exactly_as_large_as_allowed_is_kept,
            documents_are_loaded_in_the_order_of_the_request,
            concurrent_increments_are_all_counted,
            values_inside_of_a_document_are_edited,
            edits_at_different_paths_are_all_there_in_the_end,
            nobody_sees_half_of_a_transaction,
            a_scan_visits_what_begins_with_its_prefix,
            a_scan_goes_on_where_an_earlier_one_ended,
            the_feed_tells_what_has_changed_in_order,
            nothing_is_committed_once_the_fence_is_passed,
            what_is_forgotten_leaves_no_trace,
            the_feed_leaves_nothing_out_while_many_write,
            what_is_restored_is_as_it_was,
            restoring_twice_is_restoring_once_and_nothing_is_replaced,
            what_cannot_be_restored_is_refused,
            a_closed_store_refuses_everything,
            every_commit_is_answered_once_also_when_it_closes,
        );
    };
    ($make:expr; $($test:ident),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                let store: std::sync::Arc<dyn $crate::Store> = $make();
                $crate::conformance::$test(&store);
            }
        )*
    };
}

/// Runs the part about reopening: `conformance_durable!(|directory: &Path| Arc::new(Engine::open(directory)))`.
/// The place is `make`d once per test and opened several times.
#[macro_export]
macro_rules! conformance_durable {
    ($make:expr, $open:expr) => {
        #[test]
        fn what_was_committed_is_there_after_reopening() {
            let place = $make();
            $crate::conformance::what_was_committed_is_there_after_reopening(&|| {
                let store: std::sync::Arc<dyn $crate::Store> = $open(&place);
                store
            });
        }
    };
}

/// A store together with the place where it is kept, which goes with it.
pub struct Temporary<S, P> {
    /// The engine.
    pub store: S,
    /// Its directory, or its server.
    pub place: P,
}

impl<S: Store, P: Send + Sync> StoreLayer for Temporary<S, P> {
    fn beneath(&self) -> &dyn Store {
        &self.store
    }
}

fn key(text: &str) -> Key {
    Key::parse(text).expect("a key of the suite")
}

fn write(name: &str, expected: u64, value: Option<&str>) -> Write {
    let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
    Write { key: key(name), expected: Revision(expected), schema: 1, value }
}

fn transaction(writes: Vec<Write>) -> Transaction {
    Transaction { checks: Vec::new(), writes }
}

fn get(store: &Arc<dyn Store>, name: &str) -> Document {
    load_now(&**store, vec![key(name)]).expect("a readable document").remove(0)
}

fn commit(store: &Arc<dyn Store>, writes: Vec<Write>) -> CommitOutcome {
    commit_now(&**store, transaction(writes))
}

/// Part of the suite.
pub fn what_was_never_written_is_absent(store: &Arc<dyn Store>) {
    assert_eq!(get(store, "a/1"), Document::ABSENT);
}

/// Part of the suite.
pub fn a_document_is_inserted_replaced_and_deleted(store: &Arc<dyn Store>) {
    let document = |revision, value: Option<&'static str>| Document {
        schema: 1,
        revision: Revision(revision),
        value: value.map(Bytes::from),
    };
    for (expected, value) in [(0, Some("1")), (1, Some("2")), (2, None), (3, Some("4"))] {
        assert_eq!(commit(store, vec![write("a/1", expected, value)]), CommitOutcome::Committed);
        assert_eq!(get(store, "a/1"), document(expected + 1, value));
    }
}

/// Part of the suite.
pub fn a_deleted_document_keeps_its_revision(store: &Arc<dyn Store>) {
    commit(store, vec![write("a/1", 0, Some("1"))]);
    commit(store, vec![write("a/1", 1, None)]);
    assert_eq!(get(store, "a/1"), Document { schema: 1, revision: Revision(2), value: None });
    let conflict = CommitOutcome::Conflict { keys: vec![key("a/1")] };
    assert_eq!(commit(store, vec![write("a/1", 0, Some("1"))]), conflict);
    assert_eq!(commit(store, vec![write("a/1", 1, None)]), conflict);
    let mut visited = Vec::new();
    store.scan("", &mut |key, document| visited.push((key, document.revision))).expect("readable");
    assert_eq!(visited, [(key("a/1"), Revision(2))], "a scan visits it");
}

/// Part of the suite.
pub fn a_conflict_names_the_documents_and_changes_nothing(store: &Arc<dyn Store>) {
    commit(store, vec![write("a/1", 0, Some("1")), write("a/2", 0, Some("1"))]);
    let outcome = commit(
        store,
        vec![write("a/1", 1, Some("2")), write("a/2", 0, Some("2")), write("a/3", 7, Some("2"))],
    );
    assert_eq!(outcome, CommitOutcome::Conflict { keys: vec![key("a/2"), key("a/3")] });
    assert_eq!(get(store, "a/1").revision, Revision(1));
    assert_eq!(get(store, "a/3"), Document::ABSENT);
}

/// Part of the suite.
pub fn what_was_only_read_is_checked(store: &Arc<dyn Store>) {
    commit(store, vec![write("a/1", 0, Some("1"))]);
    let with_check = |revision, expected| Transaction {
        checks: vec![Check { key: key("a/1"), revision: Revision(revision) }],
        writes: vec![write("a/2", expected, Some("1"))],
    };
    assert_eq!(commit_now(&**store, with_check(1, 0)), CommitOutcome::Committed);
    let conflict = CommitOutcome::Conflict { keys: vec![key("a/1")] };
    assert_eq!(commit_now(&**store, with_check(0, 1)), conflict);
    assert_eq!(get(store, "a/1").revision, Revision(1));
}

/// Part of the suite.
pub fn a_check_alone_is_answered_and_changes_nothing(store: &Arc<dyn Store>) {
    let check = |revision| Transaction {
        checks: vec![Check { key: key("a/1"), revision: Revision(revision) }],
        writes: Vec::new(),
    };
    assert_eq!(commit_now(&**store, Transaction::default()), CommitOutcome::Committed);
    assert_eq!(commit_now(&**store, check(0)), CommitOutcome::Committed);
    let conflict = CommitOutcome::Conflict { keys: vec![key("a/1")] };
    assert_eq!(commit_now(&**store, check(1)), conflict);
    assert_eq!(get(store, "a/1"), Document::ABSENT);
}

/// Part of the suite.
pub fn malformed_transactions_fail(store: &Arc<dyn Store>) {
    let twice = vec![write("a/1", 0, Some("1")), write("a/1", 0, Some("2"))];
    assert_eq!(commit(store, twice), CommitOutcome::Failed);
    let read_and_written = Transaction {
        checks: vec![Check { key: key("a/1"), revision: Revision(0) }],
        writes: vec![write("a/1", 0, Some("1"))],
    };
    assert_eq!(commit_now(&**store, read_and_written), CommitOutcome::Failed);
    assert_eq!(commit(store, many(MAX_TRANSACTION_DOCUMENTS + 1)), CommitOutcome::Failed);
    for (name, limit) in [("a/1", MAX_DOCUMENT_BYTES), ("chunk/1", MAX_CHUNK_DOCUMENT_BYTES)] {
        let large = "1".repeat(limit + 1);
        // The other document is well-formed, and must not be written either.
        let writes = vec![write("a/0", 0, Some("1")), write(name, 0, Some(&large))];
        assert_eq!(commit(store, writes), CommitOutcome::Failed, "{name}");
    }
    assert_eq!(commit(store, vec![write("a/1", u64::MAX, Some("1"))]), CommitOutcome::Failed);
    for name in ["a/0", "a/1", "chunk/1"] {
        assert_eq!(get(store, name), Document::ABSENT);
    }
}

/// Part of the suite.
pub fn what_is_exactly_as_large_as_allowed_is_kept(store: &Arc<dyn Store>) {
    assert_eq!(commit(store, many(MAX_TRANSACTION_DOCUMENTS)), CommitOutcome::Committed);
    for (name, limit) in [("b/1", MAX_DOCUMENT_BYTES), ("chunk/1", MAX_CHUNK_DOCUMENT_BYTES)] {
        let large = "1".repeat(limit);
        assert_eq!(commit(store, vec![write(name, 0, Some(&large))]), CommitOutcome::Committed);
        assert_eq!(get(store, name).value, Some(Bytes::from(large)));
    }
    // An empty value is a value.
    assert_eq!(commit(store, vec![write("b/2", 0, Some(""))]), CommitOutcome::Committed);
    assert_eq!(get(store, "b/2").value, Some(Bytes::new()));
}

fn many(count: usize) -> Vec<Write> {
    (0..count).map(|number| write(&format!("a/{number}"), 0, Some("1"))).collect()
}

/// Part of the suite.
pub fn documents_are_loaded_in_the_order_of_the_request(store: &Arc<dyn Store>) {
    commit(store, vec![write("a/1", 0, Some("1")), write("a/2", 0, Some("2"))]);
    let keys = ["a/2", "a/3", "a/1", "a/2"].map(key).to_vec();
    let found = load_now(&**store, keys).expect("readable documents");
    let values: Vec<Option<Bytes>> = found.into_iter().map(|document| document.value).collect();
    let expected = [Some("2"), None, Some("1"), Some("2")];
    assert_eq!(values, expected.map(|value| value.map(Bytes::from)));
}

/// Part of the suite.
pub fn concurrent_increments_are_all_counted(store: &Arc<dyn Store>) {
    const EACH: u64 = 50;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut done = 0;
                while done < EACH {
                    let now = get(store, "a/count");
                    let value = (now.revision.0 + 1).to_string();
                    let write = write("a/count", now.revision.0, Some(&value));
                    done += u64::from(commit(store, vec![write]) == CommitOutcome::Committed);
                }
            });
        }
    });
    let count = get(store, "a/count");
    assert_eq!(count.revision, Revision(8 * EACH));
    assert_eq!(count.value, Some(Bytes::from((8 * EACH).to_string())));
}

/// Part of the suite.
pub fn values_inside_of_a_document_are_edited(store: &Arc<dyn Store>) {
    let set = |path: &str, value: i64| Edit::Set { path: path.into(), value: value.into() };
    let remove = |path: &str| Edit::Remove { path: path.into() };
    let edit =
        |name: &str, demanded, edits: &[Edit]| edit_now(&**store, &key(name), demanded, edits);
    assert!(matches!(edit("a/1", None, &[set("/b", 1)]), Err(EditError::NoDocument)));
    assert_eq!(
        commit(store, vec![write("a/1", 0, Some(r#"{"b":0,"c":[]}"#))]),
        CommitOutcome::Committed
    );

    let edited = edit("a/1", Some(Revision(1)), &[set("/b", 1), set("/c/-", 2), set("/a", 3)]);
    assert_eq!(edited.expect("an edited document"), get(store, "a/1"));
    assert_eq!(get(store, "a/1").value, Some(r#"{"a":3,"b":1,"c":[2]}"#.into()));
    // What does not fit changes nothing, nor does what stands before it.
    let refused = edit("a/1", None, &[remove("/a"), remove("/d")]);
    assert!(matches!(refused, Err(EditError::NotEdited(NotEdited::Absent(path))) if path == "/d"));
    let refused = edit("a/1", Some(Revision(1)), &[remove("/a")]);
    assert!(matches!(refused, Err(EditError::Revision { present: Revision(2) })));
    assert_eq!(get(store, "a/1").revision, Revision(2));

    assert_eq!(commit(store, vec![write("audit/1", 0, Some("{}"))]), CommitOutcome::Committed);
    assert!(matches!(edit("audit/1", None, &[set("/b", 1)]), Err(EditError::AppendOnly)));
    assert_eq!(commit(store, vec![write("a/2", 0, Some("{"))]), CommitOutcome::Committed);
    assert!(matches!(edit("a/2", None, &[set("/b", 1)]), Err(EditError::Damaged(_))));
}

/// Part of the suite.
pub fn edits_at_different_paths_are_all_there_in_the_end(store: &Arc<dyn Store>) {
    const EDITORS: usize = 4;
    const EACH: usize = 10;
    assert_eq!(commit(store, vec![write("a/1", 0, Some("{}"))]), CommitOutcome::Committed);
    std::thread::scope(|scope| {
        for editor in 0..EDITORS {
            scope.spawn(move || {
                for number in 0..EACH {
                    let edit = Edit::Set { path: format!("/{editor}-{number}"), value: 1.into() };
                    edit_now(&**store, &key("a/1"), None, &[edit]).expect("an edited document");
                }
            });
        }
    });
    let document = get(store, "a/1");
    assert_eq!(document.revision, Revision(1 + (EDITORS * EACH) as u64));
    let value = document.value.expect("a value");
    let fields: std::collections::BTreeMap<String, i64> = json::decode(&value).expect("an object");
    assert_eq!(fields.len(), EDITORS * EACH);
}

/// Part of the suite.
pub fn nobody_sees_half_of_a_transaction(store: &Arc<dyn Store>) {
    const ROUNDS: u64 = 300;
    let names: Vec<String> = (0..32).map(|number| format!("a/{number:02}")).collect();
    let whole = |revisions: Vec<Revision>| revisions.windows(2).all(|pair| pair[0] == pair[1]);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..ROUNDS {
                let writes = names.iter().map(|name| write(name, round, Some("1"))).collect();
                assert_eq!(commit(store, writes), CommitOutcome::Committed);
            }
        });
        while !writer.is_finished() {
            let keys = names.iter().map(|name| key(name)).collect();
            let found = load_now(&**store, keys).expect("readable documents");
            assert!(whole(found.iter().map(|document| document.revision).collect()), "a load");
            let mut visited = Vec::new();
            let result = store.scan("a/", &mut |_, document| visited.push(document.revision));
            assert!(result.is_ok() && whole(visited), "a scan");
        }
    });
}

/// Part of the suite.
pub fn a_scan_visits_what_begins_with_its_prefix(store: &Arc<dyn Store>) {
    commit(store, ["b/1", "a/2", "a/1"].map(|name| write(name, 0, Some("1"))).to_vec());
    let mut visited = Vec::new();
    store.scan("a/", &mut |key, _| visited.push(key)).expect("a readable store");
    assert_eq!(visited, [key("a/1"), key("a/2")]);
}

/// Part of the suite.
pub fn a_scan_goes_on_where_an_earlier_one_ended(store: &Arc<dyn Store>) {
    commit(store, ["a/1", "a/2", "a/3", "b/1"].map(|name| write(name, 0, Some("1"))).to_vec());
    for (prefix, after, count, expected) in [
        ("a/", None, 2, &["a/1", "a/2"][..]),
        ("a/", Some("a/2"), 2, &["a/3"]),
        ("", Some("a/2"), 1, &["a/3"]),
        ("b/", Some("a/2"), 9, &["b/1"]),
        ("a/", Some("b/1"), 9, &[]),
    ] {
        let mut visited = Vec::new();
        let after = after.map(key);
        let mut visit = |key, _| {
            visited.push(key);
            if visited.len() < count { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        store.scan_after(prefix, after.as_ref(), &mut visit).expect("a readable store");
        let expected: Vec<Key> = expected.iter().map(|name| key(name)).collect();
        assert_eq!(visited, expected, "{prefix:?} after {after:?}");
    }
}

/// Part of the suite.
pub fn what_is_forgotten_leaves_no_trace(store: &Arc<dyn Store>) {
    let audit = |number| format!("audit/0000000000000007/{number:020}");
    let start = store.feed_end().expect("a readable feed");
    for number in 1..=4 {
        let writes = vec![write(&audit(number), 0, Some("1"))];
        assert_eq!(commit(store, writes), CommitOutcome::Committed);
    }
    let grant = "audit/0000000000000007/grant/mail";
    assert_eq!(commit(store, vec![write(grant, 0, Some("1"))]), CommitOutcome::Committed);
    let keys = [1, 2, 9].map(|number| key(&audit(number)));
    assert_eq!(store.forget(&keys), Ok(()));
    assert_eq!(store.forget(&keys), Ok(()), "what is gone is passed over");
    let mut left = Vec::new();
    store
        .scan("audit/", &mut |key, document| left.push((key, document.revision.0)))
        .expect("a scan");
    assert_eq!(left, [(key(&audit(3)), 1), (key(&audit(4)), 1), (key(grant), 1)]);
    assert_eq!(get(store, &audit(1)), Document::ABSENT);
    for kept in ["avatar/0000000000000007", grant, "audit/0000000000000007"] {
        assert!(store.forget(&[key(kept)]).is_err(), "{kept}");
    }
    if store.capabilities().feed {
        // Who follows the feed is told of the others at least, and of no deletion.
        let told = feed(store, start, 10);
        assert!(told.len() >= 3 && told.iter().all(|it| it.document.value.is_some()), "{told:?}");
    }
}

/// Part of the suite.
pub fn nothing_is_committed_once_the_fence_is_passed(store: &Arc<dyn Store>) {
    let passed = || commit(store, vec![write("lease/fence", 1, Some("2"))]);
    assert_eq!(commit(store, vec![write("lease/fence", 0, Some("1"))]), CommitOutcome::Committed);
    store.fence(Fence { key: Key::world_fence(), revision: Revision(1) });
    assert_eq!(commit(store, vec![write("a/1", 0, Some("1"))]), CommitOutcome::Committed);
    assert_eq!(store.broken(), None);
    // Another process does this; here it is the engine itself, while the fence still stands.
    assert_eq!(passed(), CommitOutcome::Committed);
    assert_eq!(commit(store, vec![write("a/1", 1, Some("2"))]), CommitOutcome::Failed);
    assert_eq!(commit(store, vec![write("a/2", 0, Some("1"))]), CommitOutcome::Failed);
    let document = Document { schema: 1, revision: Revision(4), value: Some("1".into()) };
    assert_eq!(restore_now(&**store, vec![(key("a/3"), document)]), CommitOutcome::Failed);
    assert!(store.broken().is_some_and(|reason| reason.contains("another process")));
    assert_eq!(get(store, "a/1").revision, Revision(1));
    assert_eq!((get(store, "a/2"), get(store, "a/3")), (Document::ABSENT, Document::ABSENT));
}

/// Part of the suite.
pub fn the_feed_tells_what_has_changed_in_order(store: &Arc<dyn Store>) {
    if !store.capabilities().feed {
        return;
    }
    let start = store.feed_end().expect("a readable feed");
    assert_eq!(store.feed(start, 10), Ok(Vec::new()));
    for (name, expected, value) in
        [("a/1", 0, Some("1")), ("place/1", 0, Some("1")), ("a/2", 0, Some("1")), ("a/1", 1, None)]
    {
        assert_eq!(commit(store, vec![write(name, expected, value)]), CommitOutcome::Committed);
    }
    let told = feed(store, start, 10);
    let shown: Vec<(Key, u64, bool)> = told
        .iter()
        .map(|change| {
            let document = &change.document;
            (change.key.clone(), document.revision.0, document.value.is_some())
        })
        .collect();
    // Places are not of the world. The first change of `a/1` is overtaken, and may be left out.
    let all = [(key("a/1"), 1, true), (key("a/2"), 1, true), (key("a/1"), 2, false)];
    assert!(shown == all || shown == all[1..], "{shown:?}");
    assert!(told.is_sorted_by(|change, next| change.position < next.position));
    assert_eq!(feed(store, start, 1), told[..1]);
    assert_eq!(feed(store, told[0].position, 10), told[1..]);
    let end = told[told.len() - 1].position;
    assert_eq!(feed(store, end, 10), []);
    assert_eq!(store.feed_end(), Ok(end));
}

/// What a feed tells: it may be a moment behind.
fn feed(store: &Arc<dyn Store>, after: FeedPosition, limit: usize) -> Vec<Change> {
    store.feed(after, limit).expect("a readable feed")
}

/// Part of the suite.
pub fn the_feed_leaves_nothing_out_while_many_write(store: &Arc<dyn Store>) {
    if !store.capabilities().feed {
        return;
    }
    const WRITERS: u64 = 8;
    const EACH: u64 = 40;
    let mut position = store.feed_end().expect("a readable feed");
    let mut last = std::collections::BTreeMap::<Key, u64>::new();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn(move || {
                    for round in 0..EACH {
                        let mine = write(&format!("b/{writer}"), round, Some("1"));
                        assert_eq!(commit(store, vec![mine]), CommitOutcome::Committed);
                    }
                })
            })
            .collect();
        loop {
            let ended = writers.iter().all(std::thread::ScopedJoinHandle::is_finished);
            let told = feed(store, position, 7);
            for change in &told {
                assert!(position < change.position);
                position = change.position;
                let revision = change.document.revision.0;
                let before = last.insert(change.key.clone(), revision);
                assert!(before.is_none_or(|before| before < revision), "{}", change.key);
            }
            if ended && told.is_empty() {
                break;
            }
        }
    });
    // A follower of the feed knows how everything ended.
    assert_eq!(last.len() as u64, WRITERS);
    assert!(last.values().all(|revision| *revision == EACH), "{last:?}");
}

fn kept(schema: u16, revision: u64, value: Option<&'static str>) -> Document {
    Document { schema, revision: Revision(revision), value: value.map(Bytes::from) }
}

/// Part of the suite.
pub fn what_is_restored_is_as_it_was(store: &Arc<dyn Store>) {
    let documents = vec![
        (key("a/2"), kept(7, 41, Some("2"))),
        (key("a/1"), kept(1, 1 << 40, None)),
        (key("place/1"), kept(1, 3, Some(""))),
    ];
    let start = store.feed_end();
    assert_eq!(restore_now(&**store, documents.clone()), CommitOutcome::Committed);
    for (key, document) in &documents {
        assert_eq!(get(store, key.as_str()), *document, "{key}");
    }
    if store.capabilities().feed {
        let told = feed(store, start.expect("a readable feed"), 10);
        let mut told: Vec<_> =
            told.into_iter().map(|change| (change.key, change.document.revision.0)).collect();
        told.sort();
        assert_eq!(told, [(key("a/1"), 1 << 40), (key("a/2"), 41)]);
    }
    // Play goes on from there.
    assert_eq!(commit(store, vec![write("a/2", 41, Some("3"))]), CommitOutcome::Committed);
    assert_eq!(get(store, "a/2").revision, Revision(42));
}

/// Part of the suite.
pub fn restoring_twice_is_restoring_once_and_nothing_is_replaced(store: &Arc<dyn Store>) {
    let first = (key("a/1"), kept(1, 5, Some("1")));
    let new = (key("a/2"), kept(1, 1, Some("2")));
    assert_eq!(restore_now(&**store, vec![first.clone()]), CommitOutcome::Committed);
    for other in
        [kept(1, 5, Some("2")), kept(2, 5, Some("1")), kept(1, 6, Some("1")), kept(1, 5, None)]
    {
        let conflict = CommitOutcome::Conflict { keys: vec![key("a/1")] };
        let both = vec![new.clone(), (key("a/1"), other)];
        assert_eq!(restore_now(&**store, both), conflict);
        assert_eq!(get(store, "a/1"), first.1);
        assert_eq!(get(store, "a/2"), Document::ABSENT);
    }
    let end = store.feed_end();
    assert_eq!(restore_now(&**store, vec![first.clone()]), CommitOutcome::Committed);
    assert_eq!(store.feed_end(), end, "nothing has changed");
    assert_eq!(restore_now(&**store, vec![first, new.clone()]), CommitOutcome::Committed);
    assert_eq!(get(store, "a/2"), new.1);
}

/// Part of the suite.
pub fn what_cannot_be_restored_is_refused(store: &Arc<dyn Store>) {
    let of = |name: &str, bytes: usize| {
        let value = Some(Bytes::from("1".repeat(bytes)));
        (key(name), Document { schema: 1, revision: Revision(1), value })
    };
    let many = |count| (0..count).map(|number| of(&format!("a/{number}"), 1)).collect();
    for documents in [
        vec![of("a/1", 1), of("a/1", 1)],
        vec![of("a/1", 1), (key("a/2"), Document::ABSENT)],
        vec![of("a/1", MAX_DOCUMENT_BYTES + 1)],
        vec![of("a/1", 1), of("chunk/1", MAX_CHUNK_DOCUMENT_BYTES + 1)],
        many(MAX_TRANSACTION_DOCUMENTS + 1),
    ] {
        assert_eq!(restore_now(&**store, documents), CommitOutcome::Failed);
        assert_eq!(get(store, "a/1"), Document::ABSENT);
    }
    assert_eq!(restore_now(&**store, Vec::new()), CommitOutcome::Committed);
    assert_eq!(restore_now(&**store, many(MAX_TRANSACTION_DOCUMENTS)), CommitOutcome::Committed);
}

/// Part of the suite.
pub fn a_closed_store_refuses_everything(store: &Arc<dyn Store>) {
    commit(store, vec![write("a/1", 0, Some("1"))]);
    store.close();
    store.close();
    assert_eq!(commit(store, vec![write("a/1", 1, Some("2"))]), CommitOutcome::Failed);
    let kept = kept(1, 1, Some("1"));
    assert_eq!(restore_now(&**store, vec![(key("a/2"), kept)]), CommitOutcome::Failed);
    assert_eq!(load_now(&**store, vec![key("a/1")]), Err(ReadError::Busy));
    assert_eq!(store.scan("", &mut |_, _| ()), Err(ReadError::Busy));
    assert_eq!(store.feed_end(), Err(ReadError::Busy));
}

/// Part of the suite.
pub fn every_commit_is_answered_once_also_when_it_closes(store: &Arc<dyn Store>) {
    let answers = Arc::new(AtomicUsize::new(0));
    for number in 0..500 {
        if number == 400 {
            store.close();
        }
        let count = answers.clone();
        let write = write(&format!("a/{number}"), 0, Some("1"));
        let done = move |outcome| {
            let right = (outcome == CommitOutcome::Committed) == (number < 400);
            count.fetch_add(usize::from(right), Ordering::SeqCst);
        };
        store.commit(transaction(vec![write]), Box::new(done));
    }
    assert_eq!(answers.load(Ordering::SeqCst), 500);
}

/// Part of the suite for durable engines.
pub fn what_was_committed_is_there_after_reopening(open: &dyn Fn() -> Arc<dyn Store>) {
    let mut expected = Vec::new();
    for round in 0..4 {
        let store = open();
        let mut visited = Vec::new();
        store.scan("", &mut |key, document| visited.push((key, document))).expect("readable");
        assert_eq!(visited, expected, "round {round}");
        let new = format!("b/{round}");
        let deleted = (round % 2 == 0).then_some("1");
        let writes = vec![write("a/1", round, deleted), write(&new, 0, Some(&new))];
        assert_eq!(commit(&store, writes), CommitOutcome::Committed);
        expected.clear();
        store.scan("", &mut |key, document| expected.push((key, document))).expect("readable");
        store.close();
        // Closed, the place is free, though somebody still has a handle: the next round proves it.
        std::mem::forget(store);
    }
    assert_eq!(expected.len(), 5);
}
