//! One run: a server on its core, bots on theirs, numbers, and the baseline afterwards.

use crate::cores::Jiffies;
use crate::database::Database;
use crate::measurement::{Baseline, Beside, Cost, Measurement, Memory, Stewards, Store};
use crate::process::{ADMIN_TOKEN, ADMIN_TOKEN_VARIABLE, Addresses, Metrics, Process, Usage, post};
use crate::scenario::{Engine, Over, Variant};
use crate::{baseline, beside, cores};
use anyhow::{Context, Result};
use pelago_bots::Fleet;
use rustix::process::Signal;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How long bots may take to arrive, beyond the time that their stream takes.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a recording may take to be written.
const RECORDING_TIMEOUT: Duration = Duration::from_secs(60);

/// The setting in which variants are run.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    /// The server's binary.
    pub(crate) server: &'a Path,
    /// Where worlds and recordings are kept meanwhile.
    pub(crate) scratch: &'a Path,
    /// The share of the server's core that another program takes.
    pub(crate) beside: Option<f64>,
}

/// Runs a variant.
pub(crate) async fn run(variant: &Variant, setting: &Setting<'_>) -> Result<Measurement> {
    let Setting { server, scratch, beside } = *setting;
    let recording = scratch.join("recording");
    let database = match variant.world.store {
        Engine::Embedded => None,
        Engine::Postgres => Some(Database::start(scratch)?),
    };
    let process = start(variant, server, scratch, &recording, database.as_ref())?;
    let addresses: Addresses =
        serde_json::from_str(&process.first_line).context("the server's first line")?;
    sleep(Duration::from_secs(1)).await;
    let idle = process.usage()?;

    let nodes = match variant.bots.over {
        Over::Tcp | Over::Tls => addresses.tcp.clone(),
        Over::Websocket | Over::Wss => addresses.ws.clone(),
    };
    let fleet = Fleet::start(variant.plan(nodes, addresses.fingerprint.as_deref())?)?;
    let began = Instant::now();
    while fleet.playing() < variant.bots.count {
        sleep(Duration::from_millis(100)).await;
        let stream = Duration::from_secs(variant.bots.count as u64 / 400);
        if began.elapsed() > ARRIVAL_TIMEOUT + stream {
            tracing::warn!(playing = fleet.playing(), "not all bots have arrived");
            break;
        }
    }
    let arrived_seconds = began.elapsed().as_secs_f64();
    if let Some(wood) = variant.bots.wood {
        grant(addresses.operators(), &fleet, wood).await?;
    }
    // It stays until the bare program has run, too. Those who arrive do so undisturbed.
    let program_beside = beside.map(beside::start).transpose()?;
    sleep(Duration::from_secs(variant.time.settle_seconds)).await;

    let playing = fleet.playing();
    let core_before = Jiffies::read()?;
    let beside_before = program_beside.as_ref().map(Process::usage).transpose()?;
    let (before, metrics_before) = (process.usage()?, Metrics::read(addresses.operators()).await?);
    fleet.begin_measuring();
    sleep(Duration::from_secs(variant.time.measure_seconds)).await;
    let (after, metrics) = (process.usage()?, Metrics::read(addresses.operators()).await?);
    let idle_share = Jiffies::read()?.idle_since(&core_before);
    let beside_after = program_beside.as_ref().map(Process::usage).transpose()?;
    fleet.stop_measuring();

    let recorded = record(variant, &process, &recording).await?;
    let report = fleet.end().await?;
    process.stop().await?;

    let since =
        |name: &str, label: &str| metrics.sum(name, label) - metrics_before.sum(name, label);
    let seconds = (after.at - before.at).as_secs_f64();
    let ticks = seconds * 10.0 * f64::from(variant.world.nodes) * f64::from(variant.world.lanes);
    let busy = |metrics: &Metrics| metrics.all("pelago_lane_busy_milliseconds_total");
    let busy_ms = busy(&metrics).into_iter().zip(busy(&metrics_before)).map(|(a, b)| a - b);
    let baseline = match recorded {
        Some((game_before, game_after)) => {
            let replayed = baseline::replay(&recording).await?;
            Some(Baseline {
                game_cpu: game_after.cores_since(&game_before),
                bare_cpu: replayed.cpu,
                late_p99_ms: replayed.late_p99_ms,
            })
        }
        None => None,
    };
    drop(program_beside);
    Ok(Measurement {
        variant: variant.clone(),
        beside: beside.map(|share| Beside {
            share,
            took: beside_after
                .zip(beside_before)
                .map_or(0.0, |(after, before)| after.cores_since(&before)),
        }),
        playing,
        arrived_seconds,
        cost: Cost {
            seconds,
            user_seconds: after.user_seconds - before.user_seconds,
            system_seconds: after.system_seconds - before.system_seconds,
            writes: since("pelago_writes_total", "with=\"client\""),
            written_bytes: since("pelago_bytes_total", "with=\"client\",dir=\"out\""),
            peer_bytes: since("pelago_bytes_total", "with=\"peer\",dir=\"out\""),
            blocked: since("pelago_blocked_writes_total", "with=\"client\""),
            allocations_per_tick: since("pelago_allocations_total", "") / ticks,
            busiest_lane_ms_per_tick: busy_ms.fold(0.0, f64::max) / (seconds * 10.0),
            idle_share: Some(idle_share),
        },
        memory: Memory {
            idle_bytes: idle.resident_bytes,
            playing_bytes: after.resident_bytes,
            kernel_socket_bytes: after.kernel_socket_bytes.saturating_sub(idle.kernel_socket_bytes),
        },
        store: Store {
            committed: since("pelago_store_transactions_total", "end=\"committed\""),
            conflicts: since("pelago_store_transactions_total", "end=\"conflict\""),
            groups: since("pelago_store_groups_total", ""),
        },
        stewards: Some(Stewards {
            commits: since("pelago_steward_commits_total", ""),
            turns: since("pelago_steward_turns_total", ""),
            busy: since("pelago_limits_total", "limit=\"steward_queue\""),
        }),
        baseline,
        pairs: Vec::new(),
        report,
    })
}

/// Gives wood to everybody who is there.
async fn grant(http: &str, fleet: &Fleet, wood: u32) -> Result<()> {
    for avatar in fleet.avatars() {
        let what = json!({"items": {"wood": wood}});
        let grant = json!({"key": "bench", "avatar": avatar, "what": what, "reason": "a bench"});
        post(http, "/api/v1/grants", &grant.to_string()).await?;
    }
    Ok(())
}

pub(crate) fn start(
    variant: &Variant,
    server: &Path,
    scratch: &Path,
    recording: &Path,
    database: Option<&Database>,
) -> Result<Process> {
    let data = scratch.join("world");
    if data.exists() {
        std::fs::remove_dir_all(&data).with_context(|| format!("{}", data.display()))?;
    }
    let mut command = cores::on_the_servers_core(server);
    if let Some(database) = database {
        command.env("PELAGO_STORE__ADDRESS", database.address());
    }
    let world = &variant.world;
    command.args(["dev", "--json", "--http", "127.0.0.1:0", "--listen", "127.0.0.1:0"]);
    command.args(["--nodes", &world.nodes.to_string(), "--lanes", &world.lanes.to_string()]);
    // Every lane has its share of every chunk.
    command.args(["--spread", &world.lanes.to_string()]);
    command.args(["--island-size", &world.island_size.to_string(), "--max-clients", "60000"]);
    if let Some(tasks) = world.services {
        command.args(["--services", &tasks.to_string()]);
    }
    if let Some(turns) = world.batch_turns {
        command.env("PELAGO_LIMITS__BATCH_TURNS", turns.to_string());
        // What is measured is the document, and not the rate_limits of its players.
        command.env("PELAGO_LIMITS__DURABLE__PER_SECOND", "1000");
    }
    if variant.bots.over.is_encrypted() {
        // The numbers are still read over plain HTTP.
        command.args(["--tls-self-made", "--plain-http"]);
    }
    command.env(ADMIN_TOKEN_VARIABLE, ADMIN_TOKEN);
    command.arg("--data").arg(&data).arg("--record").arg(recording);
    Process::start(command)
}

/// Records for a while; what the server had used before and after it.
async fn record(
    variant: &Variant,
    process: &Process,
    recording: &Path,
) -> Result<Option<(Usage, Usage)>> {
    if variant.time.record_seconds == 0 {
        return Ok(None);
    }
    if recording.exists() {
        std::fs::remove_file(recording)?;
    }
    process.signal(Signal::USR1)?;
    let before = process.usage()?;
    sleep(Duration::from_secs(variant.time.record_seconds)).await;
    let after = process.usage()?;
    process.signal(Signal::USR1)?;
    let deadline = Instant::now() + RECORDING_TIMEOUT;
    while !recording.exists() && Instant::now() < deadline {
        sleep(Duration::from_millis(50)).await;
    }
    Ok(Some((before, after)))
}
