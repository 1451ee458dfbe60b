//! Writes records. Nothing is allocated beyond the buffer that is written to.

use super::{
    ARRIVE, Base, COUNT_BITS, COUNT_FOLLOWS, Deltas, ENTER, Enter, GESTURE, HEAD_COUNT, LEAVE,
    OBJECT, Record, SAY, STANCE, Slot, TURN, TURN_LEAD_MS, Turn, deltas,
};
use crate::varint::{put_svarint, put_varint};
use bytes::{BufMut, BytesMut};
use pelago_model::limits::{MAX_NAME_BYTES, MAX_OBJECT_BYTES, MAX_SAY_BYTES};
use pelago_model::{Direction, Position};

impl Record {
    /// Appends the record. Texts and payloads beyond their limits are cut, texts at a character.
    pub fn put(&self, base: &Base, out: &mut BytesMut) {
        match self {
            Self::Enter(enter) => put_enter(enter, base, out),
            Self::Leave { slot } => put_leave(*slot, out),
            Self::Arrive { slot, from } => put_arrive(*slot, *from, out),
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

/// Appends a leave.
pub fn put_leave(slot: Slot, out: &mut BytesMut) {
    put_head(LEAVE, 0, slot, out);
}

/// Appends an arrive.
pub fn put_arrive(slot: Slot, from: Direction, out: &mut BytesMut) {
    put_head(ARRIVE, from as u8, slot, out);
}

/// Appends an enter.
pub fn put_enter(enter: &Enter, base: &Base, out: &mut BytesMut) {
    let path = &enter.trajectory;
    // A speed is told also of what stands: the next turn may leave it out.
    let moving = path.speed() != 0;
    let native = enter.id.world() == base.world;
    let flags = u8::from(enter.stance != 0)
        | u8::from(!enter.name.is_empty()) << 1
        | u8::from(moving) << 2
        | u8::from(native) << 3;
    put_head(ENTER, flags, enter.slot, out);
    if native {
        put_varint(out, enter.id.serial());
    } else {
        out.put_u64_le(enter.id.0);
    }
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
        put_varint(out, u64::from(path.speed()) << COUNT_BITS | path.waypoints().len() as u64);
        put_deltas(&deltas(path), out);
    }
}

/// Appends a turn.
pub fn put_turn(turn: &Turn, base: &Base, out: &mut BytesMut) {
    let count = turn.deltas.len() as u8;
    let flags = u8::from(turn.speed.is_some())
        | u8::from(turn.start.is_some()) << 1
        | count.min(COUNT_FOLLOWS) << 2;
    put_head(TURN, flags, turn.slot, out);
    // The difference alone may be beyond 64 bits where the sum is not.
    let late = i128::from(turn.at.0) - i128::from(base.t0.0) + i128::from(TURN_LEAD_MS);
    put_svarint(out, late.clamp(i64::MIN.into(), i64::MAX.into()) as i64);
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
