//! Targets that decode, without state.

pub(crate) mod client;
pub(crate) mod document;
pub(crate) mod framing;
pub(crate) mod peer;

use bytes::{Bytes, BytesMut};
use pelago_model::{IslandTime, Position, Trajectory};
use pelago_wire::message::decode_control;
use pelago_wire::record::{Base, Record, decode_records};
use prost::Message;
use std::fmt::Debug;

/// A control message means the same when it is written and read again.
fn control<M: Message + Default + PartialEq + Debug>(payload: &Bytes) -> Option<M> {
    let message: M = decode_control(payload).ok()?;
    let again = decode_control(&message.encode_to_vec().into());
    assert_eq!(again, Ok(message), "a control message changes on its way");
    decode_control(payload).ok()
}

/// Records mean the same when they are written and read again; using them never panics.
fn records(bytes: &Bytes, base: Base) {
    let mut count = 0;
    for record in decode_records(bytes, base) {
        count += 1;
        let Ok(record) = record else { break };
        let mut out = BytesMut::new();
        record.put(&base, &mut out);
        let again: Vec<_> = decode_records(&out.freeze(), base).collect();
        assert_eq!(again, [Ok(record.clone())], "a record changes on its way");
        follow(&record);
    }
    assert!(count <= bytes.len(), "more records than bytes");
}

/// What a reader does with a record.
fn follow(record: &Record) {
    match record {
        Record::Turn(turn) => {
            for place in [Position::new(0, 0), Position::new(i32::MAX, i32::MIN)] {
                if let Ok(new) = turn.apply(&Trajectory::still(turn.at, place)) {
                    walk(&new);
                }
            }
        }
        Record::Enter(enter) => walk(&enter.trajectory),
        _ => {}
    }
}

/// A path begins at its start and ends at its destination.
fn walk(path: &Trajectory) {
    assert_eq!(path.position_at(IslandTime(i64::MIN)), path.start());
    let (start, end) = (path.start_time(), path.end_time());
    path.position_at(start.plus(end.since(start) / 2));
    path.position_at(IslandTime(i64::MAX));
    path.stays_in_chunk_ms(start);
    // A path of less than a millisecond is at its start at its end. Where the numbering of time ends, so does the path.
    if end.0 < i64::MAX {
        assert_eq!(path.position_at(end.plus(1)), path.destination());
    }
}
