//! What a lane allocates: nothing in a tick in which people only walk and turn.
//!
//! The lane is the real one; the test plays its node, answers the store, and drops what clients are sent, as the shell does
//! once it is written. One test only: others in this process would
//! be counted, too.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::{Bytes, BytesMut};
use pelago_frontier::Frontier;
use pelago_game::{Arrival, Game, IslandSpec, Land};
use pelago_model::{
    ChunkId, CommitOutcome, Document, EntityId, Epoch, Incarnation, IslandClock, IslandId,
    IslandTime, Machine, NodeId, Position, PublisherId, Revision, Sequence, Trajectory, WorldTime,
};
use pelago_node::documents::avatar::Place;
use pelago_node::{ClientEvent, Lane, LaneConfig, LaneEffect, LaneInput, NewSession, StoreAnswer};
use pelago_wire::client::{ClientMessage, Move, client_message};
use pelago_wire::message::{Kind, decode_control, put_control};
use pelago_world::ClientId;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::collections::BTreeMap;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const NODE: NodeId = NodeId(1);
const ISLAND: IslandId = IslandId(1);
/// Odd, so that the home is in the middle of a chunk.
const SIZE: u16 = 5;
const PLAYERS: u64 = 100;
/// Within the chunk of the home.
const NEAR_UNITS: i32 = 600;
/// Over all chunks around it: 60 m.
const FAR_UNITS: i32 = 60 * 64;
/// A place document, its key, the transaction, and what notes when the next one is due.
const PER_CHECKPOINT: usize = 19;
/// The look at a mailbox, or at the room of the island: its key, and what notes when the next one is due.
const PER_LOOK: usize = 8;
/// Sight, streams, records that enter, snapshots.
const PER_CROSSING: usize = 25;
/// 4 m/s.
const SPEED: u16 = 256;

/// What has happened in a tick beside walking, and what was allocated in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Spent {
    turns: usize,
    /// People who came into another chunk.
    crossings: usize,
    checkpoints: usize,
    reads: usize,
    allocations: usize,
}

struct Rig {
    lane: Lane,
    land: Arc<Land>,
    now: WorldTime,
    dice: u64,
    effects: Vec<LaneEffect>,
    /// What the lane is told next, by the node that the test plays.
    inputs: Vec<LaneInput>,
}

impl Rig {
    fn new() -> Self {
        let spec = IslandSpec { id: ISLAND, seed: 7, size: SIZE, generator: 1 };
        let land = Arc::new(Land::new(&Frontier, spec));
        let lane = Lane::new(LaneConfig {
            node: NODE,
            lane: 0,
            publisher: PublisherId::lane(NODE, 0, Incarnation(1)),
            home: ISLAND,
            lands: Arc::new(BTreeMap::from([(ISLAND, land.clone())])),
            game: Arc::new(Frontier),
            clock: IslandClock::IDENTITY,
            limits: pelago_node::ClientLimits::default(),
        });
        let now = WorldTime(1_000_000);
        let (effects, inputs) = (Vec::new(), Vec::new());
        let mut rig = Self { lane, land, now, dice: 1, effects, inputs };
        (1..=PLAYERS).for_each(|number| rig.join(number));
        rig
    }

    fn join(&mut self, number: u64) {
        let position = Frontier.spawn(&self.land, Arrival::Home, number);
        // Checkpoints are spread by this number: here over ten ticks of fifty, so that others have none.
        let session = NewSession {
            client: ClientId(number * 50 + number % 10),
            avatar: EntityId(number),
            epoch: Epoch(1),
            name: format!("bot-{number}").into(),
            sequence: Sequence(0),
            chain: [0; 32],
            state: Bytes::new(),
            place: Place { island: ISLAND, position, at: IslandTime(self.now.0) },
            place_revision: Revision(1),
            quiet_ms: i64::MAX,
        };
        self.inputs.push(LaneInput::Join(Box::new(session)));
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.dice >> 33) % sides
    }

    /// Those who turn in this tick: each with the chance 1 in `mean_ticks`, to somewhere within `radius` of the home.
    fn moves(&mut self, mean_ticks: u64, radius: i32) {
        let middle = i32::from(SIZE) * pelago_model::place::CHUNK_UNITS / 2;
        for (avatar, trajectory) in self.walking() {
            if self.roll(mean_ticks) > 0 {
                continue;
            }
            let here = trajectory.position_at(IslandTime(self.now.0));
            let mut within = || middle - radius + self.roll(2 * radius as u64) as i32;
            let there = Position::new(within(), within());
            if self.land.is_clear(here, there) {
                let waypoints = vec![there.x, there.y];
                let request = Move { number: 1, at_ms: self.now.0, speed: SPEED.into(), waypoints };
                let client = ClientId(avatar.0 * 50 + avatar.0 % 10);
                self.inputs.push(received(client, request));
            }
        }
    }

    fn walking(&self) -> Vec<(EntityId, Trajectory)> {
        self.lane.reals().map(|shown| (shown.id, shown.trajectory.clone())).collect()
    }

    fn chunks(&self) -> Vec<ChunkId> {
        let now = IslandTime(self.now.0);
        self.walking().iter().map(|(_, path)| path.position_at(now).chunk()).collect()
    }

    /// Hands an input to the lane; what it allocates counts.
    fn handle(&mut self, input: LaneInput, spent: &mut Spent) {
        let region = Region::new(ALLOCATOR);
        self.lane.handle(self.now, input, &mut self.effects);
        let change = region.change();
        spent.allocations += change.allocations + change.reallocations;
    }

    /// Carries effects out; answers to the lane are told next.
    fn perform(&mut self, spent: &mut Spent) {
        for effect in self.effects.drain(..) {
            match effect {
                LaneEffect::Publish(frames) => assert_eq!(frames, [], "nobody else reads them"),
                LaneEffect::Commit { request, .. } => {
                    spent.checkpoints += 1;
                    let answer = StoreAnswer::Committed(CommitOutcome::Committed);
                    self.inputs.push(LaneInput::Stored { request, answer });
                }
                LaneEffect::Load { request, keys } => {
                    spent.reads += 1;
                    let documents = Some(vec![Document::ABSENT; keys.len()]);
                    let answer = StoreAnswer::Loaded(documents);
                    self.inputs.push(LaneInput::Stored { request, answer });
                }
                LaneEffect::Interest { .. } | LaneEffect::Send { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// One tick: what clients ask for, publishing, the frames, what the store answers, delivering.
    fn tick(&mut self) -> Spent {
        let mut spent = Spent::default();
        let (counters, before) = (self.lane.counters(), self.chunks());
        self.now = self.now.plus(100);
        // Asking is the clients' cost: it is counted apart.
        let mut asked = Spent::default();
        for input in std::mem::take(&mut self.inputs) {
            self.handle(input, &mut asked);
        }
        self.perform(&mut asked);
        spent.turns = (self.lane.counters().moves - counters.moves) as usize;
        self.handle(LaneInput::Wake, &mut spent);
        self.perform(&mut spent);
        let mut inputs = std::mem::take(&mut self.inputs);
        for input in inputs.drain(..) {
            self.handle(input, &mut spent);
        }
        self.inputs = inputs;
        self.perform(&mut spent);
        self.now = self.now.plus(20);
        self.handle(LaneInput::Wake, &mut spent);
        self.perform(&mut spent);
        self.now = self.now.plus(-20);
        let stays = |(before, after): &(ChunkId, ChunkId)| before == after;
        let both = before.into_iter().zip(self.chunks());
        spent.crossings = both.filter(|both| !stays(both)).count();
        spent
    }
}

fn received(client: ClientId, request: Move) -> LaneInput {
    let mut bytes = BytesMut::new();
    put_control(&mut bytes, &ClientMessage { body: Some(client_message::Body::Move(request)) });
    // The header is a length and a kind, a byte each.
    let payload = bytes.freeze().slice(2..);
    assert!(decode_control::<ClientMessage>(&payload).is_ok());
    let event = ClientEvent::Received { kind: Kind::Control as u8, payload };
    LaneInput::Client { client, event }
}

/// People walk about until every vector has seen more than the ticks that are measured bring.
fn warm_up(rig: &mut Rig, radius: i32) {
    for _ in 0..800 {
        rig.moves(8, radius);
        rig.tick();
    }
}

/// Inside of the assertion: publishing, taking in the frames of all lanes, the sweep of every tenth tick, and
/// delivering to a hundred clients. Outside: decoding what clients ask for, and what a checkpoint writes and a look at a mailbox reads.
#[test]
fn a_tick_in_which_people_only_walk_and_turn_allocates_nothing() {
    let mut rig = Rig::new();
    warm_up(&mut rig, FAR_UNITS);
    warm_up(&mut rig, NEAR_UNITS);
    let (mut still, mut turning) = (0, 0);
    for number in 0..1000 {
        // Everybody turns every four seconds; in every other stretch nobody does.
        if number % 100 < 50 {
            rig.moves(40, NEAR_UNITS);
        }
        let spent = rig.tick();
        assert_eq!(spent.crossings, 0, "{spent:?}");
        let allowed = spent.checkpoints * PER_CHECKPOINT + spent.reads * PER_LOOK;
        assert!(spent.allocations <= allowed, "{spent:?}");
        if spent.checkpoints + spent.reads == 0 {
            still += usize::from(spent.turns == 0);
            turning += usize::from(spent.turns > 0);
        }
    }
    assert!(still > 300 && turning > 300, "{still} still ticks, {turning} with turns");

    // Who walks into another chunk is entered anew, and shown what stands there: that allocates, but not more and more.
    warm_up(&mut rig, FAR_UNITS);
    let (mut crossings, mut allocations) = (0, 0);
    for _ in 0..400 {
        rig.moves(40, FAR_UNITS);
        let spent = rig.tick();
        crossings += spent.crossings;
        allocations +=
            spent.allocations - (spent.checkpoints * PER_CHECKPOINT).min(spent.allocations);
    }
    assert!(crossings > 300, "{crossings} crossings");
    let each = allocations / crossings;
    assert!(each <= PER_CROSSING, "{each} allocations per crossing");
}
