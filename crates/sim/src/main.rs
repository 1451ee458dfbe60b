//! `pelago-sim`: many seeds, or one again.
#![allow(clippy::print_stdout, reason = "a program that talks to people")]
#![allow(clippy::disallowed_methods, reason = "says how long it took")]

mod many;

use clap::Parser;
use many::Seeds;
use pelago_sim::{Kind, Minimal, PlannedFault, Setup, Simulation, Violation, shrink};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The most days that are simulated to shrink one violation.
const SHRINK_DAYS: u32 = 1000;
/// Violations of a run that are shrunk; of the others the seed is told.
const MOST_SHRUNK: usize = 3;
/// Simulated seconds of a day at night.
const NIGHTLY_SECONDS: u32 = 180;
/// How far the first seeds of two nights are apart.
const SEEDS_PER_NIGHT: u64 = 1_000_000;

/// Simulates clusters on very bad days.
#[derive(Parser)]
#[command(name = "pelago-sim", version)]
struct Arguments {
    /// Run this seed only, and tell about it
    #[arg(long, conflicts_with_all = ["seeds", "from", "nightly"])]
    seed: Option<u64>,
    /// With --seed: only these faults of its schedule, by number; none: no fault at all
    #[arg(long, requires = "seed", value_parser = only)]
    only: Option<Only>,
    /// With --seed: so many players
    #[arg(long, requires = "seed")]
    players: Option<usize>,
    /// With --seed: print the schedule of everything that is planned to go wrong
    #[arg(long, requires = "seed")]
    schedule: bool,
    /// How many seeds
    #[arg(long, default_value_t = 300)]
    seeds: u64,
    /// The first seed; at night otherwise one by the date
    #[arg(long)]
    from: Option<u64>,
    /// Simulated seconds of each day
    #[arg(long, value_parser = clap::value_parser!(u32).range(20..))]
    seconds: Option<u32>,
    /// Count the orders in which two lanes and a host of services were served, over all seeds
    #[arg(long, conflicts_with_all = ["seed", "nightly"])]
    interleavings: bool,
    /// Longer days and new seeds, until the time is over
    #[arg(long, conflicts_with = "seeds")]
    nightly: bool,
    /// How long a night takes
    #[arg(long, default_value_t = 60, requires = "nightly")]
    minutes: u64,
    /// At night: where the seeds with violations are written, with how to replay them
    #[arg(long, default_value = "sim-failures.txt", requires = "nightly")]
    failures: PathBuf,
}

/// Numbers of planned faults.
#[derive(Clone)]
struct Only(Vec<u32>);

fn only(text: &str) -> Result<Only, String> {
    if text == "none" {
        return Ok(Only(Vec::new()));
    }
    let numbers = text.split(',').map(str::parse).collect::<Result<_, _>>();
    numbers.map(Only).map_err(|_| format!("{text:?} is no list of numbers"))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seconds = arguments.seconds.unwrap_or(if arguments.nightly { NIGHTLY_SECONDS } else { 60 });
    match arguments.seed {
        Some(seed) => replay(&arguments, Setup::usual(seed, seconds)),
        None if arguments.nightly => night(&arguments, seconds),
        None if arguments.interleavings => {
            let from = arguments.from.unwrap_or(1);
            many::tell_interleavings(Seeds { from, count: arguments.seeds, seconds });
            ExitCode::SUCCESS
        }
        None => {
            let seeds =
                Seeds { from: arguments.from.unwrap_or(1), count: arguments.seeds, seconds };
            let report = seeds.run(None, |_| {});
            report.tell();
            for violation in report.violations.iter().take(MOST_SHRUNK) {
                println!("\n{}", shrunk(violation, seconds));
            }
            for violation in report.violations.iter().skip(MOST_SHRUNK).take(20) {
                println!("\n{violation}");
                println!("again: cargo xtask sim --seed {} --seconds {seconds}", violation.seed);
            }
            report.verdict()
        }
    }
}

/// One day again, whole or with some of its faults only.
fn replay(arguments: &Arguments, setup: Setup) -> ExitCode {
    let setup = Setup { players: arguments.players.unwrap_or(setup.players).max(1), ..setup };
    let mut planned_faults: Vec<PlannedFault> = setup.schedule();
    if let Some(Only(numbers)) = &arguments.only {
        planned_faults.retain(|planned_fault| numbers.contains(&planned_fault.number));
    }
    if arguments.schedule || arguments.only.is_some() {
        planned_faults.iter().for_each(|planned_fault| println!("{planned_fault}"));
    }
    match Simulation::with_planned_faults(setup, &planned_faults).run() {
        Ok(outcome) => {
            println!("seed {}: no violation", setup.seed);
            many::tell(&outcome);
            ExitCode::SUCCESS
        }
        Err(violation) if arguments.only.is_some() => {
            println!("{violation}");
            ExitCode::FAILURE
        }
        Err(violation) => {
            println!("{}", shrink(setup, planned_faults, violation, SHRINK_DAYS));
            ExitCode::FAILURE
        }
    }
}

/// As many seeds as there is time for, from a first one that is another every day.
fn night(arguments: &Arguments, seconds: u32) -> ExitCode {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 86_400;
    let from = arguments.from.unwrap_or(days * SEEDS_PER_NIGHT);
    println!("{seconds} s each, from seed {from}, for {} minutes", arguments.minutes);
    let seeds = Seeds { from, count: SEEDS_PER_NIGHT, seconds };
    let failures = &arguments.failures;
    let report = seeds.run(Some(Duration::from_secs(60 * arguments.minutes)), |violation| {
        let minimal = shrunk(violation, seconds);
        println!("\n{minimal}");
        if let Err(error) = many::append(failures, &minimal) {
            println!("{}: {error}", failures.display());
        }
    });
    report.tell();
    if !report.violations.is_empty() {
        println!("the seeds with violations are in {}", failures.display());
    }
    report.verdict()
}

fn shrunk(violation: &Violation, seconds: u32) -> Minimal {
    let setup = Setup::usual(violation.seed, seconds);
    shrink(setup, setup.schedule(), violation.clone(), SHRINK_DAYS)
}

/// Kinds of faults of which there were too few to prove anything.
fn rare(outcome: &pelago_sim::Outcome, least: u64) -> Vec<String> {
    let counts = Kind::ALL.map(|kind| (kind.name(), outcome.faults.of(kind)));
    let rare = counts.into_iter().filter(|(_, count)| *count < least);
    rare.map(|(name, count)| format!("{count} {name}")).collect()
}
