//! `cargo xtask replay`: a recorded machine, run again.

use crate::run::{become_program, cargo, command, root};
use anyhow::Result;

/// Builds the program that replays and becomes it.
pub(crate) fn replay(arguments: &[String]) -> Result<()> {
    cargo(&["build", "--package", "pelago-sim", "--bin", "pelago-replay"])?;
    let binary = root().join("target/debug/pelago-replay");
    let mut command = command(&binary.to_string_lossy(), &[]);
    command.args(arguments);
    become_program(command)
}
