//! `pelago-replay`: runs a recorded machine again. `docs/operating/flight.md` says where recordings come from.
#![allow(clippy::print_stdout, reason = "a program that talks to people")]

use bytes::Bytes;
use clap::Parser;
use pelago_frontier::Frontier;
use pelago_model::WorldTime;
use pelago_node::recorder::{Entries, Entry};
use pelago_node::replay::config_of;
use pelago_node::{MalformedRecording, Output, Recording, Replay, ReplayParts};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Turns get their randomness from it: the world's own is not in a recording.
const SECRET: [u8; 32] = [0; 32];

/// Runs a recorded machine of a node again, and tells what it did.
#[derive(Parser)]
#[command(name = "pelago-replay", version)]
struct Arguments {
    /// A recording (*.pelago-flight)
    file: PathBuf,
    /// Stop after so many inputs
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    until: u64,
    /// Print every input and what came of it
    #[arg(long)]
    print: bool,
}

/// What happened in a second.
#[derive(Default)]
struct Second {
    number: i64,
    inputs: u64,
    outputs: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(code) => code,
        Err(problem) => {
            println!("{}: {problem}", arguments.file.display());
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let recording = Recording::read(&Bytes::from(std::fs::read(&arguments.file)?))?;
    describe(&recording);
    let parts = ReplayParts { game: Arc::new(Frontier), more_services: Vec::new(), secret: SECRET };
    let config = config_of(recording.header(), parts)?;
    let replay = Replay::new(&config, &recording);
    Ok(play(arguments, replay, recording.entries())?)
}

fn describe(recording: &Recording) {
    let header = recording.header();
    println!("{} of node {} ({}, {})", recording.machine(), header.node, header.build, header.game);
    if header.whole {
        println!("{} inputs: all since the machine's start", header.inputs);
    } else {
        println!("{} inputs: the last of them. THE RECORDING BEGINS IN THE MIDDLE:", header.inputs);
        println!(
            "what the machine held before is missing, so that it may do otherwise than it did"
        );
    }
    println!("the world's secret is not in it: whatever turns draw from it comes out otherwise\n");
}

fn play(
    arguments: &Arguments,
    mut replay: Replay,
    entries: Entries,
) -> Result<ExitCode, MalformedRecording> {
    println!("{:>8} {:>8} {:>8}", "second", "inputs", "outputs");
    let (mut began, mut second, mut handled) = (None::<WorldTime>, Second::default(), 0u64);
    let mut outputs: Vec<Output> = Vec::new();
    for entry in entries {
        let (now, entry) = entry?;
        if handled == arguments.until {
            break;
        }
        let number = now.since(*began.get_or_insert(now)) / 1000;
        if number != second.number {
            second.tell();
            second = Second { number, ..Second::default() };
        }
        let is_input = matches!(entry, Entry::Input(_));
        if arguments.print {
            println!("{} #{} {entry:?}", now.0, handled + 1);
        }
        // The panic says where it is by itself.
        let step = AssertUnwindSafe(|| replay.step(now, entry, &mut outputs));
        if catch_unwind(step).is_err() {
            second.tell();
            println!("\nthe machine panicked at input {}", handled + 1);
            return Ok(ExitCode::FAILURE);
        }
        if arguments.print {
            outputs.iter().for_each(|output| println!("    {output:?}"));
        }
        handled += u64::from(is_input);
        second.inputs += u64::from(is_input);
        second.outputs += outputs.len();
        outputs.clear();
    }
    second.tell();
    if replay.missing_runs() > 0 {
        println!("\n{} ends of rules were left out: they began earlier", replay.missing_runs());
    }
    println!("\n{handled} inputs, no panic");
    Ok(ExitCode::SUCCESS)
}

impl Second {
    fn tell(&self) {
        if self.inputs > 0 {
            println!("{:>8} {:>8} {:>8}", self.number, self.inputs, self.outputs);
        }
    }
}
