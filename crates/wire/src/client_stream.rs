//! Frames, snapshots and closes as clients get them.

use crate::Malformed;
use crate::message::{Kind, put_header, put_numbered_header};
use crate::tick_stamp::TickStamp;
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
    pub stamp: TickStamp,
    /// Its records.
    pub records: Bytes,
}

/// The kind of a message of one frame in the tick of the message before it; the kinds up to [`MANY_FRAMES`] are of
/// one frame, so many ticks later. Most messages are of this kind, and mostly a dozen bytes: each counts.
const ONE_FRAME: u8 = 64;
/// The same of any number of frames, up to the greatest kind.
const MANY_FRAMES: u8 = 128;

/// Whether messages of this kind bring frames to a client.
pub const fn is_frames(kind: u8) -> bool {
    kind == Kind::Frames as u8 || kind >= ONE_FRAME
}

/// Appends a message of frames, each with its alias and the slices of its body, in its shortest form.
pub fn put_frames<'a, S>(
    out: &mut BytesMut,
    tick_delta: u64,
    frames: impl Iterator<Item = (u32, S)> + Clone,
) where
    S: Iterator<Item = &'a [u8]> + Clone,
{
    let body_bytes = |slices: &S| slices.clone().map(<[u8]>::len).sum::<usize>();
    let mut rest = frames.clone();
    let small = u8::try_from(tick_delta).ok();
    if let (Some((alias, slices)), None) = (rest.next(), rest.next())
        && let Some(delta) = small.filter(|delta| *delta < MANY_FRAMES - ONE_FRAME)
    {
        let bytes = varint_len(alias.into()) + body_bytes(&slices);
        put_numbered_header(out, ONE_FRAME + delta, bytes);
        put_varint(out, alias.into());
        return slices.for_each(|slice| out.put_slice(slice));
    }
    let entry_bytes = |(alias, slices): (u32, S)| {
        let bytes = body_bytes(&slices);
        varint_len(alias.into()) + varint_len(bytes as u64) + bytes
    };
    let bytes: usize = frames.clone().map(entry_bytes).sum();
    match small.and_then(|delta| MANY_FRAMES.checked_add(delta)) {
        Some(kind) => put_numbered_header(out, kind, bytes),
        None => {
            put_header(out, Kind::Frames, varint_len(tick_delta) + bytes);
            put_varint(out, tick_delta);
        }
    }
    for (alias, slices) in frames {
        put_varint(out, alias.into());
        put_varint(out, body_bytes(&slices) as u64);
        slices.for_each(|slice| out.put_slice(slice));
    }
}

/// Appends a snapshot message.
pub fn put_client_snapshot(
    out: &mut BytesMut,
    header: &ClientSnapshotHeader,
    home: IslandId,
    stamp: TickStamp,
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
    /// Whether the message is of one frame, which goes to its end.
    one: bool,
    left: usize,
}

impl Iterator for Frames<'_> {
    type Item = (u32, Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        read_frame(&mut self.reader, self.one).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Frames<'_> {}

/// The frames of a message of a kind that [`is_frames`]: how many ticks after the last one, and each frame's alias
/// and body.
///
/// # Errors
/// [`Malformed`] if any part is; bodies are not looked into, but they have a stamp.
pub fn decode_frames(kind: u8, payload: &Bytes) -> Result<(u64, Frames<'_>), Malformed> {
    let mut reader = Reader::new(payload);
    let delta = match kind {
        MANY_FRAMES.. => u64::from(kind - MANY_FRAMES),
        ONE_FRAME.. => u64::from(kind - ONE_FRAME),
        _ => reader.varint()?,
    };
    let one = (ONE_FRAME..MANY_FRAMES).contains(&kind);
    let mut frames = Frames { reader: reader.clone(), one, left: 0 };
    while one && frames.left == 0 || !reader.is_empty() {
        read_frame(&mut reader, one)?;
        frames.left += 1;
    }
    Ok((delta, frames))
}

fn read_frame(reader: &mut Reader<'_>, one: bool) -> Result<(u32, Bytes), Malformed> {
    let alias = reader.number()?;
    let body = if one { reader.rest() } else { reader.prefixed(usize::MAX)? };
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
    let stamp = TickStamp::from_byte(reader.u8()?);
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
