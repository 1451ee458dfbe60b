//! What passes between nodes, without the machines.

use super::client::{payload, same};
use super::control;
use crate::input::Input;
use bytes::{Bytes, BytesMut};
use pelago_model::{ChannelId, ChunkId, IslandClock, IslandId, PublisherId};
use pelago_wire::client_stream::{decode_close, put_close};
use pelago_wire::frame::{Frame, Snapshot, StreamKind};
use pelago_wire::peer::{PeerMessage, peer_message};
use pelago_wire::peer_stream::{
    decode_peer_frames, decode_peer_snapshot, put_peer_frame, put_peer_frames_message,
    put_peer_snapshot,
};

/// The first byte says what the others are.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let selector = input.u8();
    let bytes = Bytes::copy_from_slice(input.rest());
    match selector {
        0 => said(&bytes),
        1 => frames(&bytes),
        2 => snapshot(&bytes),
        3 => close(&bytes),
        _ => {}
    }
}

fn said(bytes: &Bytes) {
    let Some(message) = control::<PeerMessage>(bytes) else { return };
    if let Some(peer_message::Body::Subscriptions(subscriptions)) = message.body {
        for channel in subscriptions.add.iter().chain(&subscriptions.remove) {
            let _ = ChannelId::try_from(channel);
        }
    }
}

fn frames(bytes: &Bytes) {
    let Ok((tick, frames)) = decode_peer_frames(bytes) else { return };
    let channel = ChannelId::whole(IslandId(1), ChunkId::new(i16::MAX, i16::MIN));
    let whose = (PublisherId(1), channel, StreamKind::Entities);
    let mut entries = BytesMut::new();
    for bytes in frames {
        put_peer_frame(&mut entries, &bytes);
        let size = bytes.core.len() + bytes.sections.iter().map(Bytes::len).sum::<usize>();
        let (alias, again) = (bytes.alias, bytes.clone());
        if let Ok(frame) = Frame::decode(whose, tick, &IslandClock::IDENTITY, bytes) {
            assert_eq!(frame.to_peer(alias), again, "a frame changes on its way");
            let records = frame.records.len() + frame.edge_records.len();
            assert!(records <= size, "more records than bytes");
        }
    }
    // An empty section whose bit is set is written without it: the meaning counts.
    let mut out = BytesMut::new();
    put_peer_frames_message(&mut out, tick, &entries);
    let read = |bytes: &Bytes| {
        let (tick, frames) = decode_peer_frames(bytes).expect("it was read or written before");
        (tick, frames.collect::<Vec<_>>())
    };
    assert_eq!(read(&payload(out)), read(bytes), "frames change on their way");
}

fn snapshot(bytes: &Bytes) {
    let Ok(read) = decode_peer_snapshot(bytes) else { return };
    let mut out = BytesMut::new();
    put_peer_snapshot(&mut out, &read);
    assert_eq!(decode_peer_snapshot(&payload(out)), Ok(read.clone()), "a snapshot changes");
    let (alias, again) = (read.alias, read.clone());
    if let Ok(snapshot) = Snapshot::decode(read, &IslandClock::IDENTITY) {
        assert!(snapshot.records.len() <= bytes.len(), "more records than bytes");
        assert_eq!(snapshot.to_peer(alias), again, "a snapshot changes on its way");
    }
}

fn close(bytes: &Bytes) {
    if let Ok(aliases) = decode_close(bytes) {
        same(bytes, |out| put_close(out, &aliases));
    }
}
