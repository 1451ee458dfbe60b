//! `pelago bots`: bots that play, and the verification of their journal.

mod verify;

use crate::ending::Ending;
use crate::output::print;
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use pelago_bots::{Behavior, Plan};
use pelago_client::Transport;
use pelago_net::{Fingerprint, Trust};
use pelago_store::files;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::sync::watch;

#[derive(Args)]
pub(super) struct BotsArguments {
    /// Nodes to play on, in turn
    #[arg(
        long,
        value_name = "ADDR",
        value_delimiter = ',',
        required_unless_present_any = ["verify", "server"]
    )]
    connect: Vec<String>,
    /// How many bots
    #[arg(long, default_value_t = 100)]
    count: usize,
    /// What they do
    #[arg(long, value_enum, default_value_t = BehaviorArgument::Mixed)]
    behavior: BehaviorArgument,
    /// For how long
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Where the report is written to; otherwise it is printed
    #[arg(long, value_name = "FILE.json")]
    report: Option<PathBuf>,
    /// What bytes travel in
    #[arg(long, value_enum, default_value_t = TransportArgument::Tcp)]
    transport: TransportArgument,
    /// Trust servers with these certificates, or with certificates from these (PEM); for --transport tls or wss, and for a
    /// --server with https
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Trust the one server whose certificate has this SHA-256 fingerprint; for --transport tls or wss, and for a --server
    /// with https
    #[arg(long, value_name = "HEX", conflicts_with = "ca")]
    fingerprint: Option<Fingerprint>,
    /// Write a JSON line for every acknowledged durable command
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Of names and choices
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Do not play: compare this journal with the books of the world that --server runs
    #[arg(long, value_name = "FILE")]
    verify: Option<PathBuf>,
    /// The server that runs the world: its address for operators; for --verify
    #[arg(long, value_name = "URL", requires = "verify")]
    server: Option<String>,
    /// A file with the server's admin token; without it, the environment's PELAGO_ADMIN_TOKEN, otherwise the one that
    /// the server keeps in --data
    #[arg(long, value_name = "FILE", requires = "server")]
    admin_token_file: Option<PathBuf>,
    /// The server's --data, if it runs on this machine: for its admin token
    #[arg(long, value_name = "DIRECTORY", default_value = "./data")]
    data: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum BehaviorArgument {
    Wander,
    Gather,
    Mixed,
    Cross,
    Feed,
}

#[derive(Clone, Copy, ValueEnum)]
enum TransportArgument {
    Tcp,
    Ws,
    Tls,
    Wss,
}

/// Whom to trust. No other server is trusted.
fn trust(arguments: &BotsArguments) -> Result<Trust> {
    match (&arguments.ca, arguments.fingerprint) {
        (Some(file), _) => Trust::certificates(file).context("--ca"),
        (None, Some(fingerprint)) => Trust::fingerprint(fingerprint).context("--fingerprint"),
        (None, None) => {
            bail!("--transport tls and wss: say whom to trust with --ca or --fingerprint")
        }
    }
}

pub(super) async fn run(arguments: BotsArguments) -> Result<ExitCode> {
    if let Some(journal) = &arguments.verify {
        let verdict = verify::verify(journal, &arguments).await?;
        print(serde_json::to_string_pretty(&verdict)?)?;
        let well = verdict.objections.is_empty();
        return Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    pelago_net::raise_open_files();
    let transport = match arguments.transport {
        TransportArgument::Tcp => Transport::Tcp,
        TransportArgument::Ws => Transport::WebSocket,
        TransportArgument::Tls => Transport::Tls(trust(&arguments)?),
        TransportArgument::Wss => Transport::WebSocketTls(trust(&arguments)?),
    };
    let behavior = match arguments.behavior {
        BehaviorArgument::Wander => Behavior::Wander,
        BehaviorArgument::Gather => Behavior::Gather,
        BehaviorArgument::Mixed => Behavior::Mixed,
        BehaviorArgument::Cross => Behavior::Cross,
        BehaviorArgument::Feed => Behavior::Feed,
    };
    let plan = Plan {
        duration: Some(Duration::from_secs(arguments.seconds)),
        transport,
        seed: arguments.seed,
        journal: arguments.journal,
        ..Plan::new(arguments.connect, arguments.count, behavior)
    };
    let (stopping, stop) = watch::channel(false);
    let mut ending = Ending::prepare()?;
    tokio::spawn(async move {
        ending.told().await;
        ending.begin();
        stopping.send_replace(true);
        // The sender lives until the bots have ended.
        std::future::pending::<()>().await;
    });
    let report = serde_json::to_string_pretty(&pelago_bots::run(plan, stop).await?)?;
    match arguments.report {
        Some(path) => files::replace(&path, (report + "\n").as_bytes())
            .with_context(|| format!("report {}", path.display()))?,
        None => print(&report)?,
    }
    Ok(ExitCode::SUCCESS)
}
