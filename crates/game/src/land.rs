//! Land: the tiles of an island, where one can walk, and their form for clients.

use crate::Game;
use crate::content::ContentHash;
use bytes::{BufMut, Bytes, BytesMut};
use pelago_model::place::CHUNK_UNITS;
use pelago_model::{ChunkId, ChunkPage, IslandId, Position, limits};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Ground cells along a side of a chunk.
pub const CELLS_PER_SIDE: usize = 15;
/// The side of a ground cell in position units: 2 m.
pub const CELL_UNITS: i32 = CHUNK_UNITS / CELLS_PER_SIDE as i32;
/// The most chunks along the side of an island: its manifest, which has a hash for each chunk, fits one message.
pub const MAX_ISLAND_SIZE: u16 = 181;
/// Bytes of a manifest beside its hashes, and of the message that carries it.
const MANIFEST_MARGIN_BYTES: usize = 128;
const _: () = assert!(
    manifest_bytes(MAX_ISLAND_SIZE) <= limits::MAX_MESSAGE_BYTES
        && manifest_bytes(MAX_ISLAND_SIZE + 1) > limits::MAX_MESSAGE_BYTES
);

/// At most so many bytes has a message with the manifest of an island.
const fn manifest_bytes(size: u16) -> usize {
    32 * size as usize * size as usize + MANIFEST_MARGIN_BYTES
}

/// The version byte of tiles and manifests.
const FORMAT: u8 = 1;

/// What an island is made from. Stored under [`Key::island`](pelago_model::Key::island).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IslandSpec {
    /// The island.
    pub id: IslandId,
    /// The seed of its terrain and wild growth.
    pub seed: u64,
    /// Chunks along its side; the island's chunks are `0..size` in both directions.
    pub size: u16,
    /// The version of the game's generator that made it, pinned for its life.
    pub generator: u32,
}

/// Something that grows or lies by nature on a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Natural {
    /// The game's kind.
    pub kind: u8,
    /// Units east of the chunk's corner.
    pub x: u16,
    /// Units south of the chunk's corner.
    pub y: u16,
}

/// The land of a chunk as nature made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// The game's kinds of ground, row by row from the north-west.
    pub ground: [u8; CELLS_PER_SIDE * CELLS_PER_SIDE],
    /// Its natural objects; the index in this list is the natural slot. At most
    /// [`MAX_NATURAL_SLOTS`](limits::MAX_NATURAL_SLOTS).
    pub naturals: Vec<Natural>,
}

impl Tile {
    /// The bytes that clients fetch, as laid down in `docs/protocol.md`.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(256 + self.naturals.len() * 5);
        out.put_u8(FORMAT);
        out.put_u8(CELLS_PER_SIDE as u8);
        out.put_slice(&self.ground);
        put_varint(&mut out, self.naturals.len() as u64);
        for natural in &self.naturals {
            out.put_u8(natural.kind);
            out.put_u16_le(natural.x);
            out.put_u16_le(natural.y);
        }
        out.freeze()
    }
}

/// An island's land, made once and only read from then on.
#[derive(Debug)]
pub struct Land {
    spec: IslandSpec,
    tiles: BTreeMap<ChunkId, Tile>,
    walkable: [bool; 256],
    manifest: ContentHash,
    content: BTreeMap<ContentHash, Bytes>,
}

impl Land {
    /// Makes the whole island.
    pub fn new(game: &dyn Game, spec: IslandSpec) -> Self {
        Self::with_tiles(game, spec, |spec, chunk| game.tile(spec, chunk))
    }

    /// An island for the rules of a game, of tiles that the game did not make.
    pub fn with_tiles(
        game: &dyn Game,
        spec: IslandSpec,
        make: impl Fn(&IslandSpec, ChunkId) -> Option<Tile>,
    ) -> Self {
        let mut walkable = [false; 256];
        for (ground, walkable) in (0..=u8::MAX).zip(&mut walkable) {
            *walkable = game.walkable(ground);
        }
        let (mut tiles, mut content) = (BTreeMap::new(), BTreeMap::new());
        let side = spec.size.min(i16::MAX as u16) as i16;
        let mut manifest = BytesMut::new();
        manifest.put_u8(FORMAT);
        manifest.put_slice(&[0, 0]);
        put_varint(&mut manifest, side as u64);
        put_varint(&mut manifest, side as u64);
        for y in 0..side {
            for x in 0..side {
                let chunk = ChunkId::new(x, y);
                let mut tile = make(&spec, chunk);
                if let Some(tile) = &mut tile {
                    // Before they are shown: clients and rules know the same slots.
                    tile.naturals.truncate(limits::MAX_NATURAL_SLOTS);
                }
                let bytes = tile.as_ref().map(Tile::encode).unwrap_or_default();
                let hash = ContentHash::of(&bytes);
                manifest.put_slice(&hash.0);
                content.insert(hash, bytes);
                if let Some(tile) = tile {
                    tiles.insert(chunk, tile);
                }
            }
        }
        let bytes = manifest.freeze();
        let manifest = ContentHash::of(&bytes);
        content.insert(manifest, bytes);
        Self { spec, tiles, walkable, manifest, content }
    }

    /// What it is made from.
    pub fn spec(&self) -> &IslandSpec {
        &self.spec
    }

    /// The hash of the manifest of its tiles.
    pub fn manifest(&self) -> ContentHash {
        self.manifest
    }

    /// Its tiles and manifest by hash.
    pub fn content(&self) -> impl Iterator<Item = (ContentHash, Bytes)> + '_ {
        self.content.iter().map(|(hash, bytes)| (*hash, bytes.clone()))
    }

    /// The tile of a chunk; `None` is open water.
    pub fn tile(&self, chunk: ChunkId) -> Option<&Tile> {
        self.tiles.get(&chunk)
    }

    /// The position and kind of a natural object.
    pub fn natural(&self, chunk: ChunkId, slot: u16) -> Option<(u8, Position)> {
        let natural = self.tile(chunk)?.naturals.get(usize::from(slot))?;
        let corner = chunk.corner();
        let place = Position::new(corner.x + i32::from(natural.x), corner.y + i32::from(natural.y));
        Some((natural.kind, place))
    }

    /// The pages of a chunk: its documents are named by them, see [`Key::chunk_page`](pelago_model::Key::chunk_page).
    pub fn pages(&self, chunk: ChunkId) -> impl Iterator<Item = ChunkPage> + use<> {
        ChunkPage::all(self.tile(chunk).map_or(0, |tile| tile.naturals.len()))
    }

    /// Whether one can stand at a point.
    pub fn is_walkable(&self, point: Position) -> bool {
        let (x, y) = (point.x.div_euclid(CELL_UNITS), point.y.div_euclid(CELL_UNITS));
        self.is_cell_walkable(x, y)
    }

    /// Whether one can walk straight from `from` to `to`. Walking exactly through the meeting point of four
    /// cells needs only the two that the line is in.
    pub fn is_clear(&self, from: Position, to: Position) -> bool {
        let cell = |units: i32| units.div_euclid(CELL_UNITS);
        let (mut x, mut y) = (cell(from.x), cell(from.y));
        let (end_x, end_y) = (cell(to.x), cell(to.y));
        let (dx, dy) = (i64::from(to.x) - i64::from(from.x), i64::from(to.y) - i64::from(from.y));
        let steps = i64::from(x.abs_diff(end_x)) + i64::from(y.abs_diff(end_y));
        for _ in 0..=steps {
            if !self.is_cell_walkable(x, y) {
                return false;
            }
            if (x, y) == (end_x, end_y) {
                return true;
            }
            // The next vertical border is at parameter tx/|dx|, the next horizontal one at ty/|dy|;
            // they are compared by cross products, so that nothing is rounded.
            let border = |cell: i32, delta: i64, at: i32| {
                let side = if delta > 0 { i64::from(cell) + 1 } else { i64::from(cell) };
                (side * i64::from(CELL_UNITS) - i64::from(at)).abs()
            };
            let (tx, ty) = (border(x, dx, from.x), border(y, dy, from.y));
            let x_first = match (x == end_x, y == end_y) {
                (true, _) => std::cmp::Ordering::Greater,
                (_, true) => std::cmp::Ordering::Less,
                _ => (tx * dy.abs()).cmp(&(ty * dx.abs())),
            };
            if x_first.is_le() {
                x += dx.signum() as i32;
            }
            if x_first.is_ge() {
                y += dy.signum() as i32;
            }
        }
        true
    }

    fn is_cell_walkable(&self, x: i32, y: i32) -> bool {
        let side = CELLS_PER_SIDE as i32;
        let chunk = (i16::try_from(x.div_euclid(side)), i16::try_from(y.div_euclid(side)));
        let (Ok(chunk_x), Ok(chunk_y)) = chunk else { return false };
        let index = (y.rem_euclid(side) * side + x.rem_euclid(side)) as usize;
        self.tile(ChunkId::new(chunk_x, chunk_y))
            .is_some_and(|tile| self.walkable[usize::from(tile.ground[index])])
    }
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}
