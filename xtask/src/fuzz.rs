//! `cargo xtask fuzz`: a target of `crates/fuzz` under coverage guidance.

use crate::run::{become_program, cargo, command, root, run};
use crate::tools::{CARGO_FUZZ, install_tool, tool};
use anyhow::{Context, Result, bail, ensure};
use std::process::{Command, Stdio};

const USAGE: &str = "\
usage: cargo xtask fuzz TARGET [--minutes N]     (60 if nothing is said)

  client     what a client and its node tell each other
  peer       what nodes tell each other
  framing    streams of messages, cut anywhere
  document   what a node reads from its store
  machine    a node with clients and a link, told anything

It needs the nightly toolchain (rustup toolchain install nightly). What it learns is kept in fuzz/corpus/TARGET, inputs
that break a promise in fuzz/artifacts/TARGET: repair the cause, and keep the input in crates/fuzz/regressions/TARGET,
where the tests of every day run it.
";
/// Memory at which a run counts as broken.
const MEMORY_MIB: u32 = 2048;
/// The longest inputs: as long as what a client may send at once.
const INPUT_BYTES: u32 = 4096;

/// Builds a target and becomes it.
pub(crate) fn fuzz(arguments: &[String]) -> Result<()> {
    let (target, minutes) = match arguments {
        [target, flag, minutes] if flag == "--minutes" => {
            (target, minutes.parse::<u32>().context("--minutes takes a number")?)
        }
        [target] if !target.starts_with('-') => (target, 60),
        [help] if help == "--help" || help == "-h" => {
            print!("{USAGE}");
            return Ok(());
        }
        _ => bail!("{USAGE}"),
    };
    let program = format!("fuzz/fuzz_targets/{target}.rs");
    ensure!(root().join(&program).exists(), "no target {target:?}\n\n{USAGE}");
    let nightly = Command::new("rustup").args(["run", "nightly", "rustc", "--version"]).output();
    let is_there = nightly.is_ok_and(|output| output.status.success());
    ensure!(is_there, "fuzzing needs the nightly toolchain: rustup toolchain install nightly");
    install_tool(&CARGO_FUZZ)?;
    // The versions that are shipped are those that are fuzzed.
    std::fs::copy(root().join("Cargo.lock"), root().join("fuzz/Cargo.lock"))?;
    let (corpus, seeds) = (format!("fuzz/corpus/{target}"), format!("target/fuzz-seeds/{target}"));
    std::fs::create_dir_all(root().join(&corpus))?;
    cargo(&["run", "--quiet", "--package", "pelago-fuzz", "--", target, &seeds])?;

    let fuzz = tool("cargo-fuzz");
    let nightly = |verb: &str| {
        let mut command = command("rustup", &["run", "nightly"]);
        command.arg(&fuzz).args(["fuzz", verb, "--fuzz-dir", "fuzz"]);
        // There is no unsafe code of ours for a sanitizer to watch, and without one it runs twice as often.
        command.args(["--sanitizer", "none", target]);
        command
    };
    let mut build = nightly("build");
    build.stdin(Stdio::null());
    run(build)?;
    let mut fuzzing = nightly("run");
    fuzzing.args([&corpus, &seeds, "--"]);
    fuzzing.arg(format!("-max_total_time={}", minutes * 60));
    fuzzing.arg(format!("-rss_limit_mb={MEMORY_MIB}")).arg(format!("-max_len={INPUT_BYTES}"));
    fuzzing.args(["-dict=fuzz/documents.dict", "-print_final_stats=1"]);
    become_program(fuzzing)
}
