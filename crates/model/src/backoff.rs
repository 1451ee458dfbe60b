//! Pauses between attempts at something that another party has to allow.
//!
//! Every retry in the tree takes its pauses from here: they grow, they are spread by chance so that those who failed
//! together do not come back together, and they end where the one who retries says so. Pure: chance is an argument.

use std::time::Duration;

/// How the pauses between attempts grow, and after how many attempts nothing is tried any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The pause after the first failure in ms, without its jitter. It doubles with every further one.
    pub first_ms: i64,
    /// The longest pause in ms, without its jitter.
    pub longest_ms: i64,
    /// Attempts, the first included.
    pub attempts: u32,
}

impl Backoff {
    /// Attempts that end only with the one who makes them: a node redials for as long as it lives.
    pub const ENDLESS: u32 = u32::MAX;

    /// The pause in ms after so many attempts have failed in a row, from 1 on; `None` after the last attempt. Its jitter
    /// takes away or adds up to half, by `chance`, any 64 bits that others do not have.
    pub fn pause_ms(&self, failures: u32, chance: u64) -> Option<i64> {
        if failures >= self.attempts && self.attempts != Self::ENDLESS {
            return None;
        }
        let doublings = failures.saturating_sub(1).min(30);
        let factor = 1_i64 << doublings;
        let whole_ms = self.first_ms.saturating_mul(factor).clamp(0, self.longest_ms.max(0));
        let spread =
            mixed(chance.wrapping_add(u64::from(failures))) % (whole_ms.unsigned_abs() + 1);
        Some(whole_ms / 2 + spread.cast_signed())
    }
}

/// Attempts under way: how many have failed in a row.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    backoff: Backoff,
    failures: u32,
}

impl Retry {
    /// Nothing has failed yet.
    pub const fn new(backoff: Backoff) -> Self {
        Self { backoff, failures: 0 }
    }

    /// One more attempt has failed: the pause in ms before the next, or `None` if that was the last.
    pub fn failed(&mut self, chance: u64) -> Option<i64> {
        self.failures = self.failures.saturating_add(1);
        self.backoff.pause_ms(self.failures, chance)
    }

    /// The same as a duration; the longest pause instead of an end, for those who never give up.
    pub fn pause(&mut self, chance: u64) -> Duration {
        let pause_ms = self.failed(chance).unwrap_or(self.backoff.longest_ms);
        Duration::from_millis(pause_ms.unsigned_abs())
    }

    /// An attempt has succeeded: the next failure is a first one again.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// How many attempts have failed in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// Spreads numbers that are close to each other, such as ids and times, over all 64 bits (the finalizer of SplitMix64).
fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SOME: Backoff = Backoff { first_ms: 300, longest_ms: 5000, attempts: 7 };

    #[test]
    fn attempts_end_where_it_is_said() {
        let mut retry = Retry::new(SOME);
        assert_eq!((1..20).take_while(|_| retry.failed(9).is_some()).count(), 6);
        retry.succeeded();
        assert!(retry.failed(9).unwrap() <= 450);
        let endless = Backoff { attempts: Backoff::ENDLESS, ..SOME };
        assert!(endless.pause_ms(u32::MAX, 1).is_some());
        assert_eq!(Backoff { attempts: 1, ..SOME }.pause_ms(1, 1), None);
    }

    #[test]
    fn those_who_fail_together_do_not_come_back_together() {
        let pauses: std::collections::BTreeSet<_> =
            (0..50).map(|id| SOME.pause_ms(3, id)).collect();
        assert!(pauses.len() > 40, "{pauses:?}");
    }

    proptest! {
        #[test]
        fn pauses_double_up_to_a_bound_and_never_leave_their_jitter(chance: u64, failures in 1u32..60) {
            let backoff = Backoff { attempts: Backoff::ENDLESS, ..SOME };
            let whole = SOME.first_ms.saturating_mul(1 << (failures - 1).min(20)).min(SOME.longest_ms);
            let pause = backoff.pause_ms(failures, chance).unwrap();
            prop_assert!((whole / 2..=whole / 2 + whole).contains(&pause), "{pause} of {whole}");
        }
    }
}
