//! A lane that watches a chunk with more changes than fit one document.
#![allow(clippy::unwrap_used, reason = "tests")]

mod players;

use bytes::{Bytes, BytesMut};
use pelago_frontier::Frontier;
use pelago_frontier::terrain::overgrown_tile;
use pelago_game::{Land, objects_of};
use pelago_model::{
    ChannelId, ChunkId, ChunkPage, Document, Gauge, Incarnation, IslandClock, IslandTime, Key,
    Machine, NodeId, Position, PublisherId, Revision, Tick, Transaction, WorldTime, Write,
};
use pelago_node::lane::Lane;
use pelago_node::{LaneEffect, LaneInput, StoreAnswer};
use pelago_store::Memory;
use pelago_wire::frame::{Frame, Snapshot, StreamKind, base};
use pelago_wire::record::{ObjectRecord, Record};
use pelago_wire::tick_stamp::TickStamp;
use players::{home, join, lane, spec};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

const BEGIN: WorldTime = WorldTime(1_000_050);
const CHUNK: ChunkId = ChunkId::new(1, 1);

fn channel() -> ChannelId {
    ChannelId::whole(home(), CHUNK)
}

/// A lane with a watcher, and the store that it reads.
struct Stage {
    lane: Lane,
    land: Arc<Land>,
    store: Memory,
    now: WorldTime,
    /// How often the chunk was read.
    reads: usize,
}

impl Stage {
    fn new() -> Self {
        let land = Arc::new(Land::with_tiles(&Frontier, spec(3), overgrown_tile));
        let lane = lane(0, &land);
        let mut stage = Self { lane, land, store: Memory::default(), now: BEGIN, reads: 0 };
        let corner = CHUNK.corner();
        let middle = Position::new(corner.x + 900, corner.y + 900);
        stage.tell(join(1, middle, BEGIN));
        stage
    }

    /// The lane gets what it asks the store for at once.
    fn tell(&mut self, input: LaneInput) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut effects = Vec::new();
            self.lane.handle(self.now, input, &mut effects);
            for effect in effects {
                if let LaneEffect::Load { request, keys } = effect {
                    self.reads += usize::from(keys.contains(&Key::chunk(home(), CHUNK)));
                    let documents = keys.iter().map(|key| self.store.get(key)).collect();
                    let answer = StoreAnswer::Loaded(Some(documents));
                    inputs.push_back(LaneInput::Stored { request, answer });
                }
            }
        }
    }

    /// The steward's stream is open.
    fn open(&mut self) {
        self.tell(LaneInput::Snapshot(Arc::new(Snapshot {
            publisher: steward(),
            channel: channel(),
            stream: StreamKind::Objects,
            tick: Tick::at(self.now),
            sequence: 0,
            stamp: TickStamp::new(Tick::at(self.now), 0),
            answers: 1,
            bytes: Bytes::new(),
            records: Vec::new(),
        })));
    }

    /// Somebody has taken from all slots of a page: its document as it is written, and what is shown of it.
    fn take_from(&mut self, page: ChunkPage) -> Vec<Record> {
        let slots = page.slots().filter(|slot| self.land.natural(CHUNK, *slot).is_some());
        let at = IslandTime(self.now.0);
        let stock = Gauge::new(1_000_000_000, 0, 5_000_000_000, at);
        let slots: BTreeMap<u16, _> =
            slots.map(|slot| (slot, serde_json::json!({ "stock": stock }))).collect();
        let value = serde_json::json!({ "slots": slots, "taken": {} });
        let key = Key::chunk_page(home(), CHUNK, page);
        let expected = self.store.get(&key).revision;
        let value = Some(Bytes::from(serde_json::to_vec(&value).unwrap()));
        let write = Write { key: key.clone(), expected, schema: 1, value };
        self.store.apply(Transaction { checks: Vec::new(), writes: vec![write] });
        let document = self.store.get(&key);
        let object = |(slot, payload)| {
            Record::Object(ObjectRecord { slot, revision: document.revision, payload })
        };
        self.views(page, &document).into_iter().map(object).collect()
    }

    fn views(&self, page: ChunkPage, document: &Document) -> BTreeMap<u16, Bytes> {
        let views = objects_of(&Frontier, page, document).unwrap();
        views.into_iter().map(|view| (view.slot, view.payload)).collect()
    }

    fn publish(&mut self, records: Vec<Record>) {
        let tick = Tick::at(self.now);
        let base = base(&channel(), tick, &IslandClock::IDENTITY);
        let mut core = BytesMut::from(&[TickStamp::new(tick, 1).to_byte()][..]);
        records.iter().for_each(|record| record.put(&base, &mut core));
        self.tell(LaneInput::Frames(vec![Arc::new(Frame {
            publisher: steward(),
            channel: channel(),
            stream: StreamKind::Objects,
            tick,
            sequence: 1,
            core: core.freeze(),
            sections: Default::default(),
            records,
            edge_records: Vec::new(),
        })]));
    }

    fn pages(&self) -> Vec<ChunkPage> {
        self.land.pages(CHUNK).collect()
    }

    /// What the documents say.
    fn stored(&self) -> BTreeMap<u16, (Revision, Bytes)> {
        let mut stored = BTreeMap::new();
        for page in self.pages() {
            let document = self.store.get(&Key::chunk_page(home(), CHUNK, page));
            let views = self.views(page, &document).into_iter();
            stored.extend(views.map(|(slot, payload)| (slot, (document.revision, payload))));
        }
        stored
    }

    /// What the lane shows.
    fn shown(&self) -> BTreeMap<u16, (Revision, Bytes)> {
        let objects = self.lane.objects().iter().filter(|(of, ..)| *of == channel());
        objects.map(|(_, slot, revision, payload)| (slot, (revision, payload.clone()))).collect()
    }

    fn pass(&mut self, ms: i64) {
        let until = self.now.plus(ms);
        while let Some(wake) = self.lane.next_wake().filter(|wake| *wake <= until) {
            self.now = self.now.max(wake);
            self.tell(LaneInput::Wake);
        }
        self.now = until;
    }
}

fn steward() -> PublisherId {
    PublisherId::service(NodeId(1), 0, Incarnation(1))
}

#[test]
fn whoever_watches_a_chunk_is_shown_every_page_of_it() {
    let mut stage = Stage::new();
    let pages = stage.pages();
    assert!(pages.len() > 6);
    for page in &pages {
        stage.take_from(*page);
    }
    assert_eq!((stage.reads, stage.shown().len()), (0, 0));
    stage.open();
    assert_eq!(stage.reads, 1);
    assert!(stage.shown().len() > 200);
    assert_eq!(stage.shown(), stage.stored());
    // What changes afterwards is published.
    stage.now = stage.now.plus(300);
    let records = pages.iter().flat_map(|page| stage.take_from(*page)).collect();
    stage.publish(records);
    assert_eq!(stage.reads, 1);
    assert_eq!(stage.shown(), stage.stored());
}

#[test]
fn an_older_revision_never_replaces_a_newer_one() {
    let mut stage = Stage::new();
    let page = stage.pages()[1];
    let old = stage.take_from(page);
    stage.now = stage.now.plus(300);
    stage.take_from(page);
    stage.open();
    let before = stage.shown();
    assert_eq!(before, stage.stored());
    stage.publish(old);
    assert_eq!(stage.shown(), before);
}

#[test]
fn what_was_not_published_is_read_within_half_a_minute_or_when_frames_were_missed() {
    let mut stage = Stage::new();
    let pages = stage.pages();
    stage.open();
    stage.take_from(pages[0]);
    stage.pass(29_000);
    assert_eq!((stage.reads, stage.shown().len()), (1, 0));
    stage.pass(3_000);
    assert_eq!(stage.reads, 2);
    assert_eq!(stage.shown(), stage.stored());
    stage.take_from(pages[2]);
    stage.tell(LaneInput::Missed { channels: vec![channel()] });
    assert_eq!(stage.shown(), stage.stored());
    // A sibling that introduces the channel does not speak of objects.
    stage.tell(LaneInput::AwaitIntroduction { channel: channel() });
    stage.take_from(pages[3]);
    stage.tell(LaneInput::Introduced { channel: channel(), complete: true });
    assert_eq!(stage.reads, 4);
    assert_eq!(stage.shown(), stage.stored());
}
