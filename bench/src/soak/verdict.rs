//! Whether memory and latency held: the end of a soak beside its beginning.

use super::{Sample, Soak};
use serde::Serialize;

/// The windows of a run of an hour, in minutes; shorter runs have shorter ones.
const EARLY_MINUTES: (f64, f64) = (5.0, 15.0);
const LATE_MINUTES: (f64, f64) = (50.0, 60.0);
const FULL_MINUTES: f64 = 60.0;
/// Resident memory may grow by this factor.
const MEMORY_RATIO: f64 = 1.10;
/// Staleness p99 may grow by this factor.
const STALENESS_RATIO: f64 = 1.20;
/// Staleness p99 is never beyond this, in ms, on average of a window.
const STALENESS_MS: f64 = 250.0;

/// Averages of a window.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Averages {
    pub(super) from_minute: f64,
    pub(super) to_minute: f64,
    pub(super) resident_bytes: f64,
    pub(super) cores: f64,
    pub(super) staleness_p50_ms: f64,
    pub(super) staleness_p99_ms: f64,
    pub(super) playing: f64,
}

/// The end beside the beginning.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Verdict {
    pub(super) early: Averages,
    pub(super) late: Averages,
    /// What did not hold; empty if everything did.
    pub(super) objections: Vec<String>,
}

impl Verdict {
    /// `None` if there are too few samples.
    pub(super) fn of(soak: &Soak) -> Option<Self> {
        let minutes = soak.samples.last()?.seconds / 60.0;
        let scale = (minutes / FULL_MINUTES).min(1.0);
        let window = |(from, to): (f64, f64)| averages(&soak.samples, from * scale, to * scale);
        // The end of a longer run is later.
        let later = (minutes - FULL_MINUTES).max(0.0);
        let (from, to) = LATE_MINUTES;
        let late = averages(&soak.samples, from * scale + later, to * scale + later)?;
        let early = window(EARLY_MINUTES)?;
        let mut objections = Vec::new();
        let mut at_most = |what: &str, value: f64, bound: f64| {
            if value > bound {
                objections.push(format!("{what}: {value:.2}, to reach was {bound:.2}"));
            }
        };
        at_most(
            "memory, late over early",
            late.resident_bytes / early.resident_bytes,
            MEMORY_RATIO,
        );
        let (before, after) = (early.staleness_p99_ms, late.staleness_p99_ms);
        at_most("staleness p99, late over early", after / before.max(1.0), STALENESS_RATIO);
        at_most("staleness p99 in ms", after, STALENESS_MS);
        let cut_off = soak.samples.last().map_or(0, |sample| sample.bots.cut_off);
        at_most("sessions cut off", cut_off as f64, 0.0);
        Some(Self { early, late, objections })
    }
}

fn averages(samples: &[Sample], from_minute: f64, to_minute: f64) -> Option<Averages> {
    let within = |sample: &&Sample| {
        let minute = sample.seconds / 60.0;
        from_minute < minute && minute <= to_minute + 0.01
    };
    let found: Vec<&Sample> = samples.iter().filter(within).collect();
    if found.is_empty() {
        return None;
    }
    let mean = |of: fn(&Sample) -> f64| {
        found.iter().map(|sample| of(sample)).sum::<f64>() / found.len() as f64
    };
    Some(Averages {
        from_minute,
        to_minute,
        resident_bytes: mean(|sample| sample.resident_bytes as f64),
        cores: mean(|sample| sample.cores),
        staleness_p50_ms: mean(|sample| sample.bots.staleness_p50_ms as f64),
        staleness_p99_ms: mean(|sample| sample.bots.staleness_p99_ms as f64),
        playing: mean(|sample| sample.bots.playing as f64),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelago_bots::Interim;

    /// An hour in which memory and staleness grow evenly to a multiple, and some are cut off.
    fn hour(growth: f64, cut_off: u64) -> Soak {
        let sample = |number: u32| {
            let seconds = f64::from(number) * 30.0;
            let factor = 1.0 + (growth - 1.0) * seconds / 3600.0;
            Sample {
                seconds,
                resident_bytes: (100e6 * factor) as u64,
                kernel_socket_bytes: 0,
                cores: 0.5,
                writes_per_second: 1000.0,
                blocked_writes: 0.0,
                bots: Interim {
                    playing: 1000,
                    decoded: 1,
                    staleness_p50_ms: 80,
                    staleness_p99_ms: (140.0 * factor) as u64,
                    position_error_p99_m: 0.1,
                    longest_gap_ms: 0,
                    vanished: 1,
                    taken_over: 1,
                    cut_off,
                    refused: 0,
                },
            }
        };
        Soak {
            minutes: 60,
            count: 1000,
            idle_bytes: 0,
            finished: true,
            samples: (1..=120).map(sample).collect(),
            limits: Vec::new(),
            verdict: None,
        }
    }

    fn objections(soak: &Soak) -> usize {
        Verdict::of(soak).expect("a verdict").objections.len()
    }

    #[test]
    fn what_holds_has_no_objections_and_what_grows_has() {
        assert_eq!(objections(&hour(1.0, 0)), 0);
        assert_eq!(objections(&hour(1.05, 0)), 0);
        assert_eq!(objections(&hour(1.5, 0)), 2);
        assert_eq!(objections(&hour(1.0, 1)), 1);
        assert_eq!(objections(&hour(3.0, 0)), 3);
    }

    #[test]
    fn the_windows_of_an_hour_are_its_early_and_its_last_ten_minutes() {
        let verdict = Verdict::of(&hour(1.0, 0)).expect("a verdict");
        assert_eq!((verdict.early.from_minute, verdict.early.to_minute), EARLY_MINUTES);
        assert_eq!((verdict.late.from_minute, verdict.late.to_minute), LATE_MINUTES);
    }

    #[test]
    fn an_interrupted_run_has_a_verdict_over_what_there_is() {
        let mut soak = hour(1.0, 0);
        soak.samples.truncate(12);
        let verdict = Verdict::of(&soak).expect("a verdict");
        assert!(verdict.late.to_minute <= 6.0);
        soak.samples.clear();
        assert!(Verdict::of(&soak).is_none());
    }
}
