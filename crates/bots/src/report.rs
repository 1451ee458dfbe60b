//! The report: what bots were shown beside what they did.

use crate::bot::BotLog;
use crate::ledger::{Ledger, Moved};
use crate::meters::Meters;
use crate::shared::Window;
use pelago_model::{ChunkId, IslandTime, Position};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Changes within this distance of an observer are expected, in 1/64 m: 30 m.
const EXPECTED_UNITS: u64 = 1920;
/// An observer must have been there for this long before and after a change, in ms.
const SETTLED_MS: i64 = 2000;

/// The report of a fleet.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Report {
    /// Bots that were let in at least once.
    pub connected: u64,
    /// Attempts that were refused or failed.
    pub refused: u64,
    /// Sessions that ended before their time.
    pub disconnected: u64,
    /// Seconds in which the numbers below were taken.
    pub seconds: f64,
    /// Durable commands.
    pub commands: Commands,
    /// Updates that were shown.
    pub updates: Updates,
    /// The bytes that it took.
    pub bytes: Bytes,
    /// How complete the view of the bots was.
    pub sight: Sight,
}

/// Durable commands.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Updates {
    /// Of the expected ones, those that came.
    pub received: u64,
    /// Moves of others within 30 m of observers.
    pub expected: u64,
    /// All changes that were decoded, also farther ones and those of snapshots.
    pub decoded: u64,
    /// From the sender's send to the observer's decoding, median.
    pub staleness_p50_ms: u64,
    /// From the sender's send to the observer's decoding, 99th percentile.
    pub staleness_p99_ms: u64,
    /// Distance between shown and true places, median, in metres.
    pub position_error_p50_m: f64,
    /// Distance between shown and true places, 99th percentile, in metres.
    pub position_error_p99_m: f64,
    /// The longest time, beyond a second, in which a connected bot heard nothing.
    pub longest_gap_ms: u64,
    /// Gaps in streams, from the first to the last moment.
    pub gaps: u64,
}

/// Bytes that came, as messages: without the heads of TCP and WebSocket.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Bytes {
    /// All, from the first to the last moment, control messages and content included.
    pub all: u64,
    /// Messages of frames: what people in sight do.
    pub frames: u64,
    /// How many.
    pub frame_messages: u64,
    /// Snapshots and closes: what comes into sight.
    pub snapshots: u64,
    /// How many.
    pub snapshot_messages: u64,
}

/// How complete the view of the bots was.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Sight {
    /// Seconds that bots were in the world, added up.
    pub player_seconds: f64,
    /// Seconds that others were in sight of them, added up.
    pub neighbour_seconds: f64,
    /// Borders of chunks that were crossed.
    pub crossings: u64,
    /// Looks around.
    pub looks: u64,
    /// People within 25 m at these looks.
    pub near: u64,
    /// Those of them who had been missing for more than two ticks.
    pub missing: u64,
}

/// Adds up what bots have to tell.
pub(crate) fn assemble(
    ledger: &Ledger,
    meters: &Meters,
    window: Window,
    logs: &[BotLog],
) -> Report {
    let sum = |of: fn(&BotLog) -> u64| logs.iter().map(of).sum::<u64>();
    let (expected, received) = compare(&ledger.moves(), window, logs);
    let seconds = |ms: u64| ms as f64 / 1000.0;
    let metres = |quantile| meters.error_cm.value_at_quantile(quantile) as f64 / 100.0;
    let measured = window.began.zip(window.ended).map(|(began, ended)| ended - began);
    Report {
        connected: logs.iter().filter(|log| log.entity.is_some()).count() as u64,
        refused: sum(|log| log.refusals),
        disconnected: sum(|log| log.disconnections),
        seconds: measured.map_or(0.0, |time| time.as_secs_f64()),
        commands: Commands {
            sent: meters.sent,
            acked: meters.acked,
            refused: meters.refused,
            lost: sum(|log| log.lost),
            p50_ms: meters.latency_ms.value_at_quantile(0.5),
            p99_ms: meters.latency_ms.value_at_quantile(0.99),
        },
        updates: Updates {
            received,
            expected,
            decoded: meters.decoded,
            staleness_p50_ms: meters.staleness_ms.value_at_quantile(0.5),
            staleness_p99_ms: meters.staleness_ms.value_at_quantile(0.99),
            position_error_p50_m: metres(0.5),
            position_error_p99_m: metres(0.99),
            longest_gap_ms: meters.longest_gap_ms,
            gaps: sum(|log| log.gaps),
        },
        bytes: Bytes {
            all: sum(|log| log.bytes),
            frames: meters.frame_bytes,
            frame_messages: meters.frames,
            snapshots: meters.snapshot_bytes,
            snapshot_messages: meters.snapshots,
        },
        sight: Sight {
            player_seconds: seconds(meters.player_ms),
            neighbour_seconds: seconds(meters.neighbour_ms),
            crossings: meters.crossings,
            looks: meters.looks,
            near: meters.near,
            missing: meters.missing,
        },
    }
}

/// Counts the moves of the window that observers should have been shown, and those of them that they were.
fn compare(moves: &[Moved], window: Window, logs: &[BotLog]) -> (u64, u64) {
    let mut by_second: HashMap<i64, Vec<usize>> = HashMap::new();
    let counts = |moved: &Moved| !moved.refused && window.holds(moved.sent);
    for (number, moved) in moves.iter().enumerate().filter(|(_, moved)| counts(moved)) {
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
