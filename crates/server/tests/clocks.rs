//! Hosts whose clocks are wrong, and processes that are stopped: real ones, under libfaketime and signals. Rates are
//! compared with this process's own monotonic clock from outside and from inside, so that a slow machine breaks nothing.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

mod process;

use process::World;
use process::player::{PATIENCE, Player, goes_to};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::time::sleep;

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
/// The stated rate of world time: 0.5 %.
const RATE: f64 = 0.005;
/// A pong that is read may be the answer to a ping before the last one, of so many ms before.
const OLD_PONG_MS: f64 = 300.0;
/// For how long the rate is watched.
const WATCHED: Duration = Duration::from_secs(3);

/// libfaketime, which the project's own tools step installs. It fakes the wall clock and nothing else here.
fn libfaketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let library = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    let found = library.into_iter().find(|library| library.exists());
    found.expect("libfaketime is missing: cargo xtask test installs it")
}

/// A world on a host whose wall clock is wrong by this, as libfaketime reads it.
fn world_at(data: &Path, wrong: &str) -> World {
    let library = libfaketime();
    let environment = [
        ("LD_PRELOAD", library.as_path()),
        ("FAKETIME", Path::new(wrong)),
        ("DONT_FAKE_MONOTONIC", Path::new("1")),
    ];
    World::start_in(data, &environment)
}

/// What the first node says of its clock.
fn clock(world: &World) -> Value {
    node(world)["clock"].clone()
}

fn node(world: &World) -> Value {
    let (status, body) = world.get("/api/v1/cluster");
    assert_eq!(status, 200);
    serde_json::from_slice::<Value>(&body).unwrap()["nodes"][0].clone()
}

fn is_alarmed(world: &World) -> bool {
    node(world)["alarms"].as_array().unwrap().contains(&Value::from("clock_disagrees"))
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what} did not happen");
        sleep(Duration::from_millis(50)).await;
    }
}

/// World time runs at its normal rate.
async fn runs_normally(player: &mut Player) {
    // Pongs that came while nobody listened.
    player.take_in(Duration::from_millis(200)).await;
    let outside = Instant::now();
    let before = player.world_time().await;
    let inside = Instant::now();
    player.take_in(WATCHED).await;
    let inside = inside.elapsed().as_secs_f64() * 1000.0;
    let after = player.world_time().await;
    let outside = outside.elapsed().as_secs_f64() * 1000.0;
    let passed = after.since(before) as f64;
    assert!(passed >= inside * (1.0 - RATE) - OLD_PONG_MS, "{passed} ms in {inside} ms");
    assert!(passed <= outside * (1.0 + RATE) + OLD_PONG_MS, "{passed} ms in {outside} ms");
}

/// How often a limit was met, over all nodes.
fn met(world: &World, limit: &str) -> f64 {
    let (status, body) = world.get("/metrics");
    assert_eq!(status, 200);
    let wanted = format!("limit=\"{limit}\"");
    let text = String::from_utf8(body).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("pelago_limits_total"));
    let lines = lines.filter(|line| line.contains(&wanted));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

/// How many of a player's moves are refused because they are of another time, out of three.
async fn refused_for_their_time(player: &mut Player) -> usize {
    let mut refused = 0;
    for _ in 0..3 {
        refused += usize::from(!player.stands_still().await);
    }
    refused
}

#[tokio::test]
async fn a_host_that_was_a_day_ahead_for_one_run_goes_on_from_there() {
    for signal in ["TERM", "KILL"] {
        let directory = tempfile::tempdir().unwrap();
        let world = World::start(directory.path());
        let mut anna = Player::arrive(&world.tcp[0], "Anna").await;
        anna.walk().await;
        drop(anna);
        world.signal("TERM");
        assert!(world.wait());

        let world = world_at(directory.path(), "+1d");
        let mut anna = Player::arrive(&world.tcp[0], "Anna").await;
        let there = anna.walk().await;
        anna.arrive_at(there).await;
        let ahead = anna.world_time().await;
        drop(anna);
        world.signal(signal);
        assert_eq!(world.wait(), signal == "TERM");

        let world = World::start(directory.path());
        let mut anna = Player::arrive(&world.tcp[0], "Anna").await;
        assert!(anna.world_time().await >= ahead, "time went back");
        let offset_ms = clock(&world)["offset_ms"].as_i64().unwrap();
        assert!((DAY_MS - HOUR_MS..DAY_MS + HOUR_MS).contains(&offset_ms), "{offset_ms}");
        assert!(!is_alarmed(&world), "it is the offset, and no alarm");
        if signal == "TERM" {
            let here = anna.session.path().position_at(anna.session.island_now());
            assert_eq!(here, there, "the player is at an old place");
        }
        runs_normally(&mut anna).await;
        assert_eq!(refused_for_their_time(&mut anna).await, 0);
        anna.walk().await;
        assert_eq!(anna.eat_nothing().await, "nothing_held");
    }
}

#[tokio::test]
async fn a_host_that_is_set_back_a_day_goes_on_from_where_the_world_was() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let mut anna = Player::arrive(&world.tcp[0], "Anna").await;
    let before = anna.world_time().await;
    drop(anna);
    world.signal("KILL");
    assert!(!world.wait());
    // The wall clock is a day behind, and the next one is right again: nobody is ever where she was before.
    let mut last = (before, None);
    for wrong in ["-1d", "+0s", "-2d"] {
        let world = world_at(directory.path(), wrong);
        let mut anna = Player::arrive(&world.tcp[0], "Anna").await;
        let now = anna.world_time().await;
        assert!(now >= last.0, "{wrong}: time went back by {} ms", last.0.since(now));
        let here = anna.session.path().position_at(anna.session.island_now());
        assert!(last.1.is_none_or(|place| place == here), "{wrong}: {last:?}, {here:?}");
        let there = anna.walk().await;
        anna.arrive_at(there).await;
        runs_normally(&mut anna).await;
        last = (anna.world_time().await, Some(there));
        drop(anna);
        world.signal("TERM");
        assert!(world.wait(), "{wrong}: the world did not end cleanly");
    }
}

#[tokio::test]
async fn a_clock_that_is_set_while_the_world_runs_raises_an_alarm_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (library, wrong) = (libfaketime(), directory.path().join("wrong"));
    std::fs::write(&wrong, "+0s").unwrap();
    let environment = [
        ("LD_PRELOAD", library.as_path()),
        ("FAKETIME_TIMESTAMP_FILE", wrong.as_path()),
        ("FAKETIME_NO_CACHE", Path::new("1")),
        ("DONT_FAKE_MONOTONIC", Path::new("1")),
    ];
    let world = World::start_in(&directory.path().join("data"), &environment);
    let mut anna = Player::arrive(&world.tcp[0], "Anna").await;
    let mut bert = Player::arrive(&world.tcp[1], "Bert").await;
    assert!(!is_alarmed(&world));
    for by in ["+1h", "-60s", "-1d", "+1d"] {
        std::fs::write(&wrong, by).unwrap();
        until("the alarm", || is_alarmed(&world)).await;
        let skew_ms = clock(&world)["skew_ms"].as_i64().unwrap();
        assert!(skew_ms.abs() > 50_000 && (skew_ms > 0) == by.starts_with('+'), "{by}: {skew_ms}");
        runs_normally(&mut anna).await;
        assert_eq!(refused_for_their_time(&mut anna).await, 0, "{by}");
        let there = anna.walk().await;
        bert.until("Bert sees Anna", |bert| goes_to(bert, &anna.session, there)).await;
        assert_eq!(met(&world, "idle_time"), 0.0, "{by}: somebody was closed as idle");
        std::fs::write(&wrong, "+0s").unwrap();
        until("the end of the alarm", || !is_alarmed(&world)).await;
    }
    world.signal("TERM");
    assert!(world.wait(), "the world did not end cleanly");
}

#[tokio::test]
async fn nobody_is_blamed_for_the_time_in_which_the_process_was_stopped() {
    let directory = tempfile::tempdir().unwrap();
    // Shorter than the world is stopped for, and so is the time after which links count as silent.
    let environment = [
        ("PELAGO_LIMITS__IDLE_MS", Path::new("8000")),
        ("PELAGO_LIMITS__BLOCKED_MS", Path::new("8000")),
        ("PELAGO_LIMITS__HELLO_MS", Path::new("8000")),
    ];
    let world = World::start_in(directory.path(), &environment);
    let mut anna = Player::arrive(&world.tcp[0], "Anna").await;
    let mut bert = Player::arrive(&world.tcp[1], "Bert").await;
    let there = anna.walk().await;
    bert.until("Bert sees Anna", |bert| goes_to(bert, &anna.session, there)).await;
    let before = anna.world_time().await;
    world.signal("STOP");
    sleep(Duration::from_secs(10)).await;
    world.signal("CONT");
    assert!(anna.take_in(Duration::from_secs(1)).await, "Anna was closed");
    assert!(bert.take_in(Duration::from_secs(1)).await, "Bert was closed");
    assert!(anna.world_time().await.since(before) >= 10_000, "time stood still");
    for limit in ["idle_time", "blocked_time", "hello_time", "link_time"] {
        assert_eq!(met(&world, limit), 0.0, "{limit}");
    }
    assert!(goes_to(&bert.session, &anna.session, there), "Bert has lost sight of Anna");
    let there = anna.walk().await;
    bert.until("Bert sees where Anna goes", |bert| goes_to(bert, &anna.session, there)).await;
    world.signal("TERM");
    assert!(world.wait(), "the world did not end cleanly");
}
