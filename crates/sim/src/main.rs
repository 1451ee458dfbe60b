//! `pelago-sim`: many seeds, or one again.
#![allow(clippy::print_stdout, reason = "a program that talks to people")]
#![allow(clippy::disallowed_methods, reason = "says how long it took")]

use clap::Parser;
use pelago_sim::{FaultCounts, Objection, Outcome, Setup, Simulation};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// How often each kind of fault must have struck in a run of many seeds.
const LEAST_FAULTS: u64 = 50;
/// From how many seeds on that is expected.
const MANY_SEEDS: u64 = 100;

/// Simulates clusters on very bad days.
#[derive(Parser)]
#[command(name = "pelago-sim", version)]
struct Arguments {
    /// Run this seed only, and tell about it
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// How many seeds
    #[arg(long, default_value_t = 300)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Simulated seconds of each
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(30..))]
    seconds: u32,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.seed {
        Some(seed) => match Simulation::new(Setup::usual(seed, arguments.seconds)).run() {
            Ok(outcome) => {
                println!("seed {seed}: no objection");
                tell(&outcome);
                ExitCode::SUCCESS
            }
            Err(objection) => {
                println!("{objection}");
                ExitCode::FAILURE
            }
        },
        None => many(&arguments),
    }
}

fn many(arguments: &Arguments) -> ExitCode {
    let began = Instant::now();
    let next = AtomicU64::new(arguments.from);
    let end = arguments.from + arguments.seeds;
    let results: Mutex<Vec<Result<Outcome, Objection>>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let result = Simulation::new(Setup::usual(seed, arguments.seconds)).run();
                    if let Ok(mut results) = results.lock() {
                        results.push(result);
                    }
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_default();
    let mut total = Outcome::default();
    let mut objections = 0;
    for result in &results {
        match result {
            Ok(outcome) => {
                total.events += outcome.events;
                total.acknowledged += outcome.acknowledged;
                total.spoken += outcome.spoken;
                total.faults += outcome.faults;
            }
            Err(objection) => {
                objections += 1;
                if objections <= 20 {
                    println!("{objection}");
                    println!("  again: cargo xtask sim --seed {}", objection.seed);
                }
            }
        }
    }
    let seeds = arguments.seeds;
    println!("{seeds} seeds, {} s each, {:.1} s", arguments.seconds, began.elapsed().as_secs_f64());
    tell(&total);
    if results.len() as u64 != seeds {
        println!("a simulation has panicked");
        return ExitCode::FAILURE;
    }
    if objections > 0 {
        println!("{objections} seeds had objections");
        return ExitCode::FAILURE;
    }
    let rare = rare_faults(&total.faults);
    if seeds >= MANY_SEEDS && !rare.is_empty() {
        println!("too rare to prove anything: {}", rare.join(", "));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn rare_faults(faults: &FaultCounts) -> Vec<String> {
    let rare = faults.by_name().into_iter().filter(|(_, count)| *count < LEAST_FAULTS);
    rare.map(|(name, count)| format!("{count} {name}")).collect()
}

fn tell(outcome: &Outcome) {
    println!("{} events, {} commands acknowledged", outcome.events, outcome.acknowledged);
    println!("faults: {}", outcome.faults);
}
