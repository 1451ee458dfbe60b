//! A chunk with more changes than fit one document: its stewards write them, and a lane that watches it shows all of them.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use pelago_frontier::Frontier;
use pelago_frontier::terrain::overgrown_tile;
use pelago_game::{Actor, Arrival, Game, IslandSpec, Land, json, objects_of};
use pelago_model::limits::MAX_CHUNK_DOCUMENT_BYTES;
use pelago_model::{
    ChannelId, ChunkId, CommitOutcome, EntityId, Epoch, Incarnation, IslandClock, IslandId,
    IslandTime, Key, Machine, NodeId, PublisherId, Revision, Sequence, Transaction, WorldNumber,
    WorldTime, Write,
};
use pelago_node::avatar::{AVATAR_SCHEMA, AvatarDocument, Place};
use pelago_node::{
    Caller, ClientLimits, ControlInput, DurableCommand, DurableResult, Effect, Lane, LaneConfig,
    LaneInput, MAX_BATCH_TURNS, Message, Part, Session, Steward, StewardConfig, StewardInput,
    StewardSabotage,
};
use pelago_store::Memory;
use pelago_wire::frame::StreamKind;
use pelago_world::ClientId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Who gathers.
const AVATARS: u64 = 40;
const BEGIN: i64 = 1_000_050;

fn home() -> IslandId {
    IslandId::new(WorldNumber::new(1).unwrap(), 1)
}

/// Two stewards over one store, and a lane that hears the first of them.
struct World {
    store: Memory,
    land: Arc<Land>,
    chunk: ChunkId,
    stewards: [Steward; 2],
    lane: Lane,
    now: WorldTime,
    sequences: BTreeMap<u64, Sequence>,
    /// How many commands were carried out.
    done: usize,
    /// How often each steward began again because another had been faster.
    conflicts: usize,
    /// Keys that stewards asked the store for.
    loaded: BTreeSet<Key>,
}

impl World {
    fn new() -> Self {
        let spec = IslandSpec { id: home(), seed: 7, size: 3, generator: 1 };
        let land = Arc::new(Land::with_tiles(&Frontier, spec, overgrown_tile));
        let position = Frontier.spawn(&land, Arrival::Home, 1);
        let lands = BTreeMap::from([(home(), land.clone())]);
        let now = WorldTime(BEGIN);
        let place = Place { island: home(), position, at: IslandTime(now.0) };
        let lane = Lane::new(LaneConfig {
            node: NodeId(1),
            lane: 0,
            publisher: PublisherId::new(NodeId(1), 0, Incarnation(1)),
            home: home(),
            lands: lands.clone(),
            game: Arc::new(Frontier),
            clock: IslandClock::IDENTITY,
            content: Arc::new(BTreeMap::new()),
            limits: ClientLimits::default(),
        });
        let steward = |node| {
            Steward::new(StewardConfig {
                publisher: PublisherId::new(NodeId(node), PublisherId::STEWARD, Incarnation(1)),
                game: Arc::new(Frontier),
                lands: lands.clone(),
                clock: IslandClock::IDENTITY,
                secret: [7; 32],
                batch_turns: MAX_BATCH_TURNS,
                sabotage: StewardSabotage::default(),
            })
        };
        let mut world = Self {
            store: Memory::default(),
            chunk: position.chunk(),
            stewards: [steward(1), steward(2)],
            lane,
            land,
            now,
            sequences: BTreeMap::new(),
            done: 0,
            conflicts: 0,
            loaded: BTreeSet::new(),
        };
        for number in 1..=AVATARS {
            let game = Frontier.new_avatar("Anna");
            let avatar = AvatarDocument::new("Anna".into(), place, game);
            let avatar = AvatarDocument { epoch: Epoch(1), ..avatar };
            let value = Some(json::encode(&avatar).unwrap());
            let key = Key::avatar(EntityId(number));
            let write = Write { key, expected: Revision(0), schema: AVATAR_SCHEMA, value };
            world.store.apply(Transaction { checks: Vec::new(), writes: vec![write] });
        }
        let watcher = Session {
            client: ClientId(1),
            avatar: EntityId(1000),
            epoch: Epoch(1),
            name: "Bert".into(),
            sequence: Sequence(0),
            chain: [0; 32],
            state: Bytes::new(),
            place,
            place_revision: Revision(1),
        };
        world.tell_lane(LaneInput::Join(Box::new(watcher)));
        let serve =
            StewardInput::Subscribe { reader: NodeId(1), channel: world.channel(), version: 1 };
        let opened = world.tell_steward(0, serve);
        world.finish([VecDeque::from(opened), VecDeque::new()]);
        world
    }

    fn channel(&self) -> ChannelId {
        ChannelId::whole(home(), self.chunk)
    }

    fn slots(&self) -> u16 {
        self.land.tile(self.chunk).unwrap().naturals.len() as u16
    }

    fn tell_steward(&mut self, at: usize, input: StewardInput) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.stewards[at].handle(self.now, input, &mut effects);
        effects
    }

    /// The lane gets what it asks the store for at once.
    fn tell_lane(&mut self, input: LaneInput) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut effects = Vec::new();
            self.lane.handle(self.now, input, &mut effects);
            for effect in effects {
                if let Effect::Load { part: Part::Lane(0), request_id, keys } = effect {
                    let documents = Some(keys.iter().map(|key| self.store.get(key)).collect());
                    inputs.push_back(LaneInput::Loaded { request_id, documents });
                }
            }
        }
    }

    /// Somebody gathers from a slot; what the steward wants is left undone.
    fn gather(&mut self, at: usize, who: u64, slot: u16) -> Vec<Effect> {
        let (_, position) = self.land.natural(self.chunk, slot).unwrap();
        let sequence = self.sequences.entry(who).or_insert(Sequence(0));
        *sequence = sequence.next();
        let actor = Actor {
            avatar: EntityId(who),
            epoch: Epoch(1),
            sequence: *sequence,
            island: home(),
            position,
            received: IslandTime(self.now.0),
        };
        let ChunkId { x, y } = self.chunk;
        let payload = Bytes::from(format!(r#"{{"gather":{{"x":{x},"y":{y},"slot":{slot}}}}}"#));
        let key = Key::chunk(home(), self.chunk);
        let command = DurableCommand { key, actor, payload, trace: 1 };
        let caller = Caller::Lane { lane: 0, number: 1 };
        self.tell_steward(at, StewardInput::Command { caller, command })
    }

    /// Carries out what both stewards want, in turn, and tells the lane what the first has to tell.
    fn finish(&mut self, mut queues: [VecDeque<Effect>; 2]) {
        while queues.iter().any(|queue| !queue.is_empty()) {
            for at in [0, 1] {
                let Some(effect) = queues[at].pop_front() else { continue };
                let input = match effect {
                    Effect::Load { request_id, keys, .. } => {
                        let documents = keys.iter().map(|key| self.store.get(key)).collect();
                        self.loaded.extend(keys);
                        StewardInput::Loaded { request_id, documents: Some(documents) }
                    }
                    Effect::Commit { request_id, transaction, .. } => {
                        let outcome = self.store.apply(transaction);
                        self.conflicts += usize::from(outcome != CommitOutcome::Committed);
                        StewardInput::Committed { request_id, outcome }
                    }
                    Effect::To(Message::Lane(_, LaneInput::DurableEnded { result, .. })) => {
                        assert!(matches!(result, DurableResult::Done { .. }), "{result:?}");
                        self.done += 1;
                        continue;
                    }
                    Effect::To(Message::Control(ControlInput::Publish { frames })) => {
                        self.tell_lane(LaneInput::Frames(frames));
                        continue;
                    }
                    Effect::To(Message::Control(ControlInput::Snapshot { snapshot, .. })) => {
                        assert_eq!(snapshot.stream, StreamKind::Objects);
                        self.tell_lane(LaneInput::Snapshot(snapshot));
                        continue;
                    }
                    other => panic!("{other:?}"),
                };
                let effects = self.tell_steward(at, input);
                queues[at].extend(effects);
            }
        }
    }

    /// What the lane shows of the chunk.
    fn shown(&self) -> BTreeMap<u16, (Revision, Bytes)> {
        let objects = self.lane.objects().iter();
        let here = objects.filter(|(channel, ..)| *channel == self.channel());
        here.map(|(_, slot, revision, payload)| (slot, (revision, payload.clone()))).collect()
    }

    /// What the documents say; each of them is small.
    fn stored(&self) -> BTreeMap<u16, Bytes> {
        let mut stored = BTreeMap::new();
        for part in self.land.parts(self.chunk) {
            let document = self.store.get(&Key::chunk_page(home(), self.chunk, part));
            assert!(document.value.as_ref().map_or(0, Bytes::len) <= MAX_CHUNK_DOCUMENT_BYTES);
            let views = objects_of(&Frontier, part, &document);
            stored.extend(views.into_iter().map(|view| (view.slot, view.payload)));
        }
        stored
    }

    fn shown_payloads(&self) -> BTreeMap<u16, Bytes> {
        self.shown().into_iter().map(|(slot, (_, payload))| (slot, payload)).collect()
    }
}

#[test]
fn whoever_watches_a_chunk_is_shown_every_part_of_it() {
    let mut world = World::new();
    let slots = world.slots();
    assert!(slots > 200 && world.land.parts(world.chunk).count() > 6);
    let mut effects = VecDeque::new();
    for slot in 0..slots {
        effects.extend(world.gather(0, 1 + u64::from(slot) % AVATARS, slot));
    }
    world.finish([effects, VecDeque::new()]);
    assert_eq!(world.done, usize::from(slots));
    let stored = world.stored();
    assert_eq!(stored.keys().copied().collect::<Vec<_>>(), (0..slots).collect::<Vec<_>>());
    assert_eq!(world.shown_payloads(), stored);
    // All parts that were asked for once are remembered.
    world.loaded.clear();
    for slot in [0, slots - 1] {
        let effects = world.gather(0, 1, slot);
        world.finish([effects.into(), VecDeque::new()]);
    }
    assert_eq!(world.loaded, BTreeSet::from([Key::avatar(EntityId(1))]));
    assert_eq!(world.shown_payloads(), world.stored());
}

#[test]
fn stewards_that_meet_in_a_part_lose_nothing() {
    let mut world = World::new();
    let slots = world.slots();
    let mut queues = [VecDeque::new(), VecDeque::new()];
    for slot in 0..slots {
        let at = usize::from(slot % 2);
        // No avatar at both stewards: they meet in the chunk's documents alone.
        let who = 1 + u64::from(slot) % AVATARS;
        queues[at].extend(world.gather(at, who, slot));
    }
    world.finish(queues);
    assert!(world.conflicts > 0);
    assert_eq!(world.done, usize::from(slots));
    let stored = world.stored();
    assert_eq!(stored.len(), usize::from(slots));
    // What the other steward did is read with the next look at the documents.
    let before = world.shown();
    while world.now.0 < BEGIN + 32_000 {
        world.now = world.lane.next_wake().unwrap().max(world.now);
        world.tell_lane(LaneInput::Wake);
    }
    assert_eq!(world.shown_payloads(), stored);
    let after = world.shown();
    assert!(before.iter().all(|(slot, (revision, _))| after[slot].0 >= *revision));
}
