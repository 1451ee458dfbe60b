//! Delivery: what each client gets, in one write per tick.
//!
//! Bodies of frames are forwarded as their publishers encoded them. A client that does not know a stream yet, or
//! missed some of it while it was blocked, gets a snapshot made from ghosts instead. What a tick costs
//! depends on what happens in it, not on how many clients there are.

mod alias;
mod channel;
mod client;
mod publishers;
mod sizes;

use crate::ghosts::{Ghosts, StreamId};
use crate::objects::Objects;
use alias::{Alias, Seat};
use arrayvec::ArrayVec;
use bytes::{Bytes, BytesMut};
use channel::{Channel, OBJECTS, Readers};
use client::{ClientOut, Forward};
use pelago_model::{ChannelId, Direction, IslandClock, IslandId, Numbers, PublisherId, Tick};
use pelago_wire::client_stream::{ClientSnapshotHeader, put_client_snapshot};
use pelago_wire::frame::{Frame, StreamKind};
use pelago_wire::tick_stamp::TickStamp;
use publishers::Publishers;
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

/// A client is to be shown a stream. The objects of a chunk are one stream, whichever node is its steward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    channel: ChannelId,
    /// Its name on the channel.
    stream: u32,
    seat: Seat,
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
    /// Of the seats.
    numbers: Numbers,
    /// Those that somebody watches.
    channels: BTreeMap<ChannelId, Channel>,
    publishers: Publishers,
    frames: Vec<Arc<Frame>>,
    /// Clients that are to be shown a stream with the next delivery; some may be named twice.
    wanted: Vec<Wanted>,
    /// Which client gets which frame with this delivery.
    forwards: Vec<Forward>,
    /// Clients that get something else with the next delivery.
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
            numbers: Numbers::default(),
            channels: BTreeMap::new(),
            publishers: Publishers::default(),
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
        self.leave(client);
        let seat = Seat(self.numbers.take());
        if self.clients.len() <= seat.index() {
            self.clients.push(None);
        }
        self.seats.insert(client, seat);
        self.clients[seat.index()] = Some(ClientOut::new(client, tick));
    }

    /// A client is gone. Returns the channels that nobody watches any more.
    pub fn leave(&mut self, client: ClientId) -> Vec<ChannelId> {
        let Some(seat) = self.seats.remove(&client) else { return Vec::new() };
        let Some(out) = self.clients[seat.index()].take() else { return Vec::new() };
        self.numbers.give_back(seat.0);
        self.touched.retain(|other| *other != seat);
        self.wanted.retain(|wanted| wanted.seat != seat);
        let watching = out.watching().iter().copied();
        watching.filter(|channel| self.leave_channel(seat, *channel)).collect()
    }

    /// Takes a client off those who watch a channel; `true` if it was the last.
    fn leave_channel(&mut self, seat: Seat, channel: ChannelId) -> bool {
        let Some(table) = self.channels.get_mut(&channel) else { return false };
        table.unwatch(seat);
        let last = !table.is_watched();
        if last {
            self.channels.remove(&channel);
        }
        last
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
        if !out.watch(channel) {
            return false;
        }
        let table = self.channels.entry(channel).or_insert_with(Channel::new);
        let first = !table.is_watched();
        table.watch(seat);
        for (channel, publisher) in ghosts.streams_of(channel) {
            let stream = self.add_stream(channel, publisher);
            if ghosts.is_inhabited(&(channel, publisher)) {
                self.wanted.push(Wanted { channel, stream, seat });
            }
        }
        if objects.is_changed(&channel) {
            self.wanted.push(Wanted { channel, stream: OBJECTS, seat });
        }
        first
    }

    /// A client watches a channel no more; `true` if it was the last.
    pub fn unwatch(&mut self, client: ClientId, channel: ChannelId) -> bool {
        let Self { seats, clients, channels, touched, .. } = self;
        let Some(seat) = seats.get(&client).copied() else { return false };
        let Some(out) = clients[seat.index()].as_mut() else { return false };
        out.unwatch(channel);
        let Some(table) = channels.get(&channel) else { return false };
        for (_, alias) in table.known_to(seat) {
            out.close(alias, seat, touched);
        }
        self.leave_channel(seat, channel)
    }

    /// Whether anybody watches a channel.
    pub fn is_watched(&self, channel: ChannelId) -> bool {
        self.channels.contains_key(&channel)
    }

    /// The channels that somebody watches.
    pub fn watched(&self) -> impl Iterator<Item = ChannelId> + '_ {
        self.channels.keys().copied()
    }

    /// A stream of entities has been replaced by a snapshot: its readers are shown it anew.
    pub fn stream_replaced(&mut self, (channel, publisher): StreamId, inhabited: bool) {
        if !self.is_watched(channel) {
            return;
        }
        let stream = self.add_stream(channel, publisher);
        self.make_stale(channel, stream);
        if inhabited {
            self.want(channel, stream);
        }
    }

    /// The objects of a chunk have been read anew.
    pub fn objects_replaced(&mut self, channel: ChannelId) {
        self.make_stale(channel, OBJECTS);
        self.want(channel, OBJECTS);
    }

    /// A stream of entities is no more.
    pub fn stream_dropped(&mut self, (channel, publisher): StreamId) {
        let Some(stream) = self.publishers.number(publisher) else { return };
        let Some(table) = self.channels.get_mut(&channel) else { return };
        for (seat, alias) in table.readers(stream).iter().flat_map(Readers::iter) {
            if let Some(out) = &mut self.clients[seat.index()] {
                out.close(alias, seat, &mut self.touched);
            }
        }
        table.remove_stream(stream);
    }

    /// A frame for the next delivery.
    pub fn push(&mut self, frame: Arc<Frame>) {
        if self.frames.len() < MAX_FRAMES {
            self.frames.push(frame);
        } else {
            self.make_stale_by(&frame);
        }
    }

    /// A control message: given back if it is to be written now, behind those that have waited until the client took bytes
    /// again; kept while the client is blocked. `Err` if too much waits.
    pub fn control(&mut self, client: ClientId, message: Bytes) -> Result<Option<Bytes>, TooSlow> {
        let Some((_, out)) = self.out(client) else { return Ok(None) };
        if !out.blocked {
            return Ok(Some(self.farewell(client, message)));
        }
        out.pending().waiting.extend_from_slice(&message);
        if out.waiting_bytes() > MAX_WAITING_BYTES { Err(TooSlow) } else { Ok(None) }
    }

    /// The last message to a client, behind the control messages that wait for it: to be written now, blocked or not.
    pub fn farewell(&mut self, client: ClientId, message: Bytes) -> Bytes {
        match self.out(client) {
            Some((_, out)) if out.waiting_bytes() > 0 => {
                let waiting = &mut out.pending().waiting;
                waiting.extend_from_slice(&message);
                waiting.split().freeze()
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
        let Self { seats, clients, channels, .. } = self;
        let Some(seat) = seats.get(&client).copied() else { return };
        let Some(out) = clients[seat.index()].as_mut() else { return };
        out.blocked = true;
        for channel in out.watching() {
            if let Some(table) = channels.get_mut(channel) {
                table.make_stale_for(seat);
            }
        }
    }

    /// The client takes bytes again.
    pub fn unblock(&mut self, client: ClientId) {
        let Self { seats, clients, channels, touched, wanted, .. } = self;
        let Some(seat) = seats.get(&client).copied() else { return };
        let Some(out) = clients[seat.index()].as_mut() else { return };
        out.blocked = false;
        out.touch(seat, touched);
        for channel in out.watching() {
            let known = channels.get(channel).into_iter().flat_map(|table| table.known_to(seat));
            let missed = known.filter(|(_, alias)| !matches!(alias, Alias::Open(_)));
            wanted.extend(missed.map(|(stream, _)| Wanted { channel: *channel, stream, seat }));
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
                self.make_stale_by(frame);
            }
            self.forward(number, frame);
        }
        // After the frames: whether a client holds a neighbour is as it was before this delivery.
        let mut wanted = std::mem::take(&mut self.wanted);
        wanted.sort_unstable_by_key(|wanted| {
            (wanted.stream == OBJECTS, wanted.channel, wanted.stream, wanted.seat)
        });
        wanted.dedup();
        for wanted in wanted.drain(..) {
            self.show(wanted, tick, ghosts, objects);
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
        let channel = frame.channel;
        let Some(stream) = self.stream_of(frame) else { return };
        let table = self.channels.get(&channel);
        let Some(readers) = table.and_then(|table| table.readers(stream)) else { return };
        let neighbours = neighbours(&self.channels, frame, stream);
        for (seat, alias) in readers.iter() {
            let Some(out) = &self.clients[seat.index()] else { continue };
            if out.blocked {
                continue;
            }
            let Alias::Open(alias) = alias else {
                self.wanted.push(Wanted { channel, stream, seat });
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

    fn show(&mut self, wanted: Wanted, tick: Tick, ghosts: &mut Ghosts, objects: &Objects) {
        let Wanted { channel, stream, seat } = wanted;
        let Some(table) = self.channels.get_mut(&channel) else { return };
        let readers = table.readers(stream);
        let Some(alias) = readers.and_then(|readers| readers.get(seat)) else { return };
        let Some(out) = &mut self.clients[seat.index()] else { return };
        if out.blocked || matches!(alias, Alias::Open(_)) {
            return;
        }
        let objects = match stream {
            OBJECTS => objects.snapshot(channel, tick, &self.clock),
            _ => None,
        };
        let found = match self.publishers.id(stream) {
            Some(publisher) => ghosts.snapshot((channel, publisher)),
            None => objects.as_deref().map(|records| (tick, TickStamp::new(tick, 0), records)),
        };
        let Some((tick, stamp, records)) = found else { return };
        let number = match alias {
            Alias::Unopened => out.take_alias(),
            Alias::Stale(number) | Alias::Open(number) => number,
        };
        table.set(stream, seat, Alias::Open(number));
        let is_objects = stream == OBJECTS;
        let header = ClientSnapshotHeader {
            alias: number,
            objects: is_objects,
            channel,
            publisher: stream,
            tick,
        };
        put_client_snapshot(&mut out.pending().snapshots, &header, self.home, stamp, records);
        out.touch(seat, &mut self.touched);
    }

    /// Begins a stream of entities on a channel that is watched, unless it is there. Returns its name.
    fn add_stream(&mut self, channel: ChannelId, publisher: PublisherId) -> u32 {
        let stream = self.publishers.number(publisher).unwrap_or_else(|| {
            let read = self.channels.values().flat_map(Channel::names).copied().collect();
            self.publishers.add(publisher, &read)
        });
        if let Some(table) = self.channels.get_mut(&channel) {
            table.add_stream(stream);
        }
        stream
    }

    /// All clients that watch a channel are to be shown a stream.
    fn want(&mut self, channel: ChannelId, stream: u32) {
        let watchers = self.channels.get(&channel).into_iter().flat_map(Channel::watchers);
        self.wanted.extend(watchers.map(|seat| Wanted { channel, stream, seat }));
    }

    /// All clients that know a stream have missed something of it: they are to be shown it anew.
    fn make_stale(&mut self, channel: ChannelId, stream: u32) {
        if let Some(table) = self.channels.get_mut(&channel) {
            let wanted = &mut self.wanted;
            table.make_stale(stream, |seat| wanted.push(Wanted { channel, stream, seat }));
        }
    }

    /// The same for the stream of a frame that is not delivered.
    fn make_stale_by(&mut self, frame: &Frame) {
        if let Some(stream) = self.stream_of(frame) {
            self.make_stale(frame.channel, stream);
        }
    }

    /// The name of a frame's stream on its channel, if anybody reads its publisher.
    fn stream_of(&self, frame: &Frame) -> Option<u32> {
        match frame.stream {
            StreamKind::Entities => self.publishers.number(frame.publisher),
            StreamKind::Objects => Some(OBJECTS),
        }
    }
}

/// The directions of a frame's sections, each with the readers of the stream of the neighbour there.
fn neighbours<'a>(
    channels: &'a BTreeMap<ChannelId, Channel>,
    frame: &Frame,
    stream: u32,
) -> ArrayVec<(Direction, Option<Readers<'a>>), 8> {
    let sections = Direction::ALL.into_iter().zip(&frame.sections);
    sections
        .filter(|(_, section)| !section.is_empty())
        .map(|(direction, _)| {
            let holders = frame.channel.chunk.neighbour(direction).and_then(|chunk| {
                let channel = ChannelId { chunk, ..frame.channel };
                channels.get(&channel)?.readers(stream)
            });
            (direction, holders)
        })
        .collect()
}
