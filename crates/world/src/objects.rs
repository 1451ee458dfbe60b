//! Objects: what players changed about what stands on the chunks in sight.
//!
//! Read from the chunk's document, kept up to date by the steward's frames. An older revision never replaces a newer one.

use bytes::{Bytes, BytesMut};
use pelago_game::ObjectView;
use pelago_model::{ChannelId, IslandClock, Revision, Tick, WorldTime};
use pelago_wire::frame::{Frame, base};
use pelago_wire::record::{ObjectRecord, Record};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// How often a chunk's document is read again, whatever the steward says, in ms.
pub const REFRESH_MS: i64 = 30_000;

/// A chunk. A lane has thousands, and on most of them nothing was ever changed.
#[derive(Debug)]
struct Chunk {
    /// One more than the revision of the document last read; 0 before the first time.
    next_revision: u64,
    /// When the document is to be read again.
    due_at: WorldTime,
}

impl Chunk {
    /// Not to be read again before the first read has ended.
    const UNREAD: Self = Self { next_revision: 0, due_at: WorldTime(i64::MAX) };

    /// The revision of the document last read; `None` before the first time.
    fn read(&self) -> Option<Revision> {
        self.next_revision.checked_sub(1).map(Revision)
    }
}

/// The objects of all chunks that a lane watches.
#[derive(Debug, Default)]
pub struct Objects {
    chunks: BTreeMap<ChannelId, Chunk>,
    /// Those that were changed.
    slots: BTreeMap<(ChannelId, u16), (Revision, Bytes)>,
}

impl Objects {
    /// Begins to watch a chunk.
    pub fn watch(&mut self, channel: ChannelId) {
        self.chunks.entry(channel).or_insert(Chunk::UNREAD);
    }

    /// Ends watching a chunk.
    pub fn unwatch(&mut self, channel: ChannelId) {
        self.chunks.remove(&channel);
        self.slots.extract_if(slots_of(channel), |_, _| true).for_each(drop);
    }

    /// Whether there is anything to show of a chunk.
    pub fn is_changed(&self, channel: &ChannelId) -> bool {
        self.chunks.get(channel).is_some_and(|chunk| chunk.read().is_some())
            && self.slots.range(slots_of(*channel)).next().is_some()
    }

    /// Takes in a document; `true` if readers must be shown the chunk anew.
    pub fn read(
        &mut self,
        channel: ChannelId,
        revision: Revision,
        views: Vec<ObjectView>,
        now: WorldTime,
    ) -> bool {
        let Some(chunk) = self.chunks.get_mut(&channel) else { return false };
        chunk.due_at = now.plus(REFRESH_MS);
        if chunk.read().is_some_and(|known| known >= revision) {
            return false;
        }
        chunk.next_revision = revision.0 + 1;
        let changed = !views.is_empty() || self.slots.range(slots_of(channel)).next().is_some();
        // What came in a frame before the document but is newer than it stays.
        let is_old = |_: &(ChannelId, u16), (known, _): &mut (Revision, Bytes)| *known <= revision;
        self.slots.extract_if(slots_of(channel), is_old).for_each(drop);
        for view in views {
            let key = (channel, view.slot);
            if self.slots.get(&key).is_none_or(|(known, _)| *known <= revision) {
                self.slots.insert(key, (revision, view.payload));
            }
        }
        changed
    }

    /// The document could not be read: it is due at once.
    pub fn read_failed(&mut self, channel: ChannelId, now: WorldTime) {
        if let Some(chunk) = self.chunks.get_mut(&channel) {
            chunk.due_at = now;
        }
    }

    /// Takes in a steward's frame; `true` if anything in it was new.
    pub fn apply(&mut self, frame: &Frame) -> bool {
        let Some(chunk) = self.chunks.get(&frame.channel) else { return false };
        let mut changed = false;
        for record in &frame.records {
            let Record::Object(ObjectRecord { slot, revision, payload }) = record else { continue };
            let key = (frame.channel, *slot);
            let known = self.slots.get(&key).map(|(revision, _)| *revision).max(chunk.read());
            if known.is_none_or(|known| known < *revision) {
                self.slots.insert(key, (*revision, payload.clone()));
                changed = true;
            }
        }
        changed
    }

    /// The records of a snapshot for clients.
    pub fn snapshot(&self, channel: ChannelId, tick: Tick, clock: &IslandClock) -> Option<Bytes> {
        let read = self.chunks.get(&channel)?.read()?;
        let base = base(&channel, tick, clock);
        let mut records = BytesMut::new();
        for ((_, slot), (revision, payload)) in self.slots.range(slots_of(channel)) {
            let revision = (*revision).max(read);
            let object = ObjectRecord { slot: *slot, revision, payload: payload.clone() };
            Record::Object(object).put(&base, &mut records);
        }
        Some(records.freeze())
    }

    /// The chunks whose documents are to be read again at `now`; they are not named again for a second.
    pub fn due(&mut self, now: WorldTime) -> Vec<ChannelId> {
        let mut due = Vec::new();
        for (channel, chunk) in &mut self.chunks {
            if chunk.due_at <= now {
                chunk.due_at = now.plus(1000);
                due.push(*channel);
            }
        }
        due
    }

    /// How many chunks are watched.
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// The revision and payload shown for a slot.
    pub fn slot(&self, channel: &ChannelId, slot: u16) -> Option<&(Revision, Bytes)> {
        self.slots.get(&(*channel, slot))
    }

    /// Every slot of every chunk, for checks.
    pub fn iter(&self) -> impl Iterator<Item = (ChannelId, u16, Revision, &Bytes)> + '_ {
        self.slots
            .iter()
            .map(|((channel, slot), (revision, payload))| (*channel, *slot, *revision, payload))
    }
}

/// The names of all slots of a chunk.
fn slots_of(channel: ChannelId) -> RangeInclusive<(ChannelId, u16)> {
    (channel, 0)..=(channel, u16::MAX)
}
