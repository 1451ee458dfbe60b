//! Real processes: the sink follows the feed, and the game does not notice its loss.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

mod process;

use pelago_model::Key;
use pelago_store::archive::part;
use process::World;
use process::player::PATIENCE;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Taking,
    /// Answers 503.
    Failing,
    /// Takes requests, and never answers.
    Silent,
}

/// What a fake of OpenSearch holds: the newest version of each document.
#[derive(Default)]
struct Index {
    versions: BTreeMap<String, u64>,
    requests: usize,
}

/// A fake of OpenSearch's bulk interface.
struct Search {
    address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    index: Arc<Mutex<Index>>,
}

impl Search {
    fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let search = Self { address, mood: Arc::new(Mutex::new(mood)), index: Arc::default() };
        let (mood, index) = (search.mood.clone(), search.index.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mood, index) = (mood.clone(), index.clone());
                std::thread::spawn(move || serve(&stream.unwrap(), &mood, &index));
            }
        });
        search
    }

    fn feel(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }
}

/// Serves a connection until it ends.
fn serve(stream: &TcpStream, mood: &Mutex<Mood>, index: &Mutex<Index>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut line = String::new();
        while reader.read_line(&mut line).ok()? > 2 {
            let lower = line.to_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            line.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        index.lock().unwrap().requests += 1;
        while *mood.lock().unwrap() == Mood::Silent {
            std::thread::sleep(Duration::from_millis(20));
        }
        let (status, answer) = match *mood.lock().unwrap() {
            Mood::Taking => ("200 OK", json!({"errors": false, "items": take(&body, index)})),
            _ => ("503 Service Unavailable", json!({"error": "not now"})),
        };
        let answer = answer.to_string();
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", answer.len());
        (&mut &*stream).write_all((head + &answer).as_bytes()).ok()?;
    }
}

fn take(body: &[u8], index: &Mutex<Index>) -> Vec<Value> {
    let mut lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mut index = index.lock().unwrap();
    let mut items = Vec::new();
    while let Some(line) = lines.next() {
        let action: Value = serde_json::from_slice(line).unwrap();
        let (name, action) = action.as_object().unwrap().iter().next().unwrap();
        if name == "index" {
            let document: Value = serde_json::from_slice(lines.next().unwrap()).unwrap();
            assert_eq!(document["key"], action["_id"]);
        }
        let version = index.versions.entry(action["_id"].as_str().unwrap().into()).or_default();
        *version = action["version"].as_u64().unwrap().max(*version);
        items.push(json!({name: {"_id": action["_id"], "status": 200}}));
    }
    items
}

/// The revisions of the documents of a world of which the sink tells.
fn revisions(world: &World) -> BTreeMap<String, u64> {
    let mut revisions = BTreeMap::new();
    let mut path = "/api/v1/store/documents".to_owned();
    loop {
        let (status, body) = world.get(&path);
        assert_eq!(status, 200);
        let page = part::decode(&body).unwrap();
        for (key, document) in &page.documents {
            if ["avatar", "chunk", "island"].contains(&key.kind()) {
                revisions.insert(key.to_string(), document.revision.0);
            }
        }
        let Some((last, _)) = page.documents.last().filter(|_| !page.is_last) else {
            return revisions;
        };
        path = format!("/api/v1/store/documents?after={last}");
    }
}

/// Waits until others know the world as it is.
fn until_known(world: &World, known: impl Fn() -> BTreeMap<String, u64>) {
    let began = Instant::now();
    loop {
        let (there, here) = (known(), revisions(world));
        if there == here {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{} of {} are known", there.len(), here.len());
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn configure(directory: &Path, section: &str) -> PathBuf {
    let file = directory.join("pelago.toml");
    std::fs::write(&file, format!("[sink]\n{section}\n")).unwrap();
    file
}

fn metric(world: &World, name: &str) -> f64 {
    let text = String::from_utf8(world.get("/metrics").1).unwrap();
    let line = text.lines().find(|line| line.starts_with(name));
    line.map_or(0.0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

#[test]
fn the_game_does_not_notice_a_search_that_is_gone_slow_or_ill_and_it_catches_up() {
    let directory = tempfile::tempdir().unwrap();
    let (data, journal) = (directory.path().join("data"), directory.path().join("journal"));
    let search = Search::start(Mood::Taking);
    let config = configure(directory.path(), &format!("http = \"http://{}\"", search.address));
    let world = World::start_with(&data, &["--config", config.to_str().unwrap()]);
    let mut bots = world.bots(100, 9, &journal);
    for mood in [Mood::Taking, Mood::Failing, Mood::Silent] {
        search.feel(mood);
        std::thread::sleep(Duration::from_secs(3));
    }
    bots.wait().unwrap();
    let acknowledged = world.verify(&journal);
    assert!(acknowledged > 50, "only {acknowledged} commands were acknowledged at all");
    let known = || search.index.lock().unwrap().versions.clone();
    assert_ne!(known(), revisions(&world), "it was not away");
    assert!(metric(&world, "pelago_sink_failures_total") > 0.0);
    search.feel(Mood::Taking);
    until_known(&world, known);
    assert!(metric(&world, "pelago_sink_documents_total{end=\"delivered\"}") > 0.0);

    // Nobody listens at all: the world goes on, and ends cleanly.
    world.signal("TERM");
    assert!(world.wait());
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    configure(directory.path(), &format!("http = \"http://{nobody}\""));
    let world = World::start_with(&data, &["--config", config.to_str().unwrap()]);
    let mut bots = world.bots(50, 3, &journal);
    bots.wait().unwrap();
    world.verify(&journal);
    world.signal("TERM");
    assert!(world.wait());
    // It goes on where it was, and hears of what it missed.
    configure(directory.path(), &format!("http = \"http://{}\"", search.address));
    let world = World::start_with(&data, &["--config", config.to_str().unwrap()]);
    until_known(&world, known);
}

#[test]
fn lines_are_appended_over_kills_and_tell_every_document() {
    let directory = tempfile::tempdir().unwrap();
    let (data, journal) = (directory.path().join("data"), directory.path().join("journal"));
    let lines = directory.path().join("lines");
    let config = configure(directory.path(), &format!("file = {lines:?}"));
    for _ in 0..2 {
        let mut world = World::start_with(&data, &["--config", config.to_str().unwrap()]);
        let mut bots = world.bots(50, 3, &journal);
        std::thread::sleep(Duration::from_secs(2));
        world.process.kill().unwrap();
        world.process.wait().unwrap();
        bots.wait().unwrap();
    }
    let world = World::start_with(&data, &["--config", config.to_str().unwrap()]);
    until_known(&world, || {
        let mut known = BTreeMap::new();
        // The last line may be under way.
        let text = std::fs::read_to_string(&lines).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for line in whole.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let key = Key::parse(line["key"].as_str().unwrap()).unwrap();
            assert_eq!(line["kind"], key.kind());
            let revision = line["revision"].as_u64().unwrap();
            let newest = known.entry(key.to_string()).or_insert(revision);
            *newest = revision.max(*newest);
        }
        known
    });
}
