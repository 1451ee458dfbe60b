//! Ghosts: read-only copies of what others publish, its own lane included.
//!
//! Fed with decoded frames that arrive without gaps, after a snapshot (`pelago-cluster` sees to that).
//! Everything is idempotent, so that a frame that overlaps a snapshot does no harm.

mod introduction;
mod streams;

use bytes::BytesMut;
use pelago_model::{
    ChannelId, EntityId, Epoch, IslandClock, NodeId, PublisherId, Size, Tick, Trajectory, WorldTime,
};
use pelago_wire::frame::{Frame, Snapshot, base};
use pelago_wire::record::{Base, Enter, Record, Slot, Turn};
use pelago_wire::tick_stamp::TickStamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use streams::Streams;

/// The ghosts of one publisher, by slot. Boxed: most slots of a lane that has seen a crowd are empty.
type Slots = Vec<Option<Box<Ghost>>>;

/// How long ghosts of a lost node stay, in ms: a link that is back within it does not show.
pub const LOST_LINGER_MS: i64 = 3000;

/// Streams of a lane: peers open no others than those that were asked for, one per lane or host of a node.
const MAX_STREAMS: usize = 1 << 24;
/// Ghosts of a lane: each has a slot of its publisher.
const MAX_GHOSTS: usize = 1 << 24;

/// A stream of entities: one publisher on one channel.
pub type StreamId = (ChannelId, PublisherId);

/// A copy of an entity.
#[derive(Clone, Debug, PartialEq)]
pub struct Ghost {
    /// Its identity.
    pub id: EntityId,
    /// The epoch of its ownership.
    pub epoch: Epoch,
    /// The game's kind.
    pub kind: u16,
    /// The game's stance.
    pub stance: u16,
    /// Its name, or nothing.
    pub name: Arc<str>,
    /// Where it is and goes.
    pub trajectory: Trajectory,
    /// In which channel it was last seen.
    pub channel: ChannelId,
}

/// All ghosts of a lane.
#[derive(Debug)]
pub struct Ghosts {
    clock: IslandClock,
    streams: Streams,
    /// Streams of nodes out of reach, and since when.
    lost: BTreeMap<StreamId, WorldTime>,
    entities: BTreeMap<PublisherId, Slots>,
    /// The streams that have a ghost of an avatar: for a moment an avatar that changes its lane has two.
    bearers: BTreeSet<(EntityId, PublisherId, Slot)>,
    /// The stream of which a snapshot was made last, until anything changes: several clients in a row are shown the same.
    last_snapshot: Option<StreamId>,
    /// The records of that snapshot.
    snapshot: BytesMut,
}

impl Ghosts {
    /// No ghosts yet.
    pub fn new(clock: IslandClock) -> Self {
        Self {
            clock,
            streams: Streams::default(),
            lost: BTreeMap::new(),
            entities: BTreeMap::new(),
            bearers: BTreeSet::new(),
            last_snapshot: None,
            snapshot: BytesMut::new(),
        }
    }

    /// Replaces all that is known of a stream.
    pub fn apply_snapshot(&mut self, snapshot: &Snapshot) {
        let stream = (snapshot.channel, snapshot.publisher);
        let mut gone = self.streams.insert(stream, snapshot.tick, snapshot.stamp);
        self.last_snapshot = None;
        self.lost.remove(&stream);
        for record in &snapshot.records {
            if let Record::Enter(enter) = record {
                gone.remove(enter.slot);
                self.enter(stream, enter);
            }
        }
        for slot in gone.as_slice() {
            self.leave(stream, *slot);
        }
    }

    /// Takes in a frame; `false` if its stream is not known.
    pub fn apply_frame(&mut self, frame: &Frame) -> bool {
        let id = (frame.channel, frame.publisher);
        let Some(stream) = self.streams.get_mut(id) else { return false };
        stream.advance(frame.tick, frame.core.first().copied().map(TickStamp::from_byte));
        self.last_snapshot = None;
        // Sections first: what they let in may turn or speak in the core.
        for record in frame.edge_records.iter().chain(&frame.records) {
            self.apply(id, record);
        }
        true
    }

    fn apply(&mut self, stream: StreamId, record: &Record) {
        match record {
            Record::Enter(enter) => self.enter(stream, enter),
            Record::Leave { slot } => self.leave(stream, *slot),
            Record::Arrive { slot, .. } => {
                if let Some(ghost) = self.ghost_mut(stream.1, *slot) {
                    let old = std::mem::replace(&mut ghost.channel, stream.0);
                    self.move_member(stream.1, *slot, old, stream.0);
                }
            }
            Record::Turn(turn) => self.turn(stream.1, turn),
            Record::Stance { slot, stance } => {
                if let Some(ghost) = self.ghost_mut(stream.1, *slot) {
                    ghost.stance = *stance;
                }
            }
            Record::Say { .. }
            | Record::Gesture { .. }
            | Record::Object(_)
            | Record::HeadCount { .. } => {}
        }
    }

    fn ghost(&self, publisher: PublisherId, slot: Slot) -> Option<&Ghost> {
        self.entities.get(&publisher)?.get(usize::from(slot))?.as_deref()
    }

    fn ghost_mut(&mut self, publisher: PublisherId, slot: Slot) -> Option<&mut Ghost> {
        self.entities.get_mut(&publisher)?.get_mut(usize::from(slot))?.as_deref_mut()
    }

    fn enter(&mut self, stream: StreamId, enter: &Enter) {
        let (channel, publisher) = stream;
        let ghost = Ghost {
            id: enter.id,
            epoch: enter.epoch,
            kind: enter.kind,
            stance: enter.stance,
            name: enter.name.clone(),
            trajectory: enter.trajectory.clone(),
            channel,
        };
        let old = match self.ghost_mut(publisher, enter.slot) {
            Some(known) => {
                let old = (known.id, known.channel);
                *known = ghost;
                Some(old)
            }
            None => {
                let slots = self.entities.entry(publisher).or_default();
                let index = usize::from(enter.slot);
                if slots.len() <= index {
                    slots.resize_with(index + 1, || None);
                }
                slots[index] = Some(Box::new(ghost));
                None
            }
        };
        if let Some((id, _)) = old.filter(|(id, _)| *id != enter.id) {
            self.bearers.remove(&(id, publisher, enter.slot));
        }
        self.bearers.insert((enter.id, publisher, enter.slot));
        let old_channel = old.map_or(channel, |(_, channel)| channel);
        self.move_member(publisher, enter.slot, old_channel, channel);
    }

    fn leave(&mut self, stream: StreamId, slot: Slot) {
        let (channel, publisher) = stream;
        if self.ghost(publisher, slot).is_some_and(|ghost| ghost.channel == channel)
            && let Some(slots) = self.entities.get_mut(&publisher)
            && let Some(ghost) = slots[usize::from(slot)].take()
        {
            self.bearers.remove(&(ghost.id, publisher, slot));
        }
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.members.remove(slot);
        }
    }

    fn turn(&mut self, publisher: PublisherId, turn: &Turn) {
        if let Some(ghost) = self.ghost_mut(publisher, turn.slot)
            // A publisher only sends what can be applied; a broken peer's turn is left out.
            && let Ok(trajectory) = turn.apply(&ghost.trajectory)
        {
            ghost.trajectory = trajectory;
        }
    }

    fn move_member(&mut self, publisher: PublisherId, slot: Slot, old: ChannelId, new: ChannelId) {
        if old != new
            && let Some(stream) = self.streams.get_mut((old, publisher))
        {
            stream.members.remove(slot);
        }
        if let Some(stream) = self.streams.get_mut((new, publisher)) {
            stream.members.insert(slot);
        }
    }

    /// Drops a stream and those last seen in it.
    pub fn drop_stream(&mut self, stream: StreamId) {
        let Some(dropped) = self.streams.remove(stream) else { return };
        self.last_snapshot = None;
        self.lost.remove(&stream);
        for slot in dropped.members.as_slice() {
            self.leave(stream, *slot);
        }
        // A publisher that is not read any more is forgotten with all its slots.
        let publisher = stream.1;
        if let Some(slots) = self.entities.get_mut(&publisher) {
            while slots.last().is_some_and(Option::is_none) {
                slots.pop();
            }
            if slots.is_empty() {
                self.entities.remove(&publisher);
            }
        }
    }

    /// The streams of a channel.
    pub fn streams_of(&self, channel: ChannelId) -> impl Iterator<Item = StreamId> + '_ {
        self.streams.of_channel(channel).map(move |publisher| (channel, publisher))
    }

    /// Whether a stream is known: its frames can be applied.
    pub fn knows(&self, stream: StreamId) -> bool {
        self.streams.get(stream).is_some()
    }

    /// Whether a stream is known and shows anybody.
    pub fn is_inhabited(&self, stream: &StreamId) -> bool {
        self.streams.get(*stream).is_some_and(|stream| !stream.members.is_empty())
    }

    /// The node is out of reach: its ghosts stay for [`LOST_LINGER_MS`].
    pub fn lose(&mut self, node: NodeId, now: WorldTime) {
        for stream in self.streams.ids().filter(|(_, publisher)| publisher.node() == node) {
            self.lost.entry(stream).or_insert(now);
        }
    }

    /// The lost streams whose time is over.
    pub fn overdue(&self, now: WorldTime) -> Vec<StreamId> {
        let over = |lost: &WorldTime| lost.plus(LOST_LINGER_MS) <= now;
        self.lost.iter().filter(|(_, lost)| over(lost)).map(|(id, _)| *id).collect()
    }

    /// The stamp, tick and records of a snapshot of a stream for clients.
    pub fn snapshot(&mut self, id: StreamId) -> Option<(Tick, TickStamp, &[u8])> {
        let stream = self.streams.get(id)?;
        let (tick, stamp) = (stream.tick(), stream.stamp());
        if self.last_snapshot != Some(id) {
            // In the memory of the last.
            let mut records = std::mem::take(&mut self.snapshot);
            records.clear();
            let base = base(&id.0, tick, &self.clock);
            self.put_enters(id.1, stream.members.as_slice(), &base, &mut records);
            self.snapshot = records;
            self.last_snapshot = Some(id);
        }
        Some((tick, stamp, &self.snapshot))
    }

    /// Writes records that let ghosts enter.
    fn put_enters(&self, publisher: PublisherId, slots: &[Slot], base: &Base, out: &mut BytesMut) {
        for slot in slots {
            let Some(enter) = self.enter_record(publisher, *slot) else { continue };
            Record::Enter(enter).put(base, out);
        }
    }

    /// The record that lets a ghost enter.
    fn enter_record(&self, publisher: PublisherId, slot: Slot) -> Option<Enter> {
        let ghost = self.ghost(publisher, slot)?;
        Some(Enter {
            slot,
            id: ghost.id,
            epoch: ghost.epoch,
            kind: ghost.kind,
            stance: ghost.stance,
            name: ghost.name.clone(),
            trajectory: ghost.trajectory.clone(),
        })
    }

    /// How full everything is that can grow.
    pub fn sizes(&self) -> Vec<Size> {
        vec![
            Size::table("streams of entities", self.streams.len(), MAX_STREAMS, MAX_STREAMS),
            Size::table("ghosts", self.bearers.len(), MAX_GHOSTS, MAX_GHOSTS),
        ]
    }

    /// The best copy of an entity: the one with the greatest epoch, and who publishes it.
    pub fn find(&self, id: EntityId) -> Option<(PublisherId, &Ghost)> {
        let (first, last) = ((id, PublisherId(0), 0), (id, PublisherId(u64::MAX), Slot::MAX));
        self.bearers
            .range(first..=last)
            .filter_map(|(_, publisher, slot)| Some((*publisher, self.ghost(*publisher, *slot)?)))
            .max_by_key(|(_, ghost)| ghost.epoch)
    }

    /// All ghosts, by publisher and slot.
    pub fn iter(&self) -> impl Iterator<Item = (PublisherId, &Ghost)> + '_ {
        self.entities.iter().flat_map(|(publisher, slots)| {
            slots.iter().flatten().map(|ghost| (*publisher, &**ghost))
        })
    }
}
