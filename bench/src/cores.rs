//! Which core does what: the server has the first, bots and baseline clients the last.

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::process::Command;

/// The core of bots.
fn players_core() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from) - 1
}

/// From here on this process runs on the core of bots.
pub(crate) fn keep_to_the_players_core() -> Result<()> {
    let mut set = CpuSet::new();
    set.set(players_core());
    sched_setaffinity(None, &set).context("keeping to one core")
}

/// A command that will run on the server's core.
pub(crate) fn on_the_servers_core(program: &std::path::Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(program);
    command
}
