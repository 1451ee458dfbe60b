//! A process under load: started, sampled, stopped.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Jiffies of `/proc` in a second: fixed on Linux.
const JIFFIES_PER_SECOND: f64 = 100.0;
/// What servers under load are told to ask operators for, in the variable of this name.
pub(crate) const ADMIN_TOKEN: &str = "a token of benchmarks";
pub(crate) const ADMIN_TOKEN_VARIABLE: &str = "PELAGO_ADMIN_TOKEN";
/// How long a process may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// What a process has used up to an instant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) at: Instant,
    pub(crate) user_seconds: f64,
    pub(crate) system_seconds: f64,
    pub(crate) resident_bytes: u64,
    /// Of all sockets of the machine, both ends.
    pub(crate) kernel_socket_bytes: u64,
}

impl Usage {
    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.user_seconds + self.system_seconds
    }

    /// Cores that were used between an earlier instant and this one.
    pub(crate) fn cores_since(&self, before: &Self) -> f64 {
        (self.cpu_seconds() - before.cpu_seconds()) / (self.at - before.at).as_secs_f64()
    }
}

/// A child process. Killed when dropped.
pub(crate) struct Process {
    child: Child,
    /// The first line that it printed.
    pub(crate) first_line: String,
}

impl Process {
    /// Starts a process that prints one line when it is ready.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        command.stdout(Stdio::piped()).stdin(Stdio::null());
        let mut child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let output = child.stdout.take().context("no output")?;
        let mut first_line = String::new();
        BufReader::new(output).read_line(&mut first_line)?;
        if first_line.is_empty() {
            bail!("{command:?} ended: {}", child.wait()?);
        }
        Ok(Self { child, first_line })
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).context("signalling")
    }

    /// Ends it in order.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.signal(rustix::process::Signal::TERM)?;
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("the process did not end within {} s", STOP_TIMEOUT.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// What it has used up to now.
    pub(crate) fn usage(&self) -> Result<Usage> {
        let folder = format!("/proc/{}", self.child.id());
        let stat = std::fs::read_to_string(format!("{folder}/stat")).context("it has ended")?;
        // The name, in brackets, may hold anything; utime and stime are the 14th and 15th fields.
        let after = stat.rsplit_once(')').context("unknown format of stat")?.1;
        let fields: Vec<&str> = after.split_whitespace().collect();
        let seconds = |index: usize| -> Result<f64> {
            Ok(fields[index].parse::<f64>()? / JIFFIES_PER_SECOND)
        };
        let statm = std::fs::read_to_string(format!("{folder}/statm"))?;
        let pages: u64 = statm.split_whitespace().nth(1).context("unknown format")?.parse()?;
        let page = rustix::param::page_size() as u64;
        Ok(Usage {
            at: Instant::now(),
            user_seconds: seconds(11)?,
            system_seconds: seconds(12)?,
            resident_bytes: pages * page,
            kernel_socket_bytes: kernel_socket_pages()? * page,
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already unless something went wrong.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn kernel_socket_pages() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/net/sockstat")?;
    let line = text.lines().find(|line| line.starts_with("TCP:")).context("no TCP in sockstat")?;
    let mut words = line.split_whitespace().skip_while(|word| *word != "mem");
    Ok(words.nth(1).context("no mem in sockstat")?.parse()?)
}

/// Where a server listens, as it prints it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) http: String,
    /// Older builds serve operators where players are.
    operators: Option<String>,
    pub(crate) tcp: Vec<String>,
    pub(crate) ws: Vec<String>,
    /// Of its certificate, if it speaks TLS.
    pub(crate) fingerprint: Option<String>,
}

impl Addresses {
    /// Where operators ask.
    pub(crate) fn operators(&self) -> &str {
        self.operators.as_ref().unwrap_or(&self.http)
    }
}

/// Posts JSON to a server.
///
/// # Errors
/// If it does not answer that all is well.
pub(crate) async fn post(http: &str, path: &str, json: &str) -> Result<()> {
    let length = json.len();
    let rest = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{json}");
    let answer = ask(http, &format!("POST {path}"), &rest).await?;
    if !answer.starts_with("HTTP/1.1 200 ") {
        bail!("{path} was answered: {answer}");
    }
    Ok(())
}

/// Asks a server, and reads all it has to say. Headers of its own, and a body, are in `rest`.
async fn ask(http: &str, what: &str, rest: &str) -> Result<String> {
    let host = http.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).await?;
    let end = if rest.is_empty() { "\r\n" } else { rest };
    let request = format!(
        "{what} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\nConnection: close\r\n{end}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

/// Counters and gauges of `/metrics`, by name with its labels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    values: BTreeMap<String, f64>,
}

impl Metrics {
    /// Reads them from a server.
    pub(crate) async fn read(http: &str) -> Result<Self> {
        let text = ask(http, "GET /metrics", "").await?;
        let parse = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Ok(Self { values: lines.filter_map(parse).collect() })
    }

    /// The sum over all with this name and this part of the labels.
    pub(crate) fn sum(&self, name: &str, label: &str) -> f64 {
        let matches = |key: &str| key.split('{').next() == Some(name) && key.contains(label);
        self.values.iter().filter(|(key, _)| matches(key)).map(|(_, value)| value).sum()
    }

    /// The sums over all with this name, by one of their labels.
    pub(crate) fn by_label(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for (key, value) in &self.values {
            let (Some((found, labels)), start) = (key.split_once('{'), format!("{label}=\""))
            else {
                continue;
            };
            let Some((_, after)) = labels.split_once(&start).filter(|_| found == name) else {
                continue;
            };
            let text = after.split('"').next().unwrap_or_default();
            *sums.entry(text.to_owned()).or_default() += value;
        }
        sums
    }

    /// The values of all with this name.
    pub(crate) fn all(&self, name: &str) -> Vec<f64> {
        let matches = |key: &str| key.split('{').next() == Some(name);
        self.values.iter().filter(|(key, _)| matches(key)).map(|(_, value)| *value).collect()
    }
}
