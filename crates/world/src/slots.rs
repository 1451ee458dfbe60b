//! Slots: the short names that a publisher gives its entities.

use pelago_model::Tick;
use pelago_model::limits::{MAX_SLOTS, SLOT_QUARANTINE_TICKS};
use pelago_wire::record::Slot;
use std::collections::VecDeque;

/// Hands out slots; a freed one rests for [`SLOT_QUARANTINE_TICKS`], so that no late record meets its next bearer.
#[derive(Debug, Default)]
pub struct Slots {
    resting: VecDeque<(Tick, Slot)>,
    next: Slot,
}

impl Slots {
    /// A slot that nobody bears; `None` when all [`MAX_SLOTS`] are taken or rest.
    pub fn take(&mut self, now: Tick) -> Option<Slot> {
        if let Some((freed, slot)) = self.resting.front().copied()
            && freed.0 + SLOT_QUARANTINE_TICKS <= now.0
        {
            self.resting.pop_front();
            return Some(slot);
        }
        if usize::from(self.next) >= MAX_SLOTS {
            return None;
        }
        self.next += 1;
        Some(self.next - 1)
    }

    /// Gives a slot back.
    pub fn free(&mut self, slot: Slot, now: Tick) {
        self.resting.push_back((now, slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_slot_rests_before_it_is_used_again() {
        let mut slots = Slots::default();
        assert_eq!((slots.take(Tick(0)), slots.take(Tick(0))), (Some(0), Some(1)));
        slots.free(0, Tick(5));
        assert_eq!(slots.take(Tick(5 + SLOT_QUARANTINE_TICKS - 1)), Some(2));
        assert_eq!(slots.take(Tick(5 + SLOT_QUARANTINE_TICKS)), Some(0));
    }

    #[test]
    fn slots_run_out_instead_of_wrapping() {
        let mut slots = Slots::default();
        for _ in 0..MAX_SLOTS {
            assert!(slots.take(Tick(0)).is_some());
        }
        assert_eq!(slots.take(Tick(0)), None);
    }
}
