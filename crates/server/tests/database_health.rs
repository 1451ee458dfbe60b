//! A database that stops, is silent, or only reads: health says so, and says when it is over.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

#[path = "../../store/tests/server/mod.rs"]
mod database;
mod process;

use database::Server;
use process::World;
use process::player::PATIENCE;
use std::time::{Duration, Instant};

/// Longer than a store may be silent.
const SILENCE: Duration = Duration::from_secs(7);

/// The reason that every node gives for not being ready.
fn is_without_store(unready: &serde_json::Value) {
    let reasons = unready["reasons"].as_array().unwrap();
    assert!(reasons.iter().any(|reason| reason["code"] == "store"), "{unready}");
}

#[test]
fn a_database_that_only_reads_or_stops_or_is_silent_is_told_and_so_is_its_return() {
    let mut server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let world = World::start_on(directory.path(), &server.address());
    world.until_ready_says(200);

    server.sql("ALTER SYSTEM SET default_transaction_read_only = on");
    server.sql("SELECT pg_reload_conf()");
    is_without_store(&world.until_ready_says(503));
    server.kill();
    is_without_store(&world.until_ready_says(503));
    assert_eq!(world.get("/healthz").0, 200, "a restart would not help");
    server.go_on();
    reset(&server);
    world.until_ready_says(200);

    let paused = std::thread::scope(|scope| {
        let pause = scope.spawn(|| server.pause(SILENCE + PATIENCE / 6));
        let unready = world.until_ready_says(503);
        pause.join().unwrap();
        unready
    });
    is_without_store(&paused);
    world.until_ready_says(200);
    world.signal("TERM");
    assert!(world.wait(), "the world did not end cleanly");
}

/// The database writes again.
fn reset(server: &Server) {
    let began = Instant::now();
    server.sql("ALTER SYSTEM RESET default_transaction_read_only");
    server.sql("SELECT pg_reload_conf()");
    while server.sql("SHOW default_transaction_read_only") != "off" {
        assert!(began.elapsed() < PATIENCE, "the database still only reads");
        std::thread::sleep(Duration::from_millis(50));
    }
}
