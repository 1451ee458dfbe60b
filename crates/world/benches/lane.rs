//! What a lane decides in a tick: publishing, ghosts, assembly for clients, checks of moves.
//!
//! `cargo xtask bench micro` runs it and divides by the elements that the groups name.
#![allow(missing_docs, reason = "made by a macro")]
#![allow(clippy::unwrap_used, reason = "a bench ends at the first problem")]

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pelago_frontier::Frontier;
use pelago_game::{Arrival, Game, IslandSpec, Land};
use pelago_model::place::CHUNK_UNITS;
use pelago_model::{
    ChannelId, ChunkId, EntityId, Epoch, Incarnation, IslandClock, IslandId, IslandTime, NodeId,
    Position, PublisherId, Reader, Tick, Trajectory, WorldTime,
};
use pelago_wire::frame::{Frame, StreamKind};
use pelago_world::{
    ClientId, Delivery, Ghosts, MoveRequest, Objects, Publisher, Shown, check_move,
};
use std::hint::black_box;
use std::sync::Arc;

const ISLAND: IslandId = IslandId(1);
const READER: Reader = Reader::Lane(0);
const CLOCK: IslandClock = IslandClock::IDENTITY;
/// People on the lane, all in one chunk.
const WALKERS: u16 = 1000;
/// Those of them who turn in a tick: everybody every four seconds.
const TURNS: u16 = 25;
/// Clients that see them.
const CLIENTS: u64 = 150;
const CHANNEL: ChannelId = ChannelId::whole(ISLAND, ChunkId::new(0, 0));

/// Where a walker is at first, and where it goes at a time: to and fro inside of its chunk.
fn walk(number: u16, at: IslandTime, from: Position) -> Trajectory {
    let dice = (i64::from(number) * 7919 + at.0 * 31) as i32;
    let within = |dice: i32| 16 + dice.rem_euclid(CHUNK_UNITS - 32);
    let to = Position::new(within(dice), within(dice / 7));
    Trajectory::new(at, from, 256, &[to]).unwrap()
}

struct Lane {
    publisher: Publisher,
    tick: Tick,
    next: u16,
}

impl Lane {
    fn new() -> Self {
        let id = PublisherId::lane(NodeId(1), 0, Incarnation(1));
        let mut publisher = Publisher::new(id, CLOCK);
        publisher.subscribe(READER, CHANNEL, 1);
        let tick = Tick(1000);
        for number in 0..WALKERS {
            let start = Position::new(i32::from(number) % 1900 + 8, i32::from(number) + 8);
            let shown = Shown {
                id: EntityId(u64::from(number) + 1),
                epoch: Epoch(1),
                kind: 0,
                stance: 0,
                name: format!("walker-{number}").into(),
                trajectory: walk(number, IslandTime(tick.starts().0), start),
                island: ISLAND,
            };
            publisher.enter(shown, tick).unwrap();
        }
        Self { publisher, tick, next: 0 }
    }

    fn tick(&mut self) -> Vec<Arc<Frame>> {
        self.tick = self.tick.next();
        let now = IslandTime(self.tick.starts().0);
        for _ in 0..TURNS {
            self.next = (self.next + 1) % WALKERS;
            let here = self.publisher.position(self.next, self.tick).unwrap();
            self.publisher.turn(self.next, walk(self.next, now, here), true);
        }
        self.publisher.publish(self.tick).frames
    }
}

fn tick(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tick_ns_per_moving_entity");
    group.throughput(Throughput::Elements(WALKERS.into()));
    let mut lane = Lane::new();
    group.bench_function("baseline: everybody stepped once", |bencher| {
        bencher.iter(|| {
            let positions = (0..WALKERS).map(|slot| lane.publisher.position(slot, lane.tick));
            positions.flatten().fold(0i32, |sum, at| sum.wrapping_add(at.x))
        });
    });
    group.bench_function("publish", |bencher| {
        bencher.iter(|| {
            let frames = lane.tick();
            lane.publisher.recycle(frames);
        });
    });
    group.finish();
}

/// A frame of a tick as it comes from another node, and ghosts that know its stream.
fn other_node() -> (Lane, Ghosts, Arc<Frame>) {
    let mut lane = Lane::new();
    let mut ghosts = Ghosts::new(CLOCK);
    for (_, snapshot) in lane.publisher.publish(lane.tick).snapshots {
        ghosts.apply_snapshot(&snapshot);
    }
    let frame = lane.tick().pop().unwrap();
    (lane, ghosts, frame)
}

fn ghosts(criterion: &mut Criterion) {
    let (lane, mut ghosts, frame) = other_node();
    let bytes = frame.to_peer(1);
    let mut group = criterion.benchmark_group("ghosts_ns_per_turn");
    group.throughput(Throughput::Elements(TURNS.into()));
    let mut copy = BytesMut::with_capacity(4096);
    group.bench_function("baseline: copy of the same bytes", |bencher| {
        bencher.iter(|| {
            copy.clear();
            copy.extend_from_slice(black_box(&bytes.core));
        });
    });
    let whose = (lane.publisher.id(), CHANNEL, StreamKind::Entities);
    group.bench_function("decode and update", |bencher| {
        bencher.iter_batched(
            || bytes.clone(),
            |bytes| {
                let frame = Frame::decode(whose, lane.tick, &CLOCK, bytes).unwrap();
                assert!(ghosts.apply_frame(&frame));
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn assembly(criterion: &mut Criterion) {
    let (mut lane, mut ghosts, frame) = other_node();
    let objects = Objects::default();
    let mut delivery = Delivery::new(ISLAND, CLOCK);
    for client in (0..CLIENTS).map(ClientId) {
        delivery.join(client, lane.tick);
        delivery.watch(client, CHANNEL, &ghosts, &objects);
    }
    // They are shown everybody once.
    delivery.deliver(lane.tick, &mut ghosts, &objects, |_, _| {});
    let mut group = criterion.benchmark_group("assembly_ns_per_client");
    group.throughput(Throughput::Elements(CLIENTS));
    let mut copies = BytesMut::with_capacity(1 << 20);
    group.bench_function("baseline: copy of the same bytes", |bencher| {
        bencher.iter(|| {
            copies.clear();
            (0..CLIENTS).for_each(|_| copies.extend_from_slice(black_box(&frame.core)));
        });
    });
    group.bench_function("deliver", |bencher| {
        bencher.iter(|| {
            let mut written = 0;
            lane.tick = frame.tick;
            delivery.push(frame.clone());
            delivery.deliver(frame.tick, &mut ghosts, &objects, |_, bytes| written += bytes.len());
            assert!(written > CLIENTS as usize * frame.core.len());
        });
    });
    group.finish();
}

fn moves(criterion: &mut Criterion) {
    let spec = IslandSpec { id: ISLAND, seed: 7, size: 5, generator: 1 };
    let land = Land::new(&Frontier, spec);
    let now = WorldTime(100_000);
    let start = Frontier.spawn(&land, Arrival::Home, 1);
    let old = Trajectory::still(IslandTime(now.0 - 100), start);
    // 20 m over the meadow around the home, into the first direction that is clear.
    let ways = [(1280, 0), (0, 1280), (-1280, 0), (0, -1280), (900, 900), (-900, -900)];
    let ways = ways.map(|(x, y)| Position::new(start.x + x, start.y + y));
    let to = *ways.iter().find(|to| land.is_clear(start, **to)).unwrap();
    let request = MoveRequest { at: now, speed: 256, waypoints: vec![to] };
    let mut group = criterion.benchmark_group("move_check_ns_per_move");
    group.throughput(Throughput::Elements(1));
    group.bench_function("baseline: a trajectory made and looked at once", |bencher| {
        let at = IslandTime(now.0);
        bencher.iter(|| black_box(&old).turned(at, 256, &[to]).unwrap().position_at(at));
    });
    group.bench_function("check of a way of 20 m", |bencher| {
        bencher.iter(|| check_move(now, &CLOCK, &land, 1024, black_box(&old), &request).unwrap());
    });
    group.finish();
}

criterion_group!(benches, tick, ghosts, assembly, moves);
criterion_main!(benches);
