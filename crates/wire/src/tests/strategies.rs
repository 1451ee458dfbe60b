//! Arbitrary records and what they are made of.

use crate::record::{Base, Enter, ObjectRecord, Record, Turn};
use bytes::Bytes;
use pelago_model::limits::{MAX_LEG_UNITS, MAX_OBJECT_BYTES, MAX_SPEED, MAX_WAYPOINTS};
use pelago_model::{
    Cell, ChannelId, ChunkId, Direction, EntityId, Epoch, IslandId, IslandTime, Position, Rate,
    Revision, Trajectory, WorldNumber,
};
use proptest::prelude::*;

/// Far enough from the end of the numbering for eight legs.
const FAR: i32 = i32::MAX - MAX_LEG_UNITS * MAX_WAYPOINTS as i32;

pub(super) fn chunks() -> impl Strategy<Value = ChunkId> {
    (any::<i16>(), any::<i16>()).prop_map(|(x, y)| ChunkId::new(x, y))
}

pub(super) fn channels() -> impl Strategy<Value = ChannelId> {
    let rate = (0u8..4).prop_map(|number| Rate::from_number(number).unwrap());
    let cell = prop_oneof![Just(0u32), any::<u32>()];
    (any::<u64>(), chunks(), cell, rate).prop_map(|(island, chunk, cell, rate)| ChannelId {
        island: IslandId(island),
        chunk,
        cell: Cell(cell),
        rate,
    })
}

pub(super) fn bases() -> impl Strategy<Value = Base> {
    let base = |(t0, chunk, world): (_, ChunkId, _)| Base { t0, corner: chunk.corner(), world };
    (times(), chunks(), worlds()).prop_map(base)
}

/// So few that two are often the same.
fn worlds() -> impl Strategy<Value = WorldNumber> {
    prop_oneof![0..2u32, Just(WorldNumber::MAX)]
        .prop_map(|number| WorldNumber::new(number).unwrap())
}

fn ids() -> impl Strategy<Value = EntityId> {
    let serial = prop_oneof![0u64..1000, any::<u64>()];
    (worlds(), serial).prop_map(|(world, serial)| EntityId::new(world, serial))
}

pub(super) fn times() -> impl Strategy<Value = IslandTime> {
    prop_oneof![0i64..1 << 42, -(1i64 << 61)..1 << 61].prop_map(IslandTime)
}

pub(super) fn places() -> impl Strategy<Value = Position> {
    (-FAR..=FAR, -FAR..=FAR).prop_map(|(x, y)| Position::new(x, y))
}

fn deltas() -> impl Strategy<Value = Vec<(i32, i32)>> {
    let coordinate = || {
        prop_oneof![
            -1000i32..1000,
            -MAX_LEG_UNITS..=MAX_LEG_UNITS,
            Just(MAX_LEG_UNITS),
            Just(-MAX_LEG_UNITS)
        ]
    };
    prop::collection::vec((coordinate(), coordinate()), 0..=MAX_WAYPOINTS)
}

pub(super) fn trajectories() -> impl Strategy<Value = Trajectory> {
    let standing = (times(), places(), 0..=MAX_SPEED);
    let standing =
        standing.prop_map(|(time, start, speed)| Trajectory::new(time, start, speed, &[]).unwrap());
    let moving = (times(), places(), 1..=MAX_SPEED, deltas());
    let moving = moving.prop_map(|(time, start, speed, deltas)| {
        let mut at = start;
        let points = deltas.iter().map(|(dx, dy)| {
            at = Position::new(at.x + dx, at.y + dy);
            at
        });
        Trajectory::new(time, start, speed, &points.collect::<Vec<_>>()).unwrap()
    });
    prop_oneof![1 => standing, 3 => moving]
}

pub(super) fn payloads(limit: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..=limit).prop_map(Bytes::from)
}

fn enters() -> impl Strategy<Value = Enter> {
    let identity = (any::<u16>(), ids(), any::<u64>(), any::<u16>());
    let stance = prop_oneof![Just(0u16), any::<u16>()];
    (identity, stance, "\\PC{0,12}", trajectories()).prop_map(
        |((slot, id, epoch, kind), stance, name, trajectory)| Enter {
            slot,
            id,
            epoch: Epoch(epoch),
            kind,
            stance,
            name: name.into(),
            trajectory,
        },
    )
}

pub(super) fn turns() -> impl Strategy<Value = Turn> {
    let speed = prop::option::of(1..=MAX_SPEED);
    (any::<u16>(), times(), speed, prop::option::of(places()), deltas()).prop_map(
        |(slot, at, speed, start, deltas)| {
            let deltas = deltas.into_iter().collect();
            Turn { slot, at, speed, start, deltas }
        },
    )
}

pub(super) fn records() -> impl Strategy<Value = Record> {
    let object = (any::<u16>(), any::<u64>(), payloads(MAX_OBJECT_BYTES));
    let gesture = (any::<u16>(), any::<u16>(), prop::option::of(1..=u64::MAX));
    prop_oneof![
        enters().prop_map(Record::Enter),
        any::<u16>().prop_map(|slot| Record::Leave { slot }),
        (any::<u16>(), 0u8..8).prop_map(|(slot, from)| Record::Arrive {
            slot,
            from: Direction::from_number(from).unwrap()
        }),
        turns().prop_map(Record::Turn),
        (any::<u16>(), any::<u16>()).prop_map(|(slot, stance)| Record::Stance { slot, stance }),
        (any::<u16>(), "\\PC{0,50}")
            .prop_map(|(slot, text)| Record::Say { slot, text: text.into() }),
        object.prop_map(|(slot, revision, payload)| {
            Record::Object(ObjectRecord { slot, revision: Revision(revision), payload })
        }),
        gesture.prop_map(|(slot, gesture, target)| Record::Gesture {
            slot,
            gesture,
            target: target.map(EntityId)
        }),
        any::<u32>().prop_map(|count| Record::HeadCount { count }),
    ]
}

pub(super) fn blobs() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

pub(super) fn texts() -> impl Strategy<Value = String> {
    "\\PC{0,20}"
}
