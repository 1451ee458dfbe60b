//! Processes that this one has started, and what is done to them from outside.

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Child, Command, Output};

/// Sends a signal to a process.
pub(crate) fn signal(process: &Child, signal: Signal) -> Result<()> {
    kill_process(Pid::from_child(process), signal).context("signalling")
}

/// Runs a program that must end well, and returns what it printed.
pub(crate) fn run(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {} {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(output)
}
