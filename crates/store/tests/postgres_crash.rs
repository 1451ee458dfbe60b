//! The engine `postgres` and sudden death: of the server, and of connections in the middle of commits.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::print_stdout, reason = "tells what the kills did")]
#![allow(clippy::disallowed_methods, reason = "real databases live in real time")]

mod server;

use bytes::Bytes;
use pelago_model::{CommitOutcome, Key, Revision, Transaction, Write};
use pelago_store::{Postgres, Store, commit_now, load_now};
use server::Server;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Threads, so that groups hold several transactions.
const WRITERS: u64 = 16;
/// How long a writer may have to wait for the server to be back.
const GONE_FOR_AT_MOST: Duration = Duration::from_secs(40);

fn keys(writer: u64) -> Vec<Key> {
    ["left", "right"].map(|side| Key::parse(&format!("a/{side}/{writer}")).unwrap()).to_vec()
}

fn pair(writer: u64, number: u64) -> Transaction {
    let value = Some(Bytes::from(format!("{number} ").repeat(50)));
    let write =
        |key| Write { key, expected: Revision(number - 1), schema: 1, value: value.clone() };
    Transaction { checks: Vec::new(), writes: keys(writer).into_iter().map(write).collect() }
}

/// The number under both keys of a writer, which must be the same.
fn number(store: &Postgres, writer: u64) -> u64 {
    let began = Instant::now();
    loop {
        match load_now(store, keys(writer)) {
            Ok(found) => {
                assert_eq!(found[0], found[1], "torn");
                return found[0].revision.0;
            }
            Err(error) => assert!(began.elapsed() < GONE_FOR_AT_MOST, "{error}"),
        }
    }
}

/// What a writer was told.
#[derive(Default)]
struct Told {
    committed: AtomicU64,
    failed: AtomicU64,
    unknown: AtomicU64,
    /// Of the unknown, those that had happened after all.
    happened: AtomicU64,
}

/// Counts up until it is stopped, and compares every answer with what it then reads.
fn count_up(store: &Postgres, writer: u64, told: &Told, stop: &AtomicBool) {
    let mut last = number(store, writer);
    // Whether the next number may be there though nobody has seen it yet.
    let mut late = false;
    while !stop.load(Ordering::Relaxed) {
        let outcome = commit_now(store, pair(writer, last + 1));
        match outcome {
            CommitOutcome::Committed => {
                told.committed.fetch_add(1, Ordering::Relaxed);
                last += 1;
                late = false;
            }
            CommitOutcome::Failed => {
                told.failed.fetch_add(1, Ordering::Relaxed);
                let found = number(store, writer);
                assert!(found == last || (late && found == last + 1), "what failed has happened");
                late &= found == last;
                last = found;
            }
            CommitOutcome::Unknown => {
                told.unknown.fetch_add(1, Ordering::Relaxed);
                let found = number(store, writer);
                assert!(found == last || found == last + 1, "{found} after {last}");
                told.happened.fetch_add(found - last, Ordering::Relaxed);
                late = found == last;
                last = found;
            }
            // The server went on with a commit that was given up, after its documents were read again: the revision has
            // kept the second try from happening as well.
            CommitOutcome::Conflict { .. } => {
                let found = number(store, writer);
                assert!(late && found == last + 1, "{last} was acknowledged, {found} is there");
                told.happened.fetch_add(1, Ordering::Relaxed);
                late = false;
                last = found;
            }
        }
    }
    let found = number(store, writer);
    assert!(
        found == last || (late && found == last + 1),
        "{last} was acknowledged, {found} is there"
    );
}

/// Lets writers count while `trouble` is made, and returns what they were told.
fn under_trouble(store: &Postgres, trouble: impl FnOnce()) -> Told {
    let (told, stop) = (Told::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (told, stop) = (&told, &stop);
            scope.spawn(move || count_up(store, writer, told, stop));
        }
        trouble();
        let before = told.committed.load(Ordering::Relaxed);
        let began = Instant::now();
        while told.committed.load(Ordering::Relaxed) < before + 100 {
            assert!(began.elapsed() < GONE_FOR_AT_MOST, "it does not go on by itself");
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
    });
    eprintln!(
        "{:?} committed, {:?} failed, {:?} unknown, of which {:?} had happened; {:?}",
        told.committed,
        told.failed,
        told.unknown,
        told.happened,
        store.counters()
    );
    told
}

#[test]
fn a_killed_server_loses_and_tears_nothing_that_was_acknowledged() {
    let mut server = Server::start();
    let store = Postgres::open(&server.address()).unwrap();
    let told = under_trouble(&store, || {
        for _ in 0..4 {
            std::thread::sleep(Duration::from_millis(700));
            server.kill();
            std::thread::sleep(Duration::from_millis(300));
            server.go_on();
        }
    });
    assert!(told.committed.into_inner() > 100);
}

#[test]
fn ended_connections_leave_no_doubt_that_reading_does_not_resolve() {
    let server = Server::start();
    let store = Postgres::open(&server.address()).unwrap();
    let told = under_trouble(&store, || {
        for round in 0..1000 {
            // Whether a commit is met in the middle is by chance, and rare on a machine with much else to do.
            if round >= 40 && store.counters().unknown > 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(30));
            server.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE application_name = 'pelago' AND random() < 0.5",
            );
        }
    });
    assert!(told.unknown.into_inner() > 0, "no commit was met in the middle");
    assert!(store.counters().reconnects > 0);
}

/// A server that stands still, as behind a cut cable, answers nothing: what was sent is unknown after a bound.
#[test]
fn a_server_that_stands_still_is_given_up() {
    let server = Server::start();
    let address = format!("{}?statement_timeout_ms=1000", server.address());
    let store = Postgres::open(&address).unwrap();
    let told = under_trouble(&store, || {
        std::thread::sleep(Duration::from_millis(500));
        server.pause(Duration::from_secs(4));
    });
    assert!(told.committed.into_inner() > 100);
}
