//! Pairs: the server and the bare program in turn, several times, and how far what they tell lies apart.

use super::Measurement;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One run of the server and of the bare program after it; of an older build, too, if one is compared with.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Pair {
    pub(crate) now: Run,
    pub(crate) before: Option<Run>,
}

/// What a run has to tell to others of its sort.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Run {
    /// The server's CPU in the measured seconds.
    pub(crate) cores: f64,
    /// The server's CPU over the bare program's, if there was one.
    pub(crate) times_bare: Option<f64>,
    pub(crate) staleness_p99_ms: u64,
}

impl Run {
    pub(crate) fn of(measured: &Measurement) -> Self {
        Self {
            cores: measured.cores(),
            times_bare: measured.baseline.as_ref().map(super::Baseline::ratio),
            staleness_p99_ms: measured.report.updates.staleness_p99_ms,
        }
    }
}

/// A median, and the values that lie farthest from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

impl Range {
    /// `None` of no values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (lowest, highest) = (*values.first()?, *values.last()?);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { median: f64::midpoint(low, high), lowest, highest })
    }

    /// The server over the bare program.
    pub(crate) fn times_bare(pairs: &[Pair]) -> Option<Self> {
        Self::of(pairs.iter().filter_map(|pair| pair.now.times_bare))
    }

    /// The older build over the bare program.
    pub(crate) fn before_times_bare(pairs: &[Pair]) -> Option<Self> {
        Self::of(pairs.iter().filter_map(|pair| pair.before.as_ref()?.times_bare))
    }

    /// The server's CPU over that of the older build in the same pair.
    pub(crate) fn times_before(pairs: &[Pair]) -> Option<Self> {
        let ratio = |pair: &Pair| Some(pair.now.cores / pair.before.as_ref()?.cores);
        Self::of(pairs.iter().filter_map(ratio))
    }

    /// The staleness that players of the server saw, 99th percentile in ms.
    pub(crate) fn staleness(pairs: &[Pair]) -> Option<Self> {
        Self::of(pairs.iter().map(|pair| pair.now.staleness_p99_ms as f64))
    }

    /// The same of the older build.
    pub(crate) fn staleness_before(pairs: &[Pair]) -> Option<Self> {
        let of = |pair: &Pair| Some(pair.before.as_ref()?.staleness_p99_ms as f64);
        Self::of(pairs.iter().filter_map(of))
    }
}

impl fmt::Display for Range {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = out.precision().unwrap_or(2);
        let Self { median, lowest, highest } = self;
        write!(out, "{median:.digits$} ({lowest:.digits$}-{highest:.digits$})")
    }
}

/// A sentence about the pairs: the ratios, and what an older build needed; empty without pairs.
pub(crate) fn tell(pairs: &[Pair]) -> String {
    let mut text = String::new();
    let mut add = |name: &str, range: Option<Range>, digits: usize| {
        if let Some(range) = range {
            let comma = if text.is_empty() { "" } else { ", " };
            text += &format!("{comma}{name} {range:.digits$}");
        }
    };
    add("times the bare one", Range::times_bare(pairs), 2);
    add("staleness p99 ms", Range::staleness(pairs), 0);
    add("times the build before", Range::times_before(pairs), 2);
    add("which was at", Range::before_times_bare(pairs), 2);
    add("its staleness p99 ms", Range::staleness_before(pairs), 0);
    if text.is_empty() { text } else { format!("{} pairs: {text}", pairs.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(cores: f64, times_bare: f64, staleness_p99_ms: u64) -> Run {
        Run { cores, times_bare: Some(times_bare), staleness_p99_ms }
    }

    #[test]
    fn a_range_has_the_median_between_its_ends() {
        let range = Range::of([1.4, 1.2, 1.3]).expect("values");
        assert_eq!((range.lowest, range.median, range.highest), (1.2, 1.3, 1.4));
        assert_eq!(Range::of([2.0, 1.0]).map(|range| range.median), Some(1.5));
        assert_eq!(Range::of([]), None);
        assert_eq!(format!("{range:.1}"), "1.3 (1.2-1.4)");
    }

    #[test]
    fn a_build_is_compared_with_the_one_before_in_the_same_pair() {
        let pair = |now, before| Pair { now, before: Some(before) };
        let pairs = [
            pair(run(0.5, 1.2, 190), run(1.0, 1.5, 300)),
            pair(run(0.9, 1.4, 210), run(1.0, 1.6, 320)),
            pair(run(0.8, 1.3, 200), run(1.0, 1.7, 310)),
        ];
        assert_eq!(
            tell(&pairs),
            "3 pairs: times the bare one 1.30 (1.20-1.40), staleness p99 ms 200 (190-210), times the build before \
             0.80 (0.50-0.90), which was at 1.60 (1.50-1.70), its staleness p99 ms 310 (300-320)"
        );
        assert_eq!(tell(&[]), "");
    }
}
