//! Sets that mostly have a few items: those stand inline, without memory on the heap.

use arrayvec::ArrayVec;

/// The most items that stand inline: with so many items of two bytes a set takes two words.
const IN_PLACE: usize = 4;
/// With so many items a set goes back inline: fewer than fit, so that one item that comes and goes does not move all.
const BACK_IN_PLACE: usize = 2;

/// A set, in order.
#[derive(Debug)]
pub(crate) enum SmallSet<T> {
    InPlace(ArrayVec<T, IN_PLACE>),
    #[allow(clippy::box_collection, reason = "a vector would make every set half as large again")]
    Apart(Box<Vec<T>>),
}

impl<T> Default for SmallSet<T> {
    fn default() -> Self {
        Self::InPlace(ArrayVec::new())
    }
}

impl<T: Copy + Ord> SmallSet<T> {
    pub(crate) fn as_slice(&self) -> &[T] {
        match self {
            Self::InPlace(items) => items,
            Self::Apart(items) => items,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    pub(crate) fn insert(&mut self, item: T) {
        let Err(place) = self.as_slice().binary_search(&item) else { return };
        match self {
            Self::InPlace(items) if !items.is_full() => items.insert(place, item),
            Self::InPlace(items) => {
                let mut items = Box::new(Vec::from_iter(items.iter().copied()));
                items.insert(place, item);
                *self = Self::Apart(items);
            }
            Self::Apart(items) => items.insert(place, item),
        }
    }

    pub(crate) fn remove(&mut self, item: T) {
        let Ok(place) = self.as_slice().binary_search(&item) else { return };
        match self {
            Self::InPlace(items) => {
                items.remove(place);
            }
            Self::Apart(items) => {
                items.remove(place);
                if items.len() <= BACK_IN_PLACE {
                    *self = Self::InPlace(items.iter().copied().collect());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_set_of_slots_takes_two_words() {
        assert_eq!(size_of::<SmallSet<u16>>(), 16);
    }

    proptest! {
        #[test]
        fn it_holds_what_a_set_holds(changes in prop::collection::vec((0..12u16, any::<bool>()), 0..100)) {
            let (mut few, mut set) = (SmallSet::default(), BTreeSet::new());
            for (item, comes) in changes {
                if comes {
                    few.insert(item);
                    set.insert(item);
                } else {
                    few.remove(item);
                    set.remove(&item);
                }
                prop_assert!(few.as_slice().iter().eq(&set));
            }
        }
    }
}
