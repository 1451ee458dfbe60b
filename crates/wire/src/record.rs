//! Records: what a body is made of.

use crate::Malformed;
use crate::varint::{Reader, put_svarint, put_varint};
use arrayvec::ArrayVec;
use bytes::{BufMut, Bytes, BytesMut};
use pelago_model::limits::{
    MAX_LEG_UNITS, MAX_NAME_BYTES, MAX_OBJECT_BYTES, MAX_SAY_BYTES, MAX_SPEED, MAX_WAYPOINTS,
};
use pelago_model::trajectory::InvalidTrajectory;
use pelago_model::{Direction, EntityId, Epoch, IslandTime, Position, Revision, Trajectory};
use std::sync::Arc;

/// The short name of an entity, given by its publisher.
pub type Slot = u16;
/// Differences between the points of a path.
pub type Deltas = ArrayVec<(i32, i32), MAX_WAYPOINTS>;

const ENTER: u8 = 0;
const LEAVE: u8 = 1;
const ARRIVE: u8 = 2;
const TURN: u8 = 4;
const STANCE: u8 = 5;
const SAY: u8 = 6;
const OBJECT: u8 = 7;
const GESTURE: u8 = 8;
const HEAD_COUNT: u8 = 9;
/// From here on records are length-prefixed and may be skipped.
const RESERVED: u8 = 12;
/// A turn with this many waypoints or more writes their number.
const COUNT_FOLLOWS: u8 = 3;

/// What times and places of a body are relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// The island time at which the body's tick begins.
    pub t0: IslandTime,
    /// The corner of the channel's chunk.
    pub corner: Position,
}

/// An entity comes into a channel, or all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enter {
    /// Its short name.
    pub slot: Slot,
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
}

/// An entity leaves its trajectory for another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Its short name.
    pub slot: Slot,
    /// When.
    pub at: IslandTime,
    /// The new speed, if it is another.
    pub speed: Option<u16>,
    /// Where it then is, if that does not follow from the old trajectory.
    pub start: Option<Position>,
    /// Where it goes.
    pub deltas: Deltas,
}

/// What players changed about a natural object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRecord {
    /// Its place in the tile's list.
    pub slot: u16,
    /// The revision of the chunk's document that says so.
    pub revision: Revision,
    /// The game's; empty: as the tile says.
    pub payload: Bytes,
}

/// One record of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An entity comes.
    Enter(Enter),
    /// An entity goes.
    Leave {
        /// Its short name.
        slot: Slot,
    },
    /// An entity comes from a neighbour channel.
    Arrive {
        /// Its short name.
        slot: Slot,
        /// Where the neighbour lies.
        from: Direction,
    },
    /// An entity moves otherwise.
    Turn(Turn),
    /// An entity stands otherwise.
    Stance {
        /// Its short name.
        slot: Slot,
        /// The game's stance.
        stance: u16,
    },
    /// An entity speaks.
    Say {
        /// Its short name.
        slot: Slot,
        /// What it says.
        text: Arc<str>,
    },
    /// A natural object changes.
    Object(ObjectRecord),
    /// An entity makes a gesture.
    Gesture {
        /// Its short name.
        slot: Slot,
        /// The game's gesture.
        gesture: u16,
        /// Towards whom.
        target: Option<EntityId>,
    },
    /// How many stand there.
    HeadCount {
        /// That many.
        count: u32,
    },
}

impl Turn {
    /// The turn that leads to `new`, for readers who know the old speed.
    pub fn from_trajectory(
        slot: Slot,
        new: &Trajectory,
        old_speed: u16,
        explicit_start: bool,
    ) -> Self {
        Self {
            slot,
            at: new.start_time(),
            speed: (new.speed() != old_speed && !new.waypoints().is_empty()).then(|| new.speed()),
            start: explicit_start.then(|| new.start()),
            deltas: deltas(new),
        }
    }

    /// The trajectory that follows `old`.
    ///
    /// # Errors
    /// [`InvalidTrajectory`] if the new one is none.
    pub fn apply(&self, old: &Trajectory) -> Result<Trajectory, InvalidTrajectory> {
        let start = self.start.unwrap_or_else(|| old.position_at(self.at));
        let points = points(start, &self.deltas).ok_or(InvalidTrajectory::LegTooLong)?;
        // Who stands keeps no speed to be remembered wrongly.
        let speed = self.speed.unwrap_or_else(|| old.speed());
        if points.is_empty() {
            return Trajectory::new(self.at, start, speed, &[]);
        }
        Trajectory::new(self.at, start, speed, &points)
    }
}

fn deltas(trajectory: &Trajectory) -> Deltas {
    let mut from = trajectory.start();
    let difference = |to: &Position| {
        let delta = (to.x.wrapping_sub(from.x), to.y.wrapping_sub(from.y));
        from = *to;
        delta
    };
    trajectory.waypoints().iter().map(difference).collect()
}

fn points(start: Position, deltas: &Deltas) -> Option<ArrayVec<Position, MAX_WAYPOINTS>> {
    let mut from = start;
    deltas
        .iter()
        .map(|(dx, dy)| {
            from = Position::new(from.x.checked_add(*dx)?, from.y.checked_add(*dy)?);
            Some(from)
        })
        .collect()
}

impl Record {
    /// Appends the record.
    pub fn put(&self, base: &Base, out: &mut BytesMut) {
        match self {
            Self::Enter(enter) => put_enter(enter, base, out),
            Self::Leave { slot } => put_head(LEAVE, 0, *slot, out),
            Self::Arrive { slot, from } => put_head(ARRIVE, *from as u8, *slot, out),
            Self::Turn(turn) => put_turn(turn, base, out),
            Self::Stance { slot, stance } => {
                put_head(STANCE, 0, *slot, out);
                put_varint(out, u64::from(*stance));
            }
            Self::Say { slot, text } => {
                put_head(SAY, 0, *slot, out);
                put_text(text, MAX_SAY_BYTES, out);
            }
            Self::Object(object) => {
                put_head(OBJECT, 0, object.slot, out);
                put_varint(out, object.revision.0);
                let payload = &object.payload[..object.payload.len().min(MAX_OBJECT_BYTES)];
                put_varint(out, payload.len() as u64);
                out.put_slice(payload);
            }
            Self::Gesture { slot, gesture, target } => {
                put_head(GESTURE, 0, *slot, out);
                put_varint(out, u64::from(*gesture));
                out.put_u64_le(target.map_or(0, |target| target.0));
            }
            Self::HeadCount { count } => {
                out.put_u8(HEAD_COUNT);
                put_varint(out, u64::from(*count));
            }
        }
    }
}

fn put_head(kind: u8, flags: u8, slot: Slot, out: &mut BytesMut) {
    out.put_u8(kind | flags << 4);
    put_varint(out, u64::from(slot));
}

/// Appends a text, cut at a character if it is beyond its limit.
fn put_text(text: &str, limit: usize, out: &mut BytesMut) {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    put_varint(out, end as u64);
    out.put_slice(&text.as_bytes()[..end]);
}

fn put_deltas(deltas: &Deltas, out: &mut BytesMut) {
    for (dx, dy) in deltas {
        put_svarint(out, i64::from(*dx));
        put_svarint(out, i64::from(*dy));
    }
}

fn put_place(place: Position, base: &Base, out: &mut BytesMut) {
    put_svarint(out, i64::from(place.x) - i64::from(base.corner.x));
    put_svarint(out, i64::from(place.y) - i64::from(base.corner.y));
}

fn put_enter(enter: &Enter, base: &Base, out: &mut BytesMut) {
    let path = &enter.trajectory;
    let moving = !path.waypoints().is_empty();
    let flags =
        u8::from(enter.stance != 0) | u8::from(!enter.name.is_empty()) << 1 | u8::from(moving) << 2;
    put_head(ENTER, flags, enter.slot, out);
    out.put_u64_le(enter.id.0);
    put_varint(out, enter.epoch.0);
    put_varint(out, u64::from(enter.kind));
    if enter.stance != 0 {
        put_varint(out, u64::from(enter.stance));
    }
    if !enter.name.is_empty() {
        put_text(&enter.name, MAX_NAME_BYTES, out);
    }
    put_svarint(out, path.start_time().since(base.t0));
    put_place(path.start(), base, out);
    if moving {
        put_varint(out, u64::from(path.speed()));
        put_varint(out, path.waypoints().len() as u64);
        put_deltas(&deltas(path), out);
    }
}

fn put_turn(turn: &Turn, base: &Base, out: &mut BytesMut) {
    let count = turn.deltas.len() as u8;
    let flags = u8::from(turn.speed.is_some())
        | u8::from(turn.start.is_some()) << 1
        | count.min(COUNT_FOLLOWS) << 2;
    put_head(TURN, flags, turn.slot, out);
    put_svarint(out, turn.at.since(base.t0));
    if let Some(speed) = turn.speed {
        put_varint(out, u64::from(speed));
    }
    if let Some(start) = turn.start {
        put_place(start, base, out);
    }
    if count >= COUNT_FOLLOWS {
        put_varint(out, u64::from(count));
    }
    put_deltas(&turn.deltas, out);
}

/// The records of some bytes; ends after the first malformed one.
#[derive(Debug)]
pub struct Records<'a> {
    reader: Reader<'a>,
    base: Base,
    failed: bool,
}

/// Reads records.
pub fn decode_records(bytes: &Bytes, base: Base) -> Records<'_> {
    Records { reader: Reader::new(bytes), base, failed: false }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed && !self.reader.is_empty() {
            match self.read() {
                Ok(None) => {}
                Ok(Some(record)) => return Some(Ok(record)),
                Err(malformed) => {
                    self.failed = true;
                    return Some(Err(malformed));
                }
            }
        }
        None
    }
}

impl Records<'_> {
    /// One record; `None` for one that is skipped.
    fn read(&mut self) -> Result<Option<Record>, Malformed> {
        let head = self.reader.u8()?;
        let (kind, flags) = (head & 15, head >> 4);
        if kind >= RESERVED {
            self.reader.prefixed(usize::MAX)?;
            return Ok(None);
        }
        if kind == HEAD_COUNT {
            return Ok(Some(Record::HeadCount { count: self.reader.number()? }));
        }
        let slot = self.reader.number()?;
        let record = match kind {
            ENTER => Record::Enter(self.enter(slot, flags)?),
            LEAVE => Record::Leave { slot },
            ARRIVE => {
                let from = Direction::from_number(flags).ok_or(Malformed::OutOfRange)?;
                Record::Arrive { slot, from }
            }
            TURN => Record::Turn(self.turn(slot, flags)?),
            STANCE => Record::Stance { slot, stance: self.reader.number()? },
            SAY => Record::Say { slot, text: self.text(MAX_SAY_BYTES)? },
            OBJECT => Record::Object(ObjectRecord {
                slot,
                revision: Revision(self.reader.varint()?),
                payload: self.reader.prefixed(MAX_OBJECT_BYTES)?,
            }),
            GESTURE => {
                let gesture = self.reader.number()?;
                let target = self.reader.u64()?;
                let target = (target != 0).then_some(EntityId(target));
                Record::Gesture { slot, gesture, target }
            }
            _ => return Err(Malformed::UnknownRecord),
        };
        Ok(Some(record))
    }

    fn enter(&mut self, slot: Slot, flags: u8) -> Result<Enter, Malformed> {
        let id = EntityId(self.reader.u64()?);
        let epoch = Epoch(self.reader.varint()?);
        let kind = self.reader.number()?;
        let stance = if flags & 1 != 0 { self.reader.number()? } else { 0 };
        let name = if flags & 2 != 0 { self.text(MAX_NAME_BYTES)? } else { "".into() };
        let time = self.base.t0.plus(self.reader.svarint()?);
        let start = self.place()?;
        let trajectory = if flags & 4 != 0 {
            let speed = self.speed()?;
            let count = self.reader.number()?;
            let points = points(start, &self.deltas(count)?).ok_or(Malformed::OutOfRange)?;
            Trajectory::new(time, start, speed, &points).map_err(|_| Malformed::Trajectory)?
        } else {
            Trajectory::still(time, start)
        };
        Ok(Enter { slot, id, epoch, kind, stance, name, trajectory })
    }

    fn turn(&mut self, slot: Slot, flags: u8) -> Result<Turn, Malformed> {
        let at = self.base.t0.plus(self.reader.svarint()?);
        let speed = if flags & 1 != 0 { Some(self.speed()?) } else { None };
        let start = if flags & 2 != 0 { Some(self.place()?) } else { None };
        let count = match flags >> 2 {
            COUNT_FOLLOWS => self.reader.number()?,
            count => usize::from(count),
        };
        Ok(Turn { slot, at, speed, start, deltas: self.deltas(count)? })
    }

    fn speed(&mut self) -> Result<u16, Malformed> {
        let speed = self.reader.number()?;
        if speed > MAX_SPEED { Err(Malformed::OutOfRange) } else { Ok(speed) }
    }

    fn place(&mut self) -> Result<Position, Malformed> {
        let (x, y) = (self.reader.signed()?, self.reader.signed()?);
        let add = |corner: i32, offset| corner.checked_add(offset).ok_or(Malformed::OutOfRange);
        Ok(Position::new(add(self.base.corner.x, x)?, add(self.base.corner.y, y)?))
    }

    fn deltas(&mut self, count: usize) -> Result<Deltas, Malformed> {
        if count > MAX_WAYPOINTS {
            return Err(Malformed::OutOfRange);
        }
        let bounded = |delta: i32| {
            if delta.abs() <= MAX_LEG_UNITS { Ok(delta) } else { Err(Malformed::OutOfRange) }
        };
        (0..count)
            .map(|_| {
                let (dx, dy) = (self.reader.signed()?, self.reader.signed()?);
                Ok((bounded(dx.max(-i32::MAX))?, bounded(dy.max(-i32::MAX))?))
            })
            .collect()
    }

    fn text(&mut self, limit: usize) -> Result<Arc<str>, Malformed> {
        let bytes = self.reader.prefixed(limit)?;
        std::str::from_utf8(&bytes).map(Arc::from).map_err(|_| Malformed::Text)
    }
}
