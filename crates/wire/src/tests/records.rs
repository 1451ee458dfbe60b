//! Records: the page's bytes, round trips, and what is malformed.

use super::strategies::{bases, records, times, trajectories};
use super::{bytes, hex};
use crate::Malformed;
use crate::record::{Base, Enter, ObjectRecord, Record, Turn, decode_records};
use bytes::BytesMut;
use pelago_model::limits::{MAX_NAME_BYTES, MAX_OBJECT_BYTES, MAX_SAY_BYTES};
use pelago_model::{
    Direction, EntityId, Epoch, IslandTime, Position, Revision, Trajectory, WorldNumber, trajectory,
};
use proptest::prelude::*;

const WORLD: WorldNumber = WorldNumber::new(1).unwrap();
const BASE: Base = Base { t0: IslandTime(1000), corner: Position { x: 1920, y: 0 }, world: WORLD };

fn written(record: &Record, base: &Base) -> bytes::Bytes {
    let mut out = BytesMut::new();
    record.put(base, &mut out);
    out.freeze()
}

fn all(hex: &str) -> Result<Vec<Record>, Malformed> {
    decode_records(&bytes(hex), BASE).collect()
}

/// Each worked out from the page with pencil and paper.
#[test]
fn records_have_the_bytes_of_the_page() {
    let place = Position::new(1930, 20);
    let walk = Trajectory::new(IslandTime(990), place, 128, &[Position::new(2570, 20)]).unwrap();
    let enter = Enter {
        slot: 5,
        id: EntityId::new(WORLD, 300),
        epoch: Epoch(2),
        kind: 0,
        stance: 0,
        name: "Bo".into(),
        trajectory: walk,
    };
    let foreign = Enter { id: EntityId(1), ..enter.clone() };
    let turn = Turn {
        slot: 300,
        at: IslandTime(1037),
        speed: Some(256),
        start: Some(Position::new(1919, 1919)),
        deltas: [(64, -64), (0, 1), (-1, 0)].into_iter().collect(),
    };
    let object =
        ObjectRecord { slot: 200, revision: Revision(3), payload: bytes::Bytes::from("{}") };
    let target = Some(EntityId(0x0000_1000_0000_0002));
    for (record, page) in [
        (Record::Enter(enter), "e0 05 ac02 02 00 02426f 13 14 28 8110 800a 00"),
        (Record::Enter(foreign), "60 05 0100000000000000 02 00 02426f 13 14 28 8110 800a 00"),
        (Record::Turn(turn), "f4 ac02 ae01 8002 01 fe1d 03 8001 7f 00 02 01 00"),
        (Record::Leave { slot: 128 }, "01 8001"),
        (Record::Arrive { slot: 9, from: Direction::West }, "62 09"),
        (Record::Stance { slot: 1, stance: 2 }, "05 01 02"),
        (Record::Say { slot: 1, text: "Ö!".into() }, "06 01 03 c39621"),
        (Record::Object(object), "07 c801 03 02 7b7d"),
        (Record::Gesture { slot: 1, gesture: 7, target }, "08 01 07 0200000000100000"),
        (Record::HeadCount { count: 300 }, "09 ac02"),
    ] {
        assert_eq!(hex(&written(&record, &BASE)), page.replace(' ', ""), "{record:?}");
        assert_eq!(all(page), Ok(vec![record]));
    }
}

#[test]
fn reserved_kinds_are_skipped() {
    let leave = Record::Leave { slot: 1 };
    assert_eq!(all("0c 02 ffff 01 01 fd 00 1e 01 aa 0f 00 01 01"), Ok(vec![leave.clone(), leave]));
}

#[test]
fn an_id_of_the_own_world_may_be_written_in_full() {
    let long = all("00 01 2c01000000100000 00 00 00 00 00");
    assert_eq!(long, all("80 01 ac02 00 00 00 00 00"));
    assert!(matches!(long.as_deref(), Ok([Record::Enter(enter)]) if enter.id.serial() == 300));
}

#[test]
fn what_the_page_does_not_know_is_malformed() {
    use Malformed::{OutOfRange, Text, TooLong, Truncated, UnknownRecord, Varint};
    let still = "0100000000000000 00 00";
    for (hex, malformed) in [
        ("03 00", UnknownRecord),
        ("0a 00", UnknownRecord),
        ("0b 00", UnknownRecord),
        ("03", UnknownRecord),
        ("01 808004", OutOfRange),                           // slot 65536
        ("01 8100", Varint),                                 // slot 1 in two bytes
        ("01 8080808080808080808000", Varint),               // eleven bytes
        ("01 ffffffffffffffffff02", Varint),                 // 65 bits
        ("82 09", OutOfRange),                               // direction 8
        ("11 01", OutOfRange),                               // a flag of leave
        ("15 01 02", OutOfRange),                            // a flag of stance
        ("19 01", OutOfRange),                               // a flag of head count
        ("09 8080808010", OutOfRange),                       // 2^32 heads
        ("80 01 80808080808004 00 00 00 00 00", OutOfRange), // serial 2^44
        (&format!("40 01 {still} 00 00 00 908004"), OutOfRange), // speed 4097
        (&format!("40 01 {still} 00 00 00 19"), OutOfRange), // nine waypoints
        (&format!("40 01 {still} 00 00 00 01 02 02"), Malformed::Trajectory), // speed 0
        (&format!("00 01 {still} 00 8080808010 00"), OutOfRange), // x beyond 32 bits
        (&format!("00 01 {still} feffffffffffffffff01 00 00"), OutOfRange), // time beyond 64 bits
        (&format!("20 01 {still} 31"), TooLong),             // a name of 49 bytes
        (&format!("20 01 {still} 01 ff 00 00 00"), Text),
        ("14 01 00 8120 00", OutOfRange),   // speed 4097
        ("54 01 00 00 02 02", OutOfRange),  // speed 0 with a waypoint
        ("c4 01 00 09", OutOfRange),        // nine waypoints
        ("44 01 00 828040 00", OutOfRange), // a leg of 2^19 + 1
        ("44 01 00 00 818040", OutOfRange), // a leg of -2^19 - 1
        ("06 01 c901", TooLong),            // 201 bytes of speech
        ("06 01 01 ff", Text),
        ("07 01 01 41", TooLong), // an object of 65 bytes
        ("0c ffffffffffffffffff01", Truncated),
        ("08 01 01 00", Truncated),
    ] {
        assert_eq!(all(hex), Err(malformed), "{hex}");
    }
}

#[test]
fn nothing_follows_a_malformed_record() {
    let bytes = bytes("01 01 03 01 02");
    let mut records = decode_records(&bytes, BASE);
    assert_eq!(records.next(), Some(Ok(Record::Leave { slot: 1 })));
    assert_eq!(records.next(), Some(Err(Malformed::UnknownRecord)));
    assert_eq!((records.next(), records.next()), (None, None));
}

#[test]
fn texts_and_payloads_beyond_their_limits_are_cut() {
    let long = "ö".repeat(200);
    let enter = Enter {
        slot: 0,
        id: EntityId(0),
        epoch: Epoch(0),
        kind: 0,
        stance: 0,
        name: format!("x{long}").into(),
        trajectory: Trajectory::still(IslandTime(0), Position::new(0, 0)),
    };
    let say = Record::Say { slot: 0, text: long.as_str().into() };
    let object = Record::Object(ObjectRecord {
        slot: 0,
        revision: Revision(1),
        payload: vec![7; MAX_OBJECT_BYTES + 1].into(),
    });
    for record in [Record::Enter(enter), say, object] {
        match decode_records(&written(&record, &BASE), BASE).next() {
            // The last ö would be cut in two.
            Some(Ok(Record::Enter(enter))) => assert_eq!(enter.name.len(), MAX_NAME_BYTES - 1),
            Some(Ok(Record::Say { text, .. })) => assert_eq!(text.len(), MAX_SAY_BYTES),
            Some(Ok(Record::Object(object))) => assert_eq!(object.payload.len(), MAX_OBJECT_BYTES),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_turn_beyond_the_numbering_is_no_trajectory() {
    let edge = Position::new(i32::MAX - 1, 0);
    let turn = Turn {
        slot: 0,
        at: IslandTime(0),
        speed: Some(1),
        start: Some(edge),
        deltas: [(2, 0)].into_iter().collect(),
    };
    let refused = turn.apply(&Trajectory::still(IslandTime(0), edge));
    assert_eq!(refused, Err(trajectory::InvalidTrajectory::LegTooLong));
}

proptest! {
    #[test]
    fn records_are_read_as_they_are_written(
        base in bases(), records in prop::collection::vec(records(), 0..8),
    ) {
        let mut out = BytesMut::new();
        records.iter().for_each(|record| record.put(&base, &mut out));
        let read: Result<Vec<_>, _> = decode_records(&out.freeze(), base).collect();
        prop_assert_eq!(read, Ok(records));
    }

    #[test]
    fn a_truncated_record_is_malformed(base in bases(), record in records()) {
        let whole = written(&record, &base);
        for len in 1..whole.len() {
            let read: Result<Vec<_>, _> = decode_records(&whole.slice(..len), base).collect();
            prop_assert!(read.is_err(), "{} of {} bytes of {:?}: {:?}", len, whole.len(), record, read);
        }
    }

    #[test]
    fn a_turn_leads_to_the_trajectory_that_it_is_made_of(
        old in trajectories(), target in trajectories(), at in times(), explicit: bool,
    ) {
        let new = if explicit {
            target
        } else {
            // Elsewhere the deltas of the target may lead beyond the numbering.
            let (from, to) = (old.position_at(at), target.start());
            let step = |from: i32, to: i32| from + (to.wrapping_sub(from)).clamp(-500, 500) / 2;
            let point = Position::new(step(from.x, to.x), step(from.y, to.y));
            match old.turned(at, target.speed().max(1), &[point, from]) {
                Ok(new) => new,
                Err(_) => return Ok(()),
            }
        };
        let turn = Turn::from_trajectory(7, &new, old.speed(), explicit);
        prop_assert_eq!(turn.speed.is_some(), new.speed() != old.speed());
        prop_assert_eq!(turn.apply(&old), Ok(new));
    }

    #[test]
    fn a_reader_who_came_late_follows_the_next_turn(base in bases(), old in trajectories()) {
        let enter = Enter {
            slot: 1,
            id: EntityId(1),
            epoch: Epoch(0),
            kind: 0,
            stance: 0,
            name: "".into(),
            trajectory: old.clone(),
        };
        let bytes = written(&Record::Enter(enter), &base);
        let Some(Ok(Record::Enter(seen))) = decode_records(&bytes, base).next() else {
            return Err(TestCaseError::fail("no enter"));
        };
        let at = old.start_time().plus(700);
        let here = old.position_at(at);
        // At the old speed, which the turn leaves out.
        let new = old.turned(at, old.speed().max(1), &[Position::new(here.x / 2 + here.x / 2, here.y)]).unwrap();
        let turn = Turn::from_trajectory(1, &new, old.speed(), false);
        prop_assert_eq!(turn.apply(&seen.trajectory), Ok(new));
    }
}
