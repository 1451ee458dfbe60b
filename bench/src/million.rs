//! A million documents: what they take on the disk, and how long a world of them takes to start, cold and after `kill -9`.
//!
//! Half of them are avatars, half are chunks, of the sizes and forms of the reference game's, written in no order.
//! A child process has the store: it is timed from its start to the answer of its first load, then reads, then commits until it
//! is killed. Cold means that no file of the store is in the page cache.

use crate::database::{Database, proportional_bytes};
use crate::store::median;
use anyhow::{Context, Result, bail, ensure};
use pelago_model::{
    ChunkId, CommitOutcome, Document, EntityId, IslandId, Key, Revision, Transaction, Write,
};
use pelago_store::{Store, load_now};
use rustix::fs::{Advice, fadvise};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const DOCUMENTS: u64 = 1_000_000;
/// Documents of a transaction that fills, and how many of those are under way.
const BATCH: usize = 64;
const UNDER_WAY: usize = 64;
/// Starts of each kind.
const STARTS: usize = 3;
/// Loads of one document each after a start, and requests in flight.
const LOADS: u64 = 20_000;
const IN_FLIGHT: usize = 64;
/// How long there are commits before everything is killed.
const PLAY: Duration = Duration::from_secs(8);
/// How often a store is tried to be opened whose database starts.
const TRY_EVERY: Duration = Duration::from_millis(5);
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a child tells, each once.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Told {
    /// The first load was answered.
    Ready,
    /// So many loads per second.
    Read(f64),
}

/// How a store was started.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum After {
    /// It was closed, and nothing of it is in the page cache.
    Cold,
    /// All of its processes were killed while it committed.
    Killed,
    /// Only the process that uses the database was killed.
    Left,
}

/// A start.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Start {
    pub(crate) after: After,
    /// From the start of all processes to the answer of the first load.
    pub(crate) ready_ms: f64,
    /// Of random documents, right after it.
    pub(crate) loads_per_second: f64,
    /// Of all processes, after these loads.
    pub(crate) memory_bytes: u64,
}

/// A store with a million documents.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Million {
    pub(crate) engine: String,
    pub(crate) documents: u64,
    /// Bytes of keys and values.
    pub(crate) stored_bytes: u64,
    pub(crate) filled_seconds: f64,
    /// What its files take after it was closed.
    pub(crate) disk_bytes: u64,
    /// Of these, what a database takes for its log and for the feed.
    pub(crate) log_bytes: Option<u64>,
    pub(crate) feed_bytes: Option<u64>,
    pub(crate) starts: Vec<Start>,
}

impl Million {
    /// The median of the starts of a kind; `None` if there were none.
    pub(crate) fn median(&self, after: After, of: impl Fn(&Start) -> f64) -> Option<f64> {
        let starts = || self.starts.iter().filter(|start| start.after == after);
        starts().next()?;
        Some(median(starts().map(of)))
    }
}

/// Measures both engines in folders of `scratch`.
pub(crate) fn measure(scratch: &Path) -> Result<Vec<Million>> {
    let files = scratch.join("million");
    if files.exists() {
        fs::remove_dir_all(&files)?;
    }
    fs::create_dir_all(scratch)?;
    let address = format!("embedded:{}", files.display());
    let embedded = Place { engine: "embedded", address, files, database: None }.measure()?;
    let database = Database::start(scratch)?;
    let (address, files) = (database.address(), database.data());
    let postgres = Place { engine: "postgres", address, files, database: Some(database) };
    Ok(vec![embedded, postgres.measure()?])
}

/// Where a store is.
struct Place {
    engine: &'static str,
    address: String,
    files: PathBuf,
    database: Option<Database>,
}

impl Place {
    fn measure(mut self) -> Result<Million> {
        let began = Instant::now();
        let store = pelago_store::open(&self.address)?;
        let stored_bytes = fill(&*store)?;
        store.close();
        drop(store);
        let filled_seconds = began.elapsed().as_secs_f64();
        let (mut log_bytes, mut feed_bytes) = (None, None);
        if let Some(database) = &mut self.database {
            database.sql("CHECKPOINT")?;
            let size = database.sql("SELECT pg_total_relation_size('pelago_feed')")?;
            feed_bytes = Some(size.parse()?);
            log_bytes = Some(disk_bytes(&self.files.join("pg_wal"))?);
            database.stop()?;
        }
        let disk_bytes = disk_bytes(&self.files)?;
        println!("{}: {disk_bytes} bytes for {stored_bytes}", self.engine);
        Ok(Million {
            engine: self.engine.to_owned(),
            documents: DOCUMENTS,
            stored_bytes,
            filled_seconds,
            disk_bytes,
            log_bytes,
            feed_bytes,
            starts: self.starts()?,
        })
    }

    /// Starts it again and again.
    fn starts(&mut self) -> Result<Vec<Start>> {
        let mut starts = Vec::new();
        for _ in 0..STARTS {
            rustix::fs::sync();
            forget(&self.files)?;
            let (keeper, start) = self.start(After::Cold)?;
            starts.push(start);
            keeper.end()?;
            if let Some(database) = &mut self.database {
                database.stop()?;
            }
        }
        let (mut keeper, _) = self.start(After::Cold)?;
        let kinds = match self.database {
            Some(_) => vec![After::Killed, After::Left],
            None => vec![After::Killed],
        };
        for after in kinds.into_iter().flat_map(|after| [after; STARTS]) {
            std::thread::sleep(PLAY);
            keeper.kill()?;
            if let Some(database) = &mut self.database
                && after == After::Killed
            {
                database.kill();
            }
            let (next, start) = self.start(after)?;
            starts.push(start);
            keeper = next;
        }
        keeper.kill()?;
        Ok(starts)
    }

    /// Starts whatever does not run.
    fn start(&mut self, after: After) -> Result<(Keeper, Start)> {
        let began = Instant::now();
        if let Some(database) = &mut self.database {
            database.go_on()?;
        }
        let mut keeper = Keeper::start(&self.address)?;
        let Told::Ready = keeper.hear()? else { bail!("it read before it was ready") };
        let ready_ms = began.elapsed().as_secs_f64() * 1000.0;
        let Told::Read(loads_per_second) = keeper.hear()? else { bail!("it was ready twice") };
        let own = proportional_bytes(keeper.process.id()).context("it has ended")?;
        let memory_bytes = own + self.database.as_ref().map_or(0, Database::memory_bytes);
        let start = Start { after, ready_ms, loads_per_second, memory_bytes };
        println!("{}: {start:?}", self.engine);
        Ok((keeper, start))
    }
}

/// The child process that has the store.
struct Keeper {
    process: Child,
    told: BufReader<ChildStdout>,
}

impl Keeper {
    fn start(address: &str) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["keep", address]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let told = BufReader::new(process.stdout.take().context("no output")?);
        Ok(Self { process, told })
    }

    fn hear(&mut self) -> Result<Told> {
        let mut line = String::new();
        self.told.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("it said {line:?}"))
    }

    /// Lets it close the store.
    fn end(mut self) -> Result<()> {
        drop(self.process.stdin.take());
        ensure!(self.process.wait()?.success(), "it did not end well");
        Ok(())
    }

    fn kill(mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

/// The child: has the store at an address until nobody holds its standard input any more, or it is killed.
pub(crate) fn keep(address: &str) -> Result<()> {
    let store = open(address)?;
    let mut random = Random(u64::from(std::process::id()));
    ensure!(load_now(&*store, vec![avatar(random.below(DOCUMENTS / 2))])?[0].value.is_some());
    println!("{}", serde_json::to_string(&Told::Ready)?);
    println!("{}", serde_json::to_string(&Told::Read(read(&*store, &mut random)?))?);
    let (end, ended) = channel();
    std::thread::spawn(move || {
        // Whatever comes is the end.
        drop(std::io::stdin().read_to_end(&mut Vec::new()));
        let _ = end.send(());
    });
    play(&*store, &mut random, &ended)?;
    store.close();
    Ok(())
}

/// Opens a store whose database may still be starting.
fn open(address: &str) -> Result<Arc<dyn Store>> {
    let began = Instant::now();
    loop {
        match pelago_store::open(address) {
            Ok(store) => return Ok(store),
            Err(error) if began.elapsed() > PATIENCE => return Err(error.into()),
            Err(_) => std::thread::sleep(TRY_EVERY),
        }
    }
}

/// Loads per second.
fn read(store: &dyn Store, random: &mut Random) -> Result<f64> {
    let began = Instant::now();
    let (answer, answered) = channel();
    for number in 0..LOADS + IN_FLIGHT as u64 {
        if number >= IN_FLIGHT as u64 {
            answered.recv()?;
        }
        if number < LOADS {
            let answer = answer.clone();
            let done = move |read: Result<Vec<Document>, _>| {
                assert!(read.is_ok_and(|read| read[0].value.is_some()));
                let _ = answer.send(());
            };
            store.load(vec![avatar(random.below(DOCUMENTS / 2))], Box::new(done));
        }
    }
    Ok(LOADS as f64 / began.elapsed().as_secs_f64())
}

/// Commits new versions of avatars until it is told to end.
fn play(store: &dyn Store, random: &mut Random, ended: &Receiver<()>) -> Result<()> {
    let (answer, answered) = channel();
    let change = |number: u64, random: &mut Random| {
        let key = avatar(number);
        let expected = load_now(store, vec![key.clone()])?[0].revision;
        let value = Some(avatar_value(number, random).into());
        let writes = vec![Write { key, expected, schema: 1, value }];
        let answer = answer.clone();
        let done = move |outcome| drop(answer.send(outcome));
        store.commit(Transaction { checks: Vec::new(), writes }, Box::new(done));
        anyhow::Ok(())
    };
    // Each transaction in flight has avatars of its own.
    let places = IN_FLIGHT as u64;
    (0..places).try_for_each(|place| change(place, random))?;
    let mut next = places;
    while ended.try_recv().is_err() {
        let outcome = answered.recv()?;
        ensure!(outcome == CommitOutcome::Committed, "{outcome:?}");
        change(next % (DOCUMENTS / 2), random)?;
        // No two that are under way are the same.
        next += 4999;
    }
    Ok(())
}

/// Fills a store; returns the bytes of keys and values.
fn fill(store: &dyn Store) -> Result<u64> {
    let mut random = Random(1);
    let (answer, answered) = channel();
    let (mut bytes, mut under_way) = (0, 0);
    let mut batch = Vec::new();
    for number in 0..DOCUMENTS {
        // Has no common divisor with their number, so that each comes once.
        let number = number * 618_033 % DOCUMENTS;
        let half = number / 2;
        let (key, value) = match number % 2 {
            0 => (avatar(half), avatar_value(half, &mut random)),
            _ => (chunk(half), chunk_value(&mut random)),
        };
        bytes += (key.as_str().len() + value.len()) as u64;
        let value = Some(value.into());
        batch.push((key, Document { schema: 1, revision: Revision(1), value }));
        if batch.len() == BATCH {
            if under_way == UNDER_WAY {
                ensure!(answered.recv()? == CommitOutcome::Committed, "a batch was refused");
                under_way -= 1;
            }
            let answer = answer.clone();
            let done = move |outcome| drop(answer.send(outcome));
            store.restore(std::mem::take(&mut batch), Box::new(done));
            under_way += 1;
        }
    }
    for _ in 0..under_way {
        ensure!(answered.recv()? == CommitOutcome::Committed, "a batch was refused");
    }
    Ok(bytes)
}

fn avatar(number: u64) -> Key {
    Key::avatar(EntityId(0x1000_0000_0000 + number))
}

fn chunk(number: u64) -> Key {
    let (x, y) = ((number % 1000) as i16, (number / 1000) as i16);
    Key::chunk(IslandId(0x1000_0000_0001), ChunkId::new(x, y))
}

/// An avatar of somebody who has done a few things.
fn avatar_value(number: u64, random: &mut Random) -> String {
    let [chain, command, after] = [random.hash(), random.hash(), random.hash()];
    let (x, y) = (random.below(1 << 20), random.below(1 << 20));
    let [berries, wood, sequence] = [random.below(90), random.below(90), random.below(4000)];
    format!(
        r#"{{"chain":"{chain}","epoch":{},"game":{{"items":{{"berry":{berries},"wood":{wood}}}}},"name":"wanderer-{number}","outcomes":[{{"chain":"{after}","command":"{command}","effects":"{{}}","sequence":{sequence}}}],"owner":{},"place":{{"at":{},"heading":{},"island":"0000100000000001","x":{x},"y":{y}}},"sequence":{sequence}}}"#,
        random.below(30),
        random.below(3) + 1,
        random.below(1 << 40),
        random.below(360),
    )
}

/// A chunk from which was taken in some places.
fn chunk_value(random: &mut Random) -> String {
    let object = |_| {
        let [id, at] = [random.below(1 << 16), random.below(1 << 40)];
        format!(r#""{id}":{{"kind":"bush","stock":{{"at":{at},"value":{}}}}}"#, random.below(10))
    };
    let objects: Vec<String> = (0..6).map(object).collect();
    format!(r#"{{"objects":{{{}}}}}"#, objects.join(","))
}

/// Numbers without a pattern that a compressor finds (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// As a hash is written.
    fn hash(&mut self) -> String {
        (0..4).map(|_| format!("{:016x}", self.next())).collect()
    }
}

/// What the files of a folder take.
fn disk_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    each_file(folder, &mut |path| {
        bytes += fs::metadata(path)?.blocks() * 512;
        Ok(())
    })?;
    Ok(bytes)
}

/// Has the page cache forget the files of a folder, which are synced.
fn forget(folder: &Path) -> Result<()> {
    each_file(folder, &mut |path| Ok(fadvise(File::open(path)?, 0, None, Advice::DontNeed)?))
}

fn each_file(folder: &Path, visit: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() { each_file(&path, visit)? } else { visit(&path)? }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_as_large_as_those_of_a_world_and_each_comes_once() {
        let mut random = Random(1);
        for number in [0, 499_999] {
            let (avatar, chunk) = (avatar_value(number, &mut random), chunk_value(&mut random));
            assert!((400..550).contains(&avatar.len()), "{avatar}");
            assert!((300..450).contains(&chunk.len()), "{chunk}");
            for value in [avatar, chunk] {
                serde_json::from_str::<serde_json::Value>(&value).expect("JSON");
            }
        }
        let numbers: std::collections::BTreeSet<u64> =
            (0..DOCUMENTS).map(|number| number * 618_033 % DOCUMENTS).collect();
        assert_eq!(numbers.len() as u64, DOCUMENTS);
        assert_eq!(DOCUMENTS % BATCH as u64, 0);
    }
}
