//! A full disk: what would last is refused, what moves moves on, and nothing that was acknowledged is lost.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]
#![allow(clippy::print_stdout, reason = "says why it was skipped")]

mod process;

use pelago_client::ConnectError;
use process::World;
use process::player::{PATIENCE, Player, goes_to};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Of the disk: the store reserves 64 MiB for its journal.
const DISK: &str = "size=160m";

/// A small disk in memory, as long as it is held.
struct Disk(PathBuf);

impl Disk {
    /// `None` where mounting is not permitted.
    fn mount(directory: &Path) -> Option<Self> {
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", DISK, "pelago-full-disk"])
            .arg(directory)
            .output();
        match mount {
            Ok(output) if output.status.success() => Some(Self(directory.to_owned())),
            Ok(output) => {
                println!("skipped: {}", String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(error) => {
                println!("skipped: mount: {error}");
                None
            }
        }
    }

    /// Writes until there is no room for another byte; returns what to delete.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).unwrap();
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").args(["--lazy"]).arg(&self.0).status());
    }
}

#[tokio::test]
async fn a_full_disk_refuses_what_would_last_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(directory.path()) else { return };
    let elsewhere = tempfile::tempdir().unwrap();
    let (data, journal) = (directory.path().join("data"), elsewhere.path().join("journal"));
    let world = World::start(&data);
    let mut anna = Player::arrive(&world.tcp[0], "Anna").await;
    let mut bert = Player::arrive(&world.tcp[1], "Bert").await;
    let mut bots = world.bots(50, 8, &journal);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let filler = disk.fill();

    // A new avatar is a document: it is refused with a public code, not with silence.
    let began = Instant::now();
    let refused = loop {
        assert!(began.elapsed() < PATIENCE, "the disk never got full");
        let name = format!("guest-{}", began.elapsed().as_millis());
        match Player::try_arrive(&world.tcp[2], &name).await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(&refused, ConnectError::Refused { code, .. } if code == "unavailable"),
        "{refused}"
    );
    // Health says so, with the reason, and that a restart would not help.
    let unready = world.until_ready_says(503);
    assert_eq!(unready["reasons"][0]["code"], "store", "{unready}");
    assert_eq!(world.get("/healthz").0, 200);
    // Those who are there walk on, and are seen.
    for _ in 0..3 {
        let there = anna.walk().await;
        bert.until("Bert sees Anna walk", |bert| goes_to(bert, &anna.session, there)).await;
    }
    bots.wait().unwrap();

    world.signal("TERM");
    world.wait();
    std::fs::remove_file(filler).unwrap();
    let world = World::start(&data);
    let acknowledged = world.verify(&journal);
    assert!(acknowledged > 5, "only {acknowledged} commands were acknowledged at all");
    drop(Player::arrive(&world.tcp[0], "Anna").await);
}
