//! A chunk with more changes than fit one document: its stewards write all its pages, and tell its readers of them in one order.

use crate::harness::{ISLAND, NOW, Stewards, command};
use bytes::Bytes;
use pelago_frontier::Frontier;
use pelago_frontier::terrain::overgrown_tile;
use pelago_game::{Arrival, Game, IslandSpec, Land, objects_of};
use pelago_model::limits::MAX_CHUNK_DOCUMENT_BYTES;
use pelago_model::{
    ChannelId, ChunkId, CommitOutcome, EntityId, Epoch, Incarnation, IslandTime, Key, NodeId,
    PublisherId, Reader, Revision, Role, Sequence,
};
use pelago_node::documents::avatar::Place;
use pelago_node::service::{ServiceEffect, ServiceInput};
use pelago_node::{DurableResult, StewardCall};
use pelago_wire::frame::StreamKind;
use pelago_wire::record::Record;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How many avatars gather.
const AVATARS: u64 = 40;
const LANE: Reader = Reader::Lane(2);
const OTHERS: Reader = Reader::Node(NodeId(9));

/// Two stewards over one store, and readers of the first of them.
struct World {
    stewards: Stewards,
    chunk: ChunkId,
    sequences: BTreeMap<u64, Sequence>,
}

impl World {
    fn new() -> Self {
        let spec = IslandSpec { id: ISLAND, seed: 7, size: 3, generator: 1 };
        let land = Land::with_tiles(&Frontier, spec, overgrown_tile);
        let position = Frontier.spawn(&land, Arrival::Home, 1);
        let mut stewards = Stewards::new(land, 2, &Stewards::kind());
        let place = Place { island: ISLAND, position, at: IslandTime(NOW.0) };
        for number in 1..=AVATARS {
            stewards.write_avatar(EntityId(number), place, Frontier.new_avatar("Anna"));
        }
        let mut world = Self { stewards, chunk: position.chunk(), sequences: BTreeMap::new() };
        for (version, reader) in [(1, LANE), (7, OTHERS)] {
            world.subscribe(reader, version);
        }
        world
    }

    fn channel(&self) -> ChannelId {
        ChannelId::whole(ISLAND, self.chunk)
    }

    fn subscribe(&mut self, reader: Reader, version: u64) {
        let (role, channel) = (Role::steward(), self.channel());
        let input = ServiceInput::Subscribe { role, reader, channel, version };
        let opened = self.stewards.tell(0, input);
        self.stewards.finish(0, opened);
    }

    fn unsubscribe(&mut self, reader: Reader) {
        let (role, channel) = (Role::steward(), self.channel());
        let effects = self.stewards.tell(0, ServiceInput::Unsubscribe { role, reader, channel });
        assert!(effects.is_empty());
    }

    fn slots(&self) -> u16 {
        self.stewards.land.tile(self.chunk).unwrap().naturals.len() as u16
    }

    /// An avatar gathers from a slot; what the steward wants is left undone.
    fn gather(&mut self, at: usize, who: u64, slot: u16) -> Vec<ServiceEffect> {
        let (_, position) = self.stewards.land.natural(self.chunk, slot).unwrap();
        let sequence = self.sequences.entry(who).or_insert(Sequence(0));
        *sequence = sequence.next();
        let actor = (EntityId(who), Epoch(1), *sequence);
        let ChunkId { x, y } = self.chunk;
        let payload = format!(r#"{{"gather":{{"x":{x},"y":{y},"slot":{slot}}}}}"#);
        let command = command(Key::chunk(ISLAND, self.chunk), actor, position, payload);
        self.stewards.call(at, StewardCall::Command(command))
    }

    /// Carries out what both stewards want, in turn, pauses between attempts included.
    fn finish(&mut self, mut queues: [VecDeque<ServiceEffect>; 2]) {
        loop {
            for (at, queue) in queues.iter_mut().enumerate() {
                if let Some(effect) = queue.pop_front() {
                    queue.extend(self.stewards.carry_out(at, effect));
                }
            }
            if queues.iter().any(|queue| !queue.is_empty()) {
                continue;
            }
            let mut paused = (0..queues.len()).map(|at| (at, self.stewards.pass_a_pause(at)));
            match paused.find_map(|(at, effects)| Some((at, effects?))) {
                Some((at, effects)) => queues[at].extend(effects),
                None => return,
            }
        }
    }

    /// How many commands were carried out; all were.
    fn done(&mut self) -> usize {
        let answers = std::mem::take(&mut self.stewards.answers);
        for (_, result) in &answers {
            assert!(matches!(result, DurableResult::Done { .. }), "{result:?}");
        }
        answers.len()
    }

    /// What a reader is shown of the chunk by the frames, which come without a gap.
    fn shown(&self, reader: Reader) -> BTreeMap<u16, (Revision, Bytes)> {
        let lane = match reader {
            Reader::Lane(lane) => Some(lane),
            Reader::Node(_) => None,
        };
        let (mut shown, mut last) = (BTreeMap::new(), 0);
        for (_, frame) in self.stewards.frames.iter().filter(|(to, _)| *to == lane) {
            assert_eq!((frame.channel, frame.stream), (self.channel(), StreamKind::Objects));
            assert_eq!(frame.sequence, last + 1);
            last = frame.sequence;
            for record in &frame.records {
                let Record::Object(object) = record else { panic!("{record:?}") };
                let now = (object.revision, object.payload.clone());
                let before = shown.insert(object.slot, now);
                assert!(before.is_none_or(|(revision, _)| revision < object.revision));
            }
        }
        shown
    }

    /// What the documents say; each of them is small.
    fn stored(&self) -> BTreeMap<u16, (Revision, Bytes)> {
        let mut stored = BTreeMap::new();
        for page in self.stewards.land.pages(self.chunk) {
            let key = Key::chunk_page(ISLAND, self.chunk, page);
            let document = self.stewards.store.get(&key);
            assert!(document.value.as_ref().map_or(0, Bytes::len) <= MAX_CHUNK_DOCUMENT_BYTES);
            let views = objects_of(&Frontier, page, &document).unwrap();
            let views = views.into_iter();
            stored.extend(views.map(|view| (view.slot, (document.revision, view.payload))));
        }
        stored
    }

    fn stored_payloads(&self) -> BTreeMap<u16, Bytes> {
        payloads(self.stored())
    }
}

fn payloads(objects: BTreeMap<u16, (Revision, Bytes)>) -> BTreeMap<u16, Bytes> {
    objects.into_iter().map(|(slot, (_, payload))| (slot, payload)).collect()
}

#[test]
fn whoever_reads_a_chunk_is_told_of_every_page_of_it_in_one_order() {
    let mut world = World::new();
    let slots = world.slots();
    assert!(slots > 200 && world.stewards.land.pages(world.chunk).count() > 6);
    let mut effects = VecDeque::new();
    for slot in 0..slots {
        effects.extend(world.gather(0, 1 + u64::from(slot) % AVATARS, slot));
    }
    world.finish([effects, VecDeque::new()]);
    assert_eq!(world.done(), usize::from(slots));
    let stored = world.stored_payloads();
    assert_eq!(stored.keys().copied().collect::<Vec<_>>(), (0..slots).collect::<Vec<_>>());
    assert_eq!(payloads(world.shown(LANE)), stored);
    assert_eq!(world.shown(OTHERS), world.shown(LANE));
    // All pages that were asked for once are remembered.
    world.stewards.loaded.clear();
    for slot in [0, slots - 1] {
        let effects = world.gather(0, 1, slot);
        world.finish([effects.into(), VecDeque::new()]);
    }
    assert_eq!(world.stewards.loaded, BTreeSet::from([Key::avatar(EntityId(1))]));
    assert_eq!(payloads(world.shown(LANE)), world.stored_payloads());
}

#[test]
fn a_subscription_is_answered_by_the_place_in_the_stream_and_nobody_is_told_after_its_end() {
    let mut world = World::new();
    let publisher = PublisherId::service(NodeId(1), 0, Incarnation(1));
    let gather = |world: &mut World, slot| {
        let effects = world.gather(0, 1, slot);
        world.finish([effects.into(), VecDeque::new()]);
    };
    gather(&mut world, 0);
    world.subscribe(LANE, 2);
    let answers: Vec<_> = std::mem::take(&mut world.stewards.snapshots);
    let answers = answers.into_iter().map(|(to, snapshot)| {
        assert!(snapshot.records.is_empty());
        assert_eq!((snapshot.publisher, snapshot.channel), (publisher, world.channel()));
        (to, snapshot.answers, snapshot.sequence)
    });
    assert_eq!(answers.collect::<Vec<_>>(), [(LANE, 1, 0), (OTHERS, 7, 0), (LANE, 2, 1)]);
    world.unsubscribe(LANE);
    gather(&mut world, 1);
    assert_eq!(world.shown(LANE).len(), 1);
    assert_eq!(world.shown(OTHERS).len(), 2);
    world.unsubscribe(OTHERS);
    let before = world.stewards.frames.len();
    gather(&mut world, 2);
    assert_eq!(world.stewards.frames.len(), before);
}

#[test]
fn stewards_that_meet_in_a_page_lose_nothing() {
    let mut world = World::new();
    let slots = world.slots();
    let mut queues = [VecDeque::new(), VecDeque::new()];
    for slot in 0..slots {
        let at = usize::from(slot % 2);
        // No avatar is at both stewards: they meet in the chunk's documents alone.
        let who = 1 + u64::from(slot) % AVATARS;
        queues[at].extend(world.gather(at, who, slot));
    }
    world.finish(queues);
    let conflicts = world.stewards.commits.iter();
    let conflicts = conflicts.filter(|(_, outcome)| *outcome != CommitOutcome::Committed);
    assert!(conflicts.count() > 0);
    assert_eq!(world.done(), usize::from(slots));
    let stored = world.stored();
    assert_eq!(stored.len(), usize::from(slots));
    // What the readers of one steward are told is true, although the other may have changed more since.
    for (slot, (revision, payload)) in world.shown(LANE) {
        assert!(stored[&slot].0 >= revision);
        assert_eq!(stored[&slot].1, payload);
    }
    world.stewards.check_at_rest();
}

#[test]
fn a_page_that_a_turn_with_another_key_has_changed_is_shown_at_once() {
    let mut world = World::new();
    let effects = world.gather(0, 1, 0);
    world.finish([effects.into(), VecDeque::new()]);
    assert_eq!(world.done(), 1);
    let (key, before) = (Key::chunk(ISLAND, world.chunk), world.shown(LANE));
    // Its slots are as nature made them again; the books stay.
    let stored = world.stewards.store.get(&key).value.unwrap();
    let mut page: serde_json::Value = serde_json::from_slice(&stored).unwrap();
    page["slots"] = serde_json::json!({});
    let (_, position) = world.stewards.land.natural(world.chunk, 0).unwrap();
    let bert = EntityId(2);
    let payload = format!("wild durable put {key} {page}");
    let elsewhere = command(Key::avatar(bert), (bert, Epoch(1), Sequence(1)), position, payload);
    let effects = world.stewards.call(1, StewardCall::Command(elsewhere));
    world.stewards.finish(1, effects);
    assert_eq!(world.done(), 1);
    assert_eq!(world.shown(LANE), before, "nobody has told its readers yet");

    let (whose, body) = world.stewards.told_of_changes.pop().unwrap();
    assert_eq!(whose, key);
    let effects = world.stewards.call_with(0, whose.clone(), body.clone(), 0);
    world.stewards.finish(0, effects);
    for reader in [LANE, OTHERS] {
        let (revision, payload) = &world.shown(reader)[&0];
        assert!(*revision > before[&0].0 && payload.is_empty());
    }
    // Who has no readers of the chunk reads nothing, and nobody is told of what is not theirs.
    world.stewards.loaded.clear();
    let effects = world.stewards.call_with(1, whose, body.clone(), 0);
    world.stewards.finish(1, effects);
    assert!(world.stewards.loaded.is_empty() && world.stewards.rejected.is_empty());
    let effects = world.stewards.call_with(0, Key::avatar(bert), body, 0);
    world.stewards.finish(0, effects);
    assert_eq!(world.stewards.rejected, ["malformed"]);
}
