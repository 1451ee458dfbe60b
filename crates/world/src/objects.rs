//! Objects: what players changed about what stands on the chunks in sight.
//!
//! Read from the chunk's document, kept up to date by the steward's frames. An older revision never replaces a newer one.

use bytes::{Bytes, BytesMut};
use pelago_game::ObjectView;
use pelago_model::{ChannelId, IslandClock, Revision, Tick, WorldTime};
use pelago_wire::frame::{Frame, base};
use pelago_wire::record::{ObjectRecord, Record};
use std::collections::BTreeMap;

/// How often a chunk's document is read again, whatever the steward says, in ms.
pub const REFRESH_MS: i64 = 30_000;

#[derive(Debug, Default)]
struct ChunkObjects {
    /// The revision of the document last read; `None` before the first time.
    read: Option<Revision>,
    slots: BTreeMap<u16, (Revision, Bytes)>,
    read_at: Option<WorldTime>,
}

/// The objects of all chunks that a lane watches.
#[derive(Debug, Default)]
pub struct Objects {
    chunks: BTreeMap<ChannelId, ChunkObjects>,
}

impl Objects {
    /// Begins to watch a chunk.
    pub fn watch(&mut self, channel: ChannelId) {
        self.chunks.entry(channel).or_default();
    }

    /// Ends watching a chunk.
    pub fn unwatch(&mut self, channel: ChannelId) {
        self.chunks.remove(&channel);
    }

    /// Whether there is anything to show of a chunk.
    pub fn is_changed(&self, channel: &ChannelId) -> bool {
        self.chunks
            .get(channel)
            .is_some_and(|chunk| chunk.read.is_some() && !chunk.slots.is_empty())
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
        chunk.read_at = Some(now);
        if chunk.read.is_some_and(|known| known >= revision) {
            return false;
        }
        chunk.read = Some(revision);
        let old = std::mem::take(&mut chunk.slots);
        let changed = !old.is_empty() || !views.is_empty();
        let views = views.into_iter().map(|view| (view.slot, (revision, view.payload)));
        chunk.slots.extend(views);
        // A frame that came before the document but is newer than it.
        chunk.slots.extend(old.into_iter().filter(|(_, (known, _))| *known > revision));
        changed
    }

    /// The document could not be read: it is due at once.
    pub fn read_failed(&mut self, channel: ChannelId, now: WorldTime) {
        if let Some(chunk) = self.chunks.get_mut(&channel) {
            chunk.read_at = Some(now.plus(-REFRESH_MS));
        }
    }

    /// Takes in a steward's frame; `true` if anything in it was new.
    pub fn apply(&mut self, frame: &Frame) -> bool {
        let Some(chunk) = self.chunks.get_mut(&frame.channel) else { return false };
        let mut changed = false;
        for record in &frame.records {
            let Record::Object(ObjectRecord { slot, revision, payload }) = record else { continue };
            let known = chunk.slots.get(slot).map(|(revision, _)| *revision).max(chunk.read);
            if known.is_none_or(|known| known < *revision) {
                chunk.slots.insert(*slot, (*revision, payload.clone()));
                changed = true;
            }
        }
        changed
    }

    /// The records of a snapshot for clients.
    pub fn snapshot(&self, channel: ChannelId, tick: Tick, clock: &IslandClock) -> Option<Bytes> {
        let chunk = self.chunks.get(&channel)?;
        let read = chunk.read?;
        let base = base(&channel, tick, clock);
        let mut records = BytesMut::new();
        for (slot, (revision, payload)) in &chunk.slots {
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
            if chunk.read_at.is_some_and(|at| at.plus(REFRESH_MS) <= now) {
                chunk.read_at = Some(now.plus(1000 - REFRESH_MS));
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
        self.chunks.get(channel)?.slots.get(&slot)
    }

    /// Every slot of every chunk, for checks.
    pub fn iter(&self) -> impl Iterator<Item = (ChannelId, u16, Revision, &Bytes)> + '_ {
        self.chunks.iter().flat_map(|(channel, chunk)| {
            chunk
                .slots
                .iter()
                .map(|(slot, (revision, payload))| (*channel, *slot, *revision, payload))
        })
    }
}
