//! Power that is cut, and a disk that stands still, on a real file system of the test's own. Skipped, and said so, where
//! mounting or `EXT4_IOC_SHUTDOWN` is not permitted.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

mod process;

use process::disk::Disk;
use process::player::{Player, goes_to};
use process::{PELAGO, World};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Of the disk.
const MEGABYTES: u32 = 300;
/// How long something is seen not to happen.
const A_WHILE: Duration = Duration::from_secs(3);
const TLS: [&str; 1] = ["--tls-self-made"];
/// How long after the first sign of a world, or after it is ready, the power is cut.
const CUTS_AFTER: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(30), Duration::from_millis(300), Duration::from_secs(2)];

#[tokio::test]
async fn power_that_is_cut_while_a_world_begins_leaves_a_whole_one_or_none() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("disk");
    let Some(disk) = Disk::ext4(&place, MEGABYTES) else { return };
    let data = place.join("data");
    for (round, after) in CUTS_AFTER.into_iter().enumerate() {
        // A world that has hardly begun, or one that has said that it is there.
        let says_so = round >= CUTS_AFTER.len() / 2;
        let (begun, ready) = match says_so {
            true => (None, Some(World::start_with(&data, &TLS))),
            false => (Some(begin(&data)), None),
        };
        while !data.join("tls").exists() {
            sleep(Duration::from_millis(1)).await;
        }
        sleep(after).await;
        if !disk.cut_power() {
            return;
        }
        if let Some(mut begun) = begun {
            begun.kill().unwrap();
            begun.wait().unwrap();
        }
        let announced = ready.and_then(|mut world| world.fingerprint.take());
        disk.restore_power();
        let world = World::start_with(&data, &TLS);
        assert!(world.fingerprint.is_some());
        if says_so {
            assert_eq!(world.fingerprint, announced, "cut {after:?} after it was ready");
        }
        drop(world);
        std::fs::remove_dir_all(&data).unwrap();
    }
}

/// A world that is not waited for.
fn begin(data: &Path) -> Child {
    let mut pelago = Command::new(PELAGO);
    pelago.args(["dev", "--http", "127.0.0.1:0", "--json", "--data"]).arg(data).args(TLS);
    pelago.env("PELAGO_LOG", "off").stdout(Stdio::null()).spawn().unwrap()
}

#[tokio::test]
async fn power_that_is_cut_under_bots_takes_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let (place, journal) = (directory.path().join("disk"), directory.path().join("journal"));
    let Some(disk) = Disk::ext4(&place, MEGABYTES) else { return };
    let data = place.join("data");
    for round in 0..3 {
        let world = World::start(&data);
        if round > 0 {
            world.verify(&journal);
        }
        let mut bots = world.bots(100, 5, &journal);
        sleep(Duration::from_millis(2500 + 400 * round)).await;
        let is_cut = disk.cut_power();
        if is_cut {
            // Nothing can be written any more: the process ends by itself, and says so.
            assert!(!world.wait(), "it ended as if nothing had happened");
        }
        bots.wait().unwrap();
        if !is_cut {
            return;
        }
        disk.restore_power();
    }
    let acknowledged = World::start(&data).verify(&journal);
    assert!(acknowledged > 20, "only {acknowledged} commands were acknowledged at all");
}

#[tokio::test]
async fn a_disk_that_stands_still_acknowledges_nothing_until_it_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("disk");
    let Some(disk) = Disk::ext4(&place, MEGABYTES) else { return };
    let world = World::start(&place.join("data"));
    let mut anna = Player::arrive(&world.tcp[0], "Anna").await;
    let mut bert = Player::arrive(&world.tcp[1], "Bert").await;
    let frozen = disk.freeze();
    // A newcomer is a document. It may be refused meanwhile, and it must not be let in.
    let newcomer = timeout(A_WHILE, Player::try_arrive(&world.tcp[2], "Clara")).await;
    assert!(!matches!(newcomer, Ok(Ok(_))), "let in by a disk that writes nothing");
    // Those who are there walk on, and are seen.
    for _ in 0..3 {
        let there = anna.walk().await;
        bert.until("Bert sees Anna walk", |bert| goes_to(bert, &anna.session, there)).await;
    }
    drop(frozen);
    drop(Player::arrive(&world.tcp[2], "Clara").await);
    world.signal("TERM");
    assert!(world.wait());
}
