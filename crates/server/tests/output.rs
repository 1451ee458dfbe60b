//! Output that nobody reads, or that finds no room: the world runs on.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

use pelago_client::{Identity, Session, Transport};
use pelago_model::Secret;
use pelago_wire::client::Arrival;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

const PELAGO: &str = env!("CARGO_BIN_EXE_pelago");
const PATIENCE: Duration = Duration::from_secs(30);

/// A world of which one output goes somewhere else. Whoever drops it kills it.
struct World {
    process: Child,
    tcp: String,
    operators: String,
}

impl World {
    /// Starts one with these ports, since it may have nobody to name them to.
    fn start(data: &Path, stdout: Stdio, stderr: Stdio) -> (Self, Option<ChildStderr>) {
        let [tcp, operators] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let mut process = Command::new(PELAGO)
            .args(["dev", "--nodes", "1", "--store", "memory:", "--json", "--http", "127.0.0.1:0"])
            .args(["--listen", &tcp, "--operators", &operators, "--data"])
            .arg(data)
            // Every connection makes lines.
            .env("PELAGO_LOG", "trace")
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap();
        let stderr = process.stderr.take();
        (Self { process, tcp, operators }, stderr)
    }

    fn until_ready(&mut self) {
        let began = Instant::now();
        while !self.is_ready() {
            assert_eq!(self.process.try_wait().unwrap(), None, "it has ended");
            assert!(began.elapsed() < PATIENCE, "it does not get ready");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn is_ready(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(&self.operators) else { return false };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let mut answer = String::new();
        let asked = stream.write_all(request.as_bytes());
        asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok()
            && answer.starts_with("HTTP/1.1 200 ")
    }

    /// Players come and go, each of whom makes lines.
    async fn plays(&mut self, times: usize) {
        for number in 0..times {
            let name = format!("player-{number}");
            let token = Secret::new(&b"a token of a player's"[..]);
            let identity = Identity { name, token, arrival: Arrival::Home };
            let session = Session::open(&self.tcp, &Transport::Tcp, None, &identity);
            let session =
                tokio::time::timeout(PATIENCE, session).await.expect("no answer").unwrap();
            session.bye().await;
        }
        self.until_ready();
    }

    fn ends_well(mut self) {
        let number = self.process.id().to_string();
        assert!(Command::new("kill").args(["-INT", &number]).status().unwrap().success());
        let began = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                return;
            }
            assert!(began.elapsed() < PATIENCE, "it did not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // It has ended already unless a test failed.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A disk without room.
fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

#[tokio::test]
async fn a_reader_of_the_log_that_has_gone_ends_nothing() {
    let data = tempfile::tempdir().unwrap();
    let (mut world, log) = World::start(data.path(), Stdio::null(), Stdio::piped());
    world.until_ready();
    drop(log);
    world.plays(10).await;
    world.ends_well();
}

#[tokio::test]
async fn a_reader_of_the_log_that_does_not_read_stops_nothing() {
    let data = tempfile::tempdir().unwrap();
    let (mut world, log) = World::start(data.path(), Stdio::null(), Stdio::piped());
    world.until_ready();
    // More than a pipe holds.
    world.plays(100).await;
    let mut line = String::new();
    let mut log = BufReader::new(log.unwrap());
    assert!(log.read_line(&mut line).unwrap() > 0, "it was there all the time");
    world.ends_well();
}

#[tokio::test]
async fn a_full_disk_of_the_log_and_of_the_announcement_ends_nothing() {
    let data = tempfile::tempdir().unwrap();
    let (mut world, _) = World::start(data.path(), full().into(), full().into());
    world.until_ready();
    world.plays(10).await;
    world.ends_well();
}

#[test]
fn a_command_says_that_its_result_could_not_be_written_and_forgives_a_reader_that_has_gone() {
    let command = || {
        let mut command = Command::new(PELAGO);
        command.args(["ctl", "hash", "--archive"]);
        command
    };
    let directory = tempfile::tempdir().unwrap();
    let (store, archive) = (directory.path().join("store"), directory.path().join("archive"));
    let store = format!("embedded:{}", store.display());
    // A world is made, and copied.
    let mut process = Command::new(PELAGO)
        .args([
            "dev",
            "--nodes",
            "1",
            "--http",
            "127.0.0.1:0",
            "--json",
            "--store",
            &store,
            "--data",
        ])
        .arg(directory.path().join("data"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let number = process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &number]).status().unwrap().success());
    assert!(process.wait().unwrap().success());
    let mut backup = Command::new(PELAGO);
    backup.args(["ctl", "backup", "--progress", "--store", &store, "--into"]).arg(&archive);
    let backup = backup.stdout(Stdio::null()).stderr(full()).status().unwrap();
    assert!(backup.success(), "progress that cannot be shown stops nothing");

    let output = command().arg(&archive).stdout(full()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("standard output"), "{error}");
    let mut gone = command().arg(&archive).stdout(Stdio::piped()).spawn().unwrap();
    drop(gone.stdout.take());
    assert!(gone.wait().unwrap().success());
}
