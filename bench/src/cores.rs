//! Which core does what: the server has the first, bots and baseline clients the last.

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::process::Command;

/// The core of the server, of the bare program, and of what is beside them.
const SERVERS_CORE: usize = 0;

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
    command.args(["-c", &SERVERS_CORE.to_string()]).arg(program);
    command
}

/// What the server's core has done since the machine was started, in jiffies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Jiffies {
    idle: u64,
    all: u64,
}

impl Jiffies {
    /// Up to now.
    pub(crate) fn read() -> Result<Self> {
        let text = std::fs::read_to_string("/proc/stat").context("/proc/stat")?;
        Self::parse(&text).context("unknown format of /proc/stat")
    }

    fn parse(text: &str) -> Option<Self> {
        let name = format!("cpu{SERVERS_CORE}");
        let mut words = text
            .lines()
            .map(str::split_whitespace)
            .find(|line| line.clone().next() == Some(&name))?;
        words.next();
        // user, nice, system, idle, iowait, irq, softirq, steal; guests are part of user.
        let times: Vec<u64> = words.take(8).map_while(|word| word.parse().ok()).collect();
        let idle = times.get(3)? + times.get(4)?;
        Some(Self { idle, all: times.iter().sum() })
    }

    /// The share of the time since then in which nobody used the core, 0 to 1.
    pub(crate) fn idle_since(&self, before: &Self) -> f64 {
        let all = self.all.saturating_sub(before.all);
        self.idle.saturating_sub(before.idle) as f64 / all.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_is_what_nobody_used_of_the_servers_core() {
        let of =
            |first: &str| format!("cpu  9 9 9 9 9 9 9 9 0 0\n{first}\ncpu1 5 5 5 5 5 5 5 5 0 0\n");
        let before = Jiffies::parse(&of("cpu0 10 0 10 60 10 0 5 5 7 7")).expect("jiffies");
        assert_eq!(before, Jiffies { idle: 70, all: 100 });
        let after = Jiffies::parse(&of("cpu0 70 0 20 80 20 0 5 5 9 9")).expect("jiffies");
        assert!((after.idle_since(&before) - 0.3).abs() < 1e-9);
        assert_eq!(Jiffies::parse("cpu1 1 2 3 4 5 6 7 8"), None);
        assert_eq!(Jiffies::parse("cpu0 1 2"), None);
    }
}
