//! Real processes: a world that is killed keeps what it acknowledged.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PELAGO: &str = env!("CARGO_BIN_EXE_pelago");
/// How often the world is killed.
const KILLS: u64 = 20;

struct World {
    process: Child,
    tcp: Vec<String>,
}

/// Starts a world and waits until it says where it is.
fn start(data: &Path) -> World {
    let mut process = Command::new(PELAGO)
        .args(["dev", "--http", "127.0.0.1:0", "--json", "--data"])
        .arg(data)
        .env("PELAGO_LOG", "error")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    let tcp = ready["tcp"].as_array().unwrap();
    let tcp = tcp.iter().map(|address| address.as_str().unwrap().to_owned()).collect();
    World { process, tcp }
}

fn verify(world: &World, journal: &Path) -> serde_json::Value {
    let output = Command::new(PELAGO)
        .args(["bots", "--connect", &world.tcp[0], "--verify"])
        .arg(journal)
        .output()
        .unwrap();
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(verdict["objections"], serde_json::json!([]), "{verdict:#}");
    assert!(output.status.success());
    verdict
}

#[test]
fn twenty_kills_under_two_hundred_bots_lose_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let (data, journal) = (directory.path().join("data"), directory.path().join("journal"));
    for round in 0..KILLS {
        let mut world = start(&data);
        if round > 0 {
            verify(&world, &journal);
        }
        let mut bots = Command::new(PELAGO)
            .args(["bots", "--count", "200", "--behavior", "mixed", "--seconds", "5"])
            .args(["--connect", &world.tcp.join(","), "--journal"])
            .arg(&journal)
            .env("PELAGO_LOG", "error")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Between 2.5 and 4.8 s, never twice at the same moment.
        std::thread::sleep(Duration::from_millis(2500 + (round * 797) % 2300));
        world.process.kill().unwrap();
        world.process.wait().unwrap();
        bots.wait().unwrap();
    }
    let mut world = start(&data);
    let verdict = verify(&world, &journal);
    let acknowledged = verdict["acknowledged"].as_u64().unwrap();
    world.process.kill().unwrap();
    world.process.wait().unwrap();
    assert!(acknowledged > 500, "only {acknowledged} commands were acknowledged at all");
}

#[test]
fn an_interrupted_world_ends_cleanly_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let mut world = start(directory.path());
        let number = world.process.id().to_string();
        assert!(Command::new("kill").args(["-INT", &number]).status().unwrap().success());
        assert!(world.process.wait().unwrap().success());
    }
}

#[test]
fn wrong_arguments_name_what_is_wrong() {
    for (arguments, expected) in [
        (&["dev", "--nodes", "0"][..], "--nodes"),
        (
            &["dev", "--store", "mysql://x", "--http", "127.0.0.1:0"],
            "expected memory: or embedded:",
        ),
        (&["bots"], "--connect"),
        (&["dev", "--http", "nowhere"], "--http"),
    ] {
        let output = Command::new(PELAGO).args(arguments).output().unwrap();
        assert!(!output.status.success());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}
