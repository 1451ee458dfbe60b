//! Gauges: numbers that change by themselves, as a function of time.

use crate::time::IslandTime;
use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

/// One unit of a gauge in its fixed point: values are counted in billionths.
pub const NANO: i64 = 1_000_000_000;
/// Rates that one gauge can have at once.
pub const MAX_RATES: usize = 8;

/// A rate that holds from an instant until another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GaugeRate {
    /// Change in billionths of a unit per millisecond.
    pub nano_per_ms: i64,
    /// The first instant at which it holds.
    pub from: IslandTime,
    /// The first instant at which it holds no more.
    pub until: IslandTime,
}

/// A number that is piecewise linear in time, kept within bounds: hunger, growth, regrowth, decay.
///
/// Integers throughout: advancing in one step or in many gives the same value to the last digit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Gauge {
    /// The value at [`Gauge::at`], in billionths.
    value: i64,
    /// When the value was true.
    at: IslandTime,
    /// The least value, in billionths.
    min: i64,
    /// The greatest value, in billionths.
    max: i64,
    /// What changes it, at most [`MAX_RATES`].
    rates: ArrayVec<GaugeRate, MAX_RATES>,
}

/// A ninth rate for a gauge that has eight.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a gauge has at most {MAX_RATES} rates")]
pub struct TooManyRates;

/// A gauge as it is read from a document, before its bounds are looked at.
#[derive(Deserialize)]
struct Written {
    value: i64,
    at: IslandTime,
    min: i64,
    max: i64,
    rates: ArrayVec<GaugeRate, MAX_RATES>,
}

/// A gauge whose value is not within its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a gauge has a value from its least to its greatest")]
pub struct OutOfBounds;

impl TryFrom<Written> for Gauge {
    type Error = OutOfBounds;

    fn try_from(written: Written) -> Result<Self, OutOfBounds> {
        let Written { value, at, min, max, rates } = written;
        if (min..=max).contains(&value) {
            Ok(Self { value, at, min, max, rates })
        } else {
            Err(OutOfBounds)
        }
    }
}

impl Gauge {
    /// A still gauge, values in billionths; `value` is brought within the bounds.
    pub fn new(value: i64, min: i64, max: i64, at: IslandTime) -> Self {
        let max = max.max(min);
        Self { value: value.clamp(min, max), at, min, max, rates: ArrayVec::new() }
    }

    /// Adds a rate, which holds where its span and the future overlap.
    pub fn add_rate(&mut self, rate: GaugeRate) -> Result<(), TooManyRates> {
        self.rates.try_push(rate).map_err(|_| TooManyRates)
    }

    /// The value at `time` in billionths; before [`Gauge::since`] the value then.
    pub fn value_at(&self, time: IslandTime) -> i64 {
        let (mut value, mut now) = (self.value, self.at);
        while now < time {
            let until = self.next_change(now).min(time);
            // Saturates only beyond 2^63 billionths, where the bounds hold it anyway.
            let change = i128::from(self.slope(now)) * i128::from(until.since(now));
            let bounded = (i128::from(value) + change).clamp(self.min.into(), self.max.into());
            value = bounded as i64;
            now = until;
        }
        value
    }

    /// Makes `time` the instant from which the gauge counts, and forgets rates that have ended.
    pub fn advance(&mut self, time: IslandTime) {
        if time > self.at {
            self.value = self.value_at(time);
            self.at = time;
            self.rates.retain(|rate| rate.until > time);
        }
    }

    /// Changes the value at `time` by `delta` billionths, within the bounds.
    pub fn add(&mut self, time: IslandTime, delta: i64) {
        self.advance(time);
        self.value = self.value.saturating_add(delta).clamp(self.min, self.max);
    }

    /// The first instant from `time` on at which the value is at least `target` billionths, if it comes.
    pub fn reaches(&self, time: IslandTime, target: i64) -> Option<IslandTime> {
        let (mut value, mut now) = (self.value_at(time), time.max(self.at));
        loop {
            if value >= target {
                return Some(now);
            }
            let slope = self.slope(now);
            let until = self.next_change(now);
            if slope > 0 && target <= self.max {
                let wait = (i128::from(target) - i128::from(value) + i128::from(slope) - 1)
                    / i128::from(slope);
                if wait <= i128::from(until.since(now)) {
                    return Some(now.plus(wait as i64));
                }
            }
            if until == IslandTime(i64::MAX) {
                return None;
            }
            (value, now) = (self.value_at(until), until);
        }
    }

    /// When the value was last set or advanced to.
    pub fn since(&self) -> IslandTime {
        self.at
    }

    /// The greatest value, in billionths.
    pub fn max(&self) -> i64 {
        self.max
    }

    /// What its rates add up to at `now`, in billionths per ms, not minding the bounds.
    pub fn slope(&self, now: IslandTime) -> i64 {
        self.rates
            .iter()
            .filter(|rate| rate.from <= now && now < rate.until)
            .fold(0i64, |sum, rate| sum.saturating_add(rate.nano_per_ms))
    }

    /// The next instant after `now` at which a rate starts or ends, or the end of time.
    fn next_change(&self, now: IslandTime) -> IslandTime {
        self.rates
            .iter()
            .flat_map(|rate| [rate.from, rate.until])
            .filter(|change| *change > now)
            .min()
            .unwrap_or(IslandTime(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn gauges() -> impl Strategy<Value = Gauge> {
        let rate = (-5_000_000i64..5_000_000, 0i64..100_000, 0i64..100_000).prop_map(
            |(nano_per_ms, from, span)| GaugeRate {
                nano_per_ms,
                from: IslandTime(from),
                until: IslandTime(from + span),
            },
        );
        (0..10 * NANO, prop::collection::vec(rate, 0..=MAX_RATES)).prop_map(|(value, rates)| {
            let mut gauge = Gauge::new(value, 0, 10 * NANO, IslandTime(0));
            rates.into_iter().for_each(|rate| gauge.add_rate(rate).unwrap());
            gauge
        })
    }

    #[test]
    fn a_gauge_out_of_its_bounds_is_not_read() {
        let read = |value, min, max| {
            let text = format!(r#"{{"value":{value},"at":0,"min":{min},"max":{max},"rates":[]}}"#);
            serde_json::from_str::<Gauge>(&text).ok()
        };
        assert_eq!(read(5, 0, 9), Some(Gauge::new(5, 0, 9, IslandTime(0))));
        for (value, min, max) in [(5, 9, 0), (10, 0, 9), (-1, 0, 9)] {
            assert_eq!(read(value, min, max), None, "{value} of {min} to {max}");
        }
    }

    #[test]
    fn a_bush_regrows_one_berry_a_minute() {
        let mut stock = Gauge::new(0, 0, 3 * NANO, IslandTime(0));
        let rate = NANO / 60_000;
        stock
            .add_rate(GaugeRate {
                nano_per_ms: rate,
                from: IslandTime(0),
                until: IslandTime(i64::MAX),
            })
            .unwrap();
        assert_eq!(stock.value_at(IslandTime(60_000)), rate * 60_000);
        assert_eq!(stock.value_at(IslandTime(i64::MAX)), 3 * NANO);
        let full = stock.reaches(IslandTime(0), NANO).unwrap();
        assert!(stock.value_at(full) >= NANO && stock.value_at(full.plus(-1)) < NANO);
        assert_eq!(stock.reaches(IslandTime(0), 4 * NANO), None);
    }

    #[test]
    fn a_ninth_rate_is_refused() {
        let mut gauge = Gauge::new(0, 0, 1, IslandTime(0));
        let rate = GaugeRate { nano_per_ms: 1, from: IslandTime(0), until: IslandTime(1) };
        for _ in 0..MAX_RATES {
            gauge.add_rate(rate).unwrap();
        }
        assert_eq!(gauge.add_rate(rate), Err(TooManyRates));
    }

    proptest! {
        #[test]
        fn one_step_equals_many(gauge in gauges(), mut stops in prop::collection::vec(0i64..250_000, 1..20)) {
            stops.sort_unstable();
            let mut stepped = gauge.clone();
            for stop in &stops {
                stepped.advance(IslandTime(*stop));
            }
            let end = IslandTime(250_000);
            stepped.advance(end);
            prop_assert_eq!(stepped.value_at(end), gauge.value_at(end));
        }

        #[test]
        fn the_value_stays_within_its_bounds(gauge in gauges(), time in 0i64..300_000) {
            prop_assert!((0..=10 * NANO).contains(&gauge.value_at(IslandTime(time))));
        }

        #[test]
        fn the_value_is_continuous(gauge in gauges(), time in 0i64..300_000) {
            let step = gauge.value_at(IslandTime(time + 1)) - gauge.value_at(IslandTime(time));
            prop_assert!(step.abs() <= MAX_RATES as i64 * 5_000_000);
        }

        #[test]
        fn it_reaches_what_it_says(gauge in gauges(), time in 0i64..200_000, target in 0..10 * NANO) {
            match gauge.reaches(IslandTime(time), target) {
                Some(when) => {
                    prop_assert!(gauge.value_at(when) >= target);
                    prop_assert!(when == IslandTime(time) || gauge.value_at(when.plus(-1)) < target);
                }
                None => prop_assert!(gauge.value_at(IslandTime(i64::MAX)) < target),
            }
        }
    }
}
