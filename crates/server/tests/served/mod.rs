//! A world of one node in memory, and what strangers and operators get of it over HTTP.
#![allow(dead_code, reason = "no test needs all of it")]

use pelago_client::{ConnectError, Identity, Session, Transport};
use pelago_model::Secret;
use pelago_wire::client::Arrival;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub(crate) const PELAGO: &str = env!("CARGO_BIN_EXE_pelago");
pub(crate) const ADMIN: &str = "an admin token of a test";
pub(crate) const PLAYER: &str = "tokens-of-players-stay-with-them";

/// Writes a file that only its owner may read.
pub(crate) fn write_secret(path: &Path, text: &str) {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

pub(crate) struct World {
    process: Child,
    pub(crate) ready: serde_json::Value,
}

impl World {
    pub(crate) fn start(data: &Path, options: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", data, options)
    }

    pub(crate) fn start_at(http: &str, data: &Path, options: &[&str]) -> Self {
        let log = std::fs::File::create(data.join("log")).unwrap();
        let mut process = Command::new(PELAGO)
            .args(["dev", "--http", http, "--nodes", "1", "--store", "memory:", "--json"])
            .arg("--data")
            .arg(data)
            .args(options)
            .env("PELAGO_LOG", "trace")
            .env_remove("PELAGO_ADMIN_TOKEN")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { process, ready: serde_json::from_str(&line).unwrap() }
    }

    pub(crate) fn http(&self) -> &str {
        self.ready["http"].as_str().unwrap().split_once("://").unwrap().1
    }

    pub(crate) fn tcp(&self) -> &str {
        self.ready["tcp"][0].as_str().unwrap()
    }

    /// The status and the rest of an answer to a player who asks for a path with these headers.
    pub(crate) fn get(&self, path: &str, headers: &str) -> (u16, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n"))
    }

    /// The same of an operator.
    pub(crate) fn get_operators(&self, path: &str, headers: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
        ask(self.operators(), &request)
    }

    pub(crate) fn operators(&self) -> &str {
        self.ready["operators"].as_str().unwrap().split_once("://").unwrap().1
    }

    pub(crate) fn ask(&self, request: &str) -> (u16, String) {
        ask(self.http(), request)
    }

    pub(crate) fn stop(mut self) {
        let number = self.process.id().to_string();
        assert!(Command::new("kill").args(["-INT", &number]).status().unwrap().success());
        assert!(self.process.wait().unwrap().success());
    }
}

pub(crate) fn ask(address: &str, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A server that does not read to the end may reset the connection after its answer.
    drop(stream.read_to_end(&mut answer));
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or(0), answer)
}

impl Drop for World {
    fn drop(&mut self) {
        // It has ended already unless a test failed.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

pub(crate) fn identity(name: &str, token: &'static str) -> Identity {
    Identity { name: name.into(), token: Secret::new(token.as_bytes()), arrival: Arrival::Home }
}

pub(crate) async fn log_in(
    world: &World,
    transport: &Transport,
    token: &'static str,
) -> Result<Session, ConnectError> {
    Session::open(world.tcp(), transport, None, &identity("Anna", token)).await
}
