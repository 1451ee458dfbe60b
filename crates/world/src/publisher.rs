//! The publisher: what a lane tells the world about its own entities.
//!
//! Changes are collected during a tick and encoded once per channel at its end. Nothing is encoded for a channel that
//! nobody reads, and no entity is looked at that cannot have left its chunk. Subscriptions are answered after the
//! frames of the tick, so that a snapshot at sequence `k` is exactly what frames up to `k` lead to. Readers are lanes
//! of the same node, which share the frames as they are, and other nodes, which get their bytes over links.

mod channel;
mod frames;

use crate::slots::Slots;
use crate::timer_wheel::TimerWheel;
use bytes::BytesMut;
use channel::OutChannel;
use frames::{FramePool, Put};
use pelago_model::limits::MAX_SLOTS;
use pelago_model::{
    ChannelId, ChunkId, Direction, EntityId, Epoch, IslandClock, IslandId, LaneSet, Position,
    PublisherId, Reader, Size, Tick, Trajectory,
};
use pelago_wire::frame::{Frame, Snapshot, base};
use pelago_wire::peer_stream::PeerSnapshot;
use pelago_wire::record::{Enter, Record, Slot, Turn};
use pelago_wire::tick_stamp::TickStamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What everybody is shown of an entity.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// Its identity.
    pub id: EntityId,
    /// The epoch of its ownership; 0 for what has none.
    pub epoch: Epoch,
    /// The game's kind.
    pub kind: u16,
    /// The game's stance.
    pub stance: u16,
    /// Its name, or nothing.
    pub name: Arc<str>,
    /// Where it is and goes.
    pub trajectory: Trajectory,
    /// On which island.
    pub island: IslandId,
}

#[derive(Debug)]
struct Entity {
    shown: Shown,
    /// The chunk in whose channel it was last published; `None` before the first time.
    chunk: Option<ChunkId>,
    /// When its chunk is looked at next; `None` if it stays where it is.
    look_at: Option<Tick>,
    /// A change of trajectory that is not yet published.
    turn: Option<PendingTurn>,
}

#[derive(Clone, Copy, Debug)]
struct PendingTurn {
    /// The speed that readers know.
    old_speed: u16,
    /// Whether readers cannot derive the start from the trajectory they know.
    explicit_start: bool,
}

#[derive(Debug)]
enum Event {
    Stance(Slot),
    Say(Slot, Arc<str>),
    Gesture(Slot, u16, Option<EntityId>),
}

/// What a tick brought forth.
#[derive(Debug, Default)]
pub struct Published {
    /// One frame per channel that changed: [`Publisher::readers`] says for whom.
    pub frames: Vec<Arc<Frame>>,
    /// Answers to subscriptions.
    pub snapshots: Vec<(Reader, Arc<Snapshot>)>,
}

/// A lane's voice.
#[derive(Debug)]
pub struct Publisher {
    id: PublisherId,
    clock: IslandClock,
    slots: Slots,
    /// By slot.
    entities: Vec<Option<Entity>>,
    channels: BTreeMap<ChannelId, OutChannel>,
    /// Slots that are to be looked at: each may have left its chunk.
    timer_wheel: TimerWheel<Slot>,
    turned: Vec<Slot>,
    events: Vec<Event>,
    leaving: Vec<(Slot, ChannelId)>,
    answers: Vec<(Reader, ChannelId, u64)>,
    /// The lanes that were answered with the last tick, by channel: its frame is in their snapshot.
    answered: BTreeMap<ChannelId, LaneSet>,
    /// The records of this tick.
    puts: Vec<Put>,
    pool: FramePool,
    /// Those that came into another chunk with the last tick.
    moved: Vec<Slot>,
    due: Vec<Slot>,
}

impl Publisher {
    /// A publisher without entities.
    pub fn new(id: PublisherId, clock: IslandClock) -> Self {
        Self {
            id,
            clock,
            slots: Slots::default(),
            entities: Vec::new(),
            channels: BTreeMap::new(),
            timer_wheel: TimerWheel::default(),
            turned: Vec::new(),
            events: Vec::new(),
            leaving: Vec::new(),
            answers: Vec::new(),
            answered: BTreeMap::new(),
            puts: Vec::new(),
            pool: FramePool::default(),
            moved: Vec::new(),
            due: Vec::new(),
        }
    }

    /// The publisher as readers know it.
    pub fn id(&self) -> PublisherId {
        self.id
    }

    /// Takes in an entity; shown from the next tick on. `None` when there is no slot left.
    pub fn enter(&mut self, shown: Shown, now: Tick) -> Option<Slot> {
        let slot = self.slots.take(now)?;
        let index = usize::from(slot);
        if self.entities.len() <= index {
            self.entities.resize_with(index + 1, || None);
        }
        let look_at = Some(self.timer_wheel.put(now, slot));
        self.entities[index] = Some(Entity { shown, chunk: None, look_at, turn: None });
        Some(slot)
    }

    /// Lets an entity go, and returns its last state.
    pub fn leave(&mut self, slot: Slot, now: Tick) -> Option<Shown> {
        let entity = self.entities.get_mut(usize::from(slot))?.take()?;
        self.slots.free(slot, now);
        if let Some(chunk) = entity.chunk {
            let channel = ChannelId::whole(entity.shown.island, chunk);
            self.remove_member(channel, slot);
            self.leaving.push((slot, channel));
        }
        Some(entity.shown)
    }

    /// An entity's state.
    pub fn shown(&self, slot: Slot) -> Option<&Shown> {
        self.entity(slot).map(|entity| &entity.shown)
    }

    fn entity(&self, slot: Slot) -> Option<&Entity> {
        self.entities.get(usize::from(slot))?.as_ref()
    }

    fn entity_mut(&mut self, slot: Slot) -> Option<&mut Entity> {
        self.entities.get_mut(usize::from(slot))?.as_mut()
    }

    /// Replaces an entity's trajectory. `follows`: the new one starts where the old one stands at its start time.
    pub fn turn(&mut self, slot: Slot, trajectory: Trajectory, follows: bool) {
        let Some(entity) = self.entity_mut(slot) else { return };
        let first = entity.turn.is_none();
        entity.turn = Some(match entity.turn {
            None => {
                PendingTurn { old_speed: entity.shown.trajectory.speed(), explicit_start: !follows }
            }
            Some(earlier) => PendingTurn { explicit_start: true, ..earlier },
        });
        entity.shown.trajectory = trajectory;
        if first {
            self.turned.push(slot);
        }
    }

    /// Changes an entity's stance.
    pub fn stance(&mut self, slot: Slot, stance: u16) {
        if let Some(entity) = self.entity_mut(slot)
            && entity.shown.stance != stance
        {
            entity.shown.stance = stance;
            self.events.push(Event::Stance(slot));
        }
    }

    /// Lets everybody in sight hear an entity.
    pub fn say(&mut self, slot: Slot, text: Arc<str>) {
        self.events.push(Event::Say(slot, text));
    }

    /// Lets everybody in sight see a gesture.
    pub fn gesture(&mut self, slot: Slot, gesture: u16, target: Option<EntityId>) {
        self.events.push(Event::Gesture(slot, gesture, target));
    }

    /// A reader reads a channel from now on, or wants to be answered again.
    pub fn subscribe(&mut self, reader: Reader, channel: ChannelId, version: u64) {
        let out = self.channels.entry(channel).or_default();
        match reader {
            Reader::Lane(lane) => out.lanes.insert(lane),
            Reader::Node(node) => out.nodes.insert(node),
        }
        self.answers.retain(|(other, of, _)| (*other, *of) != (reader, channel));
        self.answers.push((reader, channel, version));
    }

    /// A reader reads a channel no more.
    pub fn unsubscribe(&mut self, reader: Reader, channel: ChannelId) {
        self.answers.retain(|(other, of, _)| (*other, *of) != (reader, channel));
        if let Some(out) = self.channels.get_mut(&channel) {
            match reader {
                Reader::Lane(lane) => out.lanes.remove(lane),
                Reader::Node(node) => out.nodes.remove(node),
            }
            self.forget_if_idle(channel);
        }
    }

    /// Whether anybody reads a channel.
    pub fn is_served(&self, channel: ChannelId) -> bool {
        self.channels.get(&channel).is_some_and(OutChannel::is_read)
    }

    /// The readers of the last tick's frame of a channel: lanes, and whether other nodes do. A lane that was answered
    /// with that tick does not: it has the frame in its snapshot.
    pub fn readers(&self, channel: ChannelId) -> (LaneSet, bool) {
        let Some(out) = self.channels.get(&channel) else { return (LaneSet::EMPTY, false) };
        let mut lanes = out.lanes;
        if let Some(answered) = self.answered.get(&channel) {
            answered.iter().for_each(|lane| lanes.remove(lane));
        }
        (lanes, !out.nodes.is_empty())
    }

    /// How full everything is that can grow.
    pub fn sizes(&self) -> Vec<Size> {
        let entities = self.entities.iter().flatten().count();
        vec![
            Size::table("entities", entities, MAX_SLOTS, MAX_SLOTS),
            Size::queue("leaving entities", self.leaving.len(), MAX_SLOTS),
        ]
    }

    /// The channels that are read from it or that it has somebody in, and how many answers wait for the next tick.
    pub fn channels(&self) -> (usize, usize) {
        (self.channels.len(), self.answers.len())
    }

    /// Ends a tick: encodes what changed, then answers new readers.
    pub fn publish(&mut self, tick: Tick) -> Published {
        // An avatar that turned may leave its chunk sooner, or not at all.
        let mut due = std::mem::take(&mut self.due);
        due.extend_from_slice(&self.turned);
        self.timer_wheel.take(tick, &mut due);
        due.sort_unstable();
        due.dedup();
        self.moved.clear();
        for slot in due.drain(..) {
            self.place(slot, tick);
        }
        self.due = due;
        self.put_turns();
        self.put_events();
        for number in 0..self.leaving.len() {
            let (slot, channel) = self.leaving[number];
            self.put(channel, None, Record::Leave { slot });
        }
        self.leaving.clear();
        let frames = self.take_frames(tick);
        let snapshots = self.take_answers(tick);
        Published { frames, snapshots }
    }

    /// Those that came into another chunk with the last tick, or into their first.
    pub fn moved(&self) -> &[Slot] {
        &self.moved
    }

    /// Takes back the vector of frames that [`Publisher::publish`] gave out, for the next tick.
    pub fn recycle(&mut self, frames: Vec<Arc<Frame>>) {
        self.pool.take_back(frames);
    }

    /// Enters an entity that is new, moves one that crossed a border, and notes when to look at it again.
    fn place(&mut self, slot: Slot, tick: Tick) {
        let clock = self.clock;
        let Some(entity) = self.entity(slot) else { return };
        let trajectory = &entity.shown.trajectory;
        let (chunk, island) =
            (trajectory.position_at(clock.at(tick.starts())).chunk(), entity.shown.island);
        let stays = trajectory.stays_in_chunk_ms(clock.at(tick.starts()));
        let (old, planned) = (entity.chunk, entity.look_at);
        // The clock of an island runs as fast as the world's or slower.
        let next = stays.map(|ms| Tick::at(tick.starts().plus(ms)).max(tick.next()));
        let look_at = match (planned.filter(|at| *at > tick), next) {
            (Some(planned), Some(next)) if planned <= next => Some(planned),
            (_, Some(next)) => Some(self.timer_wheel.put(next, slot)),
            (planned, None) => planned,
        };
        if let Some(entity) = self.entity_mut(slot) {
            entity.look_at = look_at;
        }
        if old != Some(chunk) {
            self.moved.push(slot);
            self.move_to(slot, island, old, chunk);
        }
    }

    fn move_to(&mut self, slot: Slot, island: IslandId, old: Option<ChunkId>, new: ChunkId) {
        let channel = ChannelId::whole(island, new);
        let from = old.and_then(|old| new.direction_to(old));
        if let Some(old) = old {
            let old_channel = ChannelId::whole(island, old);
            self.remove_member(old_channel, slot);
            self.put(old_channel, old.direction_to(new), Record::Leave { slot });
        }
        self.channels.entry(channel).or_default().members.insert(slot);
        if let Some(from) = from {
            self.put(channel, None, Record::Arrive { slot, from });
        }
        if self.is_served(channel) {
            let enter = Record::Enter(self.enter_record(slot));
            self.put(channel, from, enter);
        }
        if let Some(entity) = self.entity_mut(slot) {
            entity.chunk = Some(new);
            if from.is_none() {
                entity.turn = None;
            }
        }
    }

    fn put_turns(&mut self) {
        let mut turned = std::mem::take(&mut self.turned);
        turned.sort_unstable();
        for slot in turned.drain(..) {
            let Some(entity) = self.entity_mut(slot) else { continue };
            let (Some(turn), Some(chunk)) = (entity.turn.take(), entity.chunk) else { continue };
            let shown = &entity.shown;
            let channel = ChannelId::whole(shown.island, chunk);
            let (old_speed, explicit) = (turn.old_speed, turn.explicit_start);
            let turn = Turn::from_trajectory(slot, &shown.trajectory, old_speed, explicit);
            self.put(channel, None, Record::Turn(turn));
        }
        self.turned = turned;
    }

    fn put_events(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            let (slot, record) = match event {
                Event::Stance(slot) => {
                    let Some(shown) = self.shown(slot) else { continue };
                    (slot, Record::Stance { slot, stance: shown.stance })
                }
                Event::Say(slot, text) => (slot, Record::Say { slot, text }),
                Event::Gesture(slot, gesture, target) => {
                    (slot, Record::Gesture { slot, gesture, target })
                }
            };
            if let Some((island, Some(chunk))) =
                self.entity(slot).map(|entity| (entity.shown.island, entity.chunk))
            {
                self.put(ChannelId::whole(island, chunk), None, record);
            }
        }
        self.events = events;
    }

    /// Notes a record for all readers of a channel, or for those who do not hold the neighbour at `side`.
    fn put(&mut self, channel: ChannelId, side: Option<Direction>, record: Record) {
        if self.is_served(channel) {
            let number = self.puts.len() as u32;
            self.puts.push(Put { channel, side, number, record });
        }
    }

    fn take_frames(&mut self, tick: Tick) -> Vec<Arc<Frame>> {
        let channels = &mut self.channels;
        let whose = (self.id, tick, &self.clock);
        self.pool.encode(&mut self.puts, whose, |channel, has_core| {
            // A channel that somebody reads is there.
            channels.entry(channel).or_default().count(has_core)
        })
    }

    fn take_answers(&mut self, tick: Tick) -> Vec<(Reader, Arc<Snapshot>)> {
        self.answered.clear();
        let mut snapshots = Vec::with_capacity(self.answers.len());
        let mut answers = std::mem::take(&mut self.answers);
        for (reader, channel, version) in answers.drain(..) {
            let Some(out) = self.channels.get(&channel) else { continue };
            let base = base(&channel, tick, &self.clock);
            let mut records = BytesMut::new();
            for slot in out.members.as_slice() {
                Record::Enter(self.enter_record(*slot)).put(&base, &mut records);
            }
            let bytes = PeerSnapshot {
                alias: 0,
                objects: false,
                channel,
                publisher: self.id,
                tick,
                sequence: out.sequence(),
                answers: version,
                stamp: TickStamp::new(tick, out.core_sequence()),
                records: records.freeze(),
            };
            let snapshot = Snapshot::decode(bytes, &self.clock)
                .expect("what a publisher encodes can be decoded");
            snapshots.push((reader, Arc::new(snapshot)));
            if let Reader::Lane(lane) = reader {
                self.answered.entry(channel).or_default().insert(lane);
            }
        }
        self.answers = answers;
        snapshots
    }

    fn enter_record(&self, slot: Slot) -> Enter {
        let shown = self.shown(slot).expect("a member of a channel is an entity");
        Enter {
            slot,
            id: shown.id,
            epoch: shown.epoch,
            kind: shown.kind,
            stance: shown.stance,
            name: shown.name.clone(),
            trajectory: shown.trajectory.clone(),
        }
    }

    fn remove_member(&mut self, channel: ChannelId, slot: Slot) {
        if let Some(out) = self.channels.get_mut(&channel) {
            out.members.remove(slot);
            self.forget_if_idle(channel);
        }
    }

    fn forget_if_idle(&mut self, channel: ChannelId) {
        if self.channels.get(&channel).is_some_and(OutChannel::is_idle) {
            self.channels.remove(&channel);
        }
    }

    /// Where an entity is at a tick.
    pub fn position(&self, slot: Slot, tick: Tick) -> Option<Position> {
        let now = self.clock.at(tick.starts());
        self.shown(slot).map(|shown| shown.trajectory.position_at(now))
    }
}
