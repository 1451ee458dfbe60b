//! The directory of a world: deleted only when everything else is right, missed when it is gone, its owner's alone.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

mod process;

use pelago_store::{Embedded, WorldHash, world_hash};
use process::player::{PATIENCE, Player};
use process::{PELAGO, World};
use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A world in which Anna has been.
async fn played_world(data: &Path) -> WorldHash {
    let world = World::start(data);
    drop(Player::arrive(&world.tcp[0], "Anna").await);
    world.signal("TERM");
    assert!(world.wait());
    hash(data)
}

fn hash(data: &Path) -> WorldHash {
    world_hash(&Embedded::open(&data.join("store")).unwrap()).unwrap()
}

/// What `pelago dev --reset` says, which must refuse.
fn refused_reset(data: &Path, arguments: &[&str]) -> String {
    let mut reset = Command::new(PELAGO);
    reset.args(["dev", "--reset", "--json", "--data"]).arg(data).args(arguments);
    let output = reset.env_remove("PELAGO_ADMIN_TOKEN").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}: {said}");
    said
}

#[tokio::test]
async fn a_reset_deletes_nothing_while_anything_else_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let data = directory.path().join("data");
    let before = played_world(&data).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    fs::write(at("sink.toml"), "[sink]\nhttp = \"nowhere\"\n").unwrap();
    fs::write(at("short"), "short").unwrap();
    let free = "127.0.0.1:0";
    for (arguments, expected) in [
        (vec!["--http", &taken], "--http"),
        (vec!["--http", free, "--listen", &taken], "--listen"),
        (vec!["--http", free, "--admin-token-file", &at("nowhere")], "nowhere"),
        (vec!["--http", free, "--admin-token-file", &at("short")], "short"),
        (vec!["--http", free, "--tls-cert", &at("none"), "--tls-key", &at("none")], "--tls-cert"),
        (vec!["--http", free, "--config", &at("none")], "none"),
        (vec!["--http", free, "--config", &at("sink.toml")], "sink"),
        (vec!["--http", free, "--island-size", "9999"], "--island-size"),
    ] {
        let said = refused_reset(&data, &arguments);
        assert!(said.contains(expected), "{arguments:?}: {said}");
        assert_eq!(hash(&data), before, "{arguments:?}");
    }
    // A world in use is the running server's, which goes on.
    let world = World::start(&data);
    let said = refused_reset(&data, &["--http", free]);
    assert!(said.contains("in use"), "{said}");
    drop(Player::arrive(&world.tcp[0], "Bert").await);
    world.signal("TERM");
    assert!(world.wait());
    assert_ne!(hash(&data), before);

    // With everything right it is another world.
    let world = World::start_with(&data, &["--reset"]);
    drop(Player::arrive(&world.tcp[0], "Anna").await);
    drop(world);
    let left: Vec<_> = fs::read_dir(data.join("store")).unwrap().collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[tokio::test]
async fn a_world_whose_directory_is_gone_ends_and_says_so() {
    type Lose = fn(&Path);
    let ways: [Lose; 3] = [
        |data| fs::remove_dir_all(data).unwrap(),
        |data| fs::remove_dir_all(data.join("store")).unwrap(),
        |data| fs::rename(data, data.with_extension("moved")).unwrap(),
    ];
    for lose in ways {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let log = directory.path().join("log");
        let mut pelago = Command::new(PELAGO);
        pelago.args(["dev", "--http", "127.0.0.1:0", "--json", "--data"]).arg(&data);
        pelago.stderr(fs::File::create(&log).unwrap()).stdout(Stdio::piped());
        let mut process = pelago.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("tcp"), "{line}");
        lose(&data);
        let began = Instant::now();
        let status = loop {
            if let Some(status) = process.try_wait().unwrap() {
                break status;
            }
            if began.elapsed() > PATIENCE {
                process.kill().unwrap();
                panic!("nobody has noticed");
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let said = fs::read_to_string(&log).unwrap();
        assert!(!status.success() && said.contains("not in its place any more"), "{said}");
    }
}

/// Everything below a directory that others may do something with.
fn open_to_others(directory: &Path) -> Vec<(PathBuf, u32)> {
    let mut found = Vec::new();
    let mode = fs::symlink_metadata(directory).unwrap().permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        found.push((directory.to_owned(), mode));
    }
    if directory.is_dir() {
        for entry in fs::read_dir(directory).unwrap() {
            found.extend(open_to_others(&entry.unwrap().path()));
        }
    }
    found
}

fn open_everything(directory: &Path) {
    let mode = if directory.is_dir() { 0o777 } else { 0o666 };
    fs::set_permissions(directory, Permissions::from_mode(mode)).unwrap();
    if directory.is_dir() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            // One that others could read is no token any more.
            if path.file_name().is_some_and(|name| name != "admin-token") {
                open_everything(&path);
            }
        }
    }
}

#[test]
fn nothing_that_is_written_is_for_anybody_else() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("deeper/data");
    let (journal, report) = (directory.path().join("journal"), directory.path().join("report"));
    // A new world, and one of which everything was open to everybody.
    for round in 0..2 {
        let world = World::start_with(&data, &["--tls-self-made", "--plain-http"]);
        let fingerprint = world.fingerprint.clone().unwrap();
        let mut bots = Command::new(PELAGO);
        bots.args(["bots", "--transport", "tls", "--fingerprint", &fingerprint]);
        bots.args(["--connect", &world.tcp[0], "--count", "2", "--seconds", "1", "--journal"]);
        bots.arg(&journal).arg("--report").arg(&report);
        assert!(bots.status().unwrap().success());
        // With what it stands in, which the server has made.
        let made = if round == 0 { data.parent().unwrap() } else { &data };
        assert_eq!(open_to_others(made), [], "round {round}");
        assert_eq!(open_to_others(&journal), []);
        assert_eq!(open_to_others(&report), []);
        drop(world);
        open_everything(&data);
        fs::create_dir_all(data.join("flight")).unwrap();
        fs::write(data.join("flight/old.pelago-flight"), "").unwrap();
        open_everything(&data.join("flight"));
    }
}
