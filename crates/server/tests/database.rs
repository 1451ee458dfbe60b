//! Worlds on a database that says nothing, and two processes that want the same world.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

mod process;
#[path = "process/proxy.rs"]
#[allow(dead_code, reason = "used in part")]
mod proxy;
#[path = "../../store/tests/server/mod.rs"]
mod server;

use process::player::Player;
use process::{PELAGO, World};
use proxy::{NetworkConditions, Proxy};
use server::Server;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Everything that is bounded happens within this time, also on a slow machine.
const AT_LAST: Duration = Duration::from_secs(90);

/// What a process says that wants a world and does not get it.
fn refused(data: &Path, store: &str) -> Output {
    Command::new(PELAGO)
        .args(["dev", "--http", "127.0.0.1:0", "--json", "--data"])
        .arg(data)
        .env("PELAGO_STORE__ADDRESS", store)
        .env("PELAGO_LOG", "info")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// A new player, as soon as one is let in.
async fn arrives(world: &World, name: &str) -> Player {
    let began = Instant::now();
    for number in 0.. {
        match Player::try_arrive(&world.tcp[0], &format!("{name}-{number}")).await {
            Ok(player) => return player,
            Err(error) => assert!(began.elapsed() < AT_LAST, "{error}"),
        }
        sleep(Duration::from_millis(200)).await;
    }
    unreachable!()
}

/// Waits for the end of a world that nobody has asked to end, and tells whether it was a clean one.
fn ends(world: &mut World) -> bool {
    let began = Instant::now();
    loop {
        if let Some(status) = world.process.try_wait().unwrap() {
            return status.success();
        }
        assert!(began.elapsed() < AT_LAST, "it does not end");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test]
async fn of_two_processes_with_one_database_the_first_runs_the_world() {
    let (server, data) = (Server::start(), tempfile::tempdir().unwrap());
    let first = World::start_on(data.path(), &server.address());
    let holder = format!("process {}", first.process.id());
    let (other, address) = (tempfile::tempdir().unwrap(), server.address());
    let said = tokio::task::spawn_blocking(move || refused(other.path(), &address)).await.unwrap();
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(!said.status.success());
    assert!(
        text.contains("this world is run by another process") && text.contains(&holder),
        "{text}"
    );
    assert!(text.contains("another process holds the lease"), "it says so while it waits: {text}");
    drop(arrives(&first, "Anna").await);
    // One that has ended need not be waited for.
    first.signal("TERM");
    assert!(first.wait());
    let next = World::start_on(data.path(), &server.address());
    drop(arrives(&next, "Bert").await);
}

#[tokio::test]
async fn a_process_that_stood_still_too_long_is_replaced_and_stores_nothing_any_more() {
    let (server, data) = (Server::start(), tempfile::tempdir().unwrap());
    let mut first = World::start_on(data.path(), &server.address());
    let anna = arrives(&first, "Anna").await;
    // Of Anna, who is alone.
    let place = server.sql("SELECT key FROM pelago_documents WHERE key LIKE 'place/%'");
    let place = format!("SELECT revision FROM pelago_documents WHERE key = '{place}'");
    first.signal("STOP");
    let (other, address) = (tempfile::tempdir().unwrap(), server.address());
    let path = other.path().to_owned();
    let start = move || World::start_on(&path, &address);
    let second = tokio::task::spawn_blocking(start).await.unwrap();
    drop(arrives(&second, "Bert").await);
    let fence = "SELECT revision FROM pelago_documents WHERE key = 'lease/fence'";
    assert_eq!(server.sql(fence), "2");
    let before = server.sql(&place);
    first.signal("CONT");
    let clean = ends(&mut first);
    assert!(!clean, "it says why it ends");
    drop(anna);
    // What it would have kept of Anna at its end is not there.
    assert_eq!(server.sql(&place), before);
    drop(arrives(&second, "Carl").await);
}

#[tokio::test]
async fn a_world_goes_on_at_the_next_host_when_its_database_falls_silent() {
    let (server, data) = (Server::start(), tempfile::tempdir().unwrap());
    let first = Proxy::toward(server.socket()).await;
    let other = Proxy::toward(server.socket()).await;
    let at = server.address();
    let hosts = format!("{},{}", first.address, other.address);
    let address = at.replace(&server.socket().to_string(), &hosts);
    // From the start: the first takes connections and says nothing.
    first.set(NetworkConditions { half_open: true, ..NetworkConditions::default() });
    let start = {
        let (data, address) = (data.path().to_owned(), address.clone());
        move || World::start_on(&data, &address)
    };
    let world = tokio::task::spawn_blocking(start).await.unwrap();
    drop(arrives(&world, "Anna").await);
    // While people play: the one that is used falls silent, the other one speaks again.
    first.set(NetworkConditions::default());
    other.set(NetworkConditions { half_open: true, ..NetworkConditions::default() });
    drop(arrives(&world, "Bert").await);
}

#[tokio::test]
async fn a_world_ends_though_its_database_says_nothing() {
    let (server, data) = (Server::start(), tempfile::tempdir().unwrap());
    let host = Proxy::toward(server.socket()).await;
    let address = server.address().replace(&server.socket().to_string(), &host.address.to_string());
    let start = {
        let data = data.path().to_owned();
        move || World::start_on(&data, &address)
    };
    let mut world = tokio::task::spawn_blocking(start).await.unwrap();
    let anna = arrives(&world, "Anna").await;
    host.set(NetworkConditions { half_open: true, ..NetworkConditions::default() });
    world.signal("TERM");
    let world = tokio::task::spawn_blocking(move || {
        ends(&mut world);
        world
    });
    drop(world.await.unwrap());
    drop(anna);
}
