//! Sets of the lanes of a node.

/// The most lanes that a node has.
pub const MAX_LANES: u8 = 64;

/// A set of lanes, as one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LaneSet(u64);

impl LaneSet {
    /// No lane.
    pub const EMPTY: Self = Self(0);

    /// Adds a lane. One beyond [`MAX_LANES`] is not there and is not added.
    pub const fn insert(&mut self, lane: u8) {
        if lane < MAX_LANES {
            self.0 |= 1 << lane;
        }
    }

    /// Takes a lane out.
    pub const fn remove(&mut self, lane: u8) {
        if lane < MAX_LANES {
            self.0 &= !(1 << lane);
        }
    }

    /// Whether a lane is in it.
    pub const fn contains(self, lane: u8) -> bool {
        lane < MAX_LANES && self.0 & 1 << lane != 0
    }

    /// Whether no lane is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The lanes of either.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The lane with the smallest index.
    pub const fn first(self) -> Option<u8> {
        if self.0 == 0 { None } else { Some(self.0.trailing_zeros() as u8) }
    }

    /// The lanes in order.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        let mut left = self;
        std::iter::from_fn(move || {
            let lane = left.first()?;
            left.remove(lane);
            Some(lane)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_come_out_in_order_and_once() {
        let mut set = LaneSet::EMPTY;
        for lane in [63, 0, 5, 5, 64, 255] {
            set.insert(lane);
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 5, 63]);
        assert!(!set.contains(64));
        set.remove(0);
        assert_eq!((set.first(), set.is_empty()), (Some(5), false));
    }
}
