//! Where things are: fixed-point positions, chunks, cells and channels.

use crate::id::IslandId;
use serde::{Deserialize, Serialize};

/// Position units in a metre.
pub const UNITS_PER_METER: i32 = 64;
/// The side of a chunk in metres.
pub const CHUNK_METERS: i32 = 30;
/// The side of a chunk in position units.
pub const CHUNK_UNITS: i32 = CHUNK_METERS * UNITS_PER_METER;

/// A point of an island in 1/64 m; x grows east, y grows south.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Position {
    /// East, in 1/64 m.
    pub x: i32,
    /// South, in 1/64 m.
    pub y: i32,
}

impl Position {
    /// A point from its coordinates in 1/64 m.
    pub const fn new(x: i32, y: i32) -> Self {
        Self { x, y }
    }

    /// The chunk that holds the point. Chunks hold their north-west edges. Beyond the largest
    /// island (±32768 chunks) the number saturates.
    pub fn chunk(self) -> ChunkId {
        let saturate = |units: i32| {
            units.div_euclid(CHUNK_UNITS).clamp(i16::MIN.into(), i16::MAX.into()) as i16
        };
        ChunkId { x: saturate(self.x), y: saturate(self.y) }
    }

    /// The square of the distance, in (1/64 m)².
    pub fn distance_squared(self, other: Self) -> u64 {
        let dx = i64::from(self.x) - i64::from(other.x);
        let dy = i64::from(self.y) - i64::from(other.y);
        dx.unsigned_abs().pow(2).saturating_add(dy.unsigned_abs().pow(2))
    }
}

/// A chunk of an island: 30 m x 30 m, the unit of subscription. No node owns one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkId {
    /// Chunks east of the island's origin.
    pub x: i16,
    /// Chunks south of the island's origin.
    pub y: i16,
}

impl ChunkId {
    /// A chunk from its coordinates.
    pub const fn new(x: i16, y: i16) -> Self {
        Self { x, y }
    }

    /// The north-west corner, in 1/64 m.
    pub fn corner(self) -> Position {
        Position::new(i32::from(self.x) * CHUNK_UNITS, i32::from(self.y) * CHUNK_UNITS)
    }

    /// The neighbour in a direction, `None` at the edge of the numbering.
    pub fn neighbour(self, direction: Direction) -> Option<Self> {
        let (dx, dy) = direction.offset();
        Some(Self { x: self.x.checked_add(dx)?, y: self.y.checked_add(dy)? })
    }

    /// The chunks within `radius` of this one, itself included, row by row.
    pub fn around(self, radius: i16) -> impl Iterator<Item = Self> {
        (-radius..=radius).flat_map(move |dy| {
            (-radius..=radius).filter_map(move |dx| {
                Some(Self { x: self.x.checked_add(dx)?, y: self.y.checked_add(dy)? })
            })
        })
    }

    /// The number of chunks between the two, diagonals counting one.
    pub fn distance(self, other: Self) -> u16 {
        self.x.abs_diff(other.x).max(self.y.abs_diff(other.y))
    }

    /// The direction from this chunk to a touching one; `None` for itself or a farther one.
    pub fn direction_to(self, other: Self) -> Option<Direction> {
        Direction::ALL.into_iter().find(|direction| self.neighbour(*direction) == Some(other))
    }
}

/// One of the eight neighbours of a chunk; the numbers are those of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// (0, -1)
    North = 0,
    /// (1, -1)
    NorthEast = 1,
    /// (1, 0)
    East = 2,
    /// (1, 1)
    SouthEast = 3,
    /// (0, 1)
    South = 4,
    /// (-1, 1)
    SouthWest = 5,
    /// (-1, 0)
    West = 6,
    /// (-1, -1)
    NorthWest = 7,
}

impl Direction {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::North,
        Self::NorthEast,
        Self::East,
        Self::SouthEast,
        Self::South,
        Self::SouthWest,
        Self::West,
        Self::NorthWest,
    ];

    /// The direction with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The way back.
    pub fn opposite(self) -> Self {
        Self::ALL[(self as usize + 4) % 8]
    }

    /// Chunks to go east and south.
    pub const fn offset(self) -> (i16, i16) {
        match self {
            Self::North => (0, -1),
            Self::NorthEast => (1, -1),
            Self::East => (1, 0),
            Self::SouthEast => (1, 1),
            Self::South => (0, 1),
            Self::SouthWest => (-1, 1),
            Self::West => (-1, 0),
            Self::NorthWest => (-1, -1),
        }
    }
}

/// A part of a chunk, as a path in a quadtree: 0 is the whole chunk, child `q` of `c` is `4c + q + 1`
/// with `q` = 0 north-west, 1 north-east, 2 south-west, 3 south-east.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell(pub u32);

impl Cell {
    /// The whole chunk.
    pub const WHOLE: Self = Self(0);

    /// A quarter of this cell (`quarter` is taken modulo 4); `None` below the deepest level.
    pub fn child(self, quarter: u8) -> Option<Self> {
        self.0.checked_mul(4)?.checked_add(u32::from(quarter % 4) + 1).map(Self)
    }

    /// The cell that this one is a quarter of; `None` for the whole chunk.
    pub fn parent(self) -> Option<Self> {
        self.0.checked_sub(1).map(|index| Self(index / 4))
    }
}

/// How often a channel is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rate {
    /// Every tick.
    #[default]
    EveryTick = 0,
    /// Every 4th tick.
    Every4th = 1,
    /// Every 16th tick.
    Every16th = 2,
    /// Only how many stand there.
    HeadCount = 3,
}

impl Rate {
    /// The rate with this number on the wire.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::EveryTick, Self::Every4th, Self::Every16th, Self::HeadCount]
            .get(usize::from(number))
            .copied()
    }
}

/// A pub/sub stream of a chunk. Any lane may publish on it and subscribe to it.
///
/// Packed: a node keeps many tables with tens of thousands of channels.
#[repr(Rust, packed(4))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId {
    /// The island.
    pub island: IslandId,
    /// The chunk.
    pub chunk: ChunkId,
    /// The part of the chunk.
    pub cell: Cell,
    /// How often it is published.
    pub rate: Rate,
}

impl ChannelId {
    /// The channel of a whole chunk at every tick.
    pub const fn whole(island: IslandId, chunk: ChunkId) -> Self {
        Self { island, chunk, cell: Cell::WHOLE, rate: Rate::EveryTick }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_channel_with_its_kind_takes_no_more_than_six_words_of_32_bits() {
        assert!(size_of::<(ChannelId, bool)>() <= 24);
    }

    #[test]
    fn chunks_hold_their_north_west_edges() {
        assert_eq!(Position::new(0, -1).chunk(), ChunkId::new(0, -1));
        assert_eq!(Position::new(CHUNK_UNITS, CHUNK_UNITS - 1).chunk(), ChunkId::new(1, 0));
        assert_eq!(Position::new(i32::MIN, i32::MAX).chunk(), ChunkId::new(i16::MIN, i16::MAX));
    }

    #[test]
    fn cells_know_their_parents() {
        let inner = Cell::WHOLE.child(3).and_then(|cell| cell.child(1)).unwrap();
        assert_eq!(inner, Cell(18));
        assert_eq!(inner.parent(), Cell::WHOLE.child(3));
        assert_eq!(Cell::WHOLE.parent(), None);
        assert_eq!(Cell(u32::MAX).child(0), None);
    }

    proptest! {
        #[test]
        fn a_point_lies_in_its_chunk(x in -1_000_000i32..1_000_000, y in -1_000_000i32..1_000_000) {
            let point = Position::new(x, y);
            let corner = point.chunk().corner();
            prop_assert!((0..CHUNK_UNITS).contains(&(x - corner.x)));
            prop_assert!((0..CHUNK_UNITS).contains(&(y - corner.y)));
        }

        #[test]
        fn opposite_directions_lead_back(number in 0u8..8, x in -9i16..9, y in -9i16..9) {
            let direction = Direction::from_number(number).unwrap();
            let there = ChunkId::new(x, y).neighbour(direction).unwrap();
            prop_assert_eq!(there.neighbour(direction.opposite()), Some(ChunkId::new(x, y)));
            prop_assert_eq!(ChunkId::new(x, y).direction_to(there), Some(direction));
            prop_assert_eq!(there.distance(ChunkId::new(x, y)), 1);
        }
    }
}
