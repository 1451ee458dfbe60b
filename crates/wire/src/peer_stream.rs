//! Frames and snapshots between nodes.

use crate::Malformed;
use crate::client_stream::{put_channel, read_channel};
use crate::message::{Kind, put_header, put_message};
use crate::tick_stamp::TickStamp;
use crate::varint::{Reader, put_varint, varint_len};
use bytes::{BufMut, Bytes, BytesMut};
use pelago_model::{ChannelId, PublisherId, Tick};

/// A frame on a peer link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerFrame {
    /// The stream's name on this link.
    pub alias: u32,
    /// Counts every frame of the stream.
    pub sequence: u64,
    /// The stamp and the records for every reader.
    pub core: Bytes,
    /// Records for readers who do not hold the neighbour in that direction; empty where there are none.
    pub sections: [Bytes; 8],
}

/// A snapshot on a peer link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSnapshot {
    /// The stream's name on this link from now on.
    pub alias: u32,
    /// Whether it is of objects.
    pub objects: bool,
    /// The channel.
    pub channel: ChannelId,
    /// The publisher.
    pub publisher: PublisherId,
    /// The tick of the last frame that it includes.
    pub tick: Tick,
    /// The number of that frame.
    pub sequence: u64,
    /// The version of the subscriptions that it answers.
    pub answers: u64,
    /// The stamp of that frame.
    pub stamp: TickStamp,
    /// Its records.
    pub records: Bytes,
}

/// Appends a frame to the entries of a frames message.
pub fn put_peer_frame(entries: &mut BytesMut, frame: &PeerFrame) {
    put_varint(entries, u64::from(frame.alias));
    put_varint(entries, frame.sequence);
    put_varint(entries, frame.core.len() as u64);
    entries.put_slice(&frame.core);
    let mask = frame
        .sections
        .iter()
        .enumerate()
        .fold(0u8, |mask, (side, section)| mask | u8::from(!section.is_empty()) << side);
    entries.put_u8(mask);
    for section in frame.sections.iter().filter(|section| !section.is_empty()) {
        put_varint(entries, section.len() as u64);
        entries.put_slice(section);
    }
}

/// Appends a frames message around its entries, all of the same tick.
pub fn put_peer_frames_message(out: &mut BytesMut, tick: Tick, entries: &[u8]) {
    put_header(out, Kind::Frames, varint_len(tick.0) + entries.len());
    put_varint(out, tick.0);
    out.put_slice(entries);
}

/// The frames of a message. The message has been checked as a whole.
#[derive(Clone, Debug)]
pub struct PeerFrames<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl Iterator for PeerFrames<'_> {
    type Item = PeerFrame;

    fn next(&mut self) -> Option<PeerFrame> {
        self.left = self.left.checked_sub(1)?;
        read_frame(&mut self.reader).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for PeerFrames<'_> {}

/// Reads the frames of a message: their tick, and one after the other. A frame in memory is far
/// larger than the five bytes that one may have here, so that they are not collected.
///
/// # Errors
/// [`Malformed`] if any part is; records are not looked into, but every core has a stamp.
pub fn decode_peer_frames(payload: &Bytes) -> Result<(Tick, PeerFrames<'_>), Malformed> {
    let mut reader = Reader::new(payload);
    let tick = Tick(reader.varint()?);
    let mut frames = PeerFrames { reader: reader.clone(), left: 0 };
    while !reader.is_empty() {
        read_frame(&mut reader)?;
        frames.left += 1;
    }
    Ok((tick, frames))
}

fn read_frame(reader: &mut Reader<'_>) -> Result<PeerFrame, Malformed> {
    let alias = reader.number()?;
    let sequence = reader.varint()?;
    let core = reader.prefixed(usize::MAX)?;
    if core.is_empty() {
        return Err(Malformed::Truncated);
    }
    let mask = reader.u8()?;
    let mut sections: [Bytes; 8] = Default::default();
    for (side, section) in sections.iter_mut().enumerate() {
        if mask & 1 << side != 0 {
            *section = reader.prefixed(usize::MAX)?;
        }
    }
    Ok(PeerFrame { alias, sequence, core, sections })
}

/// Appends a snapshot message.
pub fn put_peer_snapshot(out: &mut BytesMut, snapshot: &PeerSnapshot) {
    let mut payload = BytesMut::with_capacity(64 + snapshot.records.len());
    put_varint(&mut payload, u64::from(snapshot.alias));
    put_channel(&mut payload, &snapshot.channel, snapshot.objects, None);
    payload.put_u64_le(snapshot.publisher.0);
    put_varint(&mut payload, snapshot.tick.0);
    put_varint(&mut payload, snapshot.sequence);
    put_varint(&mut payload, snapshot.answers);
    payload.put_u8(snapshot.stamp.to_byte());
    payload.put_slice(&snapshot.records);
    put_message(out, Kind::Snapshot, &payload);
}

/// Reads a snapshot.
///
/// # Errors
/// [`Malformed`] if its header is; records are not looked into.
pub fn decode_peer_snapshot(payload: &Bytes) -> Result<PeerSnapshot, Malformed> {
    let mut reader = Reader::new(payload);
    let alias = reader.number()?;
    let (channel, objects) = read_channel(&mut reader, None)?;
    Ok(PeerSnapshot {
        alias,
        objects,
        channel,
        publisher: PublisherId(reader.u64()?),
        tick: Tick(reader.varint()?),
        sequence: reader.varint()?,
        answers: reader.varint()?,
        stamp: TickStamp::from_byte(reader.u8()?),
        records: reader.rest(),
    })
}
