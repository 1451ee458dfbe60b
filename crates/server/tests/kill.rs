//! Real processes: a world that is killed keeps what it acknowledged.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

mod process;

use process::{PELAGO, World};
use std::process::Command;
use std::time::Duration;

/// How often the world is killed.
const KILLS: u64 = 20;

#[test]
fn twenty_kills_under_two_hundred_bots_lose_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let (data, journal) = (directory.path().join("data"), directory.path().join("journal"));
    for round in 0..KILLS {
        let mut world = World::start(&data);
        if round > 0 {
            world.verify(&journal);
        }
        let mut bots = world.bots(200, 5, &journal);
        // Between 2.5 and 4.8 s, never twice at the same moment.
        std::thread::sleep(Duration::from_millis(2500 + (round * 797) % 2300));
        world.process.kill().unwrap();
        world.process.wait().unwrap();
        bots.wait().unwrap();
    }
    let acknowledged = World::start(&data).verify(&journal);
    assert!(acknowledged > 500, "only {acknowledged} commands were acknowledged at all");
}

#[test]
fn an_interrupted_world_ends_cleanly_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let world = World::start(directory.path());
        world.signal("INT");
        assert!(world.wait(), "the world did not end cleanly");
    }
}

#[test]
fn wrong_arguments_name_what_is_wrong() {
    for (arguments, expected) in [
        (&["dev", "--nodes", "0"][..], "--nodes"),
        (&["dev", "--store", "mysql://x", "--http", "127.0.0.1:0"], "expected memory:, embedded:"),
        (&["bots"], "--connect"),
        (&["dev", "--http", "nowhere"], "--http"),
    ] {
        // Data is in the working directory, unless told otherwise.
        let here = tempfile::tempdir().unwrap();
        let output =
            Command::new(PELAGO).args(arguments).current_dir(here.path()).output().unwrap();
        assert!(!output.status.success());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}
