//! One line of the log for many that would say the same.

use pelago_model::WorldTime;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// How often it is told, in ms.
const EVERY_MS: i64 = 1000;

/// Lets one event through in a while, and counts the others.
#[derive(Default)]
pub(super) struct Throttle {
    /// World time at which the next may pass.
    next: AtomicI64,
    kept_back: AtomicU64,
}

impl Throttle {
    /// How many were kept back since the last one that passed, if this one may pass.
    pub(super) fn pass(&self, now: WorldTime) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        let passes = now.0 >= next
            && (self.next)
                .compare_exchange(next, now.plus(EVERY_MS).0, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if passes {
            return Some(self.kept_back.swap(0, Ordering::Relaxed));
        }
        self.kept_back.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_passes_in_a_while_and_tells_of_the_others() {
        let throttle = Throttle::default();
        let passed = [5000, 5001, 5999, 6000, 6001, 9000].map(|ms| throttle.pass(WorldTime(ms)));
        assert_eq!(passed, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
