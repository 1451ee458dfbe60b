//! The soak: `spread` for an hour with kicks, readers that stop and resume, and garbage. What it has seen is kept at every
//! sample, so that an interrupted run is not lost.

mod page;
mod verdict;

use crate::cores;
use crate::guests::Guests;
use crate::process::{Addresses, Metrics, Process, Usage};
use crate::run::start;
use crate::scenario::Scenario;
use anyhow::{Context, Result};
use pelago_bots::{Fleet, Interim, Plan};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, sleep_until};
use verdict::Verdict;

/// How often a sample is taken.
const SAMPLE_EVERY: Duration = Duration::from_secs(30);
/// Samples at least, however short the run.
const LEAST_SAMPLES: u32 = 18;
/// How long bots may take to arrive, beyond the time that their stream takes.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(120);
/// The mean of the times until a bot is kicked.
const KICK_MEAN: Duration = Duration::from_secs(300);
/// Abusive guests of each kind, and readers that stop and resume.
const OF_EACH: &str = "2";
const BLOCKED: &str = "100";

#[derive(clap::Args)]
pub(crate) struct SoakArguments {
    /// The server
    #[arg(long)]
    server: PathBuf,
    /// The folder bench of the repository
    #[arg(long, default_value = "bench")]
    folder: PathBuf,
    /// The page that gets a section about it
    #[arg(long, default_value = "docs/reliability.md")]
    page: PathBuf,
    /// Where the world is kept meanwhile
    #[arg(long, default_value = "target/bench")]
    scratch: PathBuf,
    /// How long it is watched
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// Bots
    #[arg(long, default_value_t = 10_000)]
    count: usize,
}

/// What was seen up to an instant.
#[derive(Clone, Debug, Serialize)]
struct Sample {
    /// Since everybody had arrived.
    seconds: f64,
    resident_bytes: u64,
    kernel_socket_bytes: u64,
    /// Of the server, since the sample before.
    cores: f64,
    writes_per_second: f64,
    blocked_writes: f64,
    bots: Interim,
}

/// The whole run, or what there is of it.
#[derive(Clone, Debug, Serialize)]
struct Soak {
    minutes: u64,
    count: usize,
    /// Resident, before anybody came.
    idle_bytes: u64,
    finished: bool,
    samples: Vec<Sample>,
    /// Limits that were met, by name.
    limits: Vec<(String, f64)>,
    verdict: Option<Verdict>,
}

/// Runs it.
pub(crate) fn soak(arguments: &SoakArguments) -> Result<()> {
    std::fs::create_dir_all(&arguments.scratch)
        .with_context(|| format!("{}", arguments.scratch.display()))?;
    cores::keep_to_the_players_core()?;
    pelago_net::raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let soak = runtime.block_on(run(arguments))?;
    page::write(&arguments.page, &soak)?;
    println!("{}", page::section(&soak)?);
    Ok(())
}

async fn run(arguments: &SoakArguments) -> Result<Soak> {
    let scenario = Scenario::read(&arguments.folder.join("scenarios/spread.toml"))?;
    let mut variant = scenario.variants().into_iter().next().context("spread has no variant")?;
    variant.bots.count = arguments.count;
    let (mut end, mut interrupted) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let process = start(
        &variant,
        &arguments.server,
        &arguments.scratch,
        &arguments.scratch.join("none"),
        None,
    )?;
    let addresses: Addresses =
        serde_json::from_str(&process.first_line).context("the server's first line")?;
    sleep(Duration::from_secs(1)).await;
    let mut soak = Soak {
        minutes: arguments.minutes,
        count: arguments.count,
        idle_bytes: process.usage()?.resident_bytes,
        finished: false,
        samples: Vec::new(),
        limits: Vec::new(),
        verdict: None,
    };
    let plan = variant.plan(addresses.tcp.clone(), None)?;
    let fleet = Fleet::start(Plan { kick_mean: Some(KICK_MEAN), forgetful: true, ..plan })?;
    println!("{} bots arrive", arguments.count);
    let watched = async {
        arrive(&fleet, arguments.count).await;
        let guests = ["--of-each", OF_EACH, "--blocked", BLOCKED, "--resume"];
        let guests = Guests::send(&addresses.tcp, &arguments.scratch, &guests)?;
        let result = watch(arguments, &fleet, &process, &addresses, &mut soak).await;
        println!("  visits: {:?}", guests.leave().await?);
        result
    };
    let finished = tokio::select! {
        watched = watched => watched.map(|()| true),
        _ = end.recv() => Ok(false),
        _ = interrupted.recv() => Ok(false),
    };
    if let Err(error) = &finished {
        // What was seen until then says why.
        eprintln!("the soak ended early: {error:#}");
    }
    soak.finished = finished.unwrap_or(false);
    soak.verdict = Verdict::of(&soak);
    keep(&arguments.folder, &soak)?;
    fleet.end().await?;
    if let Err(error) = process.stop().await {
        eprintln!("the server did not end in order: {error:#}");
    }
    Ok(soak)
}

async fn arrive(fleet: &Fleet, count: usize) {
    let began = Instant::now();
    let stream = Duration::from_secs(count as u64 / 400);
    // Some are kicked already while others arrive.
    while fleet.playing() < count * 99 / 100 {
        sleep(Duration::from_millis(200)).await;
        if began.elapsed() > ARRIVAL_TIMEOUT + stream {
            println!("only {} have arrived", fleet.playing());
            break;
        }
    }
}

/// Takes samples until the time is over.
async fn watch(
    arguments: &SoakArguments,
    fleet: &Fleet,
    process: &Process,
    addresses: &Addresses,
    soak: &mut Soak,
) -> Result<()> {
    let time = Duration::from_secs(arguments.minutes * 60);
    let every = SAMPLE_EVERY.min(time / LEAST_SAMPLES);
    let began = tokio::time::Instant::now();
    fleet.begin_measuring();
    fleet.interim();
    let mut before = (process.usage()?, Metrics::read(addresses.operators()).await?);
    let mut next = began + every;
    while next <= began + time {
        sleep_until(next).await;
        next += every;
        let now = (process.usage()?, Metrics::read(addresses.operators()).await?);
        let sample = sample(fleet.interim(), began.elapsed(), &before, &now);
        println!("{}", sample.line());
        soak.samples.push(sample);
        let limits = now.1.by_label("pelago_limits_total", "limit");
        soak.limits = limits.into_iter().filter(|(_, count)| *count > 0.0).collect();
        keep(&arguments.folder, soak)?;
        before = now;
    }
    Ok(())
}

fn sample(
    bots: Interim,
    elapsed: Duration,
    (usage_before, metrics_before): &(Usage, Metrics),
    (usage, metrics): &(Usage, Metrics),
) -> Sample {
    let seconds = (usage.at - usage_before.at).as_secs_f64();
    let of_clients = "with=\"client\"";
    let since = |name: &str| metrics.sum(name, of_clients) - metrics_before.sum(name, of_clients);
    Sample {
        seconds: elapsed.as_secs_f64(),
        resident_bytes: usage.resident_bytes,
        kernel_socket_bytes: usage.kernel_socket_bytes,
        cores: usage.cores_since(usage_before),
        writes_per_second: since("pelago_writes_total") / seconds,
        blocked_writes: since("pelago_blocked_writes_total"),
        bots,
    }
}

impl Sample {
    /// For the person who watches it run.
    fn line(&self) -> String {
        format!(
            "{:6.0} s: {} playing, {:.1} MiB, {:.2} cores, staleness p50 {} p99 {} ms, {:.0} writes/s, {:.0} blocked; {} vanished, {} taken over, {} cut off, {} refused",
            self.seconds,
            self.bots.playing,
            self.resident_bytes as f64 / 1_048_576.0,
            self.cores,
            self.bots.staleness_p50_ms,
            self.bots.staleness_p99_ms,
            self.writes_per_second,
            self.blocked_writes,
            self.bots.vanished,
            self.bots.taken_over,
            self.bots.cut_off,
            self.bots.refused
        )
    }
}

/// Keeps what there is.
fn keep(folder: &Path, soak: &Soak) -> Result<()> {
    let results = folder.join("results");
    std::fs::create_dir_all(&results).with_context(|| format!("{}", results.display()))?;
    let (path, part) = (results.join("soak.json"), results.join("soak.json.part"));
    let text = serde_json::to_string_pretty(soak)? + "\n";
    std::fs::write(&part, text).with_context(|| format!("{}", part.display()))?;
    std::fs::rename(&part, &path).with_context(|| format!("{}", path.display()))
}
