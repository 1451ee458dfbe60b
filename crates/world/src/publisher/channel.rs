//! A channel as its publisher knows it.

use crate::small_set::SmallSet;
use pelago_model::{LaneSet, NodeId};
use pelago_wire::record::Slot;

/// Bits of the number of frames with a core: stamps show no more of it.
const CORE_BITS: u32 = 4;

/// The readers of a channel, and the entities in it. There are thousands of channels, with a few of each.
#[derive(Debug, Default)]
pub(super) struct OutChannel {
    /// The lanes of this node that read it.
    pub(super) lanes: LaneSet,
    /// The other nodes that read it.
    pub(super) nodes: SmallSet<NodeId>,
    pub(super) members: SmallSet<Slot>,
    /// How many frames there were; in the lowest [`CORE_BITS`], how many of them with a core.
    sequences: u64,
}

impl OutChannel {
    /// Counts a frame. Returns how many there were with this one, and how many of them with a core, modulo 16.
    pub(super) fn count(&mut self, has_core: bool) -> (u64, u64) {
        let core = (self.core_sequence() + u64::from(has_core)) % (1 << CORE_BITS);
        self.sequences = (self.sequence() + 1) << CORE_BITS | core;
        (self.sequence(), self.core_sequence())
    }

    /// How many frames there were.
    pub(super) fn sequence(&self) -> u64 {
        self.sequences >> CORE_BITS
    }

    /// How many of them with a core, modulo 16.
    pub(super) fn core_sequence(&self) -> u64 {
        self.sequences % (1 << CORE_BITS)
    }

    /// Whether anybody reads it.
    pub(super) fn is_read(&self) -> bool {
        !self.lanes.is_empty() || !self.nodes.is_empty()
    }

    /// Nobody reads it, nobody is in it.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_read() && self.members.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_apart_from_those_with_a_core() {
        let mut channel = OutChannel::default();
        for number in 1..100 {
            let has_core = number % 3 == 0;
            assert_eq!(channel.count(has_core), (number, number / 3 % 16));
        }
        assert_eq!((channel.sequence(), channel.core_sequence()), (99, 33 % 16));
    }
}
