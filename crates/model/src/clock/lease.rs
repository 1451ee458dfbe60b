//! The lease on world time: how far ahead the store knows which times may be told.

use super::ClockMark;
use crate::time::WorldTime;

/// How far ahead of world time the mark is written, in ms. A start after a crash goes on from the mark, so that this is
/// also the most that world time leaps by a crash.
pub const MARK_LEASE_MS: i64 = 5_000;
/// The mark is written anew when less than this is left of it, in ms: the store may then be silent for three seconds
/// before time runs past its lease.
pub const MARK_RENEW_MS: i64 = 3_000;

/// What is leased of world time. One node of a process renews it for all.
///
/// A lease that cannot be renewed does not stop the time: while the store takes nothing, nothing is committed, and what
/// is not committed needs no order. [`MarkLease::is_over`] is an alarm then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MarkLease {
    until: Option<WorldTime>,
}

impl MarkLease {
    /// The mark that is to be written now, if any.
    pub fn wanted(&self, now: WorldTime, offset_ms: i64) -> Option<ClockMark> {
        let is_enough = self.until.is_some_and(|until| until.since(now) >= MARK_RENEW_MS);
        (!is_enough).then(|| ClockMark { mark: now.plus(MARK_LEASE_MS), offset_ms })
    }

    /// The store has this mark.
    pub fn written(&mut self, mark: WorldTime) {
        self.until = Some(mark);
    }

    /// Whether a time has been reached that the store does not know of.
    pub fn is_over(&self, now: WorldTime) -> bool {
        self.until.is_none_or(|until| now > until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_written_ahead_now_and_then_and_not_at_every_tick() {
        let (mut lease, mut writes) = (MarkLease::default(), 0);
        for tick in 0..600 {
            let now = WorldTime(tick * 100);
            if let Some(wanted) = lease.wanted(now, 7) {
                assert_eq!(wanted, ClockMark { mark: now.plus(MARK_LEASE_MS), offset_ms: 7 });
                lease.written(wanted.mark);
                writes += 1;
            }
            assert!(!lease.is_over(now));
        }
        assert!((20..=30).contains(&writes), "{writes} in a minute");
    }

    #[test]
    fn a_lease_that_is_not_renewed_ends() {
        let mut lease = MarkLease::default();
        assert!(lease.is_over(WorldTime(0)), "nothing was ever written");
        lease.written(WorldTime(5000));
        assert!(!lease.is_over(WorldTime(5000)) && lease.is_over(WorldTime(5001)));
    }
}
