//! Real processes and their signals: what is acknowledged is kept, whichever way a world ends.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

mod process;

use process::player::{Player, goes_to};
use process::{PELAGO, World};
use std::process::Command;
use std::time::Duration;

/// How often a world is killed while it ends.
const KILLS: u64 = 5;
/// For how long a world is stopped: longer than silence between nodes may last.
const STOPPED: Duration = Duration::from_secs(4);

#[test]
fn a_terminated_world_ends_cleanly_and_keeps_what_it_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let (data, journal) = (directory.path().join("data"), directory.path().join("journal"));
    let world = World::start(&data);
    let mut bots = world.bots(100, 6, &journal);
    std::thread::sleep(Duration::from_secs(4));
    world.signal("TERM");
    assert!(world.wait(), "the world did not end cleanly");
    bots.wait().unwrap();
    let world = World::start(&data);
    let acknowledged = world.verify(&journal);
    assert!(acknowledged > 30, "only {acknowledged} commands were acknowledged at all");
}

#[test]
fn a_world_that_is_killed_while_it_ends_keeps_what_it_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let (data, journal) = (directory.path().join("data"), directory.path().join("journal"));
    for round in 0..KILLS {
        let mut world = World::start(&data);
        let mut bots = world.bots(100, 3, &journal);
        std::thread::sleep(Duration::from_millis(2000));
        world.signal("TERM");
        // At another moment of the ending each time.
        std::thread::sleep(Duration::from_millis(round * 31));
        world.process.kill().unwrap();
        world.process.wait().unwrap();
        bots.wait().unwrap();
    }
    let acknowledged = World::start(&data).verify(&journal);
    assert!(acknowledged > 50, "only {acknowledged} commands were acknowledged at all");
}

#[tokio::test]
async fn a_stopped_world_goes_on_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let mut anna = Player::arrive(&world.tcp[0], "Anna").await;
    let mut bert = Player::arrive(&world.tcp[1], "Bert").await;
    let there = anna.walk().await;
    bert.until("Bert sees Anna", |bert| goes_to(bert, &anna.session, there)).await;
    let before = anna.world_time().await;
    world.signal("STOP");
    tokio::time::sleep(STOPPED).await;
    world.signal("CONT");
    // Time has gone on meanwhile, and everybody is where they were.
    let after = anna.world_time().await;
    assert!(after.since(before) >= STOPPED.as_millis() as i64, "{before:?}, {after:?}");
    let here = anna.session.path().position_at(anna.session.island_now());
    assert_eq!(here, there);
    bert.until("Bert sees Anna again", |bert| goes_to(bert, &anna.session, there)).await;
    // What she does now is seen on the other node, whose link may have been lost.
    let there = anna.walk().await;
    bert.until("Bert sees where Anna goes", |bert| goes_to(bert, &anna.session, there)).await;
    let mut last = after;
    for _ in 0..5 {
        // No faster than pings are answered.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = anna.world_time().await;
        assert!(now >= last, "{last:?}, {now:?}");
        last = now;
    }
    world.signal("TERM");
    assert!(world.wait(), "the world did not end cleanly");
}

#[test]
fn a_second_process_on_the_same_data_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let second = Command::new(PELAGO)
        .args(["dev", "--http", "127.0.0.1:0", "--data"])
        .arg(directory.path())
        .output()
        .unwrap();
    assert!(!second.status.success());
    let error = String::from_utf8_lossy(&second.stderr);
    assert!(error.contains("in use"), "{error}");
    // The first has not suffered.
    world.signal("TERM");
    assert!(world.wait(), "the world did not end cleanly");
}
