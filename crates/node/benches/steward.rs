//! Durable turns, from the command to the answer, over a store in memory.
//!
//! `cargo xtask bench micro` runs it and divides by the elements: turns.
#![allow(missing_docs, reason = "made by a macro")]
#![allow(clippy::unwrap_used, reason = "a bench ends at the first problem")]

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pelago_frontier::Frontier;
use pelago_game::{Actor, Game, IslandSpec, Land, json};
use pelago_model::{
    ChunkId, Document, EntityId, Epoch, Incarnation, IslandClock, IslandId, IslandTime, Key,
    Machine, NodeId, PublisherId, Revision, Role, Sequence, WorldTime,
};
use pelago_node::documents::avatar::{AVATAR_SCHEMA, AvatarDocument, Place};
use pelago_node::service::{ServiceCall, ServiceEffect, ServiceHost, ServiceInput, ServiceSeat};
use pelago_node::steward::{MAX_BATCH_TURNS, StewardSabotage, kind};
use pelago_node::{Caller, DurableCommand, DurableResult, MachineId, StewardCall, StoreAnswer};
use pelago_store::{Memory, Store, commit_now, load_now};
use std::collections::BTreeMap;
use std::sync::Arc;

const ISLAND: IslandId = IslandId(1);
/// Avatars that gather from one chunk at once: one is decided alone, the others together.
const TURNS: u64 = 32;
/// Long enough that everything has grown back.
const A_DAY_MS: i64 = 86_400_000;

struct Rig {
    host: ServiceHost,
    store: Memory,
    /// Per avatar: what it does, where.
    commands: Vec<DurableCommand>,
    now: WorldTime,
}

impl Rig {
    fn new() -> Self {
        let spec = IslandSpec { id: ISLAND, seed: 7, size: 5, generator: 1 };
        let land = Arc::new(Land::new(&Frontier, spec));
        let now = WorldTime(1_000_000);
        let chunks = (0..5).flat_map(|x| (0..5).map(move |y| ChunkId::new(x, y)));
        let grown = |chunk: &ChunkId| land.tile(*chunk).map_or(0, |tile| tile.naturals.len());
        let chunk = chunks.max_by_key(grown).unwrap();
        let slots = grown(&chunk) as u16;
        assert!(slots >= 16, "a chunk to gather from");
        let mut documents = BTreeMap::new();
        let mut commands = Vec::new();
        for number in 1..=TURNS {
            let slot = number as u16 % slots;
            let (_, position) = land.natural(chunk, slot).unwrap();
            let place = Place { island: ISLAND, position, at: IslandTime(now.0) };
            let avatar = EntityId(number);
            let name = format!("bot-{number}");
            let game = Frontier.new_avatar(&name);
            let document =
                AvatarDocument { epoch: Epoch(1), ..AvatarDocument::new(name, place, game) };
            let value = Some(json::encode(&document).unwrap());
            let stored = Document { schema: AVATAR_SCHEMA, revision: Revision(1), value };
            documents.insert(Key::avatar(avatar), stored);
            let payload =
                format!(r#"{{"gather":{{"x":{},"y":{},"slot":{slot}}}}}"#, chunk.x, chunk.y);
            commands.push(DurableCommand {
                key: Key::chunk(ISLAND, chunk),
                actor: Actor {
                    avatar,
                    epoch: Epoch(1),
                    sequence: Sequence(0),
                    island: ISLAND,
                    position,
                    received: IslandTime(now.0),
                },
                payload: Bytes::from(payload),
                trace: number,
            });
        }
        let seat = ServiceSeat {
            node: NodeId(1),
            publisher: PublisherId::service(NodeId(1), 0, Incarnation(1)),
            game: Arc::new(Frontier),
            lands: Arc::new(BTreeMap::from([(ISLAND, land)])),
            clock: IslandClock::IDENTITY,
            secret: [7; 32],
        };
        let host = ServiceHost::new(&seat, &[kind(MAX_BATCH_TURNS, StewardSabotage::default())]);
        Self { host, store: Memory::from(documents), commands, now }
    }

    /// Everybody gathers once, a day later than before.
    fn round(&mut self) {
        self.now = self.now.plus(A_DAY_MS);
        let (mut effects, mut answered) = (Vec::new(), 0);
        for command in &mut self.commands {
            command.actor.sequence = command.actor.sequence.next();
            command.actor.received = IslandTime(self.now.0);
            let (key, trace) = (command.key.clone(), command.trace);
            let caller = Caller::Machine { machine: MachineId::Lane(0), number: trace };
            let body = StewardCall::Command(command.clone()).encode();
            let call = ServiceCall { caller, key, body, trace };
            let input = ServiceInput::Call { role: Role::steward(), call };
            self.host.handle(self.now, input, &mut effects);
        }
        while !effects.is_empty() {
            for effect in std::mem::take(&mut effects) {
                let input = match effect {
                    ServiceEffect::Load { request, keys } => {
                        let answer = StoreAnswer::Loaded(load_now(&self.store, keys).ok());
                        ServiceInput::Stored { request, answer }
                    }
                    ServiceEffect::Commit { request, transaction } => {
                        let outcome = commit_now(&self.store, transaction);
                        ServiceInput::Stored { request, answer: StoreAnswer::Committed(outcome) }
                    }
                    ServiceEffect::Run { request, run } => {
                        ServiceInput::Ran { request, end: run.run() }
                    }
                    ServiceEffect::Reply { reply, .. } => {
                        let result = DurableResult::of_call(Ok(reply.unwrap()));
                        assert!(matches!(result, DurableResult::Done { .. }), "{result:?}");
                        answered += 1;
                        continue;
                    }
                    _ => continue,
                };
                self.host.handle(self.now, input, &mut effects);
            }
        }
        assert_eq!(answered, TURNS);
    }
}

fn turns(criterion: &mut Criterion) {
    let mut rig = Rig::new();
    // The rings of outcomes are full, and documents as large as they get.
    (0..20).for_each(|_| rig.round());
    let mut group = criterion.benchmark_group("steward_ns_per_turn");
    group.throughput(Throughput::Elements(TURNS));
    let keys: Vec<Key> =
        rig.commands.iter().map(|command| Key::avatar(command.actor.avatar)).collect();
    let documents = load_now(&rig.store, keys).unwrap();
    group.bench_function("baseline: avatar documents parsed and written", |bencher| {
        bencher.iter_batched(
            || (),
            |()| {
                for document in &documents {
                    let avatar: AvatarDocument =
                        json::decode(document.value.as_ref().unwrap()).unwrap();
                    assert!(!json::encode(&avatar).unwrap().is_empty());
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("gather from one chunk", |bencher| bencher.iter(|| rig.round()));
    rig.store.close();
    group.finish();
}

criterion_group!(benches, turns);
criterion_main!(benches);
