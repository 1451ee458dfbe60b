//! Frames, snapshots and closes, of clients and of peers.

use super::strategies::{channels, payloads};
use super::unframe;
use crate::Malformed;
use crate::client_stream::{
    ClientSnapshot, ClientSnapshotHeader, decode_client_snapshot, decode_close, decode_frames,
    is_frames, put_client_snapshot, put_close, put_frames,
};
use crate::message::Kind;
use crate::peer_stream::{
    PeerFrame, PeerSnapshot, decode_peer_frames, decode_peer_snapshot, put_peer_frame,
    put_peer_frames_message, put_peer_snapshot,
};
use crate::tick_stamp::TickStamp;
use bytes::{Bytes, BytesMut};
use pelago_model::{IslandId, PublisherId, Tick};
use proptest::prelude::*;

fn bodies() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 1..200).prop_map(Bytes::from)
}

pub(super) fn peer_frames() -> impl Strategy<Value = PeerFrame> {
    let sections = prop::array::uniform8(prop_oneof![Just(Bytes::new()), payloads(20)]);
    (any::<u32>(), any::<u64>(), bodies(), sections)
        .prop_map(|(alias, sequence, core, sections)| PeerFrame { alias, sequence, core, sections })
}

fn client_snapshots() -> impl Strategy<Value = (ClientSnapshot, IslandId)> {
    let numbers = (any::<u32>(), any::<bool>(), any::<u32>(), any::<u64>(), any::<u8>());
    (numbers, channels(), any::<bool>(), payloads(50)).prop_map(
        |((alias, objects, publisher, tick, stamp), channel, at_home, records)| {
            let header =
                ClientSnapshotHeader { alias, objects, channel, publisher, tick: Tick(tick) };
            let home = if at_home { channel.island } else { IslandId(7) };
            (ClientSnapshot { header, stamp: TickStamp::from_byte(stamp), records }, home)
        },
    )
}

pub(super) fn peer_snapshots() -> impl Strategy<Value = PeerSnapshot> {
    let numbers = (any::<u32>(), any::<bool>(), any::<u64>(), any::<u64>());
    let counts = (any::<u64>(), any::<u64>(), any::<u8>());
    (numbers, counts, channels(), payloads(50)).prop_map(
        |((alias, objects, publisher, tick), (sequence, answers, stamp), channel, records)| {
            PeerSnapshot {
                alias,
                objects,
                channel,
                publisher: PublisherId(publisher),
                tick: Tick(tick),
                sequence,
                answers,
                stamp: TickStamp::from_byte(stamp),
                records,
            }
        },
    )
}

#[test]
fn a_body_without_a_stamp_is_malformed() {
    let client = super::bytes("01 05 00");
    assert_eq!(decode_frames(2, &client).err(), Some(Malformed::Truncated));
    let peer = super::bytes("01 05 01 00 00");
    assert_eq!(decode_peer_frames(&peer).err(), Some(Malformed::Truncated));
}

#[test]
fn a_message_takes_its_shortest_form() {
    let message = |delta, count| {
        let mut out = BytesMut::new();
        put_frames(&mut out, delta, (0..count).map(|alias| (alias, [&[0xaa][..]].into_iter())));
        out.to_vec()
    };
    assert_eq!(message(0, 1), [3, 64, 0, 0xaa]);
    assert_eq!(message(63, 1), [3, 127, 0, 0xaa]);
    assert_eq!(message(64, 1), [4, 192, 0, 1, 0xaa]);
    assert_eq!(message(0, 2), [7, 128, 0, 1, 0xaa, 1, 1, 0xaa]);
    assert_eq!(message(127, 2), [7, 255, 0, 1, 0xaa, 1, 1, 0xaa]);
    assert_eq!(message(128, 1), [6, 2, 0x80, 1, 0, 1, 0xaa]);
    assert_eq!(message(1, 0), [1, 129]);
}

#[test]
fn one_frame_alone_has_a_body() {
    assert_eq!(decode_frames(64, &Bytes::new()).err(), Some(Malformed::Truncated));
    assert_eq!(decode_frames(64, &super::bytes("05")).err(), Some(Malformed::Truncated));
    let payload = super::bytes("05 aa bb");
    let (delta, mut frames) = decode_frames(67, &payload).unwrap();
    assert_eq!((delta, frames.next()), (3, Some((5, super::bytes("aa bb")))));
    assert_eq!(frames.next(), None);
}

#[test]
fn a_frame_that_ends_too_early_spoils_its_message() {
    let client = super::bytes("01 05 02 aabb 06 03 aabb");
    assert_eq!(decode_frames(2, &client).err(), Some(Malformed::Truncated));
    let peer = super::bytes("01 05 01 01 aa 00 05 02 01 aa 80 01");
    assert_eq!(decode_peer_frames(&peer).err(), Some(Malformed::Truncated));
}

#[test]
fn snapshots_beyond_the_page_are_malformed() {
    let home = IslandId(1);
    for (hex, malformed) in [
        ("00 08 00 00 01 01 00", Malformed::OutOfRange), // flag 8
        ("00 00 808004 00 01 01 00", Malformed::OutOfRange), // chunk 32768
        ("00 02 00 00 00 04 01 01 00", Malformed::OutOfRange), // rate 4
        ("00 00 00 00 01 01", Malformed::Truncated),     // no stamp
        ("8080808010 00 00 00 01 01 00", Malformed::OutOfRange), // alias 2^32
    ] {
        assert_eq!(
            decode_client_snapshot(&super::bytes(hex), home).err(),
            Some(malformed),
            "{hex}"
        );
    }
    // Between nodes the island is always said.
    let without = super::bytes("00 00 00 00 0100000000000000 01 01 00 00");
    assert_eq!(decode_peer_snapshot(&without).err(), Some(Malformed::OutOfRange));
}

proptest! {
    #[test]
    fn client_frames_are_read_as_they_are_written(
        delta in prop_oneof![0u64..300, any::<u64>()],
        frames in prop::collection::vec((any::<u32>(), bodies()), 0..8), cut in 0usize..200,
    ) {
        // However a body is put together.
        let parts = frames.iter().map(|(alias, body)| {
            let (front, back) = body.split_at(cut.min(body.len()));
            (*alias, [front, &[], back].into_iter())
        });
        let mut out = BytesMut::new();
        put_frames(&mut out, delta, parts);
        let (kind, payload) = unframe(&out.freeze());
        prop_assert!(is_frames(kind));
        let (read_delta, read) = decode_frames(kind, &payload).unwrap();
        prop_assert_eq!((read_delta, read.len()), (delta, frames.len()));
        prop_assert_eq!(read.collect::<Vec<_>>(), frames);
    }

    #[test]
    fn client_snapshots_are_read_as_they_are_written((snapshot, home) in client_snapshots()) {
        let mut out = BytesMut::new();
        let ClientSnapshot { header, stamp, records } = &snapshot;
        put_client_snapshot(&mut out, header, home, *stamp, records);
        let (kind, payload) = unframe(&out.freeze());
        prop_assert_eq!(kind, Kind::Snapshot as u8);
        for len in 0..payload.len() - records.len() {
            prop_assert!(decode_client_snapshot(&payload.slice(..len), home).is_err());
        }
        prop_assert_eq!(decode_client_snapshot(&payload, home), Ok(snapshot));
    }

    #[test]
    fn closes_are_read_as_they_are_written(aliases: Vec<u32>) {
        let mut out = BytesMut::new();
        put_close(&mut out, &aliases);
        let (kind, payload) = unframe(&out.freeze());
        prop_assert_eq!((kind, decode_close(&payload)), (Kind::Close as u8, Ok(aliases)));
    }

    #[test]
    fn peer_frames_are_read_as_they_are_written(
        tick: u64, frames in prop::collection::vec(peer_frames(), 0..6),
    ) {
        let mut entries = BytesMut::new();
        frames.iter().for_each(|frame| put_peer_frame(&mut entries, frame));
        let mut out = BytesMut::new();
        put_peer_frames_message(&mut out, Tick(tick), &entries);
        let (kind, payload) = unframe(&out.freeze());
        prop_assert_eq!(kind, Kind::Frames as u8);
        let (read_tick, read) = decode_peer_frames(&payload).unwrap();
        prop_assert_eq!((read_tick, read.len()), (Tick(tick), frames.len()));
        prop_assert_eq!(read.collect::<Vec<_>>(), frames);
    }

    #[test]
    fn a_truncated_frame_is_malformed(tick: u64, frame in peer_frames(), alias: u32, body in bodies()) {
        let (mut client, mut peer) = (BytesMut::new(), BytesMut::new());
        crate::varint::put_varint(&mut peer, tick);
        let start = peer.len();
        put_peer_frame(&mut peer, &frame);
        // A message of one frame would go to its end, wherever that is.
        let twice = [(alias, [&body[..]].into_iter()), (alias, [&body[..]].into_iter())];
        put_frames(&mut client, 0, twice.into_iter());
        let (client, peer) = (unframe(&client.freeze()).1, peer.freeze());
        let half = client.len() / 2;
        for len in (0..peer.len()).filter(|len| *len != start) {
            prop_assert!(decode_peer_frames(&peer.slice(..len)).is_err(), "{}", len);
        }
        for len in (1..client.len()).filter(|len| *len != half) {
            prop_assert!(decode_frames(128, &client.slice(..len)).is_err(), "{}", len);
        }
    }

    #[test]
    fn peer_snapshots_are_read_as_they_are_written(snapshot in peer_snapshots()) {
        let mut out = BytesMut::new();
        put_peer_snapshot(&mut out, &snapshot);
        let (kind, payload) = unframe(&out.freeze());
        prop_assert_eq!(kind, Kind::Snapshot as u8);
        for len in 0..payload.len() - snapshot.records.len() {
            prop_assert!(decode_peer_snapshot(&payload.slice(..len)).is_err());
        }
        prop_assert_eq!(decode_peer_snapshot(&payload), Ok(snapshot));
    }
}
