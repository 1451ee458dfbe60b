//! Durable transactions of two documents in PostgreSQL, per second, on the disk of the temporary directory.
//!
//! `cargo bench -p pelago-store --bench postgres`. The baseline, measured in the same round on the same server, is pgbench: 32
//! connections, each writing two rows of the same table by one prepared statement per transaction, without any check.
//! Rounds alternate, because a shared disk changes its speed.
#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]
#![allow(clippy::print_stdout, reason = "the result")]
#![allow(clippy::unwrap_used, reason = "a bench ends at the first problem")]

#[path = "../tests/server/mod.rs"]
mod server;

use bytes::Bytes;
use pelago_model::{CommitOutcome, Key, Revision, Transaction, Write};
use pelago_store::{Postgres, Store, load_now};
use server::Server;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// How long each rate is measured in each round.
const MEASURED: Duration = Duration::from_secs(3);
const ROUNDS: usize = 3;
/// Bytes of each value: an avatar with a few things.
const VALUE_BYTES: usize = 512;
/// Pairs of documents.
const PAIRS: usize = 1024;

fn key(pair: usize, side: &str) -> Key {
    Key::parse(&format!("a/{pair}/{side}")).unwrap()
}

fn transaction(pair: usize, number: u64) -> Transaction {
    let write = |side| Write {
        key: key(pair, side),
        expected: Revision(number),
        schema: 1,
        value: Some(Bytes::from(vec![b'1'; VALUE_BYTES])),
    };
    Transaction { checks: Vec::new(), writes: ["left", "right"].map(write).to_vec() }
}

/// Transactions per second of pgbench.
fn baseline(server: &Server) -> f64 {
    let script = format!(
        "\\set pair random(0, {})
         UPDATE pelago_documents SET revision = revision + 1, value = repeat('1', {VALUE_BYTES})::bytea \
         WHERE key IN ('a/' || :pair || '/left', 'a/' || :pair || '/right');",
        PAIRS - 1
    );
    server.pgbench(&script, 32, MEASURED)
}

/// Commits per second with so many in flight, each on its own pair of documents; and transactions per group.
fn commits_per_second(server: &Server, connections: usize, in_flight: usize) -> (f64, f64) {
    let address = format!("{}?connections={connections}", server.address());
    let store = Postgres::open(&address).unwrap();
    let keys = (0..in_flight).map(|pair| key(pair, "left")).collect();
    let found = load_now(&store, keys).unwrap();
    let mut numbers: Vec<u64> = found.iter().map(|document| document.revision.0).collect();
    let (sender, answers) = channel();
    let commit = |pair, number| {
        let sender = sender.clone();
        // At the end some are still in flight, and nobody listens to them.
        let done = move |outcome| drop(sender.send((pair, outcome)));
        store.commit(transaction(pair, number), Box::new(done));
    };
    let (begin, mut count) = (Instant::now(), 0u32);
    numbers.iter().enumerate().for_each(|(pair, number)| commit(pair, *number));
    while begin.elapsed() < MEASURED {
        let (pair, outcome): (usize, CommitOutcome) = answers.recv().unwrap();
        assert_eq!(outcome, CommitOutcome::Committed);
        count += 1;
        numbers[pair] += 1;
        commit(pair, numbers[pair]);
    }
    let counters = store.counters();
    let rate = f64::from(count) / begin.elapsed().as_secs_f64();
    (rate, counters.grouped as f64 / counters.groups as f64)
}

fn main() {
    let server = Server::start();
    let first = Postgres::open(&server.address()).unwrap();
    for pair in 0..PAIRS {
        let outcome = pelago_store::commit_now(&first, transaction(pair, 0));
        assert_eq!(outcome, CommitOutcome::Committed);
    }
    first.close();
    for round in 1..=ROUNDS {
        let baseline = baseline(&server);
        println!("round {round}, pgbench: {baseline:.0} transactions/s");
        // Both rows of a pair have been written equally often again.
        server.sql("UPDATE pelago_documents SET revision = 1");
        for connections in [1, 2, 4, 8] {
            for in_flight in [1, 64, 256, 1024] {
                let (rate, size) = commits_per_second(&server, connections, in_flight);
                let ratio = rate / baseline;
                println!(
                    "{connections} connections, {in_flight:4} in flight: {rate:6.0} commits/s, {ratio:.2} of pgbench, {size:.0} in a group"
                );
            }
        }
    }
}
