//! Where avatars were that have just left: their next login may come before the store has it.

use crate::documents::avatar::Place;
use pelago_model::{EntityId, Epoch, WorldTime};
use std::collections::VecDeque;

/// How long it is remembered, in ms: longer than a checkpoint takes.
const LEFT_MS: i64 = 10_000;
/// Avatars that are remembered; the oldest is forgotten for one more.
pub(super) const MAX_LEFT: usize = 4096;

/// Avatars that have left, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Left(VecDeque<(WorldTime, EntityId, Epoch, Place)>);

impl Left {
    pub(super) fn note(&mut self, now: WorldTime, avatar: EntityId, epoch: Epoch, place: Place) {
        let is_over = |(at, ..): &(WorldTime, EntityId, Epoch, Place)| now.since(*at) > LEFT_MS;
        while self.0.len() >= MAX_LEFT || self.0.front().is_some_and(is_over) {
            self.0.pop_front();
        }
        self.0.push_back((now, avatar, epoch, place));
    }

    /// Where an avatar was when its session of this epoch left.
    pub(super) fn place(&self, avatar: EntityId, epoch: Epoch) -> Option<Place> {
        let left = self.0.iter().rev().find(|(_, id, of, _)| (*id, *of) == (avatar, epoch));
        left.map(|(.., place)| *place)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelago_model::{IslandId, IslandTime, Position};

    #[test]
    fn the_last_that_left_are_remembered_for_a_while() {
        let place =
            |x| Place { island: IslandId(1), position: Position::new(x, 0), at: IslandTime(0) };
        let mut left = Left::default();
        left.note(WorldTime(0), EntityId(1), Epoch(1), place(1));
        left.note(WorldTime(5), EntityId(1), Epoch(2), place(2));
        assert_eq!(left.place(EntityId(1), Epoch(1)), Some(place(1)));
        assert_eq!(left.place(EntityId(1), Epoch(2)), Some(place(2)));
        assert_eq!(left.place(EntityId(2), Epoch(2)), None);
        left.note(WorldTime(LEFT_MS + 6), EntityId(3), Epoch(1), place(3));
        assert_eq!((left.place(EntityId(1), Epoch(2)), left.len()), (None, 1));
        for number in 0..2 * MAX_LEFT as u64 {
            left.note(WorldTime(LEFT_MS + 6), EntityId(number), Epoch(1), place(4));
        }
        assert_eq!(left.len(), MAX_LEFT);
    }
}
