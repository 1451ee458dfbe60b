//! `pelago-torture`: a world of real processes under faults of all kinds. `cargo xtask torture` runs it.
//!
//! The crate uses no other of the workspace. It starts the `pelago` binary as an operator would, and judges what the faults
//! have left by the documents of the world alone, with a checker that knows them from `docs/archive.md`.
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]
#![allow(clippy::print_stdout, reason = "a program that talks to people")]

mod checker;
mod database;
mod disk;
mod fault;
mod journal;
mod leg;
mod processes;
mod proxy;
mod schedule;
mod world;

use anyhow::{Context, Result, bail};
use clap::Parser;
use leg::{Leg, Tally};
use schedule::Engine;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Faults against a real world: kills, stops, power cuts, frozen and full disks, clocks that step, a database and networks
/// that fall silent. Ends with success if nothing that was acknowledged was lost or doubled, and the world always went on.
#[derive(Parser)]
#[command(name = "pelago-torture")]
struct Arguments {
    /// How long, over all engines
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// Of the schedule: the same seed makes the same faults in the same order
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Players
    #[arg(long, default_value_t = 40)]
    bots: usize,
    /// One engine only
    #[arg(long, value_enum)]
    engine: Option<Engine>,
    /// The pelago binary
    #[arg(long, value_name = "FILE")]
    pelago: PathBuf,
    /// Where everything is kept meanwhile, and stays if something is wrong; otherwise the system's folder for such files
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

fn main() -> ExitCode {
    match torture(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn torture(arguments: &Arguments) -> Result<()> {
    let parent = arguments.scratch.clone().unwrap_or_else(std::env::temp_dir);
    std::fs::create_dir_all(&parent).with_context(|| format!("--scratch {}", parent.display()))?;
    let scratch = tempfile::Builder::new().prefix("pelago-torture-").tempdir_in(&parent)?;
    let pelago = arguments.pelago.canonicalize().context("--pelago")?;
    let engines = arguments.engine.map_or(Engine::ALL.to_vec(), |engine| vec![engine]);
    let time = Duration::from_secs(arguments.minutes * 60) / engines.len() as u32;
    let mut wrong = Vec::new();
    for engine in engines {
        println!("== {engine:?}, seed {}, {} s", arguments.seed, time.as_secs());
        let folder = scratch.path().join(format!("{engine:?}").to_lowercase());
        std::fs::create_dir(&folder)?;
        let leg = Leg {
            pelago: &pelago,
            folder: &folder,
            engine,
            seed: arguments.seed,
            bots: arguments.bots,
        };
        let tally = leg.run(time).with_context(|| format!("{engine:?}"))?;
        tell(&tally);
        wrong.extend(tally.objections.iter().map(|objection| format!("{engine:?}: {objection}")));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let kept = scratch.keep();
    bail!("{}\nseed {}; kept in {}", wrong.join("\n"), arguments.seed, kept.display());
}

fn tell(tally: &Tally) {
    for (fault, recoveries) in &tally.recoveries {
        let mut ms: Vec<u128> = recoveries.iter().map(Duration::as_millis).collect();
        ms.sort_unstable();
        let (median, longest) = (ms[ms.len() / 2], ms[ms.len() - 1]);
        println!(
            "  {:>3} x {fault}: acknowledges again after {median} ms (at most {longest})",
            ms.len()
        );
    }
    println!(
        "  {} commands acknowledged, {} documents compared {} times, {} objections",
        tally.acknowledged,
        tally.documents,
        tally.comparisons,
        tally.objections.len()
    );
    tally.notes.iter().for_each(|note| println!("  {note}"));
}
