//! Abusive guests at a real server: each gets exactly its answer, and honest players beside them are served.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

use pelago_bots::abuse::{Abuse, visit};
use pelago_client::{Change, Event, Identity, Session, Transport};
use pelago_model::{Position, Secret};
use pelago_wire::client::Arrival;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Short times, so that nobody has to wait; everything else as by default.
const LIMITS: &str = "[limits]\nhello_ms = 700\nidle_ms = 2500\nmessage_ms = 400\n";
const ADMIN: &str = "an admin token of a test";
/// How often an honest player turns.
const TURN_EVERY: Duration = Duration::from_millis(250);
/// The latest that an honest player is shown a turn of another.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);

struct World {
    process: Child,
    tcp: Vec<String>,
    operators: String,
    /// Kept until the end.
    _config: tempfile::NamedTempFile,
}

impl World {
    fn start(limits: &str) -> Self {
        let config = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
        std::fs::write(config.path(), limits).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_pelago"))
            .args(["dev", "--nodes", "2", "--store", "memory:", "--http", "127.0.0.1:0", "--json"])
            .arg("--config")
            .arg(config.path())
            .env("PELAGO_LOG", "error")
            .env("PELAGO_ADMIN_TOKEN", ADMIN)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let tcp = ready["tcp"].as_array().unwrap();
        Self {
            tcp: tcp.iter().map(|address| address.as_str().unwrap().to_owned()).collect(),
            operators: ready["operators"]
                .as_str()
                .unwrap()
                .trim_start_matches("http://")
                .to_owned(),
            process,
            _config: config,
        }
    }

    /// How often a limit was met, on all nodes.
    async fn met(&self, limit: &str) -> f64 {
        let metered = self.metered("pelago_limits_total").await;
        let label = format!("limit=\"{limit}\"");
        metered.into_iter().filter(|(labels, _)| labels.contains(&label)).map(|(_, it)| it).sum()
    }

    /// The numbers of a name, by their labels.
    async fn metered(&self, name: &str) -> BTreeMap<String, f64> {
        let mut stream = TcpStream::connect(&self.operators).await.unwrap();
        let host = &self.operators;
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {ADMIN}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
        lines
            .map(|line| {
                let (labels, number) = line.rsplit_once("} ").unwrap();
                (labels.to_owned(), number.parse().unwrap())
            })
            .collect()
    }

    /// How full everything is is told, and nothing is fuller than it may be.
    async fn is_within_its_limits(&self) {
        let held = self.metered("pelago_held").await;
        let limits = self.metered("pelago_held_limit").await;
        assert_eq!(held.keys().collect::<Vec<_>>(), limits.keys().collect::<Vec<_>>());
        for of in ["keys with commands", "links", "players of a lane", "frames to be delivered"] {
            let label = format!("of=\"{of}\"");
            assert!(held.keys().any(|labels| labels.contains(&label)), "{of}: {held:?}");
        }
        for (labels, held) in &held {
            assert!(*held <= limits[labels], "{labels}: {held}");
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn identity(name: &str) -> Identity {
    let token = Secret::new(vec![name.len() as u8; 32]);
    Identity { name: name.to_owned(), token, arrival: Arrival::Home }
}

async fn arrive(address: &str, name: &str) -> Session {
    Session::open(address, &Transport::Tcp, None, &identity(name)).await.unwrap()
}

/// Two honest players on different nodes: one turns again and again, the other is shown it in time. Returns how often.
async fn honest_players(world: &World, until: Instant) -> usize {
    let (mut walker, mut watcher) =
        (arrive(&world.tcp[0], "walker").await, arrive(&world.tcp[1], "watcher").await);
    let mut shown = 0;
    while Instant::now() < until {
        let here = walker.path().position_at(walker.island_now());
        let side = if shown % 2 == 0 { 64 } else { -64 };
        let at = walker.walk(64, &[Position::new(here.x + side, here.y)]).await.unwrap().at;
        let avatar = walker.avatar();
        // Whoever sees the walker for the first time sees it come, on its new way.
        let turned = |change: &Change| match change {
            Change::Turned(id, start) | Change::Entered(id, start) => *id == avatar && *start == at,
            _ => false,
        };
        let seen = async {
            loop {
                match watcher.next().await {
                    Some(Event::Changes(changes)) if changes.iter().any(turned) => break,
                    Some(Event::Disconnected(loss)) => panic!("was cut off: {loss}"),
                    Some(_) => {}
                    None => panic!("was cut off"),
                }
            }
        };
        let begun = Instant::now();
        timeout(SHOWN_WITHIN, seen).await.expect("an honest player was not shown a turn in time");
        shown += 1;
        watcher.ping().await.unwrap();
        // The walker reads, too, whatever it is.
        let read = async { while walker.next().await.is_some() {} };
        let rest = TURN_EVERY.saturating_sub(begun.elapsed()).max(Duration::from_millis(1));
        drop(timeout(rest, read).await);
    }
    shown
}

#[tokio::test(flavor = "multi_thread")]
async fn every_abusive_guest_gets_its_answer_and_honest_players_are_served() {
    let world = World::start(LIMITS);
    let mut visits = JoinSet::new();
    for (number, abuse) in Abuse::ALL.into_iter().enumerate() {
        let address = world.tcp[number % 2].clone();
        visits.spawn(async move {
            let answer = visit(abuse, &address, None, &format!("rude-{number}")).await;
            (abuse, answer)
        });
    }
    let all = async {
        let mut wrong = Vec::new();
        while let Some(visit) = visits.join_next().await {
            let (abuse, answer) = visit.unwrap();
            if answer.as_ref().ok() != Some(&abuse.answer()) {
                wrong.push((abuse, answer, abuse.answer()));
            }
        }
        wrong
    };
    let honest = honest_players(&world, Instant::now() + Duration::from_secs(4));
    let (wrong, shown) = tokio::join!(timeout(Duration::from_secs(60), all), honest);
    let wrong = wrong.expect("not every guest was answered");
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(shown >= 10, "only {shown} turns were shown");
    for limit in [
        "hello_time",
        "idle_time",
        "message_time",
        "message_bytes",
        "messages",
        "durable",
        "live",
        "speech",
        "moves",
        "pings",
        "fetches",
        "command_bytes",
    ] {
        assert!(world.met(limit).await > 0.0, "{limit} was not counted");
    }
    for limit in ["clients", "connections", "strangers", "link_time", "subscriptions"] {
        assert_eq!(world.met(limit).await, 0.0, "{limit} was met by nobody");
    }
    world.is_within_its_limits().await;
}

#[tokio::test]
async fn who_comes_after_the_last_place_is_taken_is_refused_as_full() {
    let world = World::start("[limits]\nclients = 2\n");
    let (_first, _second) =
        (arrive(&world.tcp[0], "first").await, arrive(&world.tcp[0], "second").await);
    let third = Session::open(&world.tcp[0], &Transport::Tcp, None, &identity("third")).await;
    let error = third.err().unwrap().to_string();
    assert!(error.contains("full"), "{error}");
    // Another node has room.
    let _elsewhere = arrive(&world.tcp[1], "third").await;
    sleep(Duration::from_millis(150)).await;
    assert_eq!(world.met("clients").await, 1.0);
}

#[test]
fn a_wrong_setting_is_named() {
    let config = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    std::fs::write(config.path(), "[limits]\nidle_seconds = 5\n").unwrap();
    let pelago = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pelago"));
        command.args(["dev", "--store", "memory:", "--http", "127.0.0.1:0"]);
        command
    };
    for (command, expected) in [
        (pelago().arg("--config").arg(config.path()), "idle_seconds"),
        (pelago().env("PELAGO_LIMITS__IDLE_MS", "soon"), "LIMITS.IDLE_MS"),
        (pelago().args(["--config", "nowhere.toml"]), "nowhere.toml"),
    ] {
        let output = command.output().unwrap();
        assert!(!output.status.success());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(expected), "{expected}: {error}");
    }
}
