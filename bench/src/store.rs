//! The embedded store beside a bare loop over its engine: the same keys, values, reads, groups and syncs.
//!
//! Both sides have one thread that takes what waits, reads the old documents from one snapshot, compares their
//! revisions, writes one batch, syncs it and answers. They alternate, because a shared disk changes its speed.

use anyhow::{Context, Result, bail};
use fjall::{Database, KeyspaceCreateOptions, PersistMode, Readable};
use pelago_model::{CommitOutcome, Key, Revision, Transaction, Write};
use pelago_store::embedded::MAX_GROUP;
use pelago_store::{Embedded, Store};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::time::{Duration, Instant};

/// Pairs of rounds: the bare loop, then the store.
const PAIRS: usize = 10;
/// How long a round is.
const ROUND: Duration = Duration::from_millis(1500);
/// Transactions that wait at any time.
const IN_FLIGHT: [usize; 3] = [1, 64, 1024];
/// Bytes of each value: an avatar with a few things.
const VALUE_BYTES: usize = 512;
/// The bytes before a value: version, flags, schema, revision.
const HEADER_BYTES: usize = 12;

/// One round of one side.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Round {
    pub(crate) commits_per_second: f64,
    pub(crate) commits_per_group: f64,
    /// Of all threads of the process.
    pub(crate) cpu_us_per_commit: f64,
    pub(crate) p99_ms: f64,
}

/// All pairs with as many transactions in flight.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Pairs {
    pub(crate) in_flight: usize,
    pub(crate) bare: Vec<Round>,
    pub(crate) store: Vec<Round>,
}

impl Pairs {
    /// The median, over the pairs, of the store's number divided by the bare loop's.
    pub(crate) fn ratio(&self, of: impl Fn(&Round) -> f64) -> f64 {
        median(self.bare.iter().zip(&self.store).map(|(bare, store)| of(store) / of(bare)))
    }

    /// The lowest and the highest of these ratios.
    pub(crate) fn range(&self, of: impl Fn(&Round) -> f64) -> (f64, f64) {
        let ratios = self.bare.iter().zip(&self.store).map(|(bare, store)| of(store) / of(bare));
        ratios.fold((f64::MAX, 0.0), |(low, high), it| (low.min(it), high.max(it)))
    }
}

/// The median of some rounds.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        0 if middle > 0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values.get(middle).copied().unwrap_or(f64::NAN),
    }
}

/// Runs all pairs in folders of `scratch`.
pub(crate) fn measure(scratch: &Path) -> Result<Vec<Pairs>> {
    let measure = |in_flight| {
        let mut pairs = Pairs { in_flight, bare: Vec::new(), store: Vec::new() };
        for _ in 0..PAIRS {
            pairs.bare.push(round(scratch, in_flight, bare)?);
            pairs.store.push(round(scratch, in_flight, embedded)?);
        }
        let ratio = pairs.ratio(|round| round.commits_per_second);
        println!("{in_flight:5} in flight: {ratio:.2} times the bare loop's commits per second");
        Ok(pairs)
    };
    IN_FLIGHT.into_iter().map(measure).collect()
}

/// Asks for the next transaction of a pair of documents; the answer comes over the channel.
type Ask = Box<dyn FnMut(Transaction, usize)>;
/// A side: how to ask, and how to end, which tells the groups written.
type Side = (Ask, Box<dyn FnOnce() -> Result<u64>>);

fn round(
    scratch: &Path,
    in_flight: usize,
    side: fn(&Path, Sender<usize>) -> Result<Side>,
) -> Result<Round> {
    let directory = scratch.join("store");
    if directory.exists() {
        std::fs::remove_dir_all(&directory).with_context(|| format!("{}", directory.display()))?;
    }
    std::fs::create_dir_all(&directory)?;
    let (answers, answered) = channel();
    let (mut ask, end) = side(&directory, answers)?;
    let (began, cpu) = (Instant::now(), cpu_seconds());
    let mut asked: Vec<(u64, Instant)> = vec![(0, began); in_flight];
    for pair in 0..in_flight {
        ask(transaction(pair, 0)?, pair);
    }
    let mut latencies_us: Vec<u32> = Vec::new();
    while began.elapsed() < ROUND {
        let pair = answered.recv()?;
        let (number, since) = &mut asked[pair];
        latencies_us.push(since.elapsed().as_micros() as u32);
        (*number, *since) = (*number + 1, Instant::now());
        let next = transaction(pair, *number)?;
        ask(next, pair);
    }
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let count = latencies_us.len() as f64;
    drop(ask);
    let groups = end()?;
    latencies_us.sort_unstable();
    let p99 = latencies_us[latencies_us.len() * 99 / 100];
    Ok(Round {
        commits_per_second: count / seconds,
        commits_per_group: count / groups as f64,
        cpu_us_per_commit: cpu * 1e6 / count,
        p99_ms: f64::from(p99) / 1000.0,
    })
}

/// CPU of this process up to now.
pub(crate) fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn transaction(pair: usize, number: u64) -> Result<Transaction> {
    let write = |side| {
        anyhow::Ok(Write {
            key: Key::parse(&format!("a/{pair}/{side}"))?,
            expected: Revision(number),
            schema: 1,
            value: Some(vec![b'1'; VALUE_BYTES].into()),
        })
    };
    Ok(Transaction { checks: Vec::new(), writes: vec![write("left")?, write("right")?] })
}

fn embedded(directory: &Path, answers: Sender<usize>) -> Result<Side> {
    let store = std::sync::Arc::new(Embedded::open(directory)?);
    let closing = store.clone();
    let ask = move |transaction, pair| {
        let answers = answers.clone();
        let done = move |outcome| {
            assert_eq!(outcome, CommitOutcome::Committed);
            // At the end some are still in flight, and nobody listens to them.
            let _ = answers.send(pair);
        };
        store.commit(transaction, Box::new(done));
    };
    let end = move || {
        closing.close();
        Ok(closing.counters().groups)
    };
    Ok((Box::new(ask), Box::new(end)))
}

fn bare(directory: &Path, answers: Sender<usize>) -> Result<Side> {
    let database = Database::builder(directory).open()?;
    // As many as the store lets wait.
    let (requests, waiting) = sync_channel(pelago_store::MAX_WAITING);
    let thread = std::thread::spawn(move || commit_bare(&database, &waiting, &answers));
    let ask = move |transaction, pair| drop(requests.send((transaction, pair)));
    let end = move || match thread.join() {
        Ok(groups) => groups,
        Err(_) => bail!("the bare loop panicked"),
    };
    Ok((Box::new(ask), Box::new(end)))
}

/// The bare loop. Returns the groups written.
fn commit_bare(
    database: &Database,
    requests: &Receiver<(Transaction, usize)>,
    answers: &Sender<usize>,
) -> Result<u64> {
    let keyspace = database.keyspace("documents", KeyspaceCreateOptions::default)?;
    let mut groups = 0;
    while let Ok(first) = requests.recv() {
        let mut group = vec![first];
        while group.len() < MAX_GROUP
            && let Ok(request) = requests.try_recv()
        {
            group.push(request);
        }
        let view = database.snapshot();
        let mut batch = database.batch().durability(Some(PersistMode::SyncData));
        for write in group.iter().flat_map(|(transaction, _)| &transaction.writes) {
            let old = view.get(&keyspace, write.key.as_str())?;
            let revision = old.as_ref().map_or(0, |old| revision(old));
            if revision != write.expected.0 {
                bail!("revision {revision} under {}", write.key);
            }
            batch.insert(&keyspace, write.key.as_str(), document(write));
        }
        batch.commit()?;
        groups += 1;
        for (_, pair) in group {
            let _ = answers.send(pair);
        }
    }
    Ok(groups)
}

fn revision(bytes: &[u8]) -> u64 {
    let number = bytes.get(4..HEADER_BYTES).and_then(|bytes| bytes.try_into().ok());
    number.map_or(0, u64::from_le_bytes)
}

fn document(write: &Write) -> Vec<u8> {
    let value = write.value.as_deref().unwrap_or_default();
    let mut bytes = Vec::with_capacity(HEADER_BYTES + value.len());
    bytes.extend_from_slice(&[1, 0]);
    bytes.extend_from_slice(&write.schema.to_le_bytes());
    bytes.extend_from_slice(&write.expected.next().0.to_le_bytes());
    bytes.extend_from_slice(value);
    bytes
}
