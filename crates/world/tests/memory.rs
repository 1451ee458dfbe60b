//! What a lane holds per player when people are spread over the land, as in the load scenario `spread`: one to a
//! chunk, three lanes that all read each other, clients that walk. One test only: others in this process would be
//! counted, too.
#![allow(clippy::unwrap_used, reason = "tests")]

use pelago_model::{
    ChannelId, ChunkId, ChunkPage, EntityId, Epoch, Incarnation, IslandClock, IslandId, IslandTime,
    NodeId, PublisherId, Reader, Revision, Tick, Trajectory, WorldTime,
};
use pelago_wire::frame::Snapshot;
use pelago_world::{ClientId, Delivery, Ghosts, Objects, Publisher, Shown, Sight};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ISLAND: IslandId = IslandId(1);
const CLOCK: IslandClock = IslandClock::IDENTITY;
/// The node of the lane that is looked at.
const NODE: NodeId = NodeId(1);
const OTHER_NODES: [NodeId; 2] = [NodeId(2), NodeId(3)];
/// The lane that is looked at, as its own publisher knows it; the others know its node.
const LANE: Reader = Reader::Lane(0);
const PLAYERS_PER_LANE: u16 = 333;
/// Chunks from west to east, and from north to south.
const SIDE: i16 = 30;
/// Of a second each; everybody is there after the first fifth of them.
const STEPS: i16 = 400;
const ARRIVALS_PER_STEP: u16 = 9;
/// How long people stay in a chunk, in steps.
const STAY: i16 = 20;
/// What the heap takes for a piece beside its bytes: a header of 8, and half of the 16 to which it rounds.
const PIECE_BYTES: usize = 16;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: i16) -> i16 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ((self.0 >> 33) % sides as u64) as i16
    }

    fn chunk(&mut self) -> ChunkId {
        ChunkId::new(self.roll(SIDE), self.roll(SIDE))
    }

    /// The same chunk or one beside it.
    fn step(&mut self, from: ChunkId) -> ChunkId {
        let mut along = |at: i16| (at + self.roll(3) - 1).clamp(0, SIDE - 1);
        ChunkId::new(along(from.x), along(from.y))
    }
}

fn standing(chunk: ChunkId, tick: Tick) -> Trajectory {
    Trajectory::still(IslandTime(tick.starts().0), chunk.corner())
}

/// A lane, and the publishers of all lanes: first its own.
struct World {
    publishers: Vec<Publisher>,
    ghosts: Ghosts,
    objects: Objects,
    delivery: Delivery,
    /// Of those who have come so far.
    sights: Vec<Sight>,
    tick: Tick,
}

impl World {
    fn new() -> Self {
        let publisher = |node| Publisher::new(PublisherId::lane(node, 0, Incarnation(1)), CLOCK);
        Self {
            publishers: [NODE].into_iter().chain(OTHER_NODES).map(publisher).collect(),
            ghosts: Ghosts::new(CLOCK),
            objects: Objects::default(),
            delivery: Delivery::new(ISLAND, CLOCK),
            sights: Vec::new(),
            tick: Tick(1000),
        }
    }

    /// Some come, some walk on, and all look around; what comes of it is published and delivered.
    fn step(&mut self, dice: &mut Dice) {
        for slot in 0..self.sights.len() as u16 {
            for publisher in &mut self.publishers {
                let here = publisher.position(slot, self.tick).unwrap().chunk();
                if dice.roll(STAY) == 0 {
                    publisher.turn(slot, standing(dice.step(here), self.tick), false);
                }
            }
        }
        for _ in 0..ARRIVALS_PER_STEP.min(PLAYERS_PER_LANE - self.sights.len() as u16) {
            self.arrive(dice);
        }
        self.tick = Tick(self.tick.0 + 10);
        for slot in 0..self.sights.len() as u16 {
            self.look(slot);
        }
        for number in 0..self.publishers.len() {
            self.publish(number);
        }
        self.delivery.deliver(self.tick, &mut self.ghosts, &self.objects, |_, _| {});
    }

    /// One more player on every lane.
    fn arrive(&mut self, dice: &mut Dice) {
        let number = self.sights.len() as u64;
        for publisher in &mut self.publishers {
            let shown = Shown {
                id: EntityId(publisher.id().0 | number),
                epoch: Epoch(1),
                kind: 0,
                stance: 0,
                name: "".into(),
                trajectory: standing(dice.chunk(), self.tick),
                island: ISLAND,
            };
            publisher.enter(shown, self.tick).unwrap();
        }
        self.delivery.join(ClientId(number), self.tick);
        self.sights.push(Sight::default());
    }

    /// The other nodes read a column of chunks, too, as long as there is one.
    fn serve_others(&mut self, x: i16) {
        for chunk in (0..SIDE).map(|y| ChunkId::new(x, y)).filter(|_| x < SIDE) {
            for publisher in &mut self.publishers {
                let channel = ChannelId::whole(ISLAND, chunk);
                for node in OTHER_NODES {
                    publisher.subscribe(Reader::Node(node), channel, 1);
                }
            }
        }
    }

    fn look(&mut self, slot: u16) {
        let now = WorldTime(self.tick.starts().0);
        let here = self.publishers[0].position(slot, self.tick).unwrap().chunk();
        let change = self.sights[usize::from(slot)].look(here, now);
        let client = ClientId(slot.into());
        for chunk in change.entered {
            let channel = ChannelId::whole(ISLAND, chunk);
            if self.delivery.watch(client, channel, &self.ghosts, &self.objects) {
                self.objects.watch(channel);
                self.objects.read(channel, [(ChunkPage::FIRST, Revision(0), Vec::new())], now);
                self.publishers
                    .iter_mut()
                    .for_each(|publisher| publisher.subscribe(reader(publisher), channel, 1));
            }
        }
        for chunk in change.left {
            let channel = ChannelId::whole(ISLAND, chunk);
            if self.delivery.unwatch(client, channel) {
                self.let_go(channel);
            }
        }
    }

    fn let_go(&mut self, channel: ChannelId) {
        self.objects.unwatch(channel);
        self.publishers
            .iter_mut()
            .for_each(|publisher| publisher.unsubscribe(reader(publisher), channel));
        for stream in self.ghosts.streams_of(channel).collect::<Vec<_>>() {
            self.ghosts.drop_stream(stream);
            self.delivery.stream_dropped(stream);
        }
    }

    fn publish(&mut self, number: usize) {
        let published = self.publishers[number].publish(self.tick);
        for frame in &published.frames {
            if self.ghosts.apply_frame(frame) {
                self.delivery.push(frame.clone());
            }
        }
        for (to, snapshot) in published.snapshots {
            if to == reader(&self.publishers[number]) {
                self.snapshot(&snapshot);
            }
        }
        self.publishers[number].recycle(published.frames);
    }

    fn snapshot(&mut self, snapshot: &Snapshot) {
        let stream = (snapshot.channel, snapshot.publisher);
        self.ghosts.apply_snapshot(snapshot);
        self.delivery.stream_replaced(stream, self.ghosts.is_inhabited(&stream));
    }
}

/// The lane that is looked at, as a publisher knows it.
fn reader(publisher: &Publisher) -> Reader {
    if publisher.id().node() == NODE { LANE } else { Reader::Node(NODE) }
}

/// What a part gives back when it is dropped, in bytes of the heap per player.
fn held_per_player<T>(part: T) -> usize {
    let region = Region::new(ALLOCATOR);
    drop(part);
    let change = region.change();
    let bytes = change.bytes_deallocated + change.deallocations * PIECE_BYTES;
    bytes / usize::from(PLAYERS_PER_LANE)
}

/// Each lane has 2.7 chunks in sight per player, with objects and streams of all three publishers, and three clients to
/// a chunk. Bounds are a tenth above what was measured.
#[test]
fn players_who_are_spread_take_little_memory() {
    let mut dice = Dice(1);
    let mut world = World::new();
    for step in 0..STEPS {
        world.serve_others(step);
        world.step(&mut dice);
    }
    assert!(world.delivery.streams() > 3 * usize::from(PLAYERS_PER_LANE), "everybody is there");
    let held = [
        ("publisher", held_per_player(world.publishers.swap_remove(0)), 1250),
        ("ghosts", held_per_player(world.ghosts), 1490),
        ("objects", held_per_player(world.objects), 190),
        ("delivery", held_per_player(world.delivery), 1190),
        ("sight", held_per_player(world.sights), 310),
    ];
    for (part, bytes, bound) in held {
        assert!(bytes <= bound, "{part}: {bytes} bytes per player of {bound}; all: {held:?}");
    }
}
