//! Real processes: how a test starts a world, signals it, and plays in it.
#![allow(dead_code, reason = "no test needs all of it")]
#![allow(clippy::print_stdout, reason = "says why something was skipped")]

pub(crate) mod disk;
pub(crate) mod player;
pub(crate) mod strace;

use player::PATIENCE;

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) const PELAGO: &str = env!("CARGO_BIN_EXE_pelago");

/// Writes a file that only its owner may read.
pub(crate) fn write_secret(path: &Path, text: &str) {
    let mut file = OpenOptions::new();
    let mut file = file.write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// A world in a process of its own. Whoever drops it kills it.
pub(crate) struct World {
    pub(crate) process: Child,
    pub(crate) tcp: Vec<String>,
    /// Where players are served over HTTP.
    pub(crate) http: String,
    /// Where operators are.
    pub(crate) operators: String,
    /// What operators send.
    pub(crate) token: String,
    /// Its `--data`.
    pub(crate) data: PathBuf,
    /// Of its certificate, if it has one.
    pub(crate) fingerprint: Option<String>,
}

impl World {
    /// Starts a world and waits until it says where it is.
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_by(Command::new(PELAGO), data)
    }

    /// The same with more arguments.
    pub(crate) fn start_with(data: &Path, arguments: &[&str]) -> Self {
        let mut pelago = Command::new(PELAGO);
        pelago.arg("dev").args(arguments);
        Self::start_command(pelago, data)
    }

    /// The same with no more open files than `limit`.
    pub(crate) fn start_with_files(data: &Path, limit: u32) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {limit} && exec \"$0\" \"$@\""), PELAGO]);
        Self::start_by(shell, data)
    }

    /// The same with more in its environment.
    pub(crate) fn start_in(data: &Path, environment: &[(&str, &Path)]) -> Self {
        let mut pelago = Command::new(PELAGO);
        pelago.envs(environment.iter().copied());
        Self::start_by(pelago, data)
    }

    /// The same on a store that is elsewhere.
    pub(crate) fn start_on(data: &Path, store: &str) -> Self {
        let mut pelago = Command::new(PELAGO);
        pelago.env("PELAGO_STORE__ADDRESS", store);
        Self::start_by(pelago, data)
    }

    fn start_by(mut pelago: Command, data: &Path) -> Self {
        pelago.arg("dev");
        Self::start_command(pelago, data)
    }

    fn start_command(mut pelago: Command, data: &Path) -> Self {
        let mut process = pelago
            .args(["--http", "127.0.0.1:0", "--json", "--data"])
            .arg(data)
            .env("PELAGO_LOG", "error")
            .env_remove("PELAGO_ADMIN_TOKEN")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let tcp = ready["tcp"].as_array().unwrap();
        let tcp = tcp.iter().map(|address| address.as_str().unwrap().to_owned()).collect();
        let [http, operators] =
            ["http", "operators"].map(|name| ready[name].as_str().unwrap().to_owned());
        // A world that was told another token has none of its own.
        let token = std::fs::read_to_string(data.join("admin-token")).unwrap_or_default();
        let token = token.trim().to_owned();
        let fingerprint = ready["fingerprint"].as_str().map(str::to_owned);
        Self { process, tcp, http, operators, token, data: data.to_owned(), fingerprint }
    }

    /// The `host:port` at which operators ask.
    pub(crate) fn operators_host(&self) -> &str {
        self.operators.split_once("://").unwrap().1
    }

    /// The status and the body of an answer to operators.
    pub(crate) fn get(&self, path: &str) -> (u16, Vec<u8>) {
        let (address, token) = (self.operators_host(), &self.token);
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let head = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
        (status, answer.split_off(head + 4))
    }

    /// Waits until `/readyz` answers with this status, and returns the last answer.
    pub(crate) fn until_ready_says(&self, status: u16) -> serde_json::Value {
        let began = Instant::now();
        loop {
            let (found, body) = self.get("/readyz");
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            if found == status {
                return body;
            }
            assert!(began.elapsed() < PATIENCE, "{found}: {body}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let number = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &number]).status().unwrap().success());
    }

    /// Waits for its end; says whether it was a clean one.
    pub(crate) fn wait(mut self) -> bool {
        let began = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.success();
            }
            assert!(began.elapsed() < PATIENCE, "the world did not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Bots that play for so many seconds and note what was acknowledged.
    pub(crate) fn bots(&self, count: usize, seconds: u64, journal: &Path) -> Child {
        Command::new(PELAGO)
            .args(["bots", "--behavior", "mixed", "--connect", &self.tcp.join(",")])
            .args(["--count", &count.to_string(), "--seconds", &seconds.to_string(), "--journal"])
            .arg(journal)
            .env("PELAGO_LOG", "error")
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Compares a journal with the books; returns how many commands were acknowledged.
    pub(crate) fn verify(&self, journal: &Path) -> u64 {
        let output = Command::new(PELAGO)
            .args(["bots", "--server", &self.operators, "--verify"])
            .arg(journal)
            .arg("--data")
            .arg(&self.data)
            .env_remove("PELAGO_ADMIN_TOKEN")
            .output()
            .unwrap();
        let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(verdict["objections"], serde_json::json!([]), "{verdict:#}");
        assert!(output.status.success());
        verdict["acknowledged"].as_u64().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
