//! Objects: what players changed about what stands on the chunks in sight.
//!
//! Read from the chunk's documents, kept up to date by the steward's frames. An older revision never replaces a newer one: a
//! slot is in one document for ever, so that its revisions can be compared.

use bytes::{Bytes, BytesMut};
use pelago_game::ObjectView;
use pelago_model::{ChannelId, ChunkPage, IslandClock, Revision, Tick, WorldTime};
use pelago_wire::frame::{Frame, base};
use pelago_wire::record::{ObjectRecord, Record};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// How often a chunk's documents are read again, whatever the steward says, in ms.
pub const REFRESH_MS: i64 = 30_000;

/// A chunk. A lane has thousands, and on most of them nothing was ever changed.
#[derive(Debug)]
struct Chunk {
    /// One more than the revision of the first page when it was last read; 0 before the first time. All pages are read at
    /// once.
    next_revision: u64,
    /// When the documents are to be read again.
    due_at: WorldTime,
}

impl Chunk {
    /// Not to be read again before the first read has ended.
    const UNREAD: Self = Self { next_revision: 0, due_at: WorldTime(i64::MAX) };

    /// The revision of the first page when it was last read; `None` before the first time.
    fn read(&self) -> Option<Revision> {
        self.next_revision.checked_sub(1).map(Revision)
    }
}

/// The objects of all chunks that a lane watches.
#[derive(Debug, Default)]
pub struct Objects {
    chunks: BTreeMap<ChannelId, Chunk>,
    /// The revisions of the other pages when they were last read: none of most chunks, of no chunk more than there are pages.
    pages: BTreeMap<(ChannelId, ChunkPage), Revision>,
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
        self.pages.extract_if(pages_of(channel), |_, _| true).for_each(drop);
        self.slots.extract_if(slots_of(channel), |_, _| true).for_each(drop);
    }

    /// Whether there is anything to show of a chunk.
    pub fn is_changed(&self, channel: &ChannelId) -> bool {
        self.chunks.get(channel).is_some_and(|chunk| chunk.read().is_some())
            && self.slots.range(slots_of(*channel)).next().is_some()
    }

    /// Takes in the documents of a chunk, in the order of its pages; `true` if readers must be shown the chunk anew.
    pub fn read(
        &mut self,
        channel: ChannelId,
        documents: impl IntoIterator<Item = (ChunkPage, Revision, Vec<ObjectView>)>,
        now: WorldTime,
    ) -> bool {
        let Some(chunk) = self.chunks.get_mut(&channel) else { return false };
        chunk.due_at = now.plus(REFRESH_MS);
        let mut changed = false;
        for (page, revision, views) in documents {
            changed |= self.read_page(channel, page, revision, views);
        }
        changed
    }

    fn read_page(
        &mut self,
        channel: ChannelId,
        page: ChunkPage,
        revision: Revision,
        views: Vec<ObjectView>,
    ) -> bool {
        if self.known(channel, page).is_some_and(|known| known >= revision) {
            return false;
        }
        if page != ChunkPage::FIRST {
            self.pages.insert((channel, page), revision);
        } else if let Some(chunk) = self.chunks.get_mut(&channel) {
            chunk.next_revision = revision.0 + 1;
        }
        let slots = slots_of_page(channel, page);
        let changed = !views.is_empty() || self.slots.range(slots.clone()).next().is_some();
        // What came in a frame before the document but is newer than it stays.
        let is_old = |_: &(ChannelId, u16), (known, _): &mut (Revision, Bytes)| *known <= revision;
        self.slots.extract_if(slots, is_old).for_each(drop);
        for view in views {
            let key = (channel, view.slot);
            if self.slots.get(&key).is_none_or(|(known, _)| *known <= revision) {
                self.slots.insert(key, (revision, view.payload));
            }
        }
        changed
    }

    /// The revision of a document when it was last read.
    fn known(&self, channel: ChannelId, page: ChunkPage) -> Option<Revision> {
        match page {
            ChunkPage::FIRST => self.chunks.get(&channel)?.read(),
            page => self.pages.get(&(channel, page)).copied(),
        }
    }

    /// The documents could not be read: they are due at once.
    pub fn read_failed(&mut self, channel: ChannelId, now: WorldTime) {
        if let Some(chunk) = self.chunks.get_mut(&channel) {
            chunk.due_at = now;
        }
    }

    /// Takes in a steward's frame; `true` if anything in it was new.
    pub fn apply(&mut self, frame: &Frame) -> bool {
        if !self.chunks.contains_key(&frame.channel) {
            return false;
        }
        let mut changed = false;
        for record in &frame.records {
            let Record::Object(ObjectRecord { slot, revision, payload }) = record else { continue };
            let key = (frame.channel, *slot);
            let read = self.known(frame.channel, ChunkPage::of(*slot));
            let known = self.slots.get(&key).map(|(revision, _)| *revision).max(read);
            if known.is_none_or(|known| known < *revision) {
                self.slots.insert(key, (*revision, payload.clone()));
                changed = true;
            }
        }
        changed
    }

    /// The records of a snapshot for clients.
    pub fn snapshot(&self, channel: ChannelId, tick: Tick, clock: &IslandClock) -> Option<Bytes> {
        self.known(channel, ChunkPage::FIRST)?;
        let base = base(&channel, tick, clock);
        let mut records = BytesMut::new();
        for ((_, slot), (revision, payload)) in self.slots.range(slots_of(channel)) {
            let read = self.known(channel, ChunkPage::of(*slot));
            let revision = read.map_or(*revision, |read| read.max(*revision));
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

/// The names of the slots of a page.
fn slots_of_page(channel: ChannelId, page: ChunkPage) -> RangeInclusive<(ChannelId, u16)> {
    let (first, last) = page.slots().into_inner();
    (channel, first)..=(channel, last)
}

/// The names of all pages of a chunk.
fn pages_of(channel: ChannelId) -> RangeInclusive<(ChannelId, ChunkPage)> {
    (channel, ChunkPage::of(0))..=(channel, ChunkPage::of(u16::MAX))
}
