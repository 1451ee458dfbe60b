//! The numbers by which clients know publishers.

use pelago_model::PublisherId;
use std::collections::{BTreeMap, BTreeSet};

/// Those whose streams of entities clients read; 0 is nobody's.
#[derive(Debug, Default)]
pub(super) struct Publishers {
    numbers: BTreeMap<PublisherId, u32>,
    ids: BTreeMap<u32, PublisherId>,
    /// None is used again.
    last: u32,
}

impl Publishers {
    pub(super) fn number(&self, id: PublisherId) -> Option<u32> {
        self.numbers.get(&id).copied()
    }

    pub(super) fn id(&self, number: u32) -> Option<PublisherId> {
        self.ids.get(&number).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// A new number, for one that has none. Those are forgotten whom nobody reads any more.
    pub(super) fn add(&mut self, id: PublisherId, read: &BTreeSet<u32>) -> u32 {
        self.ids.retain(|number, _| read.contains(number));
        self.numbers.retain(|_, number| read.contains(number));
        self.last += 1;
        self.ids.insert(self.last, id);
        self.numbers.insert(id, self.last);
        self.last
    }
}
