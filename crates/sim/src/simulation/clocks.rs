//! The clocks of hosts: wall clocks that are inexact, set back and forth, and for a while quite wrong; and what nodes make
//! of them. The monotonic clock of a host is true.

use super::Simulation;
use crate::schedule::MAX_SKEW_MS;
use crate::violation::Invariant;
use pelago_model::clock::median_us;
use pelago_model::{ClockMark, ClockReading, DisciplinedClock, MarkLease, NodeId, WorldTime};

/// How often a node looks at its wall clock, in ms.
const DISCIPLINE_EVERY_MS: i64 = 100;
/// A node that comes back into a living world takes the time of others, which differs from its own by this at most, in
/// ms: both wall clocks may be wrong.
const MAX_DIFFERENCE_MS: i64 = 3 * MAX_SKEW_MS as i64;

/// The clocks of a host, and the one that the node on it makes of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HostClock {
    /// How far the wall clock is ahead, in ms.
    skew_ms: i64,
    /// How much it gains in a second, in ms, since when and until when.
    drift: Option<(i64, WorldTime, WorldTime)>,
    /// By how much it is wrong beside that, because somebody has set it, and until when.
    wrong: Option<(i64, WorldTime)>,
    clock: Option<DisciplinedClock>,
    disciplined: WorldTime,
    lease: MarkLease,
    /// What the node was told last, also in its lives before.
    told: WorldTime,
}

impl HostClock {
    /// It is set to so much more than the truth.
    pub(super) fn set(&mut self, skew_ms: i64) {
        (self.skew_ms, self.drift) = (skew_ms, None);
    }

    /// It runs too fast or too slow.
    pub(super) fn drift(&mut self, now: WorldTime, permille: i64, until: WorldTime) {
        self.skew_ms = self.skew(now);
        self.drift = Some((permille, now, until));
    }

    /// Somebody sets it right.
    pub(super) fn set_right(&mut self) {
        self.set(0);
        self.wrong = None;
    }

    /// Somebody sets it quite wrong, until then.
    pub(super) fn set_wrong(&mut self, by_ms: i64, until: WorldTime) {
        self.wrong = Some((by_ms, until));
    }

    fn skew(&self, now: WorldTime) -> i64 {
        let gained = self
            .drift
            .map_or(0, |(permille, since, until)| now.min(until).since(since) * permille / 1000);
        let most = i64::from(MAX_SKEW_MS);
        (self.skew_ms + gained).clamp(-most, most)
    }

    fn wall(&self, now: WorldTime) -> WorldTime {
        let wrong = self.wrong.filter(|(_, until)| *until > now).map_or(0, |(by_ms, _)| by_ms);
        now.plus(self.skew(now) + wrong)
    }

    fn reading(&self, now: WorldTime, links_us: Option<i64>) -> ClockReading {
        ClockReading { monotonic_us: now.0 * 1000, wall_us: self.wall(now).0 * 1000, links_us }
    }

    /// The node's time, if there is a node.
    fn read(&mut self, now: WorldTime) -> Option<WorldTime> {
        let reading = self.reading(now, None);
        let clock = self.clock.as_mut()?;
        let time = clock.at(reading.monotonic_us);
        if now.since(self.disciplined) >= DISCIPLINE_EVERY_MS {
            self.disciplined = now;
            clock.discipline(reading);
        }
        Some(time)
    }
}

impl Simulation {
    /// The process on a host has died.
    pub(super) fn stop_clock(&mut self, node: NodeId) {
        if let Some(host) = self.nodes.get_mut(&node) {
            host.clock.clock = None;
        }
    }

    /// A new process on a host finds out what the time is: from the nodes that live, or else from the mark.
    pub(super) fn start_clock(&mut self, node: NodeId) {
        let (now, mark) = (self.now, self.mark);
        let others = self.nodes.iter_mut().filter(|(id, _)| **id != node);
        let others = others.filter_map(|(_, host)| host.clock.read(now));
        let links_us = median_us(others.map(|time| time.0 * 1000).collect());
        let raw = self.setup.raw_clocks;
        let Some(clock) = self.nodes.get_mut(&node).map(|host| &mut host.clock) else { return };
        if links_us.is_none() && clock.wrong.is_some_and(|(by_ms, _)| by_ms > 0) {
            // It would be believed: the world would be elsewhere in time, rightly, and every check with it.
            clock.wrong = None;
        }
        let (mut started, _) = DisciplinedClock::start(clock.reading(now, links_us), mark);
        let time = if raw { clock.wall(now) } else { started.at(now.0 * 1000) };
        (clock.clock, clock.disciplined, clock.lease) = (Some(started), now, MarkLease::default());
        let before = std::mem::replace(&mut clock.told, time);
        let most = if links_us.is_some() { MAX_DIFFERENCE_MS } else { 0 };
        if before.since(time) > most && !raw && self.found.is_none() {
            let by_ms = before.since(time);
            let text =
                format!("node {node} comes back {by_ms} ms before the time that it has told");
            self.found = Some(self.violation(Invariant::Time, text));
        }
    }

    /// What a node takes for the time.
    pub(super) fn time_at(&mut self, node: NodeId) -> WorldTime {
        let (now, raw) = (self.now, self.setup.raw_clocks);
        let Some(host) = self.nodes.get_mut(&node) else { return now };
        let clock = &mut host.clock;
        let Some(disciplined) = clock.read(now) else { return now };
        let time = if raw { clock.wall(now) } else { disciplined };
        let before = std::mem::replace(&mut clock.told, time);
        let offset_ms = clock.clock.map_or(0, |clock| clock.offset_ms());
        if let Some(wanted) = clock.lease.wanted(time, offset_ms) {
            clock.lease.written(wanted.mark);
            let ahead = |known: ClockMark| known.mark >= wanted.mark;
            self.mark = self.mark.filter(|known| ahead(*known)).or(Some(wanted));
        }
        if time < before && self.found.is_none() {
            let text = format!("the time of node {node} steps back by {} ms", before.since(time));
            self.found = Some(self.violation(Invariant::Time, text));
        }
        time
    }
}
