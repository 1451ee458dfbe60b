//! Abusive guests and blocked readers, in a process of their own: what they take of the CPU is not the bots'.

use crate::cores;
use crate::process::{Process, Usage};
use anyhow::{Context, Result};
use pelago_bots::abuse::{Abuse, Answer, Blocked, VisitError, visit};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

/// Addresses of the machine that guests connect from.
const SOURCES: usize = 16;
/// How long a guest stays away between two visits.
const PAUSE: Duration = Duration::from_secs(5);
/// All guests come within this time at first.
const ARRIVAL: Duration = Duration::from_secs(10);
/// For how long a blocked reader that resumes does not read, at least, and by how much more some of them do.
const BLOCKED: Duration = Duration::from_secs(10);
const BLOCKED_STEP: Duration = Duration::from_secs(5);
/// For how long it reads then.
const RESUMED: Duration = Duration::from_secs(10);
/// Lower than the bots: what is left of their core.
const NICE: &str = "19";

#[derive(clap::Args)]
pub(crate) struct GuestsArguments {
    /// Nodes
    #[arg(long, value_delimiter = ',')]
    connect: Vec<String>,
    /// Abusive guests of each kind
    #[arg(long, default_value_t = 0)]
    of_each: usize,
    /// An HTTP server, HOST:PORT
    #[arg(long)]
    http: Option<String>,
    /// Connections to it that ask for nothing
    #[arg(long, default_value_t = 0, requires = "http")]
    idle_http: usize,
    /// Readers that read nothing
    #[arg(long, default_value_t = 0)]
    blocked: usize,
    /// Whether they read again after a while, and stop again
    #[arg(long)]
    resume: bool,
}

/// What guests were answered.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Visits {
    /// Visits by kind: those answered as they should be.
    pub(crate) right: BTreeMap<String, u64>,
    /// Those that were not, by kind and answer.
    pub(crate) wrong: BTreeMap<String, u64>,
    /// Those whose move was `late`: the guests' own process had no time for them.
    #[serde(default)]
    pub(crate) late: u64,
    /// Those that found nothing to do.
    pub(crate) placeless: u64,
    /// Blocked readers: those that stopped reading, read again, and were closed or not let in.
    pub(crate) stopped: u64,
    pub(crate) resumed: u64,
    pub(crate) lost: u64,
}

type Shared = Arc<Mutex<Visits>>;

fn note(visits: &Shared, change: impl FnOnce(&mut Visits)) {
    change(&mut visits.lock().unwrap_or_else(PoisonError::into_inner));
}

/// Guests in a process of their own; they leave when it is told to end.
pub(crate) struct Guests {
    process: Process,
    results: std::path::PathBuf,
}

impl Guests {
    /// Sends guests to nodes.
    pub(crate) fn send(
        addresses: &[String],
        scratch: &std::path::Path,
        arguments: &[&str],
    ) -> Result<Self> {
        let results = scratch.join("visits.json");
        let mut command = Command::new("nice");
        command.args(["-n", NICE]).arg(std::env::current_exe()?);
        command.args(["guests", "--connect", &addresses.join(",")]).args(arguments);
        command.env(RESULTS, &results);
        Ok(Self { process: Process::start(command)?, results })
    }

    /// What they use of the machine: those who starve are not abusive.
    pub(crate) fn usage(&self) -> Result<Usage> {
        self.process.usage()
    }

    /// Lets them leave, and gives what they were answered.
    pub(crate) async fn leave(self) -> Result<Visits> {
        self.process.stop().await?;
        let text = std::fs::read_to_string(&self.results)
            .with_context(|| format!("{}", self.results.display()))?;
        Ok(serde_json::from_str(&text)?)
    }
}

/// The variable that names the file of results.
const RESULTS: &str = "PELAGO_BENCH_RESULTS";

/// The process of the guests.
pub(crate) fn run(arguments: &GuestsArguments) -> Result<()> {
    let results = std::env::var_os(RESULTS).context("guests are sent by another command")?;
    cores::keep_to_the_players_core()?;
    pelago_net::raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let visits = Shared::default();
    runtime.block_on(async {
        let mut end = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        let kinds = Abuse::ALL.iter().copied();
        let total = Abuse::ALL.len() * arguments.of_each;
        let guests = kinds.flat_map(|kind| (0..arguments.of_each).map(move |place| (kind, place)));
        for (number, (kind, place)) in guests.enumerate() {
            let address = arguments.connect[number % arguments.connect.len()].clone();
            let wait = ARRIVAL.mul_f64(number as f64 / total as f64);
            tokio::spawn(visit_again(visits.clone(), kind, address, number, (place, wait)));
        }
        for number in 0..arguments.blocked {
            let address = arguments.connect[number % arguments.connect.len()].clone();
            let wait = ARRIVAL.mul_f64(number as f64 / arguments.blocked as f64);
            let resume = arguments.resume;
            tokio::spawn(read_nothing(visits.clone(), address, number, (resume, wait)));
        }
        for _ in 0..arguments.idle_http {
            tokio::spawn(ask_nothing(arguments.http.clone().unwrap_or_default()));
        }
        println!("coming");
        tokio::select! {
            _ = end.recv() => {}
            _ = interrupted.recv() => {}
        }
        anyhow::Ok(())
    })?;
    let visits = visits.lock().unwrap_or_else(PoisonError::into_inner);
    std::fs::write(results, serde_json::to_string(&*visits)?)?;
    Ok(())
}

fn source(number: usize) -> Option<IpAddr> {
    Some(IpAddr::V4(Ipv4Addr::new(127, 0, 3, (number % SOURCES) as u8 + 1)))
}

/// One guest that comes again and again, always the same avatar.
async fn visit_again(
    visits: Shared,
    kind: Abuse,
    address: String,
    number: usize,
    (place, wait): (usize, Duration),
) {
    sleep(wait).await;
    let name = format!("rude-{kind:?}-{place}");
    loop {
        let answer = visit(kind, &address, source(number), &name).await;
        note(&visits, |visits| match answer {
            Ok(answer) if answer == kind.answer() => {
                *visits.right.entry(format!("{kind:?}")).or_default() += 1;
            }
            Ok(Answer::Declined(code)) if code == "late" => visits.late += 1,
            Ok(answer) => *visits.wrong.entry(format!("{kind:?}: {answer:?}")).or_default() += 1,
            // All that is within its reach is gathered.
            Err(VisitError::NoPlace) => visits.placeless += 1,
            Err(error) => *visits.wrong.entry(format!("{kind:?}: {error}")).or_default() += 1,
        });
        sleep(PAUSE).await;
    }
}

/// One HTTP connection of an address that has many, which asks for nothing and comes again when it is closed.
async fn ask_nothing(address: String) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(&address).await {
            drop(stream.read(&mut [0]).await);
        }
        sleep(PAUSE).await;
    }
}

/// One reader that reads nothing, for ever or from time to time.
async fn read_nothing(
    visits: Shared,
    address: String,
    number: usize,
    (resume, wait): (bool, Duration),
) {
    sleep(wait).await;
    let name = format!("blocked-{number}");
    loop {
        let Ok(mut blocked) = Blocked::arrive(&address, source(number), &name).await else {
            note(&visits, |visits| visits.lost += 1);
            sleep(PAUSE).await;
            continue;
        };
        note(&visits, |visits| visits.stopped += 1);
        if !resume {
            std::future::pending::<()>().await;
        }
        sleep(BLOCKED + BLOCKED_STEP * (number % 8) as u32).await;
        let is_there = blocked.resume(RESUMED).await;
        note(&visits, |visits| {
            visits.resumed += u64::from(is_there);
            visits.lost += u64::from(!is_there);
        });
    }
}
