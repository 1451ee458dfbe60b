//! Budgets: what is left of an allowance for each of many, however often they come and go.

use crate::{Allowance, Bucket, WorldTime};
use std::collections::{BTreeMap, BTreeSet};

/// Buckets by key. A bucket that is full again is forgotten: a new one is the same. Beyond the limit, the one that is
/// full again first is forgotten before its time, so that those who have used most are remembered longest.
#[derive(Debug)]
pub struct Budgets<K> {
    limit: usize,
    /// What is left, and when nothing of it will be missing.
    buckets: BTreeMap<K, (Bucket, WorldTime)>,
    by_end: BTreeSet<(WorldTime, K)>,
}

impl<K: Copy + Ord> Budgets<K> {
    /// Budgets of nobody yet, and of at most so many.
    pub fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), buckets: BTreeMap::new(), by_end: BTreeSet::new() }
    }

    /// Takes `cost` off what is left for a key, if there is that much.
    pub fn take(&mut self, now: WorldTime, key: K, allowance: Allowance, cost: u32) -> bool {
        self.forget(now);
        let known = self.buckets.remove(&key);
        let mut bucket = match known {
            Some((bucket, end)) => {
                self.by_end.remove(&(end, key));
                bucket
            }
            None => Bucket::full(allowance, now),
        };
        let taken = bucket.take(now, allowance, cost);
        if self.buckets.len() >= self.limit
            && let Some((_, first)) = self.by_end.pop_first()
        {
            self.buckets.remove(&first);
        }
        let end = bucket.full_at(allowance);
        self.buckets.insert(key, (bucket, end));
        self.by_end.insert((end, key));
        taken
    }

    /// Whether `cost` is left for a key.
    pub fn has(&self, now: WorldTime, key: K, allowance: Allowance, cost: u32) -> bool {
        // On a copy: nothing is taken.
        self.buckets.get(&key).is_none_or(|(bucket, _)| bucket.clone().take(now, allowance, cost))
    }

    fn forget(&mut self, now: WorldTime) {
        while let Some((end, key)) = self.by_end.first().copied()
            && end <= now
        {
            self.by_end.remove(&(end, key));
            self.buckets.remove(&key);
        }
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Whether nobody is remembered.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// How many are remembered at most.
    pub fn limit(&self) -> usize {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALLOWANCE: Allowance = Allowance::new(1, 3);

    #[test]
    fn each_has_a_budget_that_outlives_its_use_and_is_forgotten_when_full() {
        let mut budgets = Budgets::new(10);
        let take =
            |budgets: &mut Budgets<u8>, ms, key| budgets.take(WorldTime(ms), key, ALLOWANCE, 1);
        assert_eq!([0; 4].map(|ms| take(&mut budgets, ms, 1)), [true, true, true, false]);
        assert!(take(&mut budgets, 0, 2), "another has one of its own");
        assert!(!budgets.has(WorldTime(999), 1, ALLOWANCE, 1));
        assert!(budgets.has(WorldTime(1000), 1, ALLOWANCE, 1), "and it is still there");
        assert_eq!(budgets.len(), 2);
        assert!(take(&mut budgets, 3000, 3));
        assert_eq!(budgets.len(), 1, "both are full again");
    }

    #[test]
    fn beyond_the_limit_those_who_used_least_are_forgotten() {
        let mut budgets = Budgets::new(2);
        for _ in 0..3 {
            budgets.take(WorldTime(0), 1, ALLOWANCE, 1);
        }
        for key in 2..100 {
            assert!(budgets.take(WorldTime(0), key, ALLOWANCE, 1));
            assert_eq!(budgets.len(), 2);
        }
        assert!(!budgets.take(WorldTime(0), 1, ALLOWANCE, 1), "it is remembered");
    }

    #[test]
    fn an_allowance_by_the_minute_is_one() {
        let allowance = Allowance::per_minute(2, 3);
        let cost = Allowance::MINUTE_COST;
        let mut budgets = Budgets::new(2);
        let mut take = |ms| budgets.take(WorldTime(ms), (), allowance, cost);
        assert_eq!([0; 4].map(&mut take), [true, true, true, false]);
        assert_eq!([29_999, 30_000, 30_000, 60_000].map(take), [false, true, false, true]);
    }

    proptest! {
        #[test]
        fn it_never_holds_more_than_its_limit_and_both_tables_agree(
            steps in prop::collection::vec((0u8..20, 0i64..500, 1u32..5), 1..200),
        ) {
            let mut budgets = Budgets::new(7);
            let mut now = WorldTime(0);
            for (key, pause, cost) in steps {
                now = now.plus(pause);
                budgets.take(now, key, ALLOWANCE, cost);
                prop_assert!(budgets.len() <= 7);
                prop_assert_eq!(budgets.len(), budgets.by_end.len());
            }
        }
    }
}
