//! Sudden death at every system call that changes files: the next start, reset or restore succeeds without hands, and
//! finds the world whole.
//!
//! `PELAGO_SWEEP=all` tries every call, which takes minutes; a day's test tries some, other ones every day.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]
#![allow(clippy::print_stdout, reason = "says what was tried")]

mod process;

use pelago_model::{CommitOutcome, Document, Key, Revision};
use pelago_store::{Embedded, Store, WorldHash, restore_now, world_hash};
use process::player::Player;
use process::strace::{End, Run, chosen, copy};
use process::{PELAGO, World};
use std::path::Path;
use std::process::{Command, Output};

/// Points that a day's test tries of each command.
const POINTS: usize = 12;
/// Documents of the world that is reset, backed up and restored.
const FILLERS: usize = 300;

/// The arguments of a server with a data directory.
fn dev<'a>(data: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let all = ["dev", "--http", "127.0.0.1:0", "--json", "--nodes", "1", "--data", text(data)];
    [&all[..], more].concat()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Starts the world of a directory, which must be ready and commit, and ends it suddenly.
async fn starts(data: &Path, more: &[&str]) {
    let world = World::start_with(data, &[&["--nodes", "1"], more].concat());
    drop(Player::arrive(&world.tcp[0], "Anna").await);
}

/// What the store of a directory holds: its fillers, and the hash of the world.
fn found(store: &Path) -> (usize, WorldHash) {
    let store = Embedded::open(store).unwrap();
    let mut fillers = 0;
    store
        .scan("filler/", &mut |_, document| fillers += usize::from(document.value.is_some()))
        .unwrap();
    (fillers, world_hash(&store).unwrap())
}

/// A world that somebody has played in, with documents of its own.
async fn played_world(data: &Path) {
    starts(data, &[]).await;
    let store = Embedded::open(&data.join("store")).unwrap();
    let documents: Vec<_> = (0..FILLERS)
        .map(|number| {
            let key = Key::parse(&format!("filler/{number:06}")).unwrap();
            let value = Some(format!("\"{}\"", "x".repeat(200)).into());
            (key, Document { schema: 1, revision: Revision(1), value })
        })
        .collect();
    for batch in documents.chunks(64) {
        assert_eq!(restore_now(&store, batch.to_vec()), CommitOutcome::Committed);
    }
    store.close();
}

fn ctl(arguments: &[&str]) -> Output {
    Command::new(PELAGO).arg("ctl").args(arguments).output().unwrap()
}

/// Tells of a sweep, and that it was one.
fn tell(what: &str, ends: &[End]) {
    let killed = ends.iter().filter(|end| **end == End::Killed).count();
    println!("{what}: killed at {killed} of {} calls", ends.len());
    assert!(killed * 2 > ends.len(), "{what}: strace has hardly killed anything");
}

#[tokio::test]
async fn a_first_start_that_is_killed_anywhere_is_followed_by_one_that_succeeds() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    for more in [&["--tls-self-made"][..], &[]] {
        let run = Run { arguments: dev(&data, more), directory: &data };
        let Some(points) = run.points() else { return };
        let mut ends = Vec::new();
        // With TLS it is only what it has more.
        for point in chosen(points, POINTS / (1 + more.len())) {
            std::fs::remove_dir_all(&data).unwrap();
            ends.push(run.killed_at(&point));
            println!("{point:?}: {:?}", ends.last());
            if more.is_empty() {
                starts(&data, &[]).await;
            } else {
                let world = World::start_with(&data, &[&["--nodes", "1"], more].concat());
                assert!(world.http.starts_with("https"));
            }
        }
        tell("first start", &ends);
        std::fs::remove_dir_all(&data).unwrap();
    }
}

#[tokio::test]
async fn a_later_start_that_is_killed_anywhere_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (template, data) = (directory.path().join("template"), directory.path().join("data"));
    played_world(&template).await;
    copy(&template, data.clone());
    let run = Run { arguments: dev(&data, &[]), directory: &data };
    let Some(points) = run.points() else { return };
    let mut ends = Vec::new();
    for point in chosen(points, POINTS / 2) {
        std::fs::remove_dir_all(&data).unwrap();
        copy(&template, data.clone());
        ends.push(run.killed_at(&point));
        println!("{point:?}: {:?}", ends.last());
        starts(&data, &[]).await;
        assert_eq!(found(&data.join("store")).0, FILLERS);
    }
    tell("later start", &ends);
}

#[tokio::test]
async fn a_reset_that_is_killed_anywhere_leaves_the_old_world_or_none() {
    let directory = tempfile::tempdir().unwrap();
    let (template, data) = (directory.path().join("template"), directory.path().join("data"));
    played_world(&template).await;
    copy(&template, data.clone());
    let run = Run { arguments: dev(&data, &["--reset"]), directory: &data };
    let Some(points) = run.points() else { return };
    let mut ends = Vec::new();
    for (number, point) in chosen(points, POINTS).into_iter().enumerate() {
        std::fs::remove_dir_all(&data).unwrap();
        copy(&template, data.clone());
        ends.push(run.killed_at(&point));
        // Started, or reset again.
        let again = if number % 2 == 0 { &[][..] } else { &["--reset"] };
        println!("{point:?}: {:?}, then {again:?}", ends.last());
        starts(&data, again).await;
        let (fillers, _) = found(&data.join("store"));
        let is_old = fillers == FILLERS && again.is_empty();
        assert!(fillers == 0 || is_old, "{fillers} documents of the old world");
    }
    tell("reset", &ends);
}

#[tokio::test]
async fn a_restore_that_is_killed_anywhere_is_finished_by_another_one() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (template, archive, data) = (at("template"), at("archive"), at("data"));
    played_world(&template).await;
    let from = format!("embedded:{}", text(&template.join("store")));
    assert!(ctl(&["backup", "--store", &from, "--into", text(&archive)]).status.success());
    let expected = found(&template.join("store"));

    let store = data.join("store");
    let to = format!("embedded:{}", text(&store));
    let restore = ["restore", "--from", text(&archive), "--store", &to];
    let run = Run { arguments: [&["ctl"], &restore[..]].concat(), directory: &data };
    let Some(points) = run.points() else { return };
    let mut ends = Vec::new();
    for (number, point) in chosen(points, POINTS).into_iter().enumerate() {
        std::fs::remove_dir_all(&data).unwrap();
        ends.push(run.killed_at(&point));
        println!("{point:?}: {:?}", ends.last());
        let again = ctl(&restore);
        assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
        assert_eq!(found(&store), expected);
        if number % 8 == 0 {
            starts(&data, &[]).await;
        }
    }
    tell("restore", &ends);
}

#[tokio::test]
async fn a_backup_that_is_killed_anywhere_is_finished_by_another_one() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (template, source, archive) = (at("template"), at("source"), at("archive"));
    played_world(&template).await;
    let expected = found(&template.join("store"));
    copy(&template, source.clone());
    let from = format!("embedded:{}", text(&source.join("store")));
    let backup = ["backup", "--store", &from, "--into", text(&archive)];
    let run = Run { arguments: [&["ctl"], &backup[..]].concat(), directory: &archive };
    let Some(points) = run.points() else { return };
    let mut ends = Vec::new();
    for point in chosen(points, POINTS / 2) {
        std::fs::remove_dir_all(&archive).unwrap();
        // Opening it is a part of the run, too: each finds the same.
        std::fs::remove_dir_all(&source).unwrap();
        copy(&template, source.clone());
        ends.push(run.killed_at(&point));
        println!("{point:?}: {:?}", ends.last());
        let again = ctl(&backup);
        let said = String::from_utf8_lossy(&again.stderr);
        // It may have been whole when it was killed.
        assert!(again.status.success() || said.contains("holds a whole archive"), "{said}");
        let hash = ctl(&["hash", "--archive", text(&archive)]);
        assert_eq!(String::from_utf8_lossy(&hash.stdout).trim(), expected.1.to_string());
    }
    tell("backup", &ends);
}
