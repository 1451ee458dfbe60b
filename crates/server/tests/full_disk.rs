//! A full disk: what would last is refused, what moves moves on, nothing that was acknowledged is lost, and with room
//! the world goes on as if nothing had been.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

mod process;

use pelago_client::ConnectError;
use process::World;
use process::disk::Disk;
use process::player::{PATIENCE, Player, goes_to};
use std::path::Path;
use std::time::{Duration, Instant};

/// Of the disk: the store reserves 64 MiB for its journal.
const MEGABYTES: u32 = 160;

#[tokio::test]
async fn a_full_disk_in_memory_refuses_what_would_last_until_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    if let Some(disk) = Disk::in_memory(directory.path(), MEGABYTES) {
        refuses_until_there_is_room(directory.path(), &disk).await;
    }
}

#[tokio::test]
async fn a_full_disk_with_ext4_refuses_what_would_last_until_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("disk");
    if let Some(disk) = Disk::ext4(&place, MEGABYTES) {
        refuses_until_there_is_room(&place, &disk).await;
    }
}

async fn refuses_until_there_is_room(place: &Path, disk: &Disk) {
    let elsewhere = tempfile::tempdir().unwrap();
    let (data, journal) = (place.join("data"), elsewhere.path().join("journal"));
    let world = World::start(&data);
    let mut anna = Player::arrive(&world.tcp[0], "Anna").await;
    let mut bert = Player::arrive(&world.tcp[1], "Bert").await;
    for round in 0..2 {
        let mut bots = world.bots(50, 8, &journal);
        tokio::time::sleep(Duration::from_secs(3)).await;
        let filler = disk.fill();
        // A new avatar is a document: it is refused with a public code, not with silence.
        let began = Instant::now();
        let refused = loop {
            assert!(began.elapsed() < PATIENCE, "the disk never got full");
            let name = format!("guest-{round}-{}", began.elapsed().as_millis());
            match Player::try_arrive(&world.tcp[2], &name).await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(error) => break error,
            }
        };
        assert!(
            matches!(&refused, ConnectError::Refused { code, .. } if code == "unavailable"),
            "{refused}"
        );
        // Those who are there walk on, and are seen.
        for _ in 0..3 {
            let there = anna.walk().await;
            bert.until("Bert sees Anna walk", |bert| goes_to(bert, &anna.session, there)).await;
        }
        // Health says so, with the reason, and that a restart would not help.
        let unready = world.until_ready_says(503);
        assert_eq!(unready["reasons"][0]["code"], "store", "{unready}");
        assert_eq!(world.get("/healthz").0, 200);
        bots.wait().unwrap();
        std::fs::remove_file(filler).unwrap();
        // With room it goes on, without a restart.
        drop(Player::arrive(&world.tcp[2], &format!("newcomer-{round}")).await);
        world.until_ready_says(200);
        world.verify(&journal);
    }
    // Also those who never left.
    let before = world.verify(&journal);
    assert!(world.bots(20, 5, &journal).wait().unwrap().success());
    assert!(world.verify(&journal) > before);

    world.signal("TERM");
    assert!(world.wait());
    let world = World::start(&data);
    let acknowledged = world.verify(&journal);
    assert!(acknowledged > 5, "only {acknowledged} commands were acknowledged at all");
    drop(Player::arrive(&world.tcp[0], "Anna").await);
}
