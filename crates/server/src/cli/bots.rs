//! `pelago bots`: bots that play, and the verification of their journal.
#![allow(clippy::print_stdout, reason = "a command prints")]

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use pelago_client::Transport;
use pelago_client::bots::{self, Behavior, Plan};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::sync::watch;

#[derive(Args)]
pub(super) struct BotsArguments {
    /// Nodes to play on, in turn
    #[arg(long, value_name = "ADDR", value_delimiter = ',', required = true)]
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
    /// Write a JSON line for every acknowledged durable command
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Of names and choices
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Do not play: compare this journal with the books of the first node
    #[arg(long, value_name = "FILE")]
    verify: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum BehaviorArgument {
    Wander,
    Gather,
    Mixed,
    Cross,
}

#[derive(Clone, Copy, ValueEnum)]
enum TransportArgument {
    Tcp,
    Ws,
}

pub(super) async fn run(arguments: BotsArguments) -> Result<ExitCode> {
    pelago_net::raise_open_files();
    let transport = match arguments.transport {
        TransportArgument::Tcp => Transport::Tcp,
        TransportArgument::Ws => Transport::WebSocket,
    };
    if let Some(journal) = &arguments.verify {
        let verdict = bots::verify(journal, &arguments.connect[0], transport).await?;
        println!("{}", serde_json::to_string_pretty(&verdict)?);
        let well = verdict.objections.is_empty();
        return Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let behavior = match arguments.behavior {
        BehaviorArgument::Wander => Behavior::Wander,
        BehaviorArgument::Gather => Behavior::Gather,
        BehaviorArgument::Mixed => Behavior::Mixed,
        BehaviorArgument::Cross => Behavior::Cross,
    };
    let plan = Plan {
        duration: Some(Duration::from_secs(arguments.seconds)),
        transport,
        seed: arguments.seed,
        journal: arguments.journal,
        ..Plan::new(arguments.connect, arguments.count, behavior)
    };
    let (stopping, stop) = watch::channel(false);
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stopping.send_replace(true);
        }
        // The sender lives until the bots have ended.
        std::future::pending::<()>().await;
    });
    let report = serde_json::to_string_pretty(&bots::run(plan, stop).await?)?;
    match arguments.report {
        Some(path) => std::fs::write(&path, report + "\n")
            .with_context(|| format!("report {}", path.display()))?,
        None => println!("{report}"),
    }
    Ok(ExitCode::SUCCESS)
}
