//! Who reads which stream, and by which name.

use super::StreamKey;
use pelago_model::{ChannelId, PublisherId};
use std::collections::{BTreeMap, BTreeSet};

/// The place of a client in a lane: a small number, used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seat(pub(super) u32);

impl Seat {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// How far a client knows a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alias {
    /// The client has not been told of the stream.
    Unopened,
    /// The client has everything up to the last delivery.
    Open(u32),
    /// The client missed something.
    Stale(u32),
}

/// The readers of a stream, in the order of their seats.
#[derive(Debug, Default)]
pub(super) struct Readers {
    entries: Vec<(Seat, Alias)>,
}

impl Readers {
    fn place(&self, seat: Seat) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&seat, |(seat, _)| *seat)
    }

    /// Adds a reader who does not know the stream, unless it is there already.
    pub(super) fn add(&mut self, seat: Seat) {
        if let Err(place) = self.place(seat) {
            self.entries.insert(place, (seat, Alias::Unopened));
        }
    }

    pub(super) fn remove(&mut self, seat: Seat) -> Option<Alias> {
        let place = self.place(seat).ok()?;
        Some(self.entries.remove(place).1)
    }

    pub(super) fn get(&self, seat: Seat) -> Option<Alias> {
        self.place(seat).ok().map(|place| self.entries[place].1)
    }

    pub(super) fn get_mut(&mut self, seat: Seat) -> Option<&mut Alias> {
        let place = self.place(seat).ok()?;
        Some(&mut self.entries[place].1)
    }

    pub(super) fn make_stale(&mut self, seat: Seat) {
        if let Some(alias) = self.get_mut(seat)
            && let Alias::Open(number) = *alias
        {
            *alias = Alias::Stale(number);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Seat, Alias)> + '_ {
        self.entries.iter().copied()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Seat, &mut Alias)> + '_ {
        self.entries.iter_mut().map(|(seat, alias)| (*seat, alias))
    }
}

/// All streams that somebody reads.
#[derive(Debug, Default)]
pub(super) struct Streams {
    by_key: BTreeMap<StreamKey, Readers>,
}

impl Streams {
    pub(super) fn get(&self, key: StreamKey) -> Option<&Readers> {
        self.by_key.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: StreamKey) -> Option<&mut Readers> {
        self.by_key.get_mut(&key)
    }

    pub(super) fn entry(&mut self, key: StreamKey) -> &mut Readers {
        self.by_key.entry(key).or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whose streams of entities there are.
    pub(super) fn publishers(&self) -> BTreeSet<PublisherId> {
        let publisher = |key: &StreamKey| match key {
            StreamKey::Entities((_, publisher)) => Some(*publisher),
            StreamKey::Objects(_) => None,
        };
        self.by_key.keys().filter_map(publisher).collect()
    }

    pub(super) fn remove(&mut self, key: StreamKey) -> Option<Readers> {
        self.by_key.remove(&key)
    }

    /// All streams of a channel: of every publisher, and of objects.
    pub(super) fn of_channel_mut(
        &mut self,
        channel: ChannelId,
        mut with: impl FnMut(StreamKey, &mut Readers),
    ) {
        let (first, last) = (PublisherId(0), PublisherId(u64::MAX));
        let entities = StreamKey::Entities((channel, first))..=StreamKey::Entities((channel, last));
        for (key, readers) in self.by_key.range_mut(entities) {
            with(*key, readers);
        }
        let objects = StreamKey::Objects(channel);
        if let Some(readers) = self.by_key.get_mut(&objects) {
            with(objects, readers);
        }
    }
}
