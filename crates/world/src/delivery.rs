//! Delivery: what each client gets, in one write per tick.
//!
//! Bodies of frames are forwarded as their publishers encoded them. A client that does not know a stream yet, or
//! missed some of it while it was blocked, gets a snapshot made from ghosts instead. What a tick costs
//! depends on what happens in it, not on how many clients there are.

mod client;
mod readers;
mod sizes;

use crate::ghosts::{Ghosts, StreamId};
use crate::objects::Objects;
use arrayvec::ArrayVec;
use bytes::{Bytes, BytesMut};
use client::{ClientOut, Forward};
use pelago_model::{ChannelId, Direction, IslandClock, IslandId, PublisherId, Tick};
use pelago_wire::client_stream::{ClientSnapshotHeader, put_client_snapshot};
use pelago_wire::frame::{Frame, StreamKind};
use pelago_wire::stamp::Stamp;
use readers::{Alias, Readers, Seat, Streams};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A connection of a client to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// Frames older than this many ticks are not delivered: their tick could be mistaken. The stream is
/// shown anew instead.
pub const MAX_FRAME_AGE_TICKS: u64 = 12;
/// Bytes of control messages that wait for a blocked client; beyond it is closed as too slow.
pub const MAX_WAITING_BYTES: usize = 64 * 1024;

/// Frames that wait for the next delivery; the streams of those beyond it are shown anew instead.
pub const MAX_FRAMES: usize = 65_536;

/// A stream as clients know it: objects of a chunk are one, whoever is steward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum StreamKey {
    Entities(StreamId),
    Objects(ChannelId),
}

/// More control messages wait for a blocked client than [`MAX_WAITING_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client reads too slowly")]
pub struct TooSlow;

/// The outgoing side of all clients of a lane.
#[derive(Debug)]
pub struct Delivery {
    home: IslandId,
    clock: IslandClock,
    seats: BTreeMap<ClientId, Seat>,
    /// By seat.
    clients: Vec<Option<ClientOut>>,
    free: Vec<Seat>,
    /// Who watches a channel, in order.
    watchers: BTreeMap<ChannelId, Vec<Seat>>,
    streams: Streams,
    /// The numbers by which clients know publishers.
    publishers: BTreeMap<PublisherId, u32>,
    /// The last such number: none is used again.
    last_publisher: u32,
    frames: Vec<Arc<Frame>>,
    /// Who is to be shown a stream with the next delivery; may name some twice.
    wanted: Vec<(StreamKey, Seat)>,
    /// Who gets which frame with this delivery.
    forwards: Vec<Forward>,
    /// Who gets something else with the next delivery.
    touched: Vec<Seat>,
    /// What all writes of a delivery are put into.
    bytes: BytesMut,
    /// The most that a delivery has taken of it.
    most_bytes: usize,
    late_frames: u64,
}

impl Delivery {
    /// Nobody to deliver to. Clients take channels of island `home` as meant if no other is named.
    pub fn new(home: IslandId, clock: IslandClock) -> Self {
        Self {
            home,
            clock,
            seats: BTreeMap::new(),
            clients: Vec::new(),
            free: Vec::new(),
            watchers: BTreeMap::new(),
            streams: Streams::default(),
            publishers: BTreeMap::new(),
            last_publisher: 0,
            frames: Vec::new(),
            wanted: Vec::new(),
            forwards: Vec::new(),
            touched: Vec::new(),
            bytes: BytesMut::new(),
            most_bytes: 0,
            late_frames: 0,
        }
    }

    /// A client has come; its first frames message counts from `tick`.
    pub fn join(&mut self, client: ClientId, tick: Tick) {
        self.part(client);
        let seat = self.free.pop().unwrap_or_else(|| {
            self.clients.push(None);
            Seat(self.clients.len() as u32 - 1)
        });
        self.seats.insert(client, seat);
        self.clients[seat.index()] = Some(ClientOut::new(client, tick));
    }

    /// A client is gone. Returns the channels that nobody watches any more.
    pub fn part(&mut self, client: ClientId) -> Vec<ChannelId> {
        let Some(seat) = self.seats.remove(&client) else { return Vec::new() };
        let Some(out) = self.clients[seat.index()].take() else { return Vec::new() };
        self.free.push(seat);
        self.touched.retain(|other| *other != seat);
        self.wanted.retain(|(_, other)| *other != seat);
        let mut idle = Vec::new();
        for channel in out.watching {
            self.streams.of_channel_mut(channel, |_, readers| {
                readers.remove(seat);
            });
            if self.leave_channel(seat, channel) {
                idle.push(channel);
            }
        }
        idle
    }

    /// Takes a client off those who watch a channel; `true` if it was the last.
    fn leave_channel(&mut self, seat: Seat, channel: ChannelId) -> bool {
        let Some(watchers) = self.watchers.get_mut(&channel) else { return false };
        if let Ok(place) = watchers.binary_search(&seat) {
            watchers.remove(place);
        }
        if !watchers.is_empty() {
            return false;
        }
        self.watchers.remove(&channel);
        self.streams.remove(StreamKey::Objects(channel));
        true
    }

    fn out(&mut self, client: ClientId) -> Option<(Seat, &mut ClientOut)> {
        let seat = *self.seats.get(&client)?;
        Some((seat, self.clients[seat.index()].as_mut()?))
    }

    /// A client watches a channel from now on; `true` if it is the first to do so.
    pub fn watch(
        &mut self,
        client: ClientId,
        channel: ChannelId,
        ghosts: &Ghosts,
        objects: &Objects,
    ) -> bool {
        let Some((seat, out)) = self.out(client) else { return false };
        if out.watching.contains(&channel) {
            return false;
        }
        out.watching.push(channel);
        let watchers = self.watchers.entry(channel).or_default();
        let first = watchers.is_empty();
        if let Err(place) = watchers.binary_search(&seat) {
            watchers.insert(place, seat);
        }
        for stream in ghosts.streams_of(channel) {
            let key = StreamKey::Entities(stream);
            self.add_reader(key, seat, ghosts.is_inhabited(&stream));
        }
        self.add_reader(StreamKey::Objects(channel), seat, objects.is_changed(&channel));
        first
    }

    /// A client watches a channel no more; `true` if it was the last.
    pub fn unwatch(&mut self, client: ClientId, channel: ChannelId) -> bool {
        let Self { seats, clients, streams, touched, .. } = self;
        let Some(seat) = seats.get(&client).copied() else { return false };
        let Some(out) = clients[seat.index()].as_mut() else { return false };
        out.watching.retain(|other| *other != channel);
        streams.of_channel_mut(channel, |_, readers| {
            if let Some(alias) = readers.remove(seat) {
                out.close(alias, seat, touched);
            }
        });
        self.leave_channel(seat, channel)
    }

    /// Whether anybody watches a channel.
    pub fn is_watched(&self, channel: ChannelId) -> bool {
        self.watchers.contains_key(&channel)
    }

    /// The channels that somebody watches.
    pub fn watched(&self) -> impl Iterator<Item = ChannelId> + '_ {
        self.watchers.keys().copied()
    }

    /// A stream of entities has been replaced by a snapshot: its readers are shown it anew.
    pub fn stream_replaced(&mut self, stream: StreamId, inhabited: bool) {
        let key = StreamKey::Entities(stream);
        let watchers = self.watchers.get(&stream.0).cloned().unwrap_or_default();
        for seat in watchers {
            self.add_reader(key, seat, inhabited);
        }
        self.make_stale(key);
    }

    /// The objects of a chunk have been read anew.
    pub fn objects_replaced(&mut self, channel: ChannelId) {
        let key = StreamKey::Objects(channel);
        self.make_stale(key);
        let readers = self.streams.get(key).into_iter().flat_map(Readers::iter);
        self.wanted.extend(readers.map(|(seat, _)| (key, seat)));
    }

    /// A stream of entities is no more.
    pub fn stream_dropped(&mut self, stream: StreamId) {
        let key = StreamKey::Entities(stream);
        let Some(readers) = self.streams.remove(key) else { return };
        for (seat, alias) in readers.iter() {
            if let Some(out) = &mut self.clients[seat.index()] {
                out.close(alias, seat, &mut self.touched);
            }
        }
    }

    /// A frame for the next delivery.
    pub fn push(&mut self, frame: Arc<Frame>) {
        if self.frames.len() < MAX_FRAMES {
            self.frames.push(frame);
        } else {
            self.make_stale(stream_key(&frame));
        }
    }

    /// A control message: given back if it is to be written now, kept while the client is
    /// blocked. `Err` if too much waits.
    pub fn control(&mut self, client: ClientId, message: Bytes) -> Result<Option<Bytes>, TooSlow> {
        let Some((_, out)) = self.out(client) else { return Ok(None) };
        if !out.blocked {
            return Ok(Some(message));
        }
        out.waiting.extend_from_slice(&message);
        if out.waiting.len() > MAX_WAITING_BYTES { Err(TooSlow) } else { Ok(None) }
    }

    /// The last message to a client, behind the control messages that wait for it: to be written now, blocked or not.
    pub fn farewell(&mut self, client: ClientId, message: Bytes) -> Bytes {
        match self.out(client) {
            Some((_, out)) if !out.waiting.is_empty() => {
                out.waiting.extend_from_slice(&message);
                out.waiting.split().freeze()
            }
            _ => message,
        }
    }

    /// Frames that came so late that their streams were shown anew.
    pub fn late_frames(&self) -> u64 {
        self.late_frames
    }

    /// The client takes no more bytes for now: what it misses it will be shown anew.
    pub fn block(&mut self, client: ClientId) {
        let Some((seat, out)) = self.out(client) else { return };
        out.blocked = true;
        let watching = std::mem::take(&mut out.watching);
        for channel in &watching {
            self.streams.of_channel_mut(*channel, |_, readers| {
                readers.make_stale(seat);
            });
        }
        if let Some((_, out)) = self.out(client) {
            out.watching = watching;
        }
    }

    /// The client takes bytes again.
    pub fn unblock(&mut self, client: ClientId) {
        let Self { seats, clients, streams, touched, wanted, .. } = self;
        let Some(seat) = seats.get(&client).copied() else { return };
        let Some(out) = clients[seat.index()].as_mut() else { return };
        out.blocked = false;
        out.touch(seat, touched);
        for channel in &out.watching {
            streams.of_channel_mut(*channel, |key, readers| {
                if matches!(readers.get(seat), Some(Alias::Stale(_) | Alias::Unopened)) {
                    wanted.push((key, seat));
                }
            });
        }
    }

    /// Assembles everything for all clients, and hands each client's bytes to `send`.
    pub fn deliver(
        &mut self,
        tick: Tick,
        ghosts: &mut Ghosts,
        objects: &Objects,
        send: impl FnMut(ClientId, Bytes),
    ) {
        let mut frames = std::mem::take(&mut self.frames);
        for (number, frame) in (0u32..).zip(&frames) {
            if frame.tick.0 + MAX_FRAME_AGE_TICKS < tick.0 {
                self.late_frames += 1;
                self.make_stale(stream_key(frame));
            }
            self.forward(number, frame);
        }
        // After the frames: whether a client holds a neighbour is as it was before this delivery.
        let mut wanted = std::mem::take(&mut self.wanted);
        wanted.sort_unstable();
        wanted.dedup();
        for (key, seat) in wanted.drain(..) {
            self.show(key, seat, tick, ghosts, objects);
        }
        self.wanted = wanted;
        self.assemble(tick, &frames, send);
        frames.clear();
        self.frames = frames;
    }

    /// Puts together what goes to each client, and hands it over.
    fn assemble(
        &mut self,
        tick: Tick,
        frames: &[Arc<Frame>],
        mut send: impl FnMut(ClientId, Bytes),
    ) {
        // One piece for all: the memory of the last delivery, once it is written.
        self.bytes.reserve(self.most_bytes);
        self.forwards.sort_unstable_by_key(|forward| (forward.seat, forward.frame));
        self.touched.sort_unstable();
        let (mut forwards, mut touched) = (&self.forwards[..], &self.touched[..]);
        let mut used = 0;
        while let Some(seat) =
            [forwards.first().map(|forward| forward.seat), touched.first().copied()]
                .into_iter()
                .flatten()
                .min()
        {
            let count = forwards.iter().take_while(|forward| forward.seat == seat).count();
            let (own, others) = forwards.split_at(count);
            forwards = others;
            let count = touched.iter().take_while(|other| **other == seat).count();
            touched = &touched[count..];
            let Some(out) = &mut self.clients[seat.index()] else { continue };
            out.take(tick, own, frames, &mut self.bytes);
            if !self.bytes.is_empty() {
                used += self.bytes.len();
                send(out.client, self.bytes.split().freeze());
            }
        }
        self.forwards.clear();
        self.touched.clear();
        self.most_bytes = self.most_bytes.max(used);
    }

    /// Notes a frame for everybody who has the stream; the others are to be shown it.
    fn forward(&mut self, number: u32, frame: &Frame) {
        let key = stream_key(frame);
        let Some(readers) = self.streams.get(key) else { return };
        let neighbours = neighbours(&self.streams, frame);
        for (seat, alias) in readers.iter() {
            let Some(out) = &self.clients[seat.index()] else { continue };
            if out.blocked {
                continue;
            }
            let Alias::Open(alias) = alias else {
                self.wanted.push((key, seat));
                continue;
            };
            let mut sections = 0;
            for (direction, holders) in &neighbours {
                let holds = holders
                    .is_some_and(|holders| matches!(holders.get(seat), Some(Alias::Open(_))));
                sections |= u8::from(!holds) << *direction as u8;
            }
            if sections != 0 || frame.has_core() {
                self.forwards.push(Forward { seat, alias, frame: number, sections });
            }
        }
    }

    fn show(
        &mut self,
        key: StreamKey,
        seat: Seat,
        tick: Tick,
        ghosts: &mut Ghosts,
        objects: &Objects,
    ) {
        let Some(alias) = self.streams.get_mut(key).and_then(|readers| readers.get_mut(seat))
        else {
            return;
        };
        let Some(out) = &mut self.clients[seat.index()] else { return };
        if out.blocked || matches!(alias, Alias::Open(_)) {
            return;
        }
        let (channel, publisher, found) = match key {
            StreamKey::Entities(stream) => (stream.0, Some(stream.1), ghosts.snapshot(stream)),
            StreamKey::Objects(channel) => {
                let records = objects.snapshot(channel, tick, &self.clock);
                (channel, None, records.map(|records| (tick, Stamp::new(tick, 0), records)))
            }
        };
        let Some((tick, stamp, records)) = found else { return };
        let number = match *alias {
            Alias::Unopened => out.take_alias(),
            Alias::Stale(number) | Alias::Open(number) => number,
        };
        *alias = Alias::Open(number);
        let publisher = match publisher {
            Some(id) => {
                publisher_number(&mut self.publishers, &mut self.last_publisher, id, &self.streams)
            }
            None => 0,
        };
        let header = ClientSnapshotHeader {
            alias: number,
            objects: matches!(key, StreamKey::Objects(_)),
            channel,
            publisher,
            tick,
        };
        put_client_snapshot(&mut out.rest, &header, self.home, stamp, &records);
        out.touch(seat, &mut self.touched);
    }

    fn add_reader(&mut self, key: StreamKey, seat: Seat, show: bool) {
        self.streams.entry(key).add(seat);
        if show {
            self.wanted.push((key, seat));
        }
    }

    fn make_stale(&mut self, key: StreamKey) {
        let Some(readers) = self.streams.get_mut(key) else { return };
        for (seat, alias) in readers.iter_mut() {
            if let Alias::Open(number) = *alias {
                *alias = Alias::Stale(number);
                self.wanted.push((key, seat));
            }
        }
    }
}

/// The number of a publisher; a new one if it has none. Then those are forgotten that have no stream any more.
fn publisher_number(
    publishers: &mut BTreeMap<PublisherId, u32>,
    last: &mut u32,
    id: PublisherId,
    streams: &Streams,
) -> u32 {
    if let Some(number) = publishers.get(&id) {
        return *number;
    }
    let heard = streams.publishers();
    publishers.retain(|id, _| heard.contains(id));
    *last += 1;
    publishers.insert(id, *last);
    *last
}

fn stream_key(frame: &Frame) -> StreamKey {
    match frame.stream {
        StreamKind::Entities => StreamKey::Entities((frame.channel, frame.publisher)),
        StreamKind::Objects => StreamKey::Objects(frame.channel),
    }
}

/// The directions of a frame's sections, each with the readers of the stream of the neighbour there.
fn neighbours<'a>(
    streams: &'a Streams,
    frame: &Frame,
) -> ArrayVec<(Direction, Option<&'a Readers>), 8> {
    let sections = Direction::ALL.into_iter().zip(&frame.sections);
    sections
        .filter(|(_, section)| !section.is_empty())
        .map(|(direction, _)| {
            let holders = frame.channel.chunk.neighbour(direction).and_then(|chunk| {
                let channel = ChannelId { chunk, ..frame.channel };
                streams.get(StreamKey::Entities((channel, frame.publisher)))
            });
            (direction, holders)
        })
        .collect()
}
