//! Progress on standard error, and a brake.

use crate::output;
use clap::Args;
use pelago_store::archive::Progress;
use std::io::{IsTerminal as _, stderr};
use std::time::{Duration, Instant};

/// How often progress is shown.
const PERIOD: Duration = Duration::from_millis(500);
const MIB: f64 = 1024.0 * 1024.0;

#[derive(Args)]
pub(super) struct MeterArguments {
    /// Show progress also where standard error is no terminal
    #[arg(long)]
    progress: bool,
    /// Go no faster than this, so that others have something of the disk and the network
    #[arg(long, value_name = "MIB/S")]
    max_rate: Option<f64>,
}

/// Shows how far something has come.
pub(super) struct Meter {
    began: Instant,
    shown: Option<Instant>,
    terminal: bool,
    visible: bool,
    bytes_per_second: Option<f64>,
}

impl MeterArguments {
    pub(super) fn meter(&self) -> Meter {
        let terminal = stderr().is_terminal();
        let positive = self.max_rate.filter(|rate| *rate > 0.0);
        Meter {
            began: Instant::now(),
            shown: None,
            terminal,
            visible: terminal || self.progress,
            bytes_per_second: positive.map(|rate| rate * MIB),
        }
    }
}

impl Meter {
    /// Shows progress from time to time, and waits if it was too fast.
    pub(super) fn tell(&mut self, progress: Progress) {
        if self.visible && self.shown.is_none_or(|shown| shown.elapsed() >= PERIOD) {
            self.shown = Some(Instant::now());
            self.show(progress);
        }
        if let Some(rate) = self.bytes_per_second {
            // A rate of nearly nothing waits as long as there is time.
            let due = Duration::try_from_secs_f64(progress.bytes as f64 / rate);
            let due = due.unwrap_or(Duration::MAX);
            std::thread::sleep(due.saturating_sub(self.began.elapsed()));
        }
    }

    /// Says something on a line of its own.
    pub(super) fn say(&mut self, text: &str) {
        if self.visible {
            self.write(&format!("{}{text}\n", self.line_start()));
        }
    }

    fn show(&self, Progress { documents, bytes }: Progress) {
        let mib = bytes as f64 / MIB;
        let rate = mib / self.began.elapsed().as_secs_f64().max(0.001);
        let end = if self.terminal { "" } else { "\n" };
        let start = self.line_start();
        self.write(&format!("{start}{documents} documents, {mib:.1} MiB, {rate:.1} MiB/s{end}"));
    }

    /// On a terminal the line is written anew.
    fn line_start(&self) -> &'static str {
        if self.terminal { "\r\x1b[K" } else { "" }
    }

    fn write(&self, text: &str) {
        output::stderr().write(text);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if self.terminal && self.shown.is_some() {
            self.write("\r\x1b[K");
        }
    }
}
