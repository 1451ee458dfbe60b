//! The streams of ghosts: what a lane reads, by channel.

use super::StreamId;
use crate::small_set::SmallSet;
use pelago_model::{ChannelId, PublisherId, Tick};
use pelago_wire::record::Slot;
use pelago_wire::tick_stamp::TickStamp;
use std::collections::BTreeMap;

/// A stream. A lane has tens of thousands, most of them without members.
#[derive(Debug)]
pub(super) struct Stream {
    publisher: PublisherId,
    moment: Moment,
    pub(super) members: SmallSet<Slot>,
}

impl Stream {
    /// The tick of its last frame.
    pub(super) fn tick(&self) -> Tick {
        self.moment.tick()
    }

    /// The stamp of its last frame with a core.
    pub(super) fn stamp(&self) -> TickStamp {
        self.moment.stamp()
    }

    /// Notes a frame, and its stamp if it has a core.
    pub(super) fn advance(&mut self, tick: Tick, stamp: Option<TickStamp>) {
        self.moment = Moment::new(tick, stamp.unwrap_or(self.stamp()));
    }
}

/// A tick in the upper 56 bits, which no world outlives, and a stamp below.
#[derive(Clone, Copy, Debug)]
struct Moment(u64);

impl Moment {
    fn new(tick: Tick, stamp: TickStamp) -> Self {
        Self(tick.0 << 8 | u64::from(stamp.to_byte()))
    }

    fn tick(self) -> Tick {
        Tick(self.0 >> 8)
    }

    fn stamp(self) -> TickStamp {
        TickStamp::from_byte(self.0 as u8)
    }
}

/// All streams of a lane.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// Those of a channel in the order of their publishers: as many as there are, without room for more.
    by_channel: BTreeMap<ChannelId, Box<[Stream]>>,
    count: usize,
}

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn get(&self, (channel, publisher): StreamId) -> Option<&Stream> {
        let streams = self.by_channel.get(&channel)?;
        Some(&streams[place(streams, publisher).ok()?])
    }

    pub(super) fn get_mut(&mut self, (channel, publisher): StreamId) -> Option<&mut Stream> {
        let streams = self.by_channel.get_mut(&channel)?;
        Some(&mut streams[place(streams, publisher).ok()?])
    }

    /// Begins a stream, or begins it anew; returns the ghosts that were in it.
    pub(super) fn insert(
        &mut self,
        (channel, publisher): StreamId,
        tick: Tick,
        stamp: TickStamp,
    ) -> SmallSet<Slot> {
        let moment = Moment::new(tick, stamp);
        let new = Stream { publisher, moment, members: SmallSet::default() };
        let streams = self.by_channel.entry(channel).or_default();
        match place(streams, publisher) {
            Ok(place) => std::mem::replace(&mut streams[place], new).members,
            Err(place) => {
                change(streams, |streams| {
                    streams.reserve_exact(1);
                    streams.insert(place, new);
                });
                self.count += 1;
                SmallSet::default()
            }
        }
    }

    pub(super) fn remove(&mut self, (channel, publisher): StreamId) -> Option<Stream> {
        let streams = self.by_channel.get_mut(&channel)?;
        let place = place(streams, publisher).ok()?;
        let removed = change(streams, |streams| streams.remove(place));
        if streams.is_empty() {
            self.by_channel.remove(&channel);
        }
        self.count -= 1;
        Some(removed)
    }

    /// The publishers of a channel, in order.
    pub(super) fn of_channel(&self, channel: ChannelId) -> impl Iterator<Item = PublisherId> + '_ {
        self.by_channel.get(&channel).into_iter().flatten().map(|stream| stream.publisher)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = StreamId> + '_ {
        self.by_channel.iter().flat_map(|(channel, streams)| {
            streams.iter().map(|stream| (*channel, stream.publisher))
        })
    }
}

fn place(streams: &[Stream], publisher: PublisherId) -> Result<usize, usize> {
    streams.binary_search_by_key(&publisher, |stream| stream.publisher)
}

/// Changes how many there are.
fn change<T>(streams: &mut Box<[Stream]>, change: impl FnOnce(&mut Vec<Stream>) -> T) -> T {
    let mut all = std::mem::take(streams).into_vec();
    let result = change(&mut all);
    *streams = all.into_boxed_slice();
    result
}
