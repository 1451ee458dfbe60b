//! The publisher: what a lane tells the world about its own entities.
//!
//! Changes are collected during a tick and encoded once per channel at its end. Nothing is encoded for a channel that
//! nobody reads. Subscriptions are answered after the frames of the tick, so that a
//! snapshot at sequence `k` is exactly what frames up to `k` lead to.

use crate::slots::Slots;
use bytes::BytesMut;
use pelago_model::{
    ChannelId, ChunkId, Direction, EntityId, Epoch, IslandClock, IslandId, NodeId, Position,
    PublisherId, Tick, Trajectory,
};
use pelago_wire::frame::{Frame, Snapshot, StreamKind, base};
use pelago_wire::peer_stream::{PeerFrame, PeerSnapshot};
use pelago_wire::record::{Base, Enter, Record, Slot, Turn};
use pelago_wire::stamp::Stamp;
use std::collections::{BTreeMap, BTreeSet};
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

#[derive(Debug, Default)]
struct OutChannel {
    readers: BTreeSet<NodeId>,
    members: BTreeSet<Slot>,
    sequence: u64,
    core_sequence: u64,
    core: BytesMut,
    sections: [BytesMut; 8],
}

/// What a tick brought forth.
#[derive(Debug, Default)]
pub struct Published {
    /// One frame per channel that changed, for all its readers.
    pub frames: Vec<Arc<Frame>>,
    /// Answers to subscriptions.
    pub snapshots: Vec<(NodeId, Arc<Snapshot>)>,
}

/// A lane's voice.
#[derive(Debug)]
pub struct Publisher {
    id: PublisherId,
    clock: IslandClock,
    slots: Slots,
    entities: BTreeMap<Slot, Entity>,
    channels: BTreeMap<ChannelId, OutChannel>,
    events: Vec<Event>,
    leaving: Vec<(Slot, ChannelId)>,
    answers: Vec<(NodeId, ChannelId, u64)>,
    dirty: BTreeSet<ChannelId>,
}

impl Publisher {
    /// A publisher without entities.
    pub fn new(id: PublisherId, clock: IslandClock) -> Self {
        Self {
            id,
            clock,
            slots: Slots::default(),
            entities: BTreeMap::new(),
            channels: BTreeMap::new(),
            events: Vec::new(),
            leaving: Vec::new(),
            answers: Vec::new(),
            dirty: BTreeSet::new(),
        }
    }

    /// Whose voice it is.
    pub fn id(&self) -> PublisherId {
        self.id
    }

    /// Takes in an entity; shown from the next tick on. `None` when there is no slot left.
    pub fn enter(&mut self, shown: Shown, now: Tick) -> Option<Slot> {
        let slot = self.slots.take(now)?;
        self.entities.insert(slot, Entity { shown, chunk: None, turn: None });
        Some(slot)
    }

    /// Lets an entity go, and returns its last state.
    pub fn leave(&mut self, slot: Slot, now: Tick) -> Option<Shown> {
        let entity = self.entities.remove(&slot)?;
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
        self.entities.get(&slot).map(|entity| &entity.shown)
    }

    /// Replaces an entity's trajectory. `follows`: the new one starts where the old one stands at its start time.
    pub fn turn(&mut self, slot: Slot, trajectory: Trajectory, follows: bool) {
        let Some(entity) = self.entities.get_mut(&slot) else { return };
        entity.turn = Some(match entity.turn {
            None => {
                PendingTurn { old_speed: entity.shown.trajectory.speed(), explicit_start: !follows }
            }
            Some(earlier) => PendingTurn { explicit_start: true, ..earlier },
        });
        entity.shown.trajectory = trajectory;
    }

    /// Changes an entity's stance.
    pub fn stance(&mut self, slot: Slot, stance: u16) {
        if let Some(entity) = self.entities.get_mut(&slot)
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

    /// A node reads a channel from now on, or wants to be answered again.
    pub fn serve(&mut self, reader: NodeId, channel: ChannelId, version: u64) {
        self.channels.entry(channel).or_default().readers.insert(reader);
        self.answers.retain(|(node, other, _)| (*node, *other) != (reader, channel));
        self.answers.push((reader, channel, version));
    }

    /// A node reads a channel no more.
    pub fn unserve(&mut self, reader: NodeId, channel: ChannelId) {
        self.answers.retain(|(node, other, _)| (*node, *other) != (reader, channel));
        if let Some(out) = self.channels.get_mut(&channel) {
            out.readers.remove(&reader);
            if out.readers.is_empty() {
                // What was put for them is in the snapshot of whoever comes next.
                out.core.clear();
                out.sections.iter_mut().for_each(BytesMut::clear);
                self.dirty.remove(&channel);
            }
            self.forget_if_idle(channel);
        }
    }

    /// Whether anybody reads a channel.
    pub fn is_served(&self, channel: ChannelId) -> bool {
        self.channels.get(&channel).is_some_and(|out| !out.readers.is_empty())
    }

    /// Ends a tick: encodes what changed, then answers new readers.
    pub fn publish(&mut self, tick: Tick) -> Published {
        self.place_entities(tick);
        self.put_turns(tick);
        self.put_events(tick);
        for (slot, channel) in std::mem::take(&mut self.leaving) {
            self.put(channel, tick, &Record::Leave { slot });
        }
        let frames = self.take_frames(tick);
        let snapshots = self.take_answers(tick);
        Published { frames, snapshots }
    }

    /// Enters what is new and moves what crossed a border.
    fn place_entities(&mut self, tick: Tick) {
        let now = self.clock.at(tick.starts());
        let mut moved: Vec<(Slot, IslandId, Option<ChunkId>, ChunkId)> = Vec::new();
        for (slot, entity) in &self.entities {
            let chunk = entity.shown.trajectory.position_at(now).chunk();
            if entity.chunk != Some(chunk) {
                moved.push((*slot, entity.shown.island, entity.chunk, chunk));
            }
        }
        for (slot, island, old, new) in moved {
            let channel = ChannelId::whole(island, new);
            let from = old.and_then(|old| new.direction_to(old));
            if let Some(old) = old {
                let old_channel = ChannelId::whole(island, old);
                self.remove_member(old_channel, slot);
                match old.direction_to(new) {
                    Some(direction) => {
                        let leave = Record::Leave { slot };
                        self.put_section(old_channel, tick, direction, &leave);
                    }
                    None => self.put(old_channel, tick, &Record::Leave { slot }),
                }
            }
            self.channels.entry(channel).or_default().members.insert(slot);
            let enter = Record::Enter(self.enter_record(slot));
            match from {
                Some(from) => {
                    self.put(channel, tick, &Record::Arrive { slot, from });
                    self.put_section(channel, tick, from, &enter);
                }
                None => self.put(channel, tick, &enter),
            }
            if let Some(entity) = self.entities.get_mut(&slot) {
                entity.chunk = Some(new);
                if from.is_none() {
                    entity.turn = None;
                }
            }
        }
    }

    fn put_turns(&mut self, tick: Tick) {
        let mut turns: Vec<(ChannelId, Turn)> = Vec::new();
        for (slot, entity) in &mut self.entities {
            if let (Some(turn), Some(chunk)) = (entity.turn.take(), entity.chunk) {
                let trajectory = &entity.shown.trajectory;
                let channel = ChannelId::whole(entity.shown.island, chunk);
                turns.push((
                    channel,
                    Turn::from_trajectory(*slot, trajectory, turn.old_speed, turn.explicit_start),
                ));
            }
        }
        for (channel, turn) in turns {
            self.put(channel, tick, &Record::Turn(turn));
        }
    }

    fn put_events(&mut self, tick: Tick) {
        for event in std::mem::take(&mut self.events) {
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
                self.entities.get(&slot).map(|entity| (entity.shown.island, entity.chunk))
            {
                self.put(ChannelId::whole(island, chunk), tick, &record);
            }
        }
    }

    fn put(&mut self, channel: ChannelId, tick: Tick, record: &Record) {
        let base = self.base(&channel, tick);
        if let Some(out) = self.served(channel) {
            record.put(&base, &mut out.core);
            self.dirty.insert(channel);
        }
    }

    fn put_section(&mut self, channel: ChannelId, tick: Tick, side: Direction, record: &Record) {
        let base = self.base(&channel, tick);
        if let Some(out) = self.served(channel) {
            record.put(&base, &mut out.sections[side as usize]);
            self.dirty.insert(channel);
        }
    }

    fn served(&mut self, channel: ChannelId) -> Option<&mut OutChannel> {
        self.channels.get_mut(&channel).filter(|out| !out.readers.is_empty())
    }

    fn take_frames(&mut self, tick: Tick) -> Vec<Arc<Frame>> {
        let mut frames = Vec::with_capacity(self.dirty.len());
        for channel in std::mem::take(&mut self.dirty) {
            // Its last reader may have left since the record was put.
            let Some(out) = self.channels.get_mut(&channel) else { continue };
            out.sequence += 1;
            if !out.core.is_empty() {
                out.core_sequence += 1;
            }
            let mut core = BytesMut::with_capacity(out.core.len() + 1);
            core.extend_from_slice(&[Stamp::new(tick, out.core_sequence).to_byte()]);
            core.extend_from_slice(&out.core);
            out.core.clear();
            let bytes = PeerFrame {
                alias: 0,
                sequence: out.sequence,
                core: core.freeze(),
                sections: std::array::from_fn(|side| out.sections[side].split().freeze()),
            };
            let whose = (self.id, channel, StreamKind::Entities);
            let frame = Frame::decode(whose, tick, &self.clock, bytes)
                .expect("what a publisher encodes can be decoded");
            frames.push(Arc::new(frame));
        }
        frames
    }

    fn take_answers(&mut self, tick: Tick) -> Vec<(NodeId, Arc<Snapshot>)> {
        let mut snapshots = Vec::with_capacity(self.answers.len());
        for (reader, channel, version) in std::mem::take(&mut self.answers) {
            let Some(out) = self.channels.get(&channel) else { continue };
            let base = self.base(&channel, tick);
            let mut records = BytesMut::new();
            for slot in &out.members {
                Record::Enter(self.enter_record(*slot)).put(&base, &mut records);
            }
            let bytes = PeerSnapshot {
                alias: 0,
                objects: false,
                channel,
                publisher: self.id,
                tick,
                sequence: out.sequence,
                answers: version,
                stamp: Stamp::new(tick, out.core_sequence),
                records: records.freeze(),
            };
            let snapshot = Snapshot::decode(bytes, &self.clock)
                .expect("what a publisher encodes can be decoded");
            snapshots.push((reader, Arc::new(snapshot)));
        }
        snapshots
    }

    fn enter_record(&self, slot: Slot) -> Enter {
        let shown = &self.entities[&slot].shown;
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
            out.members.remove(&slot);
            self.forget_if_idle(channel);
        }
    }

    fn forget_if_idle(&mut self, channel: ChannelId) {
        if let Some(out) = self.channels.get(&channel)
            && out.members.is_empty()
            && out.readers.is_empty()
        {
            self.channels.remove(&channel);
            self.dirty.remove(&channel);
        }
    }

    fn base(&self, channel: &ChannelId, tick: Tick) -> Base {
        base(channel, tick, &self.clock)
    }

    /// Where an entity is at a tick.
    pub fn position(&self, slot: Slot, tick: Tick) -> Option<Position> {
        let now = self.clock.at(tick.starts());
        self.shown(slot).map(|shown| shown.trajectory.position_at(now))
    }
}
