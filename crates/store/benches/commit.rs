//! Durable transactions of two documents, per second, on the disk of the temporary directory.
//!
//! `cargo bench -p pelago-store`. `TMPDIR` chooses the disk. The baseline, measured in the same round, is what the
//! disk itself can do: writing as many bytes, one after the other, into a file whose length is allocated, as that of
//! fjall's journal is, and syncing each time. Rounds alternate, because a shared disk changes its speed.
#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]
#![allow(clippy::print_stdout, reason = "the result")]
#![allow(clippy::unwrap_used, reason = "a bench ends at the first problem")]

use bytes::Bytes;
use pelago_model::{CommitOutcome, Key, Revision, Transaction, Write};
use pelago_store::{Embedded, Store};
use std::io::Write as _;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// How long each rate is measured in each round.
const MEASURED: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;
/// As fjall allocates its journal.
const ALLOCATED_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of each value: an avatar with a few things.
const VALUE_BYTES: usize = 512;

fn transaction(pair: usize, number: u64) -> Transaction {
    let write = |side| Write {
        key: Key::parse(&format!("a/{pair}/{side}")).unwrap(),
        expected: Revision(number),
        schema: 1,
        value: Some(Bytes::from(vec![b'1'; VALUE_BYTES])),
    };
    Transaction { checks: Vec::new(), writes: ["left", "right"].map(write).to_vec() }
}

/// Syncs per second of a bare file.
fn baseline() -> f64 {
    let mut file = tempfile::tempfile().unwrap();
    file.set_len(ALLOCATED_BYTES).unwrap();
    file.sync_all().unwrap();
    let (begin, mut count) = (Instant::now(), 0u32);
    while begin.elapsed() < MEASURED {
        file.write_all(&[b'1'; 2 * VALUE_BYTES]).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    f64::from(count) / begin.elapsed().as_secs_f64()
}

/// Commits per second with so many in flight, each on its own pair of documents.
fn commits_per_second(in_flight: usize) -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let store = Embedded::open(directory.path()).unwrap();
    let (sender, answers) = channel();
    let mut numbers = vec![0; in_flight];
    let commit = |pair, number| {
        let sender = sender.clone();
        // At the end some are still in flight, and nobody listens to them.
        let done = move |outcome| drop(sender.send((pair, outcome)));
        store.commit(transaction(pair, number), Box::new(done));
    };
    let (begin, mut count) = (Instant::now(), 0u32);
    (0..in_flight).for_each(|pair| commit(pair, 0));
    while begin.elapsed() < MEASURED {
        let (pair, outcome): (usize, CommitOutcome) = answers.recv().unwrap();
        assert_eq!(outcome, CommitOutcome::Committed);
        count += 1;
        numbers[pair] += 1;
        commit(pair, numbers[pair]);
    }
    f64::from(count) / begin.elapsed().as_secs_f64()
}

fn main() {
    for round in 1..=ROUNDS {
        let baseline = baseline();
        println!("round {round}, a bare file: {baseline:.0} syncs/s");
        for in_flight in [1, 64, 1024] {
            let rate = commits_per_second(in_flight);
            let ratio = rate / baseline;
            println!("{in_flight:5} in flight: {rate:.0} commits/s, {ratio:.2} commits per sync");
        }
    }
}
