//! Frames, snapshots and closes as clients get them.

use crate::Malformed;
use crate::message::{Kind, put_header};
use crate::stamp::Stamp;
use crate::varint::{Reader, put_svarint, put_varint, varint_len};
use bytes::{BufMut, Bytes, BytesMut};
use pelago_model::{Cell, ChannelId, ChunkId, IslandId, Rate, Tick};

const OBJECTS: u8 = 1;
const CELL_AND_RATE: u8 = 2;
const ISLAND: u8 = 4;

/// What a snapshot says of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientSnapshotHeader {
    /// By which name its frames come.
    pub alias: u32,
    /// Whether it is of objects.
    pub objects: bool,
    /// The channel.
    pub channel: ChannelId,
    /// Aliases with the same number share slots.
    pub publisher: u32,
    /// The tick of its stamp.
    pub tick: Tick,
}

/// A snapshot as a client reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSnapshot {
    /// What it is of.
    pub header: ClientSnapshotHeader,
    /// Of the last frame that it includes.
    pub stamp: Stamp,
    /// Its records.
    pub records: Bytes,
}

/// Appends a frame to the entries of a frames message.
pub fn put_frame(entries: &mut BytesMut, alias: u32, slices: &[&[u8]]) {
    put_varint(entries, u64::from(alias));
    put_varint(entries, slices.iter().map(|slice| slice.len() as u64).sum());
    slices.iter().for_each(|slice| entries.put_slice(slice));
}

/// Appends a frames message around its entries.
pub fn put_frames_message(out: &mut BytesMut, tick_delta: u64, entries: &[u8]) {
    put_header(out, Kind::Frames, varint_len(tick_delta) + entries.len());
    put_varint(out, tick_delta);
    out.put_slice(entries);
}

/// Appends a snapshot message.
pub fn put_client_snapshot(
    out: &mut BytesMut,
    header: &ClientSnapshotHeader,
    home: IslandId,
    stamp: Stamp,
    records: &[u8],
) {
    let mut payload = BytesMut::with_capacity(48);
    put_varint(&mut payload, u64::from(header.alias));
    put_channel(&mut payload, &header.channel, header.objects, Some(home));
    put_varint(&mut payload, u64::from(header.publisher));
    put_varint(&mut payload, header.tick.0);
    payload.put_u8(stamp.to_byte());
    put_header(out, Kind::Snapshot, payload.len() + records.len());
    out.put_slice(&payload);
    out.put_slice(records);
}

/// Appends a close message.
pub fn put_close(out: &mut BytesMut, aliases: &[u32]) {
    let len = aliases.iter().map(|alias| varint_len(u64::from(*alias))).sum();
    put_header(out, Kind::Close, len);
    aliases.iter().for_each(|alias| put_varint(out, u64::from(*alias)));
}

/// The frames of a message, each with its alias. The message has been checked as a whole.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl Iterator for Frames<'_> {
    type Item = (u32, Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        read_frame(&mut self.reader).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Frames<'_> {}

/// The frames of a message: how many ticks after the last one, and each frame's alias and body.
///
/// # Errors
/// [`Malformed`] if any part is; bodies are not looked into, but they have a stamp.
pub fn decode_frames(payload: &Bytes) -> Result<(u64, Frames<'_>), Malformed> {
    let mut reader = Reader::new(payload);
    let delta = reader.varint()?;
    let mut frames = Frames { reader: reader.clone(), left: 0 };
    while !reader.is_empty() {
        read_frame(&mut reader)?;
        frames.left += 1;
    }
    Ok((delta, frames))
}

fn read_frame(reader: &mut Reader<'_>) -> Result<(u32, Bytes), Malformed> {
    let alias = reader.number()?;
    let body = reader.prefixed(usize::MAX)?;
    if body.is_empty() { Err(Malformed::Truncated) } else { Ok((alias, body)) }
}

/// Reads a snapshot.
///
/// # Errors
/// [`Malformed`] if its header is; records are not looked into.
pub fn decode_client_snapshot(
    payload: &Bytes,
    home: IslandId,
) -> Result<ClientSnapshot, Malformed> {
    let mut reader = Reader::new(payload);
    let alias = reader.number()?;
    let (channel, objects) = read_channel(&mut reader, Some(home))?;
    let publisher = reader.number()?;
    let tick = Tick(reader.varint()?);
    let stamp = Stamp::from_byte(reader.u8()?);
    let header = ClientSnapshotHeader { alias, objects, channel, publisher, tick };
    Ok(ClientSnapshot { header, stamp, records: reader.rest() })
}

/// The aliases of a close message, of clients and of peers.
///
/// # Errors
/// [`Malformed`] if any is.
pub fn decode_close(payload: &Bytes) -> Result<Vec<u32>, Malformed> {
    let mut reader = Reader::new(payload);
    let mut aliases = Vec::new();
    while !reader.is_empty() {
        aliases.push(reader.number()?);
    }
    Ok(aliases)
}

/// Appends flags and channel; the island only if it is not `home`.
pub(crate) fn put_channel(
    out: &mut BytesMut,
    channel: &ChannelId,
    objects: bool,
    home: Option<IslandId>,
) {
    let whole = channel.cell == Cell::WHOLE && channel.rate == Rate::EveryTick;
    let abroad = home != Some(channel.island);
    let mut flags = if objects { OBJECTS } else { 0 };
    flags |= if whole { 0 } else { CELL_AND_RATE };
    flags |= if abroad { ISLAND } else { 0 };
    out.put_u8(flags);
    put_svarint(out, channel.chunk.x.into());
    put_svarint(out, channel.chunk.y.into());
    if !whole {
        put_varint(out, channel.cell.0.into());
        out.put_u8(channel.rate as u8);
    }
    if abroad {
        out.put_u64_le(channel.island.0);
    }
}

/// Reads flags and channel, and whether it is of objects.
pub(crate) fn read_channel(
    reader: &mut Reader<'_>,
    home: Option<IslandId>,
) -> Result<(ChannelId, bool), Malformed> {
    let flags = reader.u8()?;
    if flags > OBJECTS | CELL_AND_RATE | ISLAND {
        return Err(Malformed::OutOfRange);
    }
    let mut coordinate = || i16::try_from(reader.svarint()?).map_err(|_| Malformed::OutOfRange);
    let chunk = ChunkId::new(coordinate()?, coordinate()?);
    let (cell, rate) = if flags & CELL_AND_RATE != 0 {
        let cell = Cell(reader.number()?);
        (cell, Rate::from_number(reader.u8()?).ok_or(Malformed::OutOfRange)?)
    } else {
        (Cell::WHOLE, Rate::EveryTick)
    };
    let island = if flags & ISLAND != 0 { Some(IslandId(reader.u64()?)) } else { home };
    let island = island.ok_or(Malformed::OutOfRange)?;
    Ok((ChannelId { island, chunk, cell, rate }, flags & OBJECTS != 0))
}
