//! `pelago-bench`: load scenarios against a real server, beside a bare baseline. `cargo xtask bench` runs it.
#![allow(clippy::disallowed_methods, reason = "benchmarks measure real time")]
#![allow(clippy::print_stdout, reason = "a program that talks to people")]

mod abuse;
mod baseline;
mod beside;
mod chart;
mod cores;
mod database;
mod guests;
mod interleaved;
mod measurement;
mod micro;
mod million;
mod postgres;
mod process;
mod report;
mod results;
mod run;
mod scenario;
mod share;
mod soak;
mod store;
mod tables;

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Parser, Subcommand};
use measurement::Measurement;
use run::Setting;
use scenario::Scenario;
use std::path::PathBuf;
use std::process::ExitCode;

/// Load on a real server, and what it costs.
#[derive(Parser)]
#[command(name = "pelago-bench")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a scenario of bench/scenarios
    Load(LoadArguments),
    /// Compare the embedded store with a bare loop over its engine
    Store(KeepArguments),
    /// Compare the store in PostgreSQL with pgbench
    Postgres(PostgresArguments),
    /// Fill both durable stores with a million documents, and start them again and again
    Million(KeepArguments),
    /// Has a store until it is killed; run by `million`
    #[command(hide = true)]
    Keep {
        /// Of the store
        address: String,
    },
    /// Print what the benches of the cores have measured
    Micro(MicroArguments),
    /// Make the tables and charts of docs/benchmarks.md from bench/results
    Report {
        /// The folder bench of the repository
        #[arg(long, default_value = "bench")]
        folder: PathBuf,
        /// The folder docs of the repository
        #[arg(long, default_value = "docs")]
        docs: PathBuf,
    },
    /// Hours of spread with kicks, blocked readers and garbage
    Soak(soak::SoakArguments),
    /// Abusive guests and blocked readers; run by `load rude` and `soak`
    #[command(hide = true)]
    Guests(guests::GuestsArguments),
    /// The program beside the server; run by `load --beside`
    #[command(hide = true)]
    Beside {
        /// Of the core, between 0 and 1
        #[arg(value_parser = beside::share)]
        share: f64,
    },
    /// The server's side of the baseline; run by `load`
    #[command(hide = true)]
    Replay {
        /// A recording of `pelago dev --record`
        file: PathBuf,
    },
}

#[derive(clap::Args)]
struct LoadArguments {
    /// The name of a file in bench/scenarios, without .toml
    name: String,
    /// The server, built with the feature count-allocations
    #[arg(long)]
    server: PathBuf,
    /// The folder bench of the repository
    #[arg(long, default_value = "bench")]
    folder: PathBuf,
    /// Where worlds and recordings are kept meanwhile
    #[arg(long, default_value = "target/bench")]
    scratch: PathBuf,
    /// Instead of the scenario's seconds of measuring
    #[arg(long)]
    seconds: Option<u64>,
    /// Without the baseline
    #[arg(long)]
    no_baseline: bool,
    /// With a program of the server's priority that takes this share of its core, between 0 and 1
    #[arg(long, value_name = "SHARE", value_parser = beside::share)]
    beside: Option<f64>,
    /// How often server and bare program run in turn: the median of their ratios is reported, with the lowest and highest
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=99))]
    pairs: u16,
    /// An older server that runs in turn with the other two. It has to understand the same command line and protocol
    #[arg(long, value_name = "FILE")]
    server_before: Option<PathBuf>,
    /// Keep the results in bench/results
    #[arg(long)]
    keep: bool,
}

#[derive(clap::Args)]
struct KeepArguments {
    /// The folder bench of the repository
    #[arg(long, default_value = "bench")]
    folder: PathBuf,
    /// Where worlds, recordings and stores are kept meanwhile
    #[arg(long, default_value = "target/bench")]
    scratch: PathBuf,
    /// Keep the results in bench/results
    #[arg(long)]
    keep: bool,
}

#[derive(clap::Args)]
struct PostgresArguments {
    /// What is asked for
    #[arg(long, value_enum, default_value = "commits")]
    of: Requests,
    #[command(flatten)]
    keep: KeepArguments,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Requests {
    Commits,
    Loads,
}

#[derive(clap::Args)]
struct MicroArguments {
    /// What criterion has left behind
    #[arg(long)]
    criterion: PathBuf,
    /// The folder bench of the repository
    #[arg(long, default_value = "bench")]
    folder: PathBuf,
    /// Keep the results in bench/results
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let result = match arguments.command {
        Command::Load(arguments) => load(&arguments),
        Command::Store(arguments) => store(&arguments),
        Command::Postgres(arguments) => postgres(&arguments),
        Command::Million(arguments) => million(&arguments),
        Command::Keep { address } => million::keep(&address),
        Command::Micro(arguments) => micro(&arguments),
        Command::Report { folder, docs } => report::report(&folder, &docs),
        Command::Soak(arguments) => soak::soak(&arguments),
        Command::Guests(arguments) => guests::run(&arguments),
        Command::Beside { share } => beside::run(share),
        Command::Replay { file } => baseline::serve(&file),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs all variants of a scenario, one after the other.
fn load(arguments: &LoadArguments) -> Result<()> {
    let path = arguments.folder.join("scenarios").join(format!("{}.toml", arguments.name));
    let mut scenario = Scenario::read(&path)?;
    if let Some(seconds) = arguments.seconds {
        scenario.time.measure_seconds = seconds;
    }
    if arguments.no_baseline {
        scenario.time.record_seconds = 0;
    }
    std::fs::create_dir_all(&arguments.scratch)
        .with_context(|| format!("{}", arguments.scratch.display()))?;
    cores::keep_to_the_players_core()?;
    // One thread: bots share one core, so that the other is the server's alone.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    pelago_net::raise_open_files();
    println!("{}", scenario.summary);
    if let Some(guests) = &scenario.guests {
        ensure!(
            arguments.beside.is_none() && arguments.pairs == 1 && arguments.server_before.is_none(),
            "{} knows neither --beside nor --pairs nor --server-before",
            arguments.name
        );
        let [variant] =
            scenario.variants().try_into().map_err(|_| anyhow!("rude varies nothing"))?;
        let run = abuse::run(&variant, guests, &arguments.server, &arguments.scratch);
        let measured = runtime.block_on(run)?;
        println!("{measured}");
        if arguments.keep {
            results::keep(&arguments.folder, &arguments.name, &measured)?;
        }
        return Ok(());
    }
    let setting = Setting {
        server: &arguments.server,
        scratch: &arguments.scratch,
        beside: arguments.beside,
    };
    let mut results: Vec<Measurement> = Vec::new();
    for variant in scenario.variants() {
        println!("== {}: {}", arguments.name, variant.label());
        let pairs = interleaved::pairs(
            &variant,
            &setting,
            arguments.server_before.as_deref(),
            usize::from(arguments.pairs),
        );
        let measured = runtime.block_on(pairs)?;
        println!("{measured}");
        for target in measured.not_reached(&scenario.targets) {
            println!("  not reached: {target}");
        }
        let broken = measured.is_broken();
        results.push(measured);
        if scenario.stop_when_broken && broken {
            println!("it broke here");
            break;
        }
    }
    if arguments.keep {
        // What was measured beside another program is a table of its own.
        let name = match arguments.beside {
            Some(_) => format!("{}-beside", arguments.name),
            None => arguments.name.clone(),
        };
        results::keep(&arguments.folder, &name, &results)?;
    }
    Ok(())
}

fn store(arguments: &KeepArguments) -> Result<()> {
    let all = store::measure(&arguments.scratch)?;
    print!("{}", tables::pairs(&all));
    if arguments.keep {
        results::keep(&arguments.folder, "store", &all)?;
    }
    Ok(())
}

fn postgres(PostgresArguments { of, keep }: &PostgresArguments) -> Result<()> {
    let all = postgres::measure(&keep.scratch, *of == Requests::Commits)?;
    print!("{}", tables::rounds(&all));
    if keep.keep {
        let name = if *of == Requests::Commits { "postgres" } else { "postgres-loads" };
        results::keep(&keep.folder, name, &all)?;
    }
    Ok(())
}

fn million(arguments: &KeepArguments) -> Result<()> {
    let all = million::measure(&arguments.scratch)?;
    print!("{}", tables::millions(&all));
    if arguments.keep {
        results::keep(&arguments.folder, "million", &all)?;
    }
    Ok(())
}

fn micro(arguments: &MicroArguments) -> Result<()> {
    let groups = micro::read(&arguments.criterion)?;
    print!("{}", tables::groups(&groups));
    if arguments.keep {
        results::keep(&arguments.folder, "micro", &groups)?;
    }
    Ok(())
}
