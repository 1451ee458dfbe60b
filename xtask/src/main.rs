//! `cargo xtask <command>`: everything a developer or the CI runs.
#![allow(clippy::disallowed_methods, reason = "chores measure real time")]
#![allow(clippy::print_stdout, reason = "a program that talks to people")]

mod bench;
mod circles;
mod dev;
mod examples;
mod fuzz;
mod layers;
mod markdown;
mod night;
mod replay;
mod run;
mod sim;
mod test;
mod tools;
mod torture;
mod web;

use anyhow::{Result, bail};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <command>

  dev [--release] [arguments]       build everything and run a world, with the arguments of `pelago dev`: 3 nodes, 200 bots
  test [--only STEP] [--from STEP]  install what the tests need, run them all, print times
  test --list                       the steps of `test`
  sim --seed N                      replay a seed of the simulator
  sim [--seeds N] [--seconds S]     simulate many seeds
  sim --nightly [--minutes M]       longer days and new seeds until the time is over
  torture [--minutes N] [--seed S]  faults against a real world, and a comparison of what they leave; --help says more
  night                             ten minutes of torture, then sim --nightly
  replay FILE [--until N] [--print] run a machine of a node again, from a flight recording
  fuzz TARGET [--minutes N]         search for bytes that break something; fuzz --help says more
  bench load NAME [--keep]          run a scenario of bench/scenarios; bench load --help says more
  bench store [--keep]              the embedded store beside a bare loop over its engine
  bench postgres [--keep]           the store in PostgreSQL beside pgbench; --of loads
  bench million [--keep]            a million documents: on the disk, and started again and again
  bench micro [--keep]              the benches of the cores
  bench report                      docs/benchmarks.md and its charts from bench/results
  bench soak [--minutes 60]         spread for an hour with kicks, blocked readers and garbage
  web                               check, test and build web/
  layers                            compare the crates' dependencies with the layer table; find circles of modules
  markdown [--fix]                  find lines of Markdown that are too long; wrap them
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match obey(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn obey(arguments: &[String]) -> Result<()> {
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("--help", &[][..]),
    };
    match command {
        "bench" => bench::bench(rest),
        "dev" => dev::dev(rest),
        "test" => test::test(rest),
        "fuzz" => fuzz::fuzz(rest),
        "sim" => sim::sim(rest),
        "torture" => torture::torture(rest),
        "night" => night::night(),
        "replay" => replay::replay(rest),
        "web" => web::check().and_then(|()| web::build()),
        "layers" => layers::check(),
        "markdown" => markdown::markdown(rest),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        other => bail!("no command {other:?}\n\n{USAGE}"),
    }
}
