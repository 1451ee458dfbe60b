//! The report: what bots were shown beside what they did.

use super::bot::BotLog;
use super::ledger::{Ledger, Moved};
use hdrhistogram::Histogram;
use pelago_model::{ChunkId, IslandTime, Position};
use serde::Serialize;
use std::collections::HashMap;

/// Changes within this distance of an observer are expected, in 1/64 m: 30 m.
const EXPECTED_UNITS: u64 = 1920;
/// An observer must have been there for this long before and after a change, in ms.
const SETTLED_MS: i64 = 2000;

/// What bots report.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Bots that were let in at least once.
    pub connected: u64,
    /// Attempts that were refused or failed.
    pub refused: u64,
    /// Sessions that ended before their time.
    pub disconnected: u64,
    /// Durable commands.
    pub commands: Commands,
    /// What was shown.
    pub updates: Updates,
}

/// Durable commands.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Commands {
    /// Sent, repetitions not counted.
    pub sent: u64,
    /// Acknowledged.
    pub acked: u64,
    /// Refused.
    pub refused: u64,
    /// Without an answer at the end.
    pub lost: u64,
    /// From sending to acknowledgement, median.
    pub p50_ms: u64,
    /// From sending to acknowledgement, 99th percentile.
    pub p99_ms: u64,
}

/// Updates: changes of entities, decoded by observers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Updates {
    /// Of the expected ones, those that came.
    pub received: u64,
    /// Moves of others within 30 m of observers.
    pub expected: u64,
    /// All changes that were decoded, also farther ones and those of snapshots.
    pub decoded: u64,
    /// Bytes received, with framing, snapshots and control messages.
    pub bytes: u64,
    /// From the sender's send to the observer's decoding, median.
    pub staleness_p50_ms: u64,
    /// From the sender's send to the observer's decoding, 99th percentile.
    pub staleness_p99_ms: u64,
    /// Distance between shown and true places, median, in metres.
    pub position_error_p50_m: f64,
    /// Distance between shown and true places, 99th percentile, in metres.
    pub position_error_p99_m: f64,
    /// The longest time in which a connected bot heard nothing.
    pub longest_gap_ms: u64,
    /// Gaps in streams.
    pub gaps: u64,
}

/// Adds up what bots have to tell.
pub(super) fn assemble(ledger: &Ledger, logs: Vec<BotLog>) -> Report {
    let mut report = Report::default();
    let histogram = || Histogram::<u64>::new_with_max(600_000, 2).expect("a valid histogram");
    let (mut staleness, mut error, mut latency) = (histogram(), histogram(), histogram());
    for log in &logs {
        report.connected += u64::from(log.entity.is_some());
        report.refused += log.refusals;
        report.disconnected += log.disconnections;
        report.commands.sent += log.sent;
        report.commands.acked += log.acked;
        report.commands.refused += log.refused;
        report.commands.lost += log.lost;
        report.updates.decoded += log.decoded;
        report.updates.bytes += log.bytes;
        report.updates.gaps += log.gaps;
        let gap = log.longest_gap.as_millis() as u64;
        report.updates.longest_gap_ms = report.updates.longest_gap_ms.max(gap);
        // All have the same bounds, so that adding cannot fail.
        staleness += &log.staleness_ms;
        error += &log.error_cm;
        latency += &log.latency_ms;
    }
    report.commands.p50_ms = latency.value_at_quantile(0.5);
    report.commands.p99_ms = latency.value_at_quantile(0.99);
    report.updates.staleness_p50_ms = staleness.value_at_quantile(0.5);
    report.updates.staleness_p99_ms = staleness.value_at_quantile(0.99);
    report.updates.position_error_p50_m = error.value_at_quantile(0.5) as f64 / 100.0;
    report.updates.position_error_p99_m = error.value_at_quantile(0.99) as f64 / 100.0;
    let (expected, received) = compare(&ledger.moves(), &logs);
    report.updates.expected = expected;
    report.updates.received = received;
    let seconds = ledger.began.elapsed().as_secs();
    tracing::debug!(seconds, bots = logs.len(), "bots have ended");
    report
}

/// Counts the moves that observers should have been shown, and those of them that they were.
fn compare(moves: &[Moved], logs: &[BotLog]) -> (u64, u64) {
    let mut by_second: HashMap<i64, Vec<usize>> = HashMap::new();
    for (number, moved) in moves.iter().enumerate().filter(|(_, moved)| !moved.refused) {
        by_second.entry(moved.at.0 / 1000).or_default().push(number);
    }
    let (mut expected, mut received) = (0, 0);
    for (second, numbers) in by_second {
        // Everybody by chunk at the start of the second; nobody goes two chunks in one.
        let mut crowd: HashMap<ChunkId, Vec<&BotLog>> = HashMap::new();
        for log in logs {
            if let Some(place) = place_at(log, IslandTime(second * 1000)) {
                crowd.entry(place.chunk()).or_default().push(log);
            }
        }
        for number in numbers {
            let moved = &moves[number];
            let near = moved.position.chunk().around(2).filter_map(|chunk| crowd.get(&chunk));
            for log in near.flatten().filter(|log| log.entity != Some(moved.entity)) {
                if is_settled(log, moved.at) && is_near(log, moved) {
                    expected += 1;
                    received += u64::from(log.received.contains(&(number as u32)));
                }
            }
        }
    }
    (expected, received)
}

fn is_settled(log: &BotLog, at: IslandTime) -> bool {
    log.connected
        .iter()
        .any(|(from, until)| from.plus(SETTLED_MS) <= at && at <= until.plus(-SETTLED_MS))
}

fn is_near(log: &BotLog, moved: &Moved) -> bool {
    place_at(log, moved.at)
        .is_some_and(|place| place.distance_squared(moved.position) <= EXPECTED_UNITS.pow(2))
}

fn place_at(log: &BotLog, at: IslandTime) -> Option<Position> {
    let after = log.paths.partition_point(|path| path.start_time() <= at);
    Some(log.paths.get(after.checked_sub(1)?)?.position_at(at))
}
