//! The look-out for people who should be seen and are not.

use crate::ledger::Near;
use pelago_model::{EntityId, Position};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// Within this distance everybody must be seen, in 1/64 m: 25 m.
const NEAR_UNITS: u64 = 25 * 64;
/// How long somebody may be missing: two ticks.
const PATIENCE: Duration = Duration::from_millis(200);

/// A bot's look-out.
#[derive(Debug, Default)]
pub(crate) struct VisibilityCheck {
    missing: HashMap<EntityId, Instant>,
}

/// What a look found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// Others near.
    pub(crate) near: u64,
    /// Those of them that have been missing for longer than two ticks.
    pub(crate) missing: u64,
}

impl VisibilityCheck {
    /// Compares the avatars near `here` with those that are seen.
    pub(crate) fn look(
        &mut self,
        now: Instant,
        (own, here): (EntityId, Position),
        others: &Near,
        seen: &HashSet<EntityId>,
    ) -> Look {
        let mut look = Look::default();
        let mut still = HashMap::new();
        for (id, place) in others.around(here) {
            if id == own || place.distance_squared(here) > NEAR_UNITS.pow(2) {
                continue;
            }
            look.near += 1;
            if !seen.contains(&id) {
                let since = self.missing.get(&id).copied().unwrap_or(now);
                look.missing += u64::from(now.duration_since(since) > PATIENCE);
                still.insert(id, since);
            }
        }
        self.missing = still;
        look
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_missing_for_more_than_two_ticks_is_counted() {
        let (own, other, far) = (EntityId(1), EntityId(2), EntityId(3));
        let here = Position::new(0, 0);
        let places = [(own, here), (other, Position::new(1500, 0)), (far, Position::new(1700, 0))];
        let others = Near::new(places);
        let (mut visibility_check, began) = (VisibilityCheck::default(), Instant::now());
        let mut look = |after_ms: u64, seen: &[EntityId]| {
            let seen = seen.iter().copied().collect();
            visibility_check.look(
                began + Duration::from_millis(after_ms),
                (own, here),
                &others,
                &seen,
            )
        };
        assert_eq!(look(0, &[own]), Look { near: 1, missing: 0 });
        assert_eq!(look(200, &[own]), Look { near: 1, missing: 0 });
        assert_eq!(look(300, &[own]), Look { near: 1, missing: 1 });
        assert_eq!(look(400, &[own, other]), Look { near: 1, missing: 0 });
        assert_eq!(look(500, &[own]), Look { near: 1, missing: 0 });
    }
}
