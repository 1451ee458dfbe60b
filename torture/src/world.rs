//! The world under torture: one process, started as an operator would.

use crate::processes::{run, signal};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde::Deserialize;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a start may take.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an end may take that was asked for.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the operators' listener may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Of the world.
pub(crate) const NODES: u16 = 3;
/// Steps the clock of a process, by what a file says.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// How a world is started, again and again.
pub(crate) struct Start {
    pub(crate) pelago: PathBuf,
    /// `--data`.
    pub(crate) data: PathBuf,
    /// Its store, if that is not in `data`.
    pub(crate) store: Option<String>,
    /// The first of the ports for players: the same after every start.
    pub(crate) port: u16,
    /// What it writes into.
    pub(crate) log: PathBuf,
    /// Says by how much its clock is wrong.
    pub(crate) clock: PathBuf,
}

/// A world that runs. It is killed when it is dropped.
pub(crate) struct World {
    process: Child,
    operators: SocketAddr,
}

/// What a world says of itself when it is ready.
#[derive(Deserialize)]
struct Announcement {
    operators: String,
}

impl Start {
    /// Ports for the nodes that are free at present, one after the other.
    pub(crate) fn free_ports() -> Result<u16> {
        for _ in 0..100 {
            let first = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
            if first < u16::MAX - NODES && (first..first + NODES).all(is_free) {
                return Ok(first);
            }
        }
        bail!("there are no free ports");
    }

    /// Where players find the nodes.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        (self.port..self.port + NODES).map(|port| ([127, 0, 0, 1], port).into())
    }

    /// Says by how much the clock of the world is wrong from now on.
    pub(crate) fn set_clock(&self, seconds: i64) -> Result<()> {
        // At once, so that the process never reads half of it.
        let new = self.clock.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}"))?;
        std::fs::rename(new, &self.clock).context("the clock")
    }

    /// Starts it and waits until it is ready.
    pub(crate) fn start(&self) -> Result<World> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.pelago);
        command.args(["dev", "--json", "--island-size", "8", "--http", "127.0.0.1:0"]);
        command.args(["--operators", "127.0.0.1:0", "--nodes", &NODES.to_string()]);
        command.args(["--listen", &format!("127.0.0.1:{}", self.port)]);
        command.arg("--data").arg(&self.data).env_remove("PELAGO_ADMIN_TOKEN");
        if let Some(store) = &self.store {
            command.env("PELAGO_STORE__ADDRESS", store);
        }
        command.env("LD_PRELOAD", FAKETIME).env("FAKETIME_TIMESTAMP_FILE", &self.clock);
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let mut process = command.stdout(Stdio::piped()).stderr(log).spawn()?;
        let output = process.stdout.take().context("no output")?;
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            if BufReader::new(output).read_line(&mut line).is_ok() {
                drop(tell.send(line));
            }
        });
        let line = told.recv_timeout(START_TIMEOUT).unwrap_or_default();
        let announcement: Result<Announcement, _> = serde_json::from_str(&line);
        let Ok(Announcement { operators }) = announcement else {
            drop(process.kill());
            let status = process.wait()?;
            bail!("the world did not start: {status}, {line:?}; see {}", self.log.display());
        };
        let address = operators.rsplit('/').next().unwrap_or_default();
        let operators = address.parse().with_context(|| operators.clone())?;
        Ok(World { process, operators })
    }

    /// Copies all documents, while the world runs or not, into a new folder.
    pub(crate) fn back_up(&self, into: &Path, world: Option<&World>) -> Result<()> {
        let mut command = Command::new(&self.pelago);
        command.args(["ctl", "backup", "--into"]).arg(into).env_remove("PELAGO_ADMIN_TOKEN");
        match (world, &self.store) {
            (Some(world), _) => {
                command.args(["--server", &format!("http://{}", world.operators)]);
                command.arg("--token-file").arg(self.data.join("admin-token"));
            }
            (None, Some(store)) => {
                command.args(["--store", store]);
            }
            (None, None) => {
                let store = self.data.join("store");
                command.arg("--store").arg(format!("embedded:{}", store.display()));
            }
        }
        run(&mut command)?;
        Ok(())
    }
}

impl World {
    pub(crate) fn signal(&self, what: Signal) -> Result<()> {
        signal(&self.process, what)
    }

    /// Whether it has ended by itself, and how.
    pub(crate) fn has_ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.process.try_wait()?)
    }

    /// Kills it.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Asks it to end, which it must do well and in time.
    pub(crate) fn terminate(mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let began = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait()? {
                ensure!(status.success(), "it was asked to end and ended with {status}");
                return Ok(());
            }
            ensure!(began.elapsed() < STOP_TIMEOUT, "it was asked to end and did not");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether its operators' listener answers a path with success.
    pub(crate) fn answers(&self, path: &str) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&self.operators, ANSWER_TIMEOUT)?;
            stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
            let host = self.operators;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
