//! Throttles: of many lines that say the same, some are let through, and the others are counted.

use crate::{Allowance, Bucket, WorldTime};
use std::collections::BTreeMap;

/// How long lines that were left out may go unmentioned if none of their kind passes, in ms.
const UNMENTIONED_MS: i64 = 10_000;

/// Lets so many of each kind through. Kinds beyond the limit share one allowance.
#[derive(Debug)]
pub struct Throttle<K> {
    allowance: Allowance,
    limit: usize,
    kinds: BTreeMap<Option<K>, Kind>,
}

#[derive(Debug)]
struct Kind {
    left: Bucket,
    left_out: u64,
    /// When one was let through last.
    passed: WorldTime,
}

impl<K: Clone + Ord> Throttle<K> {
    /// A throttle for at most so many kinds, each with this allowance.
    pub fn new(allowance: Allowance, limit: usize) -> Self {
        Self { allowance, limit, kinds: BTreeMap::new() }
    }

    /// How many of its kind were left out since the last one that passed, if this one may pass.
    pub fn pass(&mut self, now: WorldTime, kind: K) -> Option<u64> {
        let kind = Some(kind);
        let is_known = self.kinds.contains_key(&kind) || self.kinds.len() < self.limit;
        let allowance = self.allowance;
        let known = self.kinds.entry(kind.filter(|_| is_known)).or_insert_with(|| Kind {
            left: Bucket::full(allowance, now),
            left_out: 0,
            passed: now,
        });
        if known.left.take(now, allowance, 1) {
            known.passed = now;
            return Some(std::mem::take(&mut known.left_out));
        }
        known.left_out += 1;
        None
    }

    /// A kind of which lines were left out a while ago, with none of its kind since to say so, and how many. `None` stands
    /// for all kinds beyond the limit.
    pub fn unmentioned(&mut self, now: WorldTime) -> Option<(Option<K>, u64)> {
        let is_due = |kind: &Kind| kind.left_out > 0 && now.since(kind.passed) >= UNMENTIONED_MS;
        let (name, kind) = self.kinds.iter_mut().find(|(_, kind)| is_due(kind))?;
        kind.passed = now;
        Some((name.clone(), std::mem::take(&mut kind.left_out)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_of_each_kind_pass_and_tell_of_the_others() {
        let mut throttle = Throttle::new(Allowance::new(1, 2), 10);
        let mut pass = |ms, kind| throttle.pass(WorldTime(ms), kind);
        assert_eq!([0; 5].map(|ms| pass(ms, 'a')), [Some(0), Some(0), None, None, None]);
        assert_eq!(pass(0, 'b'), Some(0), "another kind passes");
        assert_eq!([999, 1000, 1001, 2000].map(|ms| pass(ms, 'a')), [None, Some(4), None, Some(1)]);
    }

    #[test]
    fn what_nothing_of_its_kind_tells_of_is_told_all_the_same() {
        let mut throttle = Throttle::new(Allowance::new(1, 1), 10);
        assert_eq!([0; 3].map(|ms| throttle.pass(WorldTime(ms), 'a')), [Some(0), None, None]);
        assert_eq!(throttle.unmentioned(WorldTime(9_999)), None);
        assert_eq!(throttle.unmentioned(WorldTime(10_000)), Some((Some('a'), 2)));
        assert_eq!(throttle.unmentioned(WorldTime(90_000)), None);
    }

    #[test]
    fn kinds_beyond_the_limit_share_an_allowance() {
        let mut throttle = Throttle::new(Allowance::new(1, 1), 2);
        let passed = [1, 2, 3, 4, 5, 1].map(|kind| throttle.pass(WorldTime(0), kind));
        assert_eq!(passed, [Some(0), Some(0), Some(0), None, None, None]);
        assert_eq!(throttle.kinds.len(), 3);
    }
}
