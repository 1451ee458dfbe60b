//! Tiles and manifests: land as clients fetch it.

use bytes::Bytes;
use pelago_model::place::CHUNK_UNITS;
use pelago_model::{ChunkId, Position};
use pelago_wire::Malformed;
use pelago_wire::varint::Reader;

const CELLS_PER_SIDE: u8 = 15;

/// Which content holds the land of which chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    first: (i64, i64),
    size: (i64, i64),
    hashes: Bytes,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// [`Malformed`] if it is none.
    pub fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != 1 {
            return Err(Malformed::OutOfRange);
        }
        let first = (reader.signed()?.into(), reader.signed()?.into());
        let size = (reader.number::<u16>()?.into(), reader.number::<u16>()?.into());
        let hashes = reader.rest();
        if hashes.len() as i64 != size.0 * size.1 * 32 {
            return Err(Malformed::Truncated);
        }
        Ok(Self { first, size, hashes })
    }

    /// The middle of the island.
    pub fn middle(&self) -> Position {
        let along = |first: i64, size: i64| (2 * first + size) * i64::from(CHUNK_UNITS) / 2;
        let (x, y) = (along(self.first.0, self.size.0), along(self.first.1, self.size.1));
        // 16 bits of chunks, twice: it fits.
        Position::new(x as i32, y as i32)
    }

    /// The hash of a chunk's tile; `None` is open water.
    pub fn tile(&self, chunk: ChunkId) -> Option<Bytes> {
        let (x, y) = (i64::from(chunk.x) - self.first.0, i64::from(chunk.y) - self.first.1);
        if !(0..self.size.0).contains(&x) || !(0..self.size.1).contains(&y) {
            return None;
        }
        let at = usize::try_from((y * self.size.0 + x) * 32).ok()?;
        Some(self.hashes.slice(at..at + 32))
    }
}

/// A natural object of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Natural {
    /// The game's kind.
    pub kind: u8,
    /// Where it stands.
    pub position: Position,
}

/// The natural objects of a tile, by slot.
///
/// # Errors
/// [`Malformed`] if it is no tile.
pub fn decode_naturals(bytes: &Bytes, chunk: ChunkId) -> Result<Vec<Natural>, Malformed> {
    let mut reader = Reader::new(bytes);
    if reader.u8()? != 1 || reader.u8()? != CELLS_PER_SIDE {
        return Err(Malformed::OutOfRange);
    }
    reader.bytes(usize::from(CELLS_PER_SIDE).pow(2))?;
    let count: usize = reader.number()?;
    if count > reader.remaining() / 5 {
        return Err(Malformed::Truncated);
    }
    let corner = chunk.corner();
    (0..count)
        .map(|_| {
            let kind = reader.u8()?;
            let mut coordinate = || Ok(i32::from(reader.u8()?) | i32::from(reader.u8()?) << 8);
            let position = Position::new(corner.x + coordinate()?, corner.y + coordinate()?);
            Ok(Natural { kind, position })
        })
        .collect()
}
