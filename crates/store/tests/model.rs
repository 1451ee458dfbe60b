//! Random transactions against a map: every engine decides and keeps what the model does.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real databases live in real time")]

mod server;

use bytes::Bytes;
use pelago_model::{Check, CommitOutcome, Document, Key, Revision, Transaction, Write};
use pelago_store::{Embedded, Memory, Postgres, Store, commit_now, load_now};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::channel;

type Model = BTreeMap<Key, Document>;

fn key(number: u8) -> Key {
    Key::parse(&format!("a/{number}")).unwrap()
}

/// One document of a transaction: which, how far off the expected revision is, and what is done.
#[derive(Clone, Debug)]
struct Part {
    key: u8,
    off: u64,
    /// `None` only checks.
    value: Option<Option<u8>>,
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    // Mostly right, or nothing would ever be committed; few keys, or nothing would ever meet.
    let off = prop_oneof![9 => Just(0u64), 1 => 1u64..3];
    let value = proptest::option::weighted(0.7, proptest::option::weighted(0.8, any::<u8>()));
    let part = (0u8..6, off, value).prop_map(|(key, off, value)| Part { key, off, value });
    proptest::collection::vec(part, 0..4)
}

fn transaction(parts: &[Part], model: &Model) -> Transaction {
    let mut transaction = Transaction::default();
    for part in parts {
        let key = key(part.key);
        let now = model.get(&key).map_or(0, |document| document.revision.0);
        let revision = Revision(now + part.off);
        match part.value {
            None => transaction.checks.push(Check { key, revision }),
            Some(value) => transaction.writes.push(Write {
                key,
                expected: revision,
                schema: 1,
                value: value.map(|value| Bytes::from(value.to_string())),
            }),
        }
    }
    transaction
}

/// What a transaction means, said once more and as plainly as possible.
fn decide(model: &mut Model, transaction: &Transaction) -> CommitOutcome {
    let expected: Vec<(&Key, Revision)> = transaction
        .checks
        .iter()
        .map(|check| (&check.key, check.revision))
        .chain(transaction.writes.iter().map(|write| (&write.key, write.expected)))
        .collect();
    let once: BTreeSet<&Key> = expected.iter().map(|(key, _)| *key).collect();
    if once.len() < expected.len() {
        return CommitOutcome::Failed;
    }
    let now = |key: &Key| model.get(key).map_or(Revision(0), |document| document.revision);
    let keys: Vec<Key> = expected
        .iter()
        .filter(|(key, revision)| now(key) != *revision)
        .map(|(key, _)| (*key).clone())
        .collect();
    if !keys.is_empty() {
        return CommitOutcome::Conflict { keys };
    }
    for Write { key, expected, schema, value } in transaction.writes.clone() {
        let revision = Revision(expected.0 + 1);
        model.insert(key, Document { schema, revision, value });
    }
    CommitOutcome::Committed
}

fn assert_holds(store: &dyn Store, model: &Model) -> Result<(), TestCaseError> {
    let mut visited = Model::new();
    store.scan("", &mut |key, document| drop(visited.insert(key, document))).unwrap();
    prop_assert_eq!(&visited, model);
    let keys: Vec<Key> = (0..6).map(key).collect();
    let expected: Vec<Document> =
        keys.iter().map(|key| model.get(key).cloned().unwrap_or(Document::ABSENT)).collect();
    prop_assert_eq!(load_now(store, keys).unwrap(), expected);
    Ok(())
}

/// One after the other: after each, the store holds what the model does.
fn one_by_one(store: &dyn Store, history: &[Vec<Part>]) -> Result<Model, TestCaseError> {
    let mut model = Model::new();
    for parts in history {
        let transaction = transaction(parts, &model);
        let expected = decide(&mut model, &transaction);
        prop_assert_eq!(commit_now(store, transaction), expected);
        assert_holds(store, &model)?;
    }
    Ok(model)
}

/// All at once, so that groups hold many that build on each other: they are decided in the order of the calls.
fn in_groups(store: &dyn Store, history: &[Vec<Part>]) -> Result<Model, TestCaseError> {
    let mut model = Model::new();
    let (sender, answers) = channel();
    let mut expected = Vec::new();
    for (number, parts) in history.iter().enumerate() {
        let transaction = transaction(parts, &model);
        expected.push((number, decide(&mut model, &transaction)));
        let sender = sender.clone();
        store.commit(transaction, Box::new(move |outcome| sender.send((number, outcome)).unwrap()));
    }
    drop(sender);
    let mut answers: Vec<_> = answers.iter().collect();
    // Those that have no document in common may end in any order.
    answers.sort_by_key(|(number, _)| *number);
    prop_assert_eq!(answers, expected);
    assert_holds(store, &model)?;
    Ok(model)
}

fn in_a_directory(
    run: impl Fn(&dyn Store) -> Result<Model, TestCaseError>,
) -> Result<(), TestCaseError> {
    let directory = tempfile::tempdir().unwrap();
    let model = run(&Embedded::open(directory.path()).unwrap())?;
    assert_holds(&Embedded::open(directory.path()).unwrap(), &model)
}

/// In a database of its own.
fn in_a_database(
    server: &server::Server,
    run: impl Fn(&dyn Store) -> Result<Model, TestCaseError>,
) -> Result<(), TestCaseError> {
    server.sql("DROP TABLE IF EXISTS pelago_meta, pelago_documents, pelago_feed");
    let model = run(&Postgres::open(&server.address()).unwrap())?;
    assert_holds(&Postgres::open(&server.address()).unwrap(), &model)
}

#[test]
fn postgres_decides_as_the_model_and_keeps_it() {
    let server = server::Server::start();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let histories = proptest::collection::vec(parts(), 0..40);
    let result = runner.run(&histories, |history| {
        in_a_database(&server, |store| one_by_one(store, &history))?;
        in_a_database(&server, |store| in_groups(store, &history))
    });
    result.unwrap();
}

proptest! {
    #[test]
    fn memory_decides_as_the_model(history in proptest::collection::vec(parts(), 0..40)) {
        one_by_one(&Memory::default(), &history)?;
        in_groups(&Memory::default(), &history)?;
    }
}

proptest! {
    // Every case opens four times, and each costs tens of milliseconds.
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn embedded_decides_as_the_model_and_keeps_it(
        history in proptest::collection::vec(parts(), 0..40),
    ) {
        in_a_directory(|store| one_by_one(store, &history))?;
        in_a_directory(|store| in_groups(store, &history))?;
    }
}
