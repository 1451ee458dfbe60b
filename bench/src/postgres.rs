//! The engine `postgres` beside pgbench, which runs the engine's own statements on the same server.
//!
//! For each number of requests in flight three sides alternate, each over the same tables, emptied of what the last one left:
//! the engine with its two connections; pgbench with one request per transaction, over as many connections as there are
//! requests, at most 32; and pgbench with as many requests in one transaction as the engine had, over two connections.
//! pgbench sends what the engine sends together as pipelines, and checks nothing: revisions and answers are thrown away.

use crate::database::Database;
use crate::store::{cpu_seconds, median};
use anyhow::{Result, bail, ensure};
use pelago_model::{CommitOutcome, Document, Key, Revision, Transaction, Write};
use pelago_store::postgres::Sql;
use pelago_store::{Postgres, Store, load_now, restore_now};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Rounds of each three sides.
const ROUNDS: usize = 5;
/// How long a side of a round is; pgbench counts whole seconds.
const ROUND: Duration = Duration::from_secs(2);
const COMMITS_IN_FLIGHT: [usize; 5] = [1, 16, 64, 256, 1024];
const LOADS_IN_FLIGHT: [usize; 3] = [1, 64, 1024];
const KEYS_OF_A_LOAD: [usize; 2] = [1, 16];
/// Connections of pgbench with one request per transaction, at most.
const MAX_SINGLE_CONNECTIONS: usize = 32;
/// Connections of the engine that commit, and as many that read: its default.
const CONNECTIONS: usize = 2;
/// Keys of one statement of the engine that reads.
const MAX_KEYS: usize = 1024;
/// Pairs of documents in the tables.
const PAIRS: usize = 8192;
/// Bytes of each value: an avatar with a few things.
const VALUE_BYTES: usize = 512;

/// What is asked for.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Request {
    /// Commits of two documents.
    Commit,
    /// Loads of so many.
    Load(usize),
}

/// The three sides of a round, in requests per second.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Round {
    pub(crate) engine: f64,
    pub(crate) single: f64,
    pub(crate) grouped: f64,
    /// The engine's requests per transaction, with which pgbench was run: measured of commits, for loads what two
    /// connections leave to each other.
    pub(crate) group: usize,
    pub(crate) engine_p99_ms: f64,
    /// Of the engine's process, not of the database.
    pub(crate) engine_cpu_us: f64,
}

/// All rounds with as many requests in flight.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Rounds {
    pub(crate) request: Request,
    pub(crate) in_flight: usize,
    pub(crate) rounds: Vec<Round>,
}

impl Rounds {
    /// The median of a number.
    pub(crate) fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(of))
    }

    /// The lowest and the highest.
    pub(crate) fn range(&self, of: impl Fn(&Round) -> f64) -> (f64, f64) {
        let low_high = |(low, high): (f64, f64), it: f64| (low.min(it), high.max(it));
        self.rounds.iter().map(of).fold((f64::MAX, 0.0), low_high)
    }
}

/// Measures commits, or else loads, with a database in a folder of `scratch`.
pub(crate) fn measure(scratch: &Path, commits: bool) -> Result<Vec<Rounds>> {
    let database = Database::start(scratch)?;
    fill(&database)?;
    let loads = KEYS_OF_A_LOAD.into_iter().flat_map(|keys| {
        LOADS_IN_FLIGHT.into_iter().map(move |in_flight| (Request::Load(keys), in_flight))
    });
    let all: Vec<_> = match commits {
        true => COMMITS_IN_FLIGHT.into_iter().map(|it| (Request::Commit, it)).collect(),
        false => loads.collect(),
    };
    let measure = |(request, in_flight)| {
        let mut rounds = Rounds { request, in_flight, rounds: Vec::new() };
        for _ in 0..ROUNDS {
            rounds.rounds.push(round(&database, request, in_flight)?);
        }
        let [single, grouped] = [
            rounds.median(|round| round.engine / round.single),
            rounds.median(|round| round.engine / round.grouped),
        ];
        println!("{request:?}, {in_flight:5} in flight: {single:.2} and {grouped:.2} of pgbench");
        Ok(rounds)
    };
    all.into_iter().map(measure).collect()
}

fn key(pair: usize, side: &str) -> Result<Key> {
    Ok(Key::parse(&format!("a/{pair}/{side}"))?)
}

fn document() -> Document {
    let value = Some(vec![b'1'; VALUE_BYTES].into());
    Document { schema: 1, revision: Revision(1), value }
}

fn fill(database: &Database) -> Result<()> {
    let store = Postgres::open(&database.address())?;
    let mut documents = Vec::new();
    for pair in 0..PAIRS {
        for side in ["left", "right"] {
            documents.push((key(pair, side)?, document()));
        }
    }
    for batch in documents.chunks(64) {
        ensure!(restore_now(&store, batch.to_vec()) == CommitOutcome::Committed, "no filling");
    }
    Ok(())
}

fn round(database: &Database, request: Request, in_flight: usize) -> Result<Round> {
    tidy(database)?;
    let side = match request {
        Request::Commit => commit(database, in_flight)?,
        Request::Load(keys) => load(database, in_flight, keys)?,
    };
    let singles = in_flight.min(MAX_SINGLE_CONNECTIONS);
    let group = side.group.round().max(1.0) as usize;
    let connections = in_flight.min(CONNECTIONS);
    tidy(database)?;
    let single = pgbench(database, request, singles, 1)?;
    tidy(database)?;
    let grouped = pgbench(database, request, connections, group)?;
    Ok(Round {
        engine: side.per_second,
        single,
        grouped,
        group,
        engine_p99_ms: side.p99_ms,
        engine_cpu_us: side.cpu_us,
    })
}

/// Every side begins with the same tables, and with nothing that the database still has to write.
fn tidy(database: &Database) -> Result<()> {
    for sql in ["TRUNCATE pelago_feed", "VACUUM pelago_documents", "CHECKPOINT"] {
        database.sql(sql)?;
    }
    Ok(())
}

/// What the engine did.
struct Side {
    per_second: f64,
    group: f64,
    p99_ms: f64,
    cpu_us: f64,
}

/// Keeps so many requests in flight for a round. `ask` asks for one of the next of a number, whose answer comes over the
/// channel; requests per group are `group`'s.
fn drive(
    in_flight: usize,
    mut ask: impl FnMut(usize) -> Result<()>,
    answered: &Receiver<usize>,
    group: impl FnOnce() -> f64,
) -> Result<Side> {
    let (began, cpu) = (Instant::now(), cpu_seconds());
    let mut asked = vec![began; in_flight];
    for number in 0..in_flight {
        ask(number)?;
    }
    let mut latencies_us: Vec<u32> = Vec::new();
    while began.elapsed() < ROUND {
        let number = answered.recv()?;
        latencies_us.push(asked[number].elapsed().as_micros() as u32);
        asked[number] = Instant::now();
        ask(number)?;
    }
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let count = latencies_us.len() as f64;
    let group = group();
    latencies_us.sort_unstable();
    Ok(Side {
        per_second: count / seconds,
        group,
        p99_ms: f64::from(latencies_us[latencies_us.len() * 99 / 100]) / 1000.0,
        cpu_us: cpu * 1e6 / count,
    })
}

fn commit(database: &Database, in_flight: usize) -> Result<Side> {
    let store = Postgres::open(&database.address())?;
    let keys = (0..in_flight).map(|pair| key(pair, "left")).collect::<Result<_>>()?;
    let found = load_now(&store, keys)?;
    let mut revisions: Vec<u64> = found.iter().map(|document| document.revision.0).collect();
    let (answer, answered) = channel();
    let ask = |pair: usize| {
        let expected = Revision(revisions[pair]);
        revisions[pair] += 1;
        let write = |side| {
            let value = document().value;
            anyhow::Ok(Write { key: key(pair, side)?, expected, schema: 1, value })
        };
        let writes = vec![write("left")?, write("right")?];
        let answer = answer.clone();
        let done = move |outcome| {
            assert_eq!(outcome, CommitOutcome::Committed);
            // At the end some are still in flight, and nobody listens to them.
            let _ = answer.send(pair);
        };
        store.commit(Transaction { checks: Vec::new(), writes }, Box::new(done));
        Ok(())
    };
    let group = || {
        let counters = store.counters();
        counters.grouped as f64 / counters.groups as f64
    };
    drive(in_flight, ask, &answered, group)
}

fn load(database: &Database, in_flight: usize, keys: usize) -> Result<Side> {
    let store = Postgres::open(&database.address())?;
    let (answer, answered) = channel();
    let mut next = 0;
    let ask = |number: usize| {
        let wanted = (next..next + keys).map(|pair| key(pair % PAIRS, "left"));
        let wanted = wanted.collect::<Result<_>>()?;
        next += keys;
        let answer = answer.clone();
        let done = move |read: std::result::Result<Vec<_>, _>| {
            assert!(read.is_ok_and(|read| read.len() == keys));
            let _ = answer.send(number);
        };
        store.load(wanted, Box::new(done));
        Ok(())
    };
    let group = (in_flight / CONNECTIONS).clamp(1, MAX_KEYS / keys) as f64;
    drive(in_flight, ask, &answered, || group)
}

/// Requests per second of pgbench, with so many in one transaction.
fn pgbench(database: &Database, request: Request, clients: usize, group: usize) -> Result<f64> {
    // Each client has documents of its own, and what it sends is made once.
    let begin = |pairs: usize, sides: &str| {
        format!(
            "\\set low :client_id * {pairs}
             \\set high :low + {pairs} - 1
             \\if :first
             SELECT array_agg(key ORDER BY key) AS keys, array_agg(2::bigint) AS revisions,
                 array_agg(1) AS schemas, array_agg(true) AS told,
                 '{{' || string_agg(repeat('1', {VALUE_BYTES}), ',') || '}}' AS values
             FROM (
                 SELECT 'a/' || pair % {PAIRS} || '/' || side AS key
                 FROM generate_series(:low::integer, :high::integer) AS pair,
                     unnest(ARRAY[{sides}]) AS side
             ) AS documents \\gset
             \\set first 0
             \\endif\n"
        )
    };
    let Sql { lock, write, load, .. } = Sql::of(true);
    let filled = |sql: &str| {
        let names = ["keys", "revisions", "schemas", "values", "told"];
        let fill = |sql: String, (place, name): (usize, &str)| {
            sql.replace(&format!("${}::", place + 1), &format!(":{name}::"))
        };
        names.into_iter().enumerate().fold(sql.to_owned(), fill)
    };
    let script = match request {
        Request::Commit => {
            begin(group, "'left', 'right'")
                + &format!(
                    "\\startpipeline\nBEGIN;\n{};\n\\endpipeline\n\\startpipeline\n{};\nCOMMIT;\n\\endpipeline\n",
                    filled(lock),
                    filled(write),
                )
        }
        Request::Load(keys) => begin(group * keys, "'left'") + &format!("{};\n", filled(load)),
    };
    let rate = database.pgbench(&script, clients, ROUND, &[("first", 1)])?;
    if rate == 0.0 {
        bail!("pgbench did nothing");
    }
    Ok(rate * group as f64)
}
