//! What a run has measured, and what that means.

pub(crate) mod pairs;

use crate::scenario::{Targets, Variant};
use pairs::{Pair, Range};
use pelago_bots::Report;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Measurement {
    pub(crate) variant: Variant,
    /// Bots in the world when measuring began.
    pub(crate) playing: usize,
    /// How long they took to arrive.
    pub(crate) arrived_seconds: f64,
    pub(crate) cost: Cost,
    pub(crate) memory: Memory,
    pub(crate) store: Store,
    /// Earlier results have none.
    #[serde(default)]
    pub(crate) stewards: Option<Stewards>,
    pub(crate) baseline: Option<Baseline>,
    /// The program that had a share of the server's core.
    #[serde(default)]
    pub(crate) beside: Option<Beside>,
    /// If several runs were made: this one is the median of them.
    #[serde(default)]
    pub(crate) pairs: Vec<Pair>,
    pub(crate) report: Report,
}

/// What the server has used while it was measured.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Cost {
    pub(crate) seconds: f64,
    pub(crate) user_seconds: f64,
    pub(crate) system_seconds: f64,
    pub(crate) writes: f64,
    pub(crate) written_bytes: f64,
    pub(crate) peer_bytes: f64,
    pub(crate) blocked: f64,
    /// Of the whole process, per tick of a lane.
    pub(crate) allocations_per_tick: f64,
    pub(crate) busiest_lane_ms_per_tick: f64,
    /// The share of the server's core that nobody used, 0 to 1. Earlier results have none.
    #[serde(default)]
    pub(crate) idle_share: Option<f64>,
}

impl Cost {
    fn cpu_seconds(&self) -> f64 {
        self.user_seconds + self.system_seconds
    }
}

/// A program of the server's priority on the server's core, which runs beside server and bare program alike.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Beside {
    /// What it would take of the core.
    pub(crate) share: f64,
    /// What it got of the core beside the server, in cores.
    pub(crate) took: f64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Memory {
    /// Resident, before anybody came.
    pub(crate) idle_bytes: u64,
    /// Resident, with everybody.
    pub(crate) playing_bytes: u64,
    /// Of the kernel for sockets, both ends.
    pub(crate) kernel_socket_bytes: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Store {
    pub(crate) committed: f64,
    pub(crate) conflicts: f64,
    pub(crate) groups: f64,
}

/// What stewards did.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Stewards {
    pub(crate) commits: f64,
    /// Of those commits.
    pub(crate) turns: f64,
    /// Commands that were refused because too many waited.
    pub(crate) busy: f64,
}

impl Stewards {
    pub(crate) fn turns_per_commit(&self) -> f64 {
        self.turns / self.commits.max(1.0)
    }
}

/// The server's CPU beside that of a program which writes and reads the same and nothing else, in cores, over the
/// same seconds: those that were recorded. Recording is on the game's side of the account; what it costs shows beside
/// the cores of the seconds before, in which nothing was recorded.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Baseline {
    pub(crate) game_cpu: f64,
    pub(crate) bare_cpu: f64,
    /// How late the bare program's writes were.
    pub(crate) late_p99_ms: f64,
}

impl Measurement {
    pub(crate) fn cores(&self) -> f64 {
        self.cost.cpu_seconds() / self.cost.seconds
    }

    pub(crate) fn neighbours(&self) -> f64 {
        self.report.sight.neighbour_seconds / self.report.sight.player_seconds.max(1.0)
    }

    pub(crate) fn bytes_per_neighbour_second(&self) -> f64 {
        self.report.bytes.frames as f64 / self.report.sight.neighbour_seconds.max(1.0)
    }

    /// The same with what comes into sight counted in: snapshots and closes.
    pub(crate) fn bytes_per_neighbour_second_with_snapshots(&self) -> f64 {
        let bytes = self.report.bytes.frames + self.report.bytes.snapshots;
        bytes as f64 / self.report.sight.neighbour_seconds.max(1.0)
    }

    /// The server's CPU over the bare program's: the median, if there are several pairs.
    pub(crate) fn times_bare(&self) -> Option<f64> {
        let of_pairs = Range::times_bare(&self.pairs).map(|range| range.median);
        of_pairs.or_else(|| self.baseline.as_ref().map(Baseline::ratio))
    }

    pub(crate) fn snapshot_bytes_per_player_second(&self) -> f64 {
        self.report.bytes.snapshots as f64 / self.report.sight.player_seconds.max(1.0)
    }

    pub(crate) fn cpu_us_per_neighbour_second(&self) -> f64 {
        self.cost.cpu_seconds() * 1e6 / self.report.sight.neighbour_seconds.max(1.0)
    }

    pub(crate) fn cpu_per_million_updates(&self) -> f64 {
        self.cost.cpu_seconds() * 1e6 / (self.report.updates.decoded as f64).max(1.0)
    }

    pub(crate) fn cpu_per_million_writes(&self) -> f64 {
        self.cost.cpu_seconds() * 1e6 / self.cost.writes.max(1.0)
    }

    pub(crate) fn kibibytes_per_player(&self) -> f64 {
        let more = self.memory.playing_bytes.saturating_sub(self.memory.idle_bytes);
        more as f64 / 1024.0 / self.playing.max(1) as f64
    }

    pub(crate) fn kernel_kibibytes_per_player(&self) -> f64 {
        self.memory.kernel_socket_bytes as f64 / 1024.0 / self.playing.max(1) as f64
    }

    /// How much more CPU the server used while it was recorded than before, of 1.
    pub(crate) fn recording(&self) -> Option<f64> {
        let baseline = self.baseline.as_ref()?;
        Some(baseline.game_cpu / self.cores() - 1.0)
    }

    /// Whether players would call it broken: half a second late, metres off, or thrown out.
    pub(crate) fn is_broken(&self) -> bool {
        let updates = &self.report.updates;
        self.playing < self.variant.bots.count
            || updates.staleness_p99_ms > 500
            || updates.position_error_p99_m > 2.0
            || self.report.disconnected > 0
    }

    /// What of the targets was not reached.
    pub(crate) fn not_reached(&self, targets: &Targets) -> Vec<String> {
        let mut not_reached = Vec::new();
        let mut at_most = |name: &str, value: f64, bound: Option<f64>| {
            if let Some(bound) = bound
                && value > bound
            {
                not_reached.push(format!("{name}: {value:.2}, to reach was {bound}"));
            }
        };
        let updates = &self.report.updates;
        let number = |bound: Option<u64>| bound.map(|bound| bound as f64);
        let stale = updates.staleness_p99_ms as f64;
        at_most("staleness p99 in ms", stale, number(targets.staleness_p99_ms));
        let error = updates.position_error_p99_m;
        at_most("position error p99 in m", error, targets.position_error_p99_metres);
        let bytes = self.bytes_per_neighbour_second();
        at_most("bytes per neighbour-second", bytes, targets.bytes_per_neighbour_second);
        let late = self.report.commands.p99_ms as f64;
        at_most("acknowledged p99 in ms", late, number(targets.acknowledged_p99_ms));
        at_most("KiB per player", self.kibibytes_per_player(), targets.kibibytes_per_player);
        if let Some(ratio) = self.times_bare() {
            at_most("CPU over the baseline", ratio, targets.baseline_ratio);
        }
        if targets.nothing_missing {
            let nothing = Some(0.0);
            at_most(
                "updates lost",
                updates.expected.saturating_sub(updates.received) as f64,
                nothing,
            );
            at_most("gaps", updates.gaps as f64, nothing);
            at_most("missing people", self.report.sight.missing as f64, nothing);
            at_most("disconnections", self.report.disconnected as f64, nothing);
            let absent = self.variant.bots.count.saturating_sub(self.playing);
            at_most("bots that did not arrive", absent as f64, nothing);
        }
        not_reached
    }
}

impl Baseline {
    pub(crate) fn ratio(&self) -> f64 {
        self.game_cpu / self.bare_cpu.max(1e-9)
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (updates, cost, report) = (&self.report.updates, &self.cost, &self.report);
        writeln!(
            out,
            "  {} playing after {:.0} s, {:.1} in sight of each; {} disconnected, {} refused",
            self.playing,
            self.arrived_seconds,
            self.neighbours(),
            report.disconnected,
            report.refused
        )?;
        writeln!(
            out,
            "  updates {} of {} expected, {} gaps; staleness p50 {} p99 {} ms; error p50 {} p99 {} m",
            updates.received,
            updates.expected,
            updates.gaps,
            updates.staleness_p50_ms,
            updates.staleness_p99_ms,
            updates.position_error_p50_m,
            updates.position_error_p99_m
        )?;
        writeln!(
            out,
            "  bytes per neighbour-second {:.2}, {:.2} with snapshots, which are {:.1} per player-second; {:.0} writes/s",
            self.bytes_per_neighbour_second(),
            self.bytes_per_neighbour_second_with_snapshots(),
            self.snapshot_bytes_per_player_second(),
            cost.writes / cost.seconds
        )?;
        writeln!(
            out,
            "  CPU {:.3} cores ({:.3} user, {:.3} kernel); {:.2} us per neighbour-second, {:.2} s per million updates, {:.2} s per million writes",
            self.cores(),
            cost.user_seconds / cost.seconds,
            cost.system_seconds / cost.seconds,
            self.cpu_us_per_neighbour_second(),
            self.cpu_per_million_updates(),
            self.cpu_per_million_writes()
        )?;
        if let Some(idle) = cost.idle_share {
            write!(out, "  {:.0} % of the server's core was idle", idle * 100.0)?;
            match &self.beside {
                Some(Beside { share, took }) => {
                    writeln!(
                        out,
                        "; a program beside it wanted {share:.2} of it and got {took:.2}"
                    )?;
                }
                None => writeln!(out)?,
            }
        }
        writeln!(
            out,
            "  {:.1} allocations per tick, busiest lane {:.2} ms per tick; {:.1} KiB per player (kernel {:.1}); {:.0} blocked writes",
            cost.allocations_per_tick,
            cost.busiest_lane_ms_per_tick,
            self.kibibytes_per_player(),
            self.kernel_kibibytes_per_player(),
            cost.blocked
        )?;
        if report.sight.looks > 0 {
            writeln!(
                out,
                "  {} crossings; {} looks found {} near, {} of them missing",
                report.sight.crossings, report.sight.looks, report.sight.near, report.sight.missing
            )?;
        }
        let commands = &report.commands;
        writeln!(
            out,
            "  commands {} sent, {} acknowledged, {} refused, {} lost, p50 {} p99 {} ms; {:.0} commits/s in {:.0} groups/s, {:.0} conflicts/s",
            commands.sent,
            commands.acked,
            commands.refused,
            commands.lost,
            commands.p50_ms,
            commands.p99_ms,
            self.store.committed / cost.seconds,
            self.store.groups / cost.seconds,
            self.store.conflicts / cost.seconds
        )?;
        if let Some(stewards) = self.stewards.as_ref().filter(|it| it.commits > 0.0) {
            writeln!(
                out,
                "  stewards: {:.0} commits/s of {:.1} turns, {:.0} busy",
                stewards.commits / cost.seconds,
                stewards.turns_per_commit(),
                stewards.busy
            )?;
        }
        if let Some(baseline) = &self.baseline {
            writeln!(
                out,
                "  baseline: {:.3} cores bare, {:.3} with the game: {:.2} times (recording made it {:+.1} %; bare writes late by p99 {:.1} ms)",
                baseline.bare_cpu,
                baseline.game_cpu,
                baseline.ratio(),
                self.recording().unwrap_or_default() * 100.0,
                baseline.late_p99_ms
            )?;
        }
        if !self.pairs.is_empty() {
            writeln!(out, "  {}", pairs::tell(&self.pairs))?;
        }
        Ok(())
    }
}
