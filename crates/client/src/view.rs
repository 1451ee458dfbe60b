//! What a client sees: entities and objects, kept from frames and snapshots. No socket, no clock.

use bytes::Bytes;
use pelago_model::{
    ChannelId, EntityId, Epoch, IslandClock, IslandId, IslandTime, Revision, Tick, Trajectory,
};
use pelago_wire::Malformed;
use pelago_wire::client_stream::{decode_client_snapshot, decode_close, decode_frames, is_frames};
use pelago_wire::frame::base;
use pelago_wire::message::Kind;
use pelago_wire::record::{Base, Enter, Record, Slot, decode_records};
use pelago_wire::tick_stamp::TickStamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An entity as seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Its identity.
    pub id: EntityId,
    /// The epoch of its ownership.
    pub epoch: Epoch,
    /// The game's kind.
    pub kind: u16,
    /// The game's stance.
    pub stance: u16,
    /// Its name, or nothing.
    pub name: Arc<str>,
    /// Where it is and goes.
    pub trajectory: Trajectory,
    alias: u32,
}

/// One change of what is seen.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// An entity is seen, or all about one already seen.
    Entered(EntityId, IslandTime),
    /// An entity is seen no more.
    Left(EntityId),
    /// An entity moves otherwise, from that time on.
    Turned(EntityId, IslandTime),
    /// An entity stands otherwise.
    Stance(EntityId, u16),
    /// An entity speaks.
    Said(EntityId, Arc<str>),
    /// An entity makes a gesture towards another.
    Gesture(EntityId, u16, Option<EntityId>),
    /// A natural object changed.
    Object(ChannelId, u16),
}

/// What came of frames and snapshots, with the heads of their messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ViewTraffic {
    /// Messages of frames.
    pub frames: u64,
    /// Their bytes.
    pub frame_bytes: u64,
    /// Snapshots and closes.
    pub snapshots: u64,
    /// Their bytes.
    pub snapshot_bytes: u64,
}

#[derive(Debug)]
struct Stream {
    channel: ChannelId,
    objects: bool,
    publisher: u32,
    sequence: u8,
}

/// Everything in sight.
#[derive(Debug)]
pub struct View {
    home: IslandId,
    clock: IslandClock,
    tick: Tick,
    streams: BTreeMap<u32, Stream>,
    entities: BTreeMap<(u32, Slot), Seen>,
    objects: BTreeMap<(ChannelId, u16), (Revision, Bytes)>,
    gaps: u64,
    traffic: ViewTraffic,
}

impl View {
    /// Nothing is seen yet; `tick` is that of the welcome.
    pub fn new(home: IslandId, clock: IslandClock, tick: Tick) -> Self {
        Self {
            home,
            clock,
            tick,
            streams: BTreeMap::new(),
            entities: BTreeMap::new(),
            objects: BTreeMap::new(),
            gaps: 0,
            traffic: ViewTraffic::default(),
        }
    }

    /// Takes in a message of frames, a snapshot or a close, by the number of its kind; appends what changed. Other
    /// kinds are skipped.
    ///
    /// # Errors
    /// [`Malformed`]: the node is broken, and the connection should end.
    pub fn receive(
        &mut self,
        kind: u8,
        payload: &Bytes,
        changes: &mut Vec<Change>,
    ) -> Result<(), Malformed> {
        let bytes = (message_head_bytes(payload.len()) + payload.len()) as u64;
        if is_frames(kind) {
            self.traffic.frames += 1;
            self.traffic.frame_bytes += bytes;
            return self.frames(kind, payload, changes);
        }
        if !matches!(Kind::from_number(kind), Some(Kind::Snapshot | Kind::Close)) {
            return Ok(());
        }
        self.traffic.snapshots += 1;
        self.traffic.snapshot_bytes += bytes;
        if kind == Kind::Snapshot as u8 {
            return self.snapshot(payload, changes);
        }
        for alias in decode_close(payload)? {
            self.forget(alias, changes);
            self.streams.remove(&alias);
        }
        Ok(())
    }

    fn frames(
        &mut self,
        kind: u8,
        payload: &Bytes,
        changes: &mut Vec<Change>,
    ) -> Result<(), Malformed> {
        let (delta, frames) = decode_frames(kind, payload)?;
        self.tick = Tick(self.tick.0.saturating_add(delta));
        for (alias, body) in frames {
            let stamp = TickStamp::from_byte(body[0]);
            let Some(stream) = self.streams.get_mut(&alias) else {
                self.gaps += 1;
                continue;
            };
            let base = base(&stream.channel, stamp.tick(self.tick), &self.clock);
            let ahead = stamp.sequence_nibble.wrapping_sub(stream.sequence) & 15;
            if !stream.objects && ahead > 1 {
                self.gaps += 1;
            }
            stream.sequence = stamp.sequence_nibble;
            self.records(alias, &body.slice(1..), base, changes)?;
        }
        Ok(())
    }

    fn snapshot(&mut self, payload: &Bytes, changes: &mut Vec<Change>) -> Result<(), Malformed> {
        let snapshot = decode_client_snapshot(payload, self.home)?;
        let header = snapshot.header;
        let base = base(&header.channel, header.tick, &self.clock);
        // Entities that stay must not seem to leave: they are compared afterwards.
        let mut before: Vec<Change> = Vec::new();
        self.forget(header.alias, &mut before);
        self.streams.insert(
            header.alias,
            Stream {
                channel: header.channel,
                objects: header.objects,
                publisher: header.publisher,
                sequence: snapshot.stamp.sequence_nibble,
            },
        );
        self.records(header.alias, &snapshot.records, base, changes)?;
        let gone = |change: &Change| match change {
            Change::Left(id) => self.find(*id).is_none(),
            _ => true,
        };
        before.retain(gone);
        changes.extend(before);
        Ok(())
    }

    /// Drops everything known under an alias.
    fn forget(&mut self, alias: u32, changes: &mut Vec<Change>) {
        let Some(stream) = self.streams.get(&alias) else { return };
        if stream.objects {
            let channel = stream.channel;
            self.objects.retain(|(other, _), _| *other != channel);
        } else {
            let gone = |_: &(u32, Slot), seen: &mut Seen| seen.alias == alias;
            let whole = (stream.publisher, 0)..=(stream.publisher, Slot::MAX);
            for (_, seen) in self.entities.extract_if(whole, gone) {
                changes.push(Change::Left(seen.id));
            }
        }
    }

    fn records(
        &mut self,
        alias: u32,
        bytes: &Bytes,
        base: Base,
        changes: &mut Vec<Change>,
    ) -> Result<(), Malformed> {
        for record in decode_records(bytes, base) {
            self.apply(alias, record?, changes);
        }
        Ok(())
    }

    fn apply(&mut self, alias: u32, record: Record, changes: &mut Vec<Change>) {
        let Some(stream) = self.streams.get(&alias) else { return };
        let (publisher, channel) = (stream.publisher, stream.channel);
        match record {
            Record::Enter(enter) => {
                changes.push(Change::Entered(enter.id, enter.trajectory.start_time()));
                self.entities.insert((publisher, enter.slot), from_enter(enter, alias));
            }
            Record::Leave { slot } => {
                if self.entities.get(&(publisher, slot)).is_some_and(|seen| seen.alias == alias)
                    && let Some(seen) = self.entities.remove(&(publisher, slot))
                {
                    changes.push(Change::Left(seen.id));
                }
            }
            Record::Arrive { slot, .. } => {
                if let Some(seen) = self.entities.get_mut(&(publisher, slot)) {
                    seen.alias = alias;
                }
            }
            Record::Turn(turn) => {
                if let Some(seen) = self.entities.get_mut(&(publisher, turn.slot))
                    && let Ok(trajectory) = turn.apply(&seen.trajectory)
                {
                    seen.trajectory = trajectory;
                    changes.push(Change::Turned(seen.id, turn.at));
                }
            }
            Record::Stance { slot, stance } => {
                if let Some(seen) = self.entities.get_mut(&(publisher, slot)) {
                    seen.stance = stance;
                    changes.push(Change::Stance(seen.id, stance));
                }
            }
            Record::Say { slot, text } => {
                if let Some(seen) = self.entities.get_mut(&(publisher, slot)) {
                    changes.push(Change::Said(seen.id, text));
                }
            }
            Record::Gesture { slot, gesture, target } => {
                if let Some(seen) = self.entities.get_mut(&(publisher, slot)) {
                    changes.push(Change::Gesture(seen.id, gesture, target));
                }
            }
            Record::Object(object) => {
                let key = (channel, object.slot);
                if self.objects.get(&key).is_none_or(|(known, _)| *known < object.revision) {
                    self.objects.insert(key, (object.revision, object.payload));
                    changes.push(Change::Object(channel, object.slot));
                }
            }
            Record::HeadCount { .. } => {}
        }
    }

    /// An entity, if it is seen; of two with the same id the one with the greater epoch.
    pub fn find(&self, id: EntityId) -> Option<&Seen> {
        self.entities.values().filter(|seen| seen.id == id).max_by_key(|seen| seen.epoch)
    }

    /// All entities in sight.
    pub fn entities(&self) -> impl ExactSizeIterator<Item = &Seen> + '_ {
        self.entities.values()
    }

    /// What players changed about a natural object, if anything is known.
    pub fn object(&self, channel: ChannelId, slot: u16) -> Option<&Bytes> {
        self.objects.get(&(channel, slot)).map(|(_, payload)| payload)
    }

    /// What came so far.
    pub fn traffic(&self) -> ViewTraffic {
        self.traffic
    }

    /// Gaps in streams: each is a bug of a node.
    pub fn gaps(&self) -> u64 {
        self.gaps
    }
}

/// The bytes of a message before its payload: its length and its kind.
fn message_head_bytes(payload_bytes: usize) -> usize {
    let length_bits = usize::BITS - (payload_bytes + 1).leading_zeros();
    length_bits.div_ceil(7) as usize + 1
}

fn from_enter(enter: Enter, alias: u32) -> Seen {
    Seen {
        id: enter.id,
        epoch: enter.epoch,
        kind: enter.kind,
        stance: enter.stance,
        name: enter.name,
        trajectory: enter.trajectory,
        alias,
    }
}
