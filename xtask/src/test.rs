//! `cargo xtask test`: everything that must hold, with the time of each step.

use crate::run::{cargo, command, root, run};
use crate::tools::{self, tool};
use crate::{examples, layers, markdown, torture, web};
use anyhow::{Context, Result, bail};
use std::time::{Duration, Instant};

/// Minutes of faults against real processes. `cargo xtask night` takes more.
const TORTURE_MINUTES: u64 = 2;

/// A step: its name and what it does.
type Step = (&'static str, fn() -> Result<()>);

const STEPS: [Step; 16] = [
    ("tools", tools::install),
    ("format", || cargo(&["fmt", "--all", "--check"])),
    ("layers", layers::check),
    ("markdown", markdown::check),
    ("web", || web::check().and_then(|()| web::build())),
    ("lint", lint),
    ("docs", docs),
    ("deny", deny),
    ("unused", unused),
    ("unit", unit),
    ("doctest", || cargo(&["test", "--quiet", "--doc", "--workspace"])),
    ("sim", simulate),
    ("server", || cargo(&["build", "--quiet", "--package", "pelago-server"])),
    ("examples", || examples::check(&root().join("target/debug/pelago"))),
    ("torture", || torture::for_minutes(TORTURE_MINUTES)),
    ("end-to-end", || web::end_to_end(&root().join("target/debug/pelago"))),
];

/// Runs all steps, or those that were asked for.
pub(crate) fn test(arguments: &[String]) -> Result<()> {
    let steps = chosen(arguments)?;
    let mut times: Vec<(&str, Duration)> = Vec::new();
    let mut failed = None;
    for (name, step) in steps {
        println!("\n== {name}");
        let began = Instant::now();
        let result = step();
        times.push((name, began.elapsed()));
        if let Err(error) = result {
            failed = Some(error.context(format!("step {name:?} failed")));
            break;
        }
    }
    println!();
    for (name, time) in &times {
        println!("{name:>12} {:8.1} s", time.as_secs_f64());
    }
    let total: Duration = times.iter().map(|(_, time)| *time).sum();
    println!("{:>12} {:8.1} s", "total", total.as_secs_f64());
    match failed {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

fn chosen(arguments: &[String]) -> Result<Vec<Step>> {
    let find = |name: &String| {
        let place = STEPS.iter().position(|(step, _)| step == name);
        place.with_context(|| format!("no step {name:?}; see cargo xtask test --list"))
    };
    match arguments {
        [] => Ok(STEPS.to_vec()),
        [list] if list == "--list" => {
            STEPS.iter().for_each(|(name, _)| println!("{name}"));
            Ok(Vec::new())
        }
        [only, name] if only == "--only" => Ok(vec![STEPS[find(name)?]]),
        [from, name] if from == "--from" => Ok(STEPS[find(name)?..].to_vec()),
        _ => bail!("usage: cargo xtask test [--list | --only STEP | --from STEP]"),
    }
}

fn lint() -> Result<()> {
    cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

fn docs() -> Result<()> {
    let arguments = ["doc", "--quiet", "--workspace", "--no-deps"];
    let mut command = command(&crate::run::cargo_program(), &arguments);
    command.env("RUSTDOCFLAGS", "-D warnings");
    run(command)
}

/// Licences, bans and sources; the database of advisories is out of reach.
fn deny() -> Result<()> {
    let program = tool("cargo-deny");
    let arguments = ["--log-level", "error", "check", "licenses", "bans", "sources"];
    run(command(&program.to_string_lossy(), &arguments))
}

fn unused() -> Result<()> {
    let program = tool("cargo-machete");
    run(command(&program.to_string_lossy(), &["--skip-target-dir"]))
}

fn unit() -> Result<()> {
    let program = tool("cargo-nextest");
    let mut tests = command(&program.to_string_lossy(), &["nextest", "run", "--workspace"]);
    // Tests compare with the vectors of the protocol, and never write them.
    tests.env_remove("PELAGO_BLESS");
    run(tests)
}

fn simulate() -> Result<()> {
    cargo(&["run", "--quiet", "--package", "pelago-sim", "--", "--seeds", "300", "--seconds", "60"])
}
