//! `cargo xtask sim`: the simulator.

use crate::run::{become_program, cargo, command, root};
use anyhow::Result;

/// Builds the simulator and becomes it.
pub(crate) fn sim(arguments: &[String]) -> Result<()> {
    cargo(&["build", "--package", "pelago-sim"])?;
    let binary = root().join("target/debug/pelago-sim");
    let mut command = command(&binary.to_string_lossy(), &[]);
    command.args(arguments);
    become_program(command)
}
