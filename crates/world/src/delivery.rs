//! Delivery: what each client gets, in one write per tick.
//!
//! Bodies of frames are forwarded as their publishers encoded them. A client that does not know a stream yet, or
//! missed some of it while it was blocked, gets a snapshot made from ghosts instead.

use crate::ghosts::{Ghosts, StreamId};
use crate::objects::Objects;
use bytes::{Bytes, BytesMut};
use pelago_model::{ChannelId, Direction, IslandClock, IslandId, PublisherId, Tick};
use pelago_wire::client_stream::{
    ClientSnapshotHeader, put_client_snapshot, put_close, put_frame, put_frames_message,
};
use pelago_wire::frame::{Frame, StreamKind};
use pelago_wire::stamp::Stamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A connection of a client to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// Frames older than this many ticks are not delivered: their tick could be mistaken. The stream is
/// shown anew instead.
pub const MAX_FRAME_AGE_TICKS: u64 = 12;
/// Bytes of control messages that wait for a blocked client; beyond it is closed as too slow.
pub const MAX_WAITING_BYTES: usize = 64 * 1024;

/// A stream as clients know it: objects of a chunk are one, whoever is steward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum StreamKey {
    Entities(StreamId),
    Objects(ChannelId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alias {
    /// The client has not been told of the stream.
    Unopened,
    /// The client has everything up to the last delivery.
    Open(u32),
    /// The client missed something.
    Stale(u32),
}

#[derive(Debug)]
struct ClientOut {
    /// The frames of this delivery, without the message's header.
    frames: BytesMut,
    /// Snapshots and closes of this delivery.
    rest: BytesMut,
    /// Aliases to be closed.
    closing: Vec<u32>,
    /// Control messages that wait until the client is writable.
    waiting: BytesMut,
    blocked: bool,
    last_tick: Tick,
    free: Vec<u32>,
    next_alias: u32,
}

/// The outgoing side of all clients of a lane.
#[derive(Debug)]
pub struct Delivery {
    home: IslandId,
    clock: IslandClock,
    clients: BTreeMap<ClientId, ClientOut>,
    watchers: BTreeMap<ChannelId, BTreeSet<ClientId>>,
    readers: BTreeMap<StreamKey, BTreeMap<ClientId, Alias>>,
    publishers: BTreeMap<PublisherId, u32>,
    frames: Vec<Arc<Frame>>,
    wanted: BTreeSet<(StreamKey, ClientId)>,
}

impl Delivery {
    /// Nobody to deliver to. Clients take channels of island `home` as meant if no other is named.
    pub fn new(home: IslandId, clock: IslandClock) -> Self {
        Self {
            home,
            clock,
            clients: BTreeMap::new(),
            watchers: BTreeMap::new(),
            readers: BTreeMap::new(),
            publishers: BTreeMap::new(),
            frames: Vec::new(),
            wanted: BTreeSet::new(),
        }
    }

    /// A client has come; its first frames message counts from `tick`.
    pub fn join(&mut self, client: ClientId, tick: Tick) {
        let out = ClientOut {
            frames: BytesMut::new(),
            rest: BytesMut::new(),
            closing: Vec::new(),
            waiting: BytesMut::new(),
            blocked: false,
            last_tick: tick,
            free: Vec::new(),
            next_alias: 0,
        };
        self.clients.insert(client, out);
    }

    /// A client is gone. Returns the channels that nobody watches any more.
    pub fn part(&mut self, client: ClientId) -> Vec<ChannelId> {
        self.clients.remove(&client);
        for readers in self.readers.values_mut() {
            readers.remove(&client);
        }
        self.wanted.retain(|(_, other)| *other != client);
        let mut idle = Vec::new();
        self.watchers.retain(|channel, watchers| {
            watchers.remove(&client);
            if watchers.is_empty() {
                idle.push(*channel);
            }
            !watchers.is_empty()
        });
        idle
    }

    /// A client watches a channel from now on; `true` if it is the first to do so.
    pub fn watch(
        &mut self,
        client: ClientId,
        channel: ChannelId,
        ghosts: &Ghosts,
        objects: &Objects,
    ) -> bool {
        let watchers = self.watchers.entry(channel).or_default();
        let first = watchers.is_empty();
        watchers.insert(client);
        for stream in ghosts.streams_of(channel) {
            let key = StreamKey::Entities(stream);
            self.add_reader(key, client, ghosts.is_inhabited(&stream));
        }
        self.add_reader(StreamKey::Objects(channel), client, objects.is_changed(&channel));
        first
    }

    /// A client watches a channel no more; `true` if it was the last.
    pub fn unwatch(&mut self, client: ClientId, channel: ChannelId) -> bool {
        let (first, last) = (PublisherId(0), PublisherId(u64::MAX));
        let entities = StreamKey::Entities((channel, first))..=StreamKey::Entities((channel, last));
        let keys: Vec<StreamKey> = self.readers.range(entities).map(|(key, _)| *key).collect();
        for key in keys.into_iter().chain([StreamKey::Objects(channel)]) {
            let alias = self.readers.get_mut(&key).and_then(|readers| readers.remove(&client));
            self.close_alias(client, alias);
            self.wanted.remove(&(key, client));
        }
        let Some(watchers) = self.watchers.get_mut(&channel) else { return false };
        watchers.remove(&client);
        let last = watchers.is_empty();
        if last {
            self.watchers.remove(&channel);
            self.readers.remove(&StreamKey::Objects(channel));
        }
        last
    }

    /// Whether anybody watches a channel.
    pub fn is_watched(&self, channel: ChannelId) -> bool {
        self.watchers.contains_key(&channel)
    }

    /// A stream of entities has been replaced by a snapshot: its readers are shown it anew.
    pub fn stream_replaced(&mut self, stream: StreamId, inhabited: bool) {
        let key = StreamKey::Entities(stream);
        let watchers = self.watchers.get(&stream.0).cloned().unwrap_or_default();
        for client in watchers {
            self.add_reader(key, client, inhabited);
        }
        self.make_stale(key);
    }

    /// The objects of a chunk have been read anew.
    pub fn objects_replaced(&mut self, channel: ChannelId) {
        let key = StreamKey::Objects(channel);
        self.make_stale(key);
        let readers = self.readers.get(&key).into_iter().flat_map(|readers| readers.keys());
        self.wanted.extend(readers.map(|client| (key, *client)));
    }

    /// A stream of entities is no more.
    pub fn stream_dropped(&mut self, stream: StreamId) {
        let key = StreamKey::Entities(stream);
        self.wanted.retain(|(other, _)| *other != key);
        for (client, alias) in self.readers.remove(&key).unwrap_or_default() {
            self.close_alias(client, Some(alias));
        }
    }

    /// A frame for the next delivery.
    pub fn push(&mut self, frame: Arc<Frame>) {
        self.frames.push(frame);
    }

    /// A control message: given back if it is to be written now, kept while the client is
    /// blocked. `Err` if too much waits.
    pub fn control(&mut self, client: ClientId, message: Bytes) -> Result<Option<Bytes>, TooSlow> {
        let Some(out) = self.clients.get_mut(&client) else { return Ok(None) };
        if !out.blocked {
            return Ok(Some(message));
        }
        out.waiting.extend_from_slice(&message);
        if out.waiting.len() > MAX_WAITING_BYTES { Err(TooSlow) } else { Ok(None) }
    }

    /// The client takes no more bytes for now: what it misses it will be shown anew.
    pub fn block(&mut self, client: ClientId) {
        if let Some(out) = self.clients.get_mut(&client) {
            out.blocked = true;
        }
        for readers in self.readers.values_mut() {
            if let Some(alias) = readers.get_mut(&client)
                && let Alias::Open(number) = *alias
            {
                *alias = Alias::Stale(number);
            }
        }
    }

    /// The client takes bytes again.
    pub fn unblock(&mut self, client: ClientId) {
        let Some(out) = self.clients.get_mut(&client) else { return };
        out.blocked = false;
        for (key, readers) in &self.readers {
            if matches!(readers.get(&client), Some(Alias::Stale(_) | Alias::Unopened)) {
                self.wanted.insert((*key, client));
            }
        }
    }

    /// Assembles everything for all clients, and hands each client's bytes to `send`.
    pub fn deliver(
        &mut self,
        tick: Tick,
        ghosts: &mut Ghosts,
        objects: &Objects,
        mut send: impl FnMut(ClientId, Bytes),
    ) {
        for frame in std::mem::take(&mut self.frames) {
            if frame.tick.0 + MAX_FRAME_AGE_TICKS < tick.0 {
                self.make_stale(stream_key(&frame));
            }
            self.forward(&frame);
        }
        // After the frames: whether a client holds a neighbour is as it was before this delivery.
        for (key, client) in std::mem::take(&mut self.wanted) {
            self.show(key, client, tick, ghosts, objects);
        }
        for (client, out) in &mut self.clients {
            if let Some(bytes) = out.take(tick) {
                send(*client, bytes);
            }
        }
    }

    /// Appends a frame for everybody who has the stream; the others are to be shown it.
    fn forward(&mut self, frame: &Frame) {
        let key = stream_key(frame);
        let Some(readers) = self.readers.get(&key) else { return };
        let neighbours = neighbours(&self.readers, frame);
        for (client, alias) in readers {
            let Some(out) = self.clients.get_mut(client) else { continue };
            if out.blocked {
                continue;
            }
            let Alias::Open(number) = alias else {
                self.wanted.insert((key, *client));
                continue;
            };
            let holds = |readers: &Option<&BTreeMap<ClientId, Alias>>| {
                matches!(readers.and_then(|readers| readers.get(client)), Some(Alias::Open(_)))
            };
            let sections = neighbours.iter().filter(|(_, readers)| !holds(readers));
            let (stamp, records) = frame.core.split_at(1);
            let mut slices: [&[u8]; 10] = [&[]; 10];
            slices[0] = stamp;
            let mut count = 1;
            for (section, _) in sections {
                slices[count] = section;
                count += 1;
            }
            if count == 1 && records.is_empty() {
                continue;
            }
            slices[count] = records;
            put_frame(&mut out.frames, *number, &slices[..=count]);
        }
    }

    fn show(
        &mut self,
        key: StreamKey,
        client: ClientId,
        tick: Tick,
        ghosts: &mut Ghosts,
        objects: &Objects,
    ) {
        let Some(alias) = self.readers.get_mut(&key).and_then(|r| r.get_mut(&client)) else {
            return;
        };
        let Some(out) = self.clients.get_mut(&client) else { return };
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
        let next = self.publishers.len() as u32 + 1;
        let publisher = publisher.map_or(0, |id| *self.publishers.entry(id).or_insert(next));
        let header = ClientSnapshotHeader {
            alias: number,
            objects: matches!(key, StreamKey::Objects(_)),
            channel,
            publisher,
            tick,
        };
        put_client_snapshot(&mut out.rest, &header, self.home, stamp, &records);
    }

    fn add_reader(&mut self, key: StreamKey, client: ClientId, show: bool) {
        self.readers.entry(key).or_default().entry(client).or_insert(Alias::Unopened);
        if show {
            self.wanted.insert((key, client));
        }
    }

    fn make_stale(&mut self, key: StreamKey) {
        for (client, alias) in self.readers.get_mut(&key).into_iter().flatten() {
            if let Alias::Open(number) = *alias {
                *alias = Alias::Stale(number);
                self.wanted.insert((key, *client));
            }
        }
    }

    fn close_alias(&mut self, client: ClientId, alias: Option<Alias>) {
        if let Some(Alias::Open(number) | Alias::Stale(number)) = alias
            && let Some(out) = self.clients.get_mut(&client)
        {
            out.closing.push(number);
        }
    }
}

/// More control messages wait for a blocked client than [`MAX_WAITING_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client reads too slowly")]
pub struct TooSlow;

impl ClientOut {
    fn take_alias(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.next_alias += 1;
            self.next_alias - 1
        })
    }

    /// What goes out with this delivery. Closes come last, their aliases are free in the next.
    fn take(&mut self, tick: Tick) -> Option<Bytes> {
        if self.blocked {
            return None;
        }
        let mut bytes = std::mem::take(&mut self.waiting);
        if !self.frames.is_empty() {
            put_frames_message(&mut bytes, tick.0.saturating_sub(self.last_tick.0), &self.frames);
            self.last_tick = tick;
            self.frames.clear();
        }
        bytes.extend_from_slice(&self.rest);
        self.rest.clear();
        if !self.closing.is_empty() {
            put_close(&mut bytes, &self.closing);
            self.free.append(&mut self.closing);
        }
        (!bytes.is_empty()).then(|| bytes.freeze())
    }
}

fn stream_key(frame: &Frame) -> StreamKey {
    match frame.stream {
        StreamKind::Entities => StreamKey::Entities((frame.channel, frame.publisher)),
        StreamKind::Objects => StreamKey::Objects(frame.channel),
    }
}

/// The sections of a frame, each with the readers of the stream of the neighbour it is about.
fn neighbours<'a>(
    readers: &'a BTreeMap<StreamKey, BTreeMap<ClientId, Alias>>,
    frame: &'a Frame,
) -> Vec<(&'a Bytes, Option<&'a BTreeMap<ClientId, Alias>>)> {
    let sections = Direction::ALL.into_iter().zip(&frame.sections);
    sections
        .filter(|(_, section)| !section.is_empty())
        .map(|(direction, section)| {
            let holders = frame.channel.chunk.neighbour(direction).and_then(|chunk| {
                let channel = ChannelId { chunk, ..frame.channel };
                readers.get(&StreamKey::Entities((channel, frame.publisher)))
            });
            (section, holders)
        })
        .collect()
}
