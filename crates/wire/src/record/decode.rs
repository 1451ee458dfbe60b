//! Reads records: any bytes become records or [`Malformed`].

use super::{
    ARRIVE, Base, COUNT_BITS, COUNT_FOLLOWS, Deltas, ENTER, Enter, GESTURE, HEAD_COUNT, LEAVE,
    OBJECT, ObjectRecord, RESERVED, Record, SAY, STANCE, Slot, TURN, TURN_LEAD_MS, Turn, points,
};
use crate::Malformed;
use crate::varint::Reader;
use bytes::Bytes;
use pelago_model::id::SERIAL_BITS;
use pelago_model::limits::{
    MAX_LEG_UNITS, MAX_NAME_BYTES, MAX_OBJECT_BYTES, MAX_SAY_BYTES, MAX_SPEED, MAX_WAYPOINTS,
};
use pelago_model::{EntityId, Epoch, IslandTime, Position, Revision, Trajectory};
use std::iter::FusedIterator;
use std::sync::Arc;

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

impl FusedIterator for Records<'_> {}

impl Records<'_> {
    /// One record; `None` for one that is skipped.
    fn read(&mut self) -> Result<Option<Record>, Malformed> {
        let head = self.reader.u8()?;
        let (kind, flags) = (head & 15, head >> 4);
        if kind >= RESERVED {
            self.reader.prefixed(usize::MAX)?;
            return Ok(None);
        }
        // A flag without a meaning may have fields that we do not know.
        let allowed = match kind {
            ENTER | TURN => 15,
            ARRIVE => 7,
            LEAVE | STANCE | SAY | OBJECT | GESTURE | HEAD_COUNT => 0,
            _ => return Err(Malformed::UnknownRecord),
        };
        if flags > allowed {
            return Err(Malformed::OutOfRange);
        }
        if kind == HEAD_COUNT {
            return Ok(Some(Record::HeadCount { count: self.reader.number()? }));
        }
        let slot = self.reader.number()?;
        let record = match kind {
            ENTER => Record::Enter(self.enter(slot, flags)?),
            LEAVE => Record::Leave { slot },
            ARRIVE => {
                let from =
                    pelago_model::Direction::from_number(flags).ok_or(Malformed::OutOfRange)?;
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
        let id = if flags & 8 != 0 { self.native()? } else { EntityId(self.reader.u64()?) };
        let epoch = Epoch(self.reader.varint()?);
        let kind = self.reader.number()?;
        let stance = if flags & 1 != 0 { self.reader.number()? } else { 0 };
        let name = if flags & 2 != 0 { self.text(MAX_NAME_BYTES)? } else { "".into() };
        let time = self.time(0)?;
        let start = self.place()?;
        let trajectory = if flags & 4 != 0 {
            let pace = self.reader.varint()?;
            let speed = speed(pace >> COUNT_BITS)?;
            let count = pace & ((1 << COUNT_BITS) - 1);
            let points =
                points(start, &self.deltas(count as usize)?).ok_or(Malformed::OutOfRange)?;
            Trajectory::new(time, start, speed, &points).map_err(|_| Malformed::Trajectory)?
        } else {
            Trajectory::still(time, start)
        };
        Ok(Enter { slot, id, epoch, kind, stance, name, trajectory })
    }

    /// The id of what was made in the world of the island.
    fn native(&mut self) -> Result<EntityId, Malformed> {
        let serial = self.reader.varint()?;
        if serial >> SERIAL_BITS != 0 {
            return Err(Malformed::OutOfRange);
        }
        Ok(EntityId::new(self.base.world, serial))
    }

    fn turn(&mut self, slot: Slot, flags: u8) -> Result<Turn, Malformed> {
        let at = self.time(TURN_LEAD_MS)?;
        let speed = if flags & 1 != 0 { Some(speed(self.reader.varint()?)?) } else { None };
        let start = if flags & 2 != 0 { Some(self.place()?) } else { None };
        let count = match flags >> 2 {
            COUNT_FOLLOWS => self.reader.number()?,
            count => usize::from(count),
        };
        if speed == Some(0) && count > 0 {
            return Err(Malformed::OutOfRange);
        }
        Ok(Turn { slot, at, speed, start, deltas: self.deltas(count)? })
    }

    fn time(&mut self, lead_ms: i64) -> Result<IslandTime, Malformed> {
        let late = i128::from(self.reader.svarint()?) - i128::from(lead_ms);
        let time = i64::try_from(i128::from(self.base.t0.0) + late);
        time.map(IslandTime).map_err(|_| Malformed::OutOfRange)
    }

    fn place(&mut self) -> Result<Position, Malformed> {
        let corner = self.base.corner;
        Ok(Position::new(self.coordinate(corner.x)?, self.coordinate(corner.y)?))
    }

    fn coordinate(&mut self, corner: i32) -> Result<i32, Malformed> {
        let sum = i64::from(corner).checked_add(self.reader.svarint()?);
        sum.and_then(|sum| i32::try_from(sum).ok()).ok_or(Malformed::OutOfRange)
    }

    fn deltas(&mut self, count: usize) -> Result<Deltas, Malformed> {
        if count > MAX_WAYPOINTS {
            return Err(Malformed::OutOfRange);
        }
        (0..count)
            .map(|_| {
                let (dx, dy): (i32, i32) = (self.reader.signed()?, self.reader.signed()?);
                if dx.unsigned_abs().max(dy.unsigned_abs()) > MAX_LEG_UNITS.unsigned_abs() {
                    return Err(Malformed::OutOfRange);
                }
                Ok((dx, dy))
            })
            .collect()
    }

    fn text(&mut self, limit: usize) -> Result<Arc<str>, Malformed> {
        let bytes = self.reader.prefixed(limit)?;
        std::str::from_utf8(&bytes).map(Arc::from).map_err(|_| Malformed::Text)
    }
}

fn speed(number: u64) -> Result<u16, Malformed> {
    let speed = u16::try_from(number).ok().filter(|speed| *speed <= MAX_SPEED);
    speed.ok_or(Malformed::OutOfRange)
}
