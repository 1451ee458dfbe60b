//! A program beside the server: it takes a share of the server's core, as another program of the same machine would.

use crate::cores;
use crate::process::Process;
use anyhow::{Context, Result, bail};
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// The CPU time that it takes at once: longer than a time slice of the scheduler, as real programs do.
const BURST: Duration = Duration::from_millis(10);

/// Starts one that takes `share` of the server's core until it is dropped. Its priority is that of the server.
pub(crate) fn start(share: f64) -> Result<Process> {
    let mut command = cores::on_the_servers_core(&std::env::current_exe()?);
    command.args(["beside", &share.to_string()]);
    Process::start(command).context("the program beside the server")
}

/// A share of a core, as it is asked for.
pub(crate) fn share(text: &str) -> Result<f64> {
    let share: f64 = text.parse()?;
    if !(0.01..=0.99).contains(&share) {
        bail!("a share of a core is between 0.01 and 0.99");
    }
    Ok(share)
}

/// That program. It ends with the one that has started it.
pub(crate) fn run(share: f64) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    println!("ready");
    let period = BURST.div_f64(share);
    let mut due = Instant::now();
    loop {
        burn(BURST);
        due += period;
        match due.checked_duration_since(Instant::now()) {
            Some(pause) => std::thread::sleep(pause),
            // The core was busy with others: what was not got is not made up for.
            None => due = Instant::now(),
        }
    }
}

/// Computes until it has used so much CPU time: time in which others had the core does not count.
fn burn(time: Duration) {
    let used = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
    };
    let until = used() + time;
    let mut number = 1_u64;
    while used() < until {
        for _ in 0..10_000 {
            number = std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005) | 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_takes_as_much_cpu_time_as_it_should() {
        let now = || {
            let now = clock_gettime(ClockId::ThreadCPUTime);
            Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
        };
        let before = now();
        burn(BURST);
        let used = now() - before;
        assert!(used >= BURST && used < BURST * 2, "{used:?}");
    }

    #[test]
    fn a_share_is_a_part_of_a_core() {
        assert_eq!(share("0.5").ok(), Some(0.5));
        for wrong in ["0", "1", "1.5", "-0.5", "NaN", "half"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
