//! The clocks of hosts: wrong by a bounded skew, set back and forth, and what nodes are told of them.

use super::Simulation;
use crate::schedule::MAX_SKEW_MS;
use crate::violation::Invariant;
use pelago_model::{NodeId, SteadyClock, WorldTime};

/// The clock of a host, and the one that the node on it makes of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HostClock {
    /// How far it is ahead, in ms.
    skew_ms: i64,
    /// How much it gains in a second, in ms, since when and until when.
    drift: Option<(i64, WorldTime, WorldTime)>,
    steady: SteadyClock,
    told: WorldTime,
}

impl HostClock {
    /// The process on it is a new one.
    pub(super) fn restart(&mut self) {
        (self.steady, self.told) = (SteadyClock::default(), WorldTime(0));
    }

    /// It is set to so much more than the truth.
    pub(super) fn set(&mut self, skew_ms: i64) {
        (self.skew_ms, self.drift) = (skew_ms, None);
    }

    /// It runs too fast or too slow.
    pub(super) fn drift(&mut self, now: WorldTime, permille: i64, until: WorldTime) {
        self.skew_ms = self.skew(now);
        self.drift = Some((permille, now, until));
    }

    fn skew(&self, now: WorldTime) -> i64 {
        let gained = self
            .drift
            .map_or(0, |(permille, since, until)| now.min(until).since(since) * permille / 1000);
        let most = i64::from(MAX_SKEW_MS);
        (self.skew_ms + gained).clamp(-most, most)
    }
}

impl Simulation {
    /// What a node takes for the time.
    pub(super) fn time_at(&mut self, node: NodeId) -> WorldTime {
        let (now, raw) = (self.now, self.setup.raw_clocks);
        let Some(host) = self.nodes.get_mut(&node) else { return now };
        let clock = &mut host.clock;
        let host_time = now.plus(clock.skew(now));
        let time = if raw { host_time } else { clock.steady.read(host_time) };
        let before = std::mem::replace(&mut clock.told, time);
        if time < before && self.found.is_none() {
            let text = format!("the time of node {node} steps back by {} ms", before.since(time));
            self.found = Some(self.violation(Invariant::Time, text));
        }
        time
    }
}
