//! Reals: what moves and has its one authoritative copy on this lane.

use pelago_game::LiveState;
use pelago_model::{EntityId, IslandId, Tick, WorldTime};
use pelago_wire::record::Slot;
use std::collections::BTreeMap;

/// Something that moves. What everybody is shown of it, its trajectory included, is with the publisher under its slot. It
/// may be played in a session, or in none.
#[derive(Debug)]
pub(super) struct Real {
    pub(super) entity: EntityId,
    /// Its name in the frames of this lane.
    pub(super) slot: Slot,
    pub(super) island: IslandId,
    pub(super) live: LiveState,
    /// When its stance is over, if it ends by itself.
    pub(super) stance_until: Option<WorldTime>,
    /// The tick for which the end of its stance is noted.
    pub(super) planned: Option<Tick>,
}

impl Real {
    /// Something that stands upright.
    pub(super) fn new(entity: EntityId, slot: Slot, island: IslandId) -> Self {
        let live = LiveState::default();
        Self { entity, slot, island, live, stance_until: None, planned: None }
    }

    /// Lets it stand upright if the time of its stance is over; `true` if that is a change.
    pub(super) fn end_stance(&mut self, now: WorldTime) -> bool {
        let over = self.stance_until.is_some_and(|until| until <= now);
        if over {
            self.stance_until = None;
            self.live.stance = 0;
        }
        over
    }
}

/// The reals of a lane.
#[derive(Debug, Default)]
pub(super) struct Reals {
    by_slot: BTreeMap<Slot, Real>,
    slots: BTreeMap<EntityId, Slot>,
}

impl Reals {
    pub(super) fn insert(&mut self, real: Real) {
        self.slots.insert(real.entity, real.slot);
        self.by_slot.insert(real.slot, real);
    }

    pub(super) fn remove(&mut self, entity: EntityId) -> Option<Real> {
        self.by_slot.remove(&self.slots.remove(&entity)?)
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Real> {
        self.by_slot.get(&slot)
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Real> {
        self.by_slot.get_mut(&slot)
    }

    /// The real of an entity, if it is on this lane.
    pub(super) fn of(&self, entity: EntityId) -> Option<&Real> {
        self.by_slot.get(self.slots.get(&entity)?)
    }

    /// The same, to be changed.
    pub(super) fn of_mut(&mut self, entity: EntityId) -> Option<&mut Real> {
        self.by_slot.get_mut(self.slots.get(&entity)?)
    }

    pub(super) fn len(&self) -> usize {
        self.by_slot.len()
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.by_slot.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stance_ends_once_and_only_when_its_time_is_over() {
        let mut real = Real::new(EntityId(1), 7, IslandId(1));
        real.live.stance = 3;
        assert!(!real.end_stance(WorldTime(5000)), "it does not end by itself");
        real.stance_until = Some(WorldTime(5000));
        assert!(!real.end_stance(WorldTime(4999)));
        assert!(real.end_stance(WorldTime(5000)));
        assert_eq!((real.live.stance, real.stance_until), (0, None));
        assert!(!real.end_stance(WorldTime(6000)));
    }

    #[test]
    fn a_real_is_found_by_its_slot_and_by_its_entity_until_it_is_gone() {
        let mut reals = Reals::default();
        reals.insert(Real::new(EntityId(1), 7, IslandId(1)));
        assert_eq!(reals.get(7).map(|real| real.entity), Some(EntityId(1)));
        assert_eq!(reals.of(EntityId(1)).map(|real| real.slot), Some(7));
        assert!(reals.remove(EntityId(1)).is_some());
        assert!(reals.get(7).is_none() && reals.of(EntityId(1)).is_none());
        assert_eq!(reals.len(), 0);
    }
}
