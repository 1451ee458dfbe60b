//! Pages of a chunk: what players changed about it is spread over documents by slot, so that each stays small.
//!
//! Which page a slot belongs to is a function of its number alone: nobody has to look for it, and no document is ever split.
//! A page has room for [`MAX_OVERRIDE_BYTES`](limits::MAX_OVERRIDE_BYTES) per slot, even if every slot was changed.

use crate::limits::{self, CHUNK_PAGE_SLOTS};
use std::ops::RangeInclusive;

/// A page of a chunk's slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkPage(u16);

impl ChunkPage {
    /// The page of the first slots: a chunk with no more of them has no other.
    pub const FIRST: Self = Self(0);
    const LAST: Self = Self(u16::MAX / CHUNK_PAGE_SLOTS);

    /// A page by its number; `None` if there are no slots of it.
    pub fn new(number: u16) -> Option<Self> {
        Some(Self(number)).filter(|page| *page <= Self::LAST)
    }

    /// The page of a slot.
    pub const fn of(slot: u16) -> Self {
        Self(slot / CHUNK_PAGE_SLOTS)
    }

    /// Every page of a chunk that has slots from 0 on; the first even if it has none.
    pub fn all(slots: usize) -> impl Iterator<Item = Self> {
        let last = slots.clamp(1, limits::MAX_NATURAL_SLOTS) - 1;
        (0..=last as u16 / CHUNK_PAGE_SLOTS).map(Self)
    }

    /// Its number, from 0.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Its slots.
    pub const fn slots(self) -> RangeInclusive<u16> {
        let first = self.0 * CHUNK_PAGE_SLOTS;
        first..=first + (CHUNK_PAGE_SLOTS - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_in_one_page() {
        for slot in 0..=u16::MAX {
            let page = ChunkPage::of(slot);
            assert!(page.slots().contains(&slot));
            assert_eq!(ChunkPage::new(page.number()), Some(page));
        }
        assert_eq!(ChunkPage::of(31), ChunkPage::FIRST);
        assert_eq!(ChunkPage::of(32).number(), 1);
        assert_eq!(ChunkPage::of(u16::MAX), ChunkPage::LAST);
        assert_eq!(ChunkPage::new(2048), None);
    }

    #[test]
    fn a_chunk_has_as_many_pages_as_its_slots_need() {
        for (slots, pages) in
            [(0, 1), (1, 1), (25, 1), (32, 1), (33, 2), (64, 2), (256, 8), (999, 8)]
        {
            assert_eq!(ChunkPage::all(slots).count(), pages, "{slots} slots");
        }
        assert_eq!(ChunkPage::all(64).last(), Some(ChunkPage::of(63)));
    }
}
