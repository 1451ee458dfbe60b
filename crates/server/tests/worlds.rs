//! Real processes: worlds are kept and moved while people play, through kills and damage.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

#[path = "../../store/tests/server/mod.rs"]
mod database;
mod process;

use database::Server;
use pelago_model::{CommitOutcome, Document, Key, Revision};
use pelago_store::{Embedded, Store, restore_now};
use process::player::PATIENCE;
use process::{PELAGO, World, write_secret};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Documents that make a world large enough to be interrupted, and bytes of each: two parts and a half.
const FILLERS: usize = 20_000;
const FILLER_BYTES: usize = 2000;

fn ctl(arguments: &[&str]) -> Command {
    let mut command = Command::new(PELAGO);
    command.arg("ctl").args(arguments).env_remove("PELAGO_ADMIN_TOKEN");
    command
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What a command prints, which must end well.
fn told(arguments: &[&str]) -> String {
    printed(ctl(arguments))
}

fn report(arguments: &[&str]) -> Value {
    serde_json::from_str(&told(arguments)).unwrap()
}

/// What a command prints whose store stands in the environment, because its address has a password.
fn told_of(store: &str, arguments: &[&str]) -> String {
    let mut command = ctl(arguments);
    command.env("PELAGO_STORE__ADDRESS", store);
    printed(command)
}

fn printed(mut command: Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap().trim().to_owned()
}

/// What a command says that must end badly.
fn refused(arguments: &[&str]) -> String {
    let Output { status, stderr, .. } = ctl(arguments).output().unwrap();
    assert!(!status.success(), "{arguments:?}");
    String::from_utf8(stderr).unwrap()
}

/// Starts a command, and kills it when `enough` says so.
fn kill_in_the_middle(arguments: &[&str], mut enough: impl FnMut(&str) -> bool) {
    let mut process = ctl(arguments)
        .args(["--progress"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    while !enough(&lines.next().expect("it ended before it was killed").unwrap()) {}
    process.kill().unwrap();
    assert!(!process.wait().unwrap().success());
}

fn manifest(directory: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(directory.join("manifest.json")).unwrap()).unwrap()
}

/// Lets a world begin, and fills its store.
fn large_world(data: &Path) {
    let world = World::start(data);
    world.signal("TERM");
    assert!(world.wait());
    let store = Embedded::open(&data.join("store")).unwrap();
    let documents: Vec<_> = (0..FILLERS)
        .map(|number| {
            let key = Key::parse(&format!("filler/{number:06}")).unwrap();
            let value = format!("\"{}\"", "x".repeat(FILLER_BYTES)).into();
            (key, Document { schema: 1, revision: Revision(number as u64 + 1), value: Some(value) })
        })
        .collect();
    for batch in documents.chunks(64) {
        assert_eq!(restore_now(&store, batch.to_vec()), CommitOutcome::Committed);
    }
    store.close();
}

#[test]
fn a_world_is_backed_up_while_bots_play_and_its_copies_are_worlds() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (journal, empty) = (path("journal"), path("empty"));
    std::fs::write(&empty, "").unwrap();
    let world = World::start(&path("data"));
    let mut bots = world.bots(100, 8, &journal);
    std::thread::sleep(Duration::from_secs(4));
    // Whatever is in it, it is of one instant: nothing was gathered that nobody has.
    let backup = |into: &str| {
        let whole = ["backup", "--server", &world.operators, "--data", text(&world.data), "--into"];
        report(&[&whole[..], &[text(&path(into))]].concat())
    };
    let busy = backup("busy");
    assert!(busy["documents"].as_u64().unwrap() > 100, "{busy}");
    bots.wait().unwrap();
    let hash = told(&["hash", "--server", &world.operators, "--data", text(&world.data)]);
    let quiet = backup("quiet");
    assert_eq!(quiet["hash"], hash.as_str());
    assert_eq!(told(&["hash", "--archive", text(&path("quiet"))]), hash);
    world.signal("TERM");
    assert!(world.wait());
    let store = format!("embedded:{}", text(&path("data/store")));
    assert_eq!(told(&["hash", "--store", &store]), hash);
    // Moved, and moved again.
    report(&["export", "--store", &store, "--into", text(&path("moving"))]);
    let there = format!("embedded:{}", text(&path("there")));
    let moved = report(&["import", "--from", text(&path("moving")), "--store", &there]);
    assert_eq!(moved["hash"], hash.as_str());
    assert_eq!(told(&["hash", "--store", &there]), hash);

    for (archive, journal) in [("quiet", &journal), ("busy", &empty)] {
        let data = path(&format!("{archive}-data"));
        let store = format!("embedded:{}", text(&data.join("store")));
        let restored = report(&["restore", "--from", text(&path(archive)), "--store", &store]);
        assert_eq!(restored["hash"], manifest(&path(archive))["hash"]);
        let world = World::start(&data);
        world.verify(journal);
        // It can be played on.
        let mut bots = world.bots(20, 2, &path(&format!("{archive}-journal")));
        bots.wait().unwrap();
        assert!(world.verify(&path(&format!("{archive}-journal"))) > 0);
    }
}

#[test]
fn a_played_world_moves_to_postgres_and_back_and_is_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let journal = path("journal");
    let database = Server::start();
    let postgres = database.address();
    let [first, last] = ["first", "last"].map(|name| {
        let data = path(name);
        let store = format!("embedded:{}", text(&data.join("store")));
        (data, store)
    });
    // Plays, lets the world come to rest, and says which it is then.
    let play = |world: World, seconds| {
        assert!(world.bots(60, seconds, &journal).wait().unwrap().success());
        let hash = told(&["hash", "--server", &world.operators, "--data", text(&world.data)]);
        (world, hash)
    };

    let (world, hash) = play(World::start(&first.0), 6);
    world.signal("TERM");
    assert!(world.wait());
    let moving = path("moving");
    let export = report(&["export", "--store", &first.1, "--into", text(&moving)]);
    assert_eq!(export["hash"], hash.as_str());
    let import = told_of(&postgres, &["import", "--from", text(&moving)]);
    let import: Value = serde_json::from_str(&import).unwrap();
    assert_eq!(import["hash"], hash.as_str());
    // The clock goes with the world, and is not counted as part of it.
    assert_eq!(import["written"].as_u64(), export["documents"].as_u64().map(|count| count + 1));
    assert_eq!(told_of(&postgres, &["hash"]), hash);

    // On the way there nobody's place was taken along; what everybody had and did was.
    let world = World::start_on(&path("elsewhere"), &postgres);
    assert_eq!(told(&["hash", "--server", &world.operators, "--data", text(&world.data)]), hash);
    let before = world.verify(&journal);
    assert!(before > 20, "{before} commands at all");
    let (world, hash_there) = play(world, 6);
    assert_ne!(hash_there, hash);
    let after = world.verify(&journal);
    assert!(after > before + 20, "{after} commands, {before} of them before");

    let back = path("back");
    let backup = report(&[
        "backup",
        "--server",
        &world.operators,
        "--data",
        text(&world.data),
        "--into",
        text(&back),
    ]);
    assert_eq!(backup["hash"], hash_there.as_str());
    world.signal("TERM");
    assert!(world.wait());
    assert_eq!(told_of(&postgres, &["hash"]), hash_there);
    let restore = report(&["restore", "--from", text(&back), "--store", &last.1]);
    assert_eq!(restore["hash"], hash_there.as_str());
    let world = World::start(&last.0);
    assert_eq!(
        told(&["hash", "--server", &world.operators, "--data", text(&world.data)]),
        hash_there
    );
    let (world, _) = play(world, 2);
    assert!(world.verify(&journal) > after);
}

#[test]
fn what_is_killed_in_the_middle_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let data = path("data");
    large_world(&data);
    let world = World::start(&data);
    let mut bots = world.bots(50, 10, &path("journal"));
    let archive = path("archive");
    let backup = [
        "backup",
        "--server",
        &world.operators,
        "--data",
        text(&world.data),
        "--into",
        text(&archive),
    ];
    let slowly = [&backup[..], &["--max-rate", "8"]].concat();
    for parts in 1..=2 {
        let mut seen = 0;
        kill_in_the_middle(&slowly, |_| {
            seen = manifest_parts(&archive);
            seen >= parts
        });
        assert_eq!(manifest(&archive)["complete"], false);
    }
    let error = refused(&["restore", "--from", text(&archive), "--store", "embedded:/nowhere"]);
    assert!(error.contains("is not whole"), "{error}");
    let output = ctl(&backup).arg("--progress").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("goes on after"), "{said}");
    bots.wait().unwrap();

    let quiet = path("archive-quiet");
    let made = report(&[
        "backup",
        "--server",
        &world.operators,
        "--data",
        text(&world.data),
        "--into",
        text(&quiet),
    ]);
    let hash = told(&["hash", "--server", &world.operators, "--data", text(&world.data)]);
    assert_eq!(made["hash"], hash.as_str());
    for archive in [&archive, &quiet] {
        let store_path = path(&format!("{}-store", text(archive)));
        let store = format!("embedded:{}", text(&store_path));
        let restore = ["restore", "--from", text(archive), "--store", &store];
        let slowly = [&restore[..], &["--max-rate", "8"]].concat();
        let mut lines = 0;
        kill_in_the_middle(&slowly, |_| {
            lines += 1;
            lines == 3
        });
        let restored = report(&restore);
        let (written, all) = (restored["written"].as_u64(), restored["documents"].as_u64());
        assert!(written > Some(0) && written < all, "{restored}");
        assert_eq!(restored["hash"], manifest(archive)["hash"]);
        assert_eq!(told(&["hash", "--store", &store]), manifest(archive)["hash"]);
    }
    assert_eq!(manifest(&quiet)["hash"], hash.as_str());
}

/// Parts that a manifest names, if there is one.
fn manifest_parts(directory: &Path) -> usize {
    let text = std::fs::read(directory.join("manifest.json")).unwrap_or_default();
    let manifest: Value = serde_json::from_slice(&text).unwrap_or_default();
    manifest["parts"].as_array().map_or(0, Vec::len)
}

#[test]
fn what_cannot_be_done_is_said_and_nothing_is_touched() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let token = path("token");
    write_secret(&token, "a token of operators");
    let world = World::start_with(&path("data"), &["--admin-token-file", text(&token)]);
    let store = format!("embedded:{}", text(&path("data/store")));
    let (archive, home) = (path("archive"), path("home"));
    let through = ["--server", &world.operators, "--token-file", text(&token)];
    report(&[&["backup", "--into", text(&archive)], &through[..]].concat());
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("letter"), "dear").unwrap();
    let nowhere = format!("embedded:{}", text(&path("nowhere")));
    for (arguments, expected) in [
        (vec!["hash"], "--store"),
        (vec!["hash", "--store", &store], "--server"),
        (vec!["hash", "--store", &nowhere], "there is no store"),
        (vec!["hash", "--store", "mysql://x"], "expected memory:"),
        (vec!["hash", "--server", "127.0.0.1:1"], "http://"),
        (vec!["hash", "--server", "http://127.0.0.1:1"], "127.0.0.1:1"),
        (vec!["hash", "--server", &world.operators], "401"),
        (vec!["hash", "--archive", text(&home)], "manifest.json"),
        (vec!["backup", "--into", text(&archive), "--store", "memory:"], "no world"),
        ([&["backup", "--into", text(&archive)], &through[..]].concat(), "holds a whole archive"),
        ([&["backup", "--into", text(&home)], &through[..]].concat(), "letter"),
        (vec!["restore", "--from", text(&home), "--store", &nowhere], "manifest.json"),
        (vec!["restore", "--from", text(&archive), "--store", "memory:"], "ends with this command"),
        (vec!["restore", "--from", text(&archive), "--store", &store], "in use"),
    ] {
        let error = refused(&arguments);
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
    assert!(!path("nowhere").exists());
    assert_eq!(std::fs::read_dir(&home).unwrap().count(), 1);

    let used = format!("embedded:{}", text(&path("used")));
    let other = World::start_with(&path("other"), &["--store", &used, "--seed", "8"]);
    other.signal("TERM");
    assert!(other.wait());
    let before = told(&["hash", "--store", &used]);
    let error = refused(&["restore", "--from", text(&archive), "--store", &used]);
    assert!(error.contains("not empty: clock is there"), "{error}");
    assert_eq!(told(&["hash", "--store", &used]), before);

    let part = archive.join("000001.part");
    let mut bytes = std::fs::read(&part).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&part, bytes).unwrap();
    let error = refused(&["restore", "--from", text(&archive), "--store", &nowhere]);
    assert!(error.contains("000001.part"), "{error}");
    let store = Embedded::open(&path("nowhere")).unwrap();
    let mut count = 0;
    store.scan("", &mut |_, _| count += 1).unwrap();
    assert_eq!(count, 0);
}

#[test]
fn the_api_of_the_store_says_what_is_wrong_with_a_question() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let (status, body) = world.get("/api/v1/store");
    let about: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &about["engine"]), (200, &"embedded".into()));
    assert_eq!(about["world"]["number"], 1);
    assert_eq!(about["capabilities"]["feed"], true);
    for (path, expected) in [
        ("/api/v1/store/documents?after=Ä", ""),
        ("/api/v1/store/documents?after=A", "after"),
        ("/api/v1/store/documents?after=a&after=b", "after"),
        ("/api/v1/store/documents?before=a", "before"),
        ("/api/v1/store/feed?after=1", "after"),
        ("/api/v1/store/feed?limit=0", "limit"),
        ("/api/v1/store/feed?limit=257", "limit"),
        ("/api/v1/store/hash?a", "a"),
        ("/api/v1/store/hash?reading=first", "reading"),
    ] {
        let (status, body) = world.get(path);
        assert_eq!(status, 400, "{path}");
        if !expected.is_empty() {
            let problem: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem["code"], "malformed");
            assert!(problem["sentence"].as_str().unwrap().starts_with(expected), "{problem}");
        }
    }
    let began = Instant::now();
    // A world that has just begun changes still.
    while world.get("/api/v1/store/hash").0 != 200 {
        assert!(began.elapsed() < PATIENCE);
    }
    let (status, body) = world.get("/api/v1/store/feed?limit=1");
    assert_eq!(status, 200);
    let page = pelago_store::archive::part::decode(&body).unwrap();
    assert_eq!((page.documents.len(), page.is_last), (1, false));
}
