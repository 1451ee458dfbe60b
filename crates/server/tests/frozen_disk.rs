//! A disk that is silent: health says so, and the process ends all the same when it is told to.
//!
//! The silence is the C library's: a small library that is loaded before it lets `fdatasync` wait while a file is there.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

mod process;

use process::World;
use process::player::PATIENCE;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

const LIBRARY: &str = r#"
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int fdatasync(int file) {
    const char *flag = getenv("FROZEN_DISK");
    while (flag && access(flag, F_OK) == 0) usleep(10000);
    return syscall(SYS_fdatasync, file);
}
"#;

/// A world on a disk that freezes when a file is there.
fn start(directory: &Path, flag: &Path) -> World {
    let at = |name: &str| directory.join(name);
    std::fs::write(at("frozen_disk.c"), LIBRARY).unwrap();
    let library = at("frozen_disk.so");
    // Rust links with it.
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(at("frozen_disk.c"));
    assert!(compiler.status().unwrap().success());
    World::start_in(&at("data"), &[("LD_PRELOAD", &*library), ("FROZEN_DISK", flag)])
}

fn end_of(world: &mut World, patience: Duration) -> ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = world.process.try_wait().unwrap() {
            return status;
        }
        assert!(began.elapsed() < patience, "it did not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_frozen_disk_is_told_with_its_reason_and_so_is_its_return() {
    let directory = tempfile::tempdir().unwrap();
    let flag = directory.path().join("frozen");
    let world = start(directory.path(), &flag);
    assert_eq!(world.until_ready_says(200)["reasons"], serde_json::json!([]));
    std::fs::write(&flag, "").unwrap();
    let unready = world.until_ready_says(503);
    assert_eq!(unready["ready"], false, "{unready}");
    let reason = &unready["reasons"][0];
    assert_eq!(reason["code"], "store", "{unready}");
    assert!(reason["sentence"].as_str().unwrap().contains("commit"), "{unready}");
    // A restart would not help.
    assert_eq!(world.get("/healthz").0, 200);
    std::fs::remove_file(&flag).unwrap();
    world.until_ready_says(200);
    world.signal("TERM");
    assert!(world.wait(), "the world did not end cleanly");
}

#[test]
fn a_world_that_is_told_to_end_does_so_although_its_disk_is_silent() {
    let directory = tempfile::tempdir().unwrap();
    let flag = directory.path().join("frozen");
    let mut world = start(directory.path(), &flag);
    std::fs::write(&flag, "").unwrap();
    // Something waits for the disk.
    world.until_ready_says(503);
    world.signal("TERM");
    assert!(!end_of(&mut world, PATIENCE).success(), "the store was not closed");
}

#[test]
fn a_second_interrupt_ends_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let flag = directory.path().join("frozen");
    let mut world = start(directory.path(), &flag);
    std::fs::write(&flag, "").unwrap();
    world.until_ready_says(503);
    world.signal("INT");
    // The first one has been taken when the listener of players is gone.
    let address = world.http.split_once("://").unwrap().1.to_owned();
    let began = Instant::now();
    while std::net::TcpStream::connect(&address).is_ok() {
        assert!(began.elapsed() < PATIENCE, "it does not begin to end");
        std::thread::sleep(Duration::from_millis(5));
    }
    world.signal("INT");
    let status = end_of(&mut world, PATIENCE);
    assert_eq!(status.code(), Some(130));
}
