//! `cargo xtask torture`: faults of all kinds against real processes.

use crate::run::{become_program, cargo, command, root, run};
use anyhow::Result;
use std::process::Command;

/// Builds what is tortured and what tortures, and becomes the latter.
pub(crate) fn torture(arguments: &[String]) -> Result<()> {
    become_program(prepared(arguments)?)
}

/// The same for so many minutes, as one step among others.
pub(crate) fn for_minutes(minutes: u64) -> Result<()> {
    run(prepared(&["--minutes".to_owned(), minutes.to_string()])?)
}

fn prepared(arguments: &[String]) -> Result<Command> {
    let packages = ["--package", "pelago-server", "--package", "pelago-torture"];
    cargo(&[&["build", "--quiet"][..], &packages].concat())?;
    let binary = |name: &str| root().join("target/debug").join(name).to_string_lossy().into_owned();
    let mut command = command(&binary("pelago-torture"), &["--pelago", &binary("pelago")]);
    command.args(arguments);
    Ok(command)
}
