//! A disk that fails: the process ends, because nobody knows what is on it, and nothing that was acknowledged is lost.
//!
//! The failure is the C library's: a small library that is loaded before it lets `fdatasync` fail while a file is there.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

mod process;

use process::World;
use process::player::Player;
use std::process::Command;
use std::time::Duration;

const LIBRARY: &str = r#"
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int fdatasync(int file) {
    const char *flag = getenv("BAD_DISK");
    if (flag && access(flag, F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_fdatasync, file);
}
"#;

#[tokio::test]
async fn a_disk_that_fails_ends_the_process_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("bad_disk.c"), LIBRARY).unwrap();
    let library = at("bad_disk.so");
    // Rust links with it.
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(at("bad_disk.c"));
    assert!(compiler.status().unwrap().success());

    let (data, flag, journal) = (at("data"), at("the disk is bad"), at("journal"));
    let environment = [("LD_PRELOAD", &*library), ("BAD_DISK", &*flag)];
    let world = World::start_in(&data, &environment);
    drop(Player::arrive(&world.tcp[0], "Anna").await);
    let mut bots = world.bots(50, 8, &journal);
    tokio::time::sleep(Duration::from_secs(3)).await;
    std::fs::write(&flag, "").unwrap();
    assert!(!world.wait(), "it ended as if nothing had happened");
    bots.wait().unwrap();

    let world = World::start(&data);
    let acknowledged = world.verify(&journal);
    assert!(acknowledged > 5, "only {acknowledged} commands were acknowledged at all");
    drop(Player::arrive(&world.tcp[0], "Anna").await);
}
