//! Interleavings: in which orders machines were served, to measure how much of what threads can do the seeds reach.

use pelago_model::NodeId;
use pelago_node::MachineId;
use std::collections::{BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

/// How many turns in a row are looked at.
pub const INTERLEAVING_TURNS: usize = 12;

/// The orders in which two lanes and a host of services of a node were served, in windows of [`INTERLEAVING_TURNS`] turns.
#[derive(Clone, Debug, Default)]
pub struct Interleavings {
    recent: VecDeque<u8>,
    seen: BTreeSet<u64>,
    /// Whether anything is noted at all: it costs more than the rest of a turn.
    pub(crate) noted: bool,
}

impl Interleavings {
    /// A machine was served.
    pub(crate) fn served(&mut self, node: NodeId, machine: MachineId) {
        let letter = match machine {
            _ if !self.noted || node != NodeId(1) => return,
            MachineId::Lane(lane @ 0..=1) => lane,
            MachineId::Service(0) => 2,
            _ => return,
        };
        self.recent.push_back(letter);
        if self.recent.len() > INTERLEAVING_TURNS {
            self.recent.pop_front();
            let mut hasher = DefaultHasher::new();
            self.recent.hash(&mut hasher);
            self.seen.insert(hasher.finish());
        }
    }

    /// The windows that were seen, by their hashes.
    pub fn seen(&self) -> impl Iterator<Item = u64> + '_ {
        self.seen.iter().copied()
    }
}
