//! What it costs that lanes share a chunk, and how many should.
//!
//! A tick costs a node `logic + lanes * synchronisation`: logic (checks, encoding, writing to clients) is split between
//! the lanes, but each of them decodes what all publish and keeps ghosts of everybody. Both are fitted by least
//! squares. The knee is where a lane spends as much on synchronisation as on its share of the logic, `logic /
//! synchronisation` lanes: beyond it more than half of a lane's work is overhead.

use crate::measurement::Measurement;
use std::collections::BTreeMap;

/// Costs of a crowd of one size.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Share {
    pub(crate) players: usize,
    /// Lanes, and the node's CPU ms per tick with as many.
    pub(crate) measured: Vec<(f64, f64)>,
    /// CPU ms per tick, however many lanes.
    pub(crate) logic_ms: f64,
    /// CPU ms per tick and lane.
    pub(crate) synchronisation_ms: f64,
}

impl Share {
    /// Lanes at which both are equal.
    pub(crate) fn knee(&self) -> f64 {
        self.logic_ms / self.synchronisation_ms
    }
}

/// One per size of the crowd.
pub(crate) fn shares(measurements: &[Measurement]) -> Vec<Share> {
    let mut by_players: BTreeMap<usize, Vec<(f64, f64)>> = BTreeMap::new();
    for measured in measurements {
        let lanes = f64::from(measured.variant.world.lanes);
        let point = (lanes, measured.cores() * 100.0);
        by_players.entry(measured.variant.bots.count).or_default().push(point);
    }
    by_players.into_iter().map(|(players, points)| fit(players, points)).collect()
}

/// How many lanes should share a chunk: the median knee, rounded down, at least one and at most what was measured.
pub(crate) fn spread(shares: &[Share]) -> Option<u8> {
    let most = shares.iter().flat_map(|share| &share.measured).map(|point| point.0);
    let most = most.fold(1.0, f64::max);
    let knee = crate::store::median(shares.iter().map(Share::knee).filter(|knee| *knee > 0.0));
    knee.is_finite().then(|| knee.floor().clamp(1.0, most) as u8)
}

fn fit(players: usize, measured: Vec<(f64, f64)>) -> Share {
    let count = measured.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| measured.iter().map(of).sum::<f64>() / count;
    let (lanes, cost) = (mean(|point| point.0), mean(|point| point.1));
    let covariance: f64 = measured.iter().map(|point| (point.0 - lanes) * (point.1 - cost)).sum();
    let variance: f64 = measured.iter().map(|point| (point.0 - lanes).powi(2)).sum();
    let synchronisation_ms = covariance / variance;
    Share { players, logic_ms: cost - synchronisation_ms * lanes, synchronisation_ms, measured }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_knee_is_where_a_lane_spends_half_on_synchronisation() {
        let cost = |lanes: f64| (lanes, 6.0 + 1.5 * lanes);
        let share = fit(100, [1.0, 2.0, 4.0, 8.0].map(cost).to_vec());
        assert!((share.logic_ms - 6.0).abs() < 1e-9);
        assert!((share.knee() - 4.0).abs() < 1e-9);
        assert_eq!(spread(&[share]), Some(4));
    }

    #[test]
    fn the_spread_stays_within_what_was_measured() {
        let of = |logic: f64, synchronisation: f64| {
            let cost = |lanes: f64| (lanes, logic + synchronisation * lanes);
            fit(100, [1.0, 2.0, 4.0].map(cost).to_vec())
        };
        assert_eq!(spread(&[of(90.0, 1.0)]), Some(4));
        assert_eq!(spread(&[of(0.1, 1.0)]), Some(1));
        // Cheaper with more lanes: no knee, and nothing is concluded from it.
        assert_eq!(spread(&[of(5.0, -1.0)]), None);
        assert_eq!(spread(&[]), None);
    }
}
