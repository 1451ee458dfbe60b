//! Decoding is total: whatever the bytes are, it ends with a value or `Malformed`.

use super::strategies::{bases, records};
use super::streams::{peer_frames, peer_snapshots};
use crate::client_stream::{decode_client_snapshot, decode_close, decode_frames};
use crate::frame::{Frame, Snapshot, StreamKind};
use crate::message::{decode_body, decode_control};
use crate::peer_stream::{
    decode_peer_frames, decode_peer_snapshot, put_peer_frame, put_peer_frames_message,
    put_peer_snapshot,
};
use crate::record::{Base, Record, decode_records};
use crate::{client, peer};
use bytes::{Bytes, BytesMut};
use pelago_model::{
    ChannelId, ChunkId, IslandClock, IslandId, IslandTime, Position, PublisherId, Tick, Trajectory,
    WorldNumber,
};
use proptest::prelude::*;

/// The bases with the least room for a sum.
const EXTREMES: [Base; 2] =
    [extreme(i64::MIN, i32::MIN, 0), extreme(i64::MAX, i32::MAX, WorldNumber::MAX)];

const fn extreme(t0: i64, corner: i32, world: u32) -> Base {
    let corner = Position { x: corner, y: corner };
    Base { t0: IslandTime(t0), corner, world: WorldNumber::new(world).unwrap() }
}

/// Reads the bytes as everything that there is, and uses what comes out.
fn read_as_everything(bytes: &Bytes) {
    let clock = IslandClock::IDENTITY;
    let edge = Position::new(i32::MAX, i32::MIN);
    for base in EXTREMES {
        for record in decode_records(bytes, base).flatten() {
            match record {
                Record::Turn(turn) => {
                    let _ = turn.apply(&Trajectory::still(base.t0, edge));
                }
                Record::Enter(enter) => {
                    enter.trajectory.position_at(IslandTime(i64::MAX));
                }
                _ => {}
            }
        }
    }
    for kind in [2, 64, 127, 128, 255] {
        if let Ok((_, frames)) = decode_frames(kind, bytes) {
            assert_eq!(frames.len(), frames.count());
        }
    }
    if let Ok((tick, frames)) = decode_peer_frames(bytes) {
        assert_eq!(frames.len(), frames.clone().count());
        let channel = ChannelId::whole(IslandId(1), ChunkId::new(i16::MAX, i16::MIN));
        let whose = (PublisherId(1), channel, StreamKind::Entities);
        for frame in frames {
            let _ = Frame::decode(whose, tick, &clock, frame);
        }
    }
    let _ = decode_client_snapshot(bytes, IslandId(1));
    if let Ok(snapshot) = decode_peer_snapshot(bytes) {
        let _ = Snapshot::decode(snapshot, &clock);
    }
    let _ = decode_close(bytes);
    if let Ok(message) = decode_control::<client::ServerMessage>(bytes)
        && let Some(client::server_message::Body::Welcome(welcome)) = message.body
    {
        let _ = welcome.path.as_ref().map(Trajectory::try_from);
        let _ = welcome.clock.as_ref().map(IslandClock::try_from);
    }
    let _ = decode_control::<client::ClientMessage>(bytes);
    let _ = decode_control::<peer::PeerMessage>(bytes);
    let _ = decode_body::<peer::StewardCall>(bytes);
    let _ = decode_body::<peer::LaneCall>(bytes);
    let _ = decode_body::<peer::DurableAnswer>(bytes);
    let _ = decode_body::<peer::LiveAnswer>(bytes);
}

/// Some bytes of a valid message are others, and its end may be missing.
fn damaged(valid: impl Strategy<Value = Bytes>) -> impl Strategy<Value = Bytes> {
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (valid, damage, any::<prop::sample::Index>()).prop_map(|(valid, damage, end)| {
        let mut bytes = valid.to_vec();
        for (at, byte) in damage.iter().filter(|_| !valid.is_empty()) {
            bytes[at.index(valid.len())] = *byte;
        }
        bytes.truncate(end.index(valid.len() + 1).max(valid.len() / 2));
        bytes.into()
    })
}

fn bodies() -> impl Strategy<Value = Bytes> {
    (bases(), prop::collection::vec(records(), 0..6)).prop_map(|(base, records)| {
        let mut out = BytesMut::new();
        records.iter().for_each(|record| record.put(&base, &mut out));
        out.freeze()
    })
}

fn frames() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(peer_frames(), 0..4).prop_map(|frames| {
        let (mut entries, mut out) = (BytesMut::new(), BytesMut::new());
        frames.iter().for_each(|frame| put_peer_frame(&mut entries, frame));
        put_peer_frames_message(&mut out, Tick(5), &entries);
        super::unframe(&out.freeze()).1
    })
}

fn snapshots() -> impl Strategy<Value = Bytes> {
    peer_snapshots().prop_map(|snapshot| {
        let mut out = BytesMut::new();
        put_peer_snapshot(&mut out, &snapshot);
        super::unframe(&out.freeze()).1
    })
}

#[test]
fn a_length_beyond_memory_is_malformed() {
    for hex in ["0cffffffffffffffffff01", "0000ffffffffffffffffff01", "000001ffffffffffffffffff01"]
    {
        let bytes = super::bytes(hex);
        read_as_everything(&bytes);
        assert!(decode_records(&bytes, EXTREMES[0]).any(|record| record.is_err()));
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read_as_everything(&bytes.into());
    }

    #[test]
    fn damaged_records_never_panic(bytes in damaged(bodies())) {
        read_as_everything(&bytes);
    }

    #[test]
    fn damaged_frames_never_panic(bytes in damaged(frames())) {
        read_as_everything(&bytes);
    }

    #[test]
    fn damaged_snapshots_never_panic(bytes in damaged(snapshots())) {
        read_as_everything(&bytes);
    }
}
