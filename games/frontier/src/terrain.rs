//! Land from a seed: value noise in integers, so that every machine makes the same island for ever.

use crate::content::{
    BUSH, DEEP, FOREST, GRASS, GROUNDS, NATURALS, ROCK, SAND, SHALLOWS, STONE, TREE,
};
use pelago_game::land::{CELL_UNITS, CELLS_PER_SIDE};
use pelago_game::{Arrival, IslandSpec, Land, Natural, Tile};
use pelago_model::{ChunkId, Position};
use std::collections::BTreeSet;

/// One in the fixed point of noise and heights.
const ONE: i64 = 1 << 16;
/// The radius of the clearing around the home, in cells: 12 m.
const CLEARING_CELLS: i64 = 6;
/// The radius around the home without cliffs, in cells: 50 m.
const PLAIN_CELLS: i64 = 25;
/// Natural things stand in a grid of this many cells, each anywhere in its square.
const SPACING_CELLS: i32 = 3;
/// Walkable ground of more cells than this is no islet. The largest off 420 islands of all sizes had 255.
const ISLET_CELLS: usize = 1024;

/// The tile of a chunk; `None` outside of the island.
pub fn tile(island: &IslandSpec, chunk: ChunkId) -> Option<Tile> {
    let inside = 0..island.size as i32;
    if !inside.contains(&chunk.x.into()) || !inside.contains(&chunk.y.into()) {
        return None;
    }
    let side = CELLS_PER_SIDE as i32;
    let (left, top) = (i32::from(chunk.x) * side, i32::from(chunk.y) * side);
    let mut ground = [DEEP; CELLS_PER_SIDE * CELLS_PER_SIDE];
    for (index, cell) in (0i32..).zip(&mut ground) {
        *cell = ground_at(island, left + index % side, top + index / side);
    }
    let mut naturals = Vec::new();
    for y in (0..side).step_by(SPACING_CELLS as usize) {
        for x in (0..side).step_by(SPACING_CELLS as usize) {
            naturals.extend(natural_at(island, chunk, x, y, &ground));
        }
    }
    Some(Tile { ground, naturals })
}

/// The same land, with something on every cell that can be walked on: more than nature ever grows, to have chunks of
/// many pages.
pub fn overgrown_tile(island: &IslandSpec, chunk: ChunkId) -> Option<Tile> {
    let mut tile = tile(island, chunk)?;
    let middle = |cell: usize| (cell as i32 * CELL_UNITS + CELL_UNITS / 2) as u16;
    let grown = |(cell, ground): (usize, &u8)| {
        let walkable = GROUNDS.get(usize::from(*ground))?.walkable;
        let (x, y) = (middle(cell % CELLS_PER_SIDE), middle(cell / CELLS_PER_SIDE));
        walkable.then_some(Natural { kind: (cell % NATURALS.len()) as u8, x, y })
    };
    tile.naturals = tile.ground.iter().enumerate().filter_map(grown).collect();
    Some(tile)
}

/// The kind of ground of a cell.
fn ground_at(island: &IslandSpec, x: i32, y: i32) -> u8 {
    let (dx, dy) = from_home(island, x, y);
    if dx * dx + dy * dy <= CLEARING_CELLS * CLEARING_CELLS {
        return GRASS;
    }
    let height = height_at(island, x, y);
    let seed = island.seed;
    let near_home = dx * dx + dy * dy <= PLAIN_CELLS * PLAIN_CELLS;
    let cliffs = height > 50_000 && !near_home;
    match height {
        i64::MIN..9_000 => DEEP,
        9_000..14_000 => SHALLOWS,
        14_000..19_500 => SAND,
        _ if cliffs && noise(seed ^ 0x70c4, x, y, 14) > 43_000 => ROCK,
        _ if noise(seed ^ 0xf02e, x, y, 22) > 35_500 => FOREST,
        _ => GRASS,
    }
}

/// From -1 at the rim of the island to about 1 in its middle, with hills, in the fixed point.
fn height_at(island: &IslandSpec, x: i32, y: i32) -> i64 {
    let radius = i64::from(island.size) * CELLS_PER_SIDE as i64 / 2;
    let (dx, dy) = from_home(island, x, y);
    let distance = ((dx * dx + dy * dy) * ONE * ONE).isqrt() / radius.max(1);
    let coast = noise(island.seed ^ 0xc0a5, x, y, 40) - ONE / 2;
    let hills =
        noise(island.seed ^ 0x4111, x, y, 18) / 3 + noise(island.seed ^ 0x2b0b, x, y, 7) / 8;
    let fall = ONE * 29 / 32 - distance;
    // Steep at the coast, flat inland.
    (fall * 3).min(ONE / 2) + coast / 4 + hills
}

/// Cells east and south of the middle of the island.
fn from_home(island: &IslandSpec, x: i32, y: i32) -> (i64, i64) {
    let middle = i32::from(island.size) * CELLS_PER_SIDE as i32 / 2;
    (i64::from(x - middle), i64::from(y - middle))
}

fn natural_at(
    island: &IslandSpec,
    chunk: ChunkId,
    x: i32,
    y: i32,
    ground: &[u8; CELLS_PER_SIDE * CELLS_PER_SIDE],
) -> Option<Natural> {
    let side = CELLS_PER_SIDE as i32;
    let (cell_x, cell_y) = (i32::from(chunk.x) * side + x, i32::from(chunk.y) * side + y);
    let dice = hash(island.seed ^ 0x7ee5, cell_x, cell_y);
    let span = (SPACING_CELLS * CELL_UNITS) as u64;
    // Half a metre from the edges of its square, so that no two stand in each other.
    let place = |bits: u64| 32 + (bits % (span - 64)) as i32;
    let (offset_x, offset_y) = (place(dice >> 8), place(dice >> 24));
    let (unit_x, unit_y) = (x * CELL_UNITS + offset_x, y * CELL_UNITS + offset_y);
    let index = (unit_y / CELL_UNITS) * side + unit_x / CELL_UNITS;
    let (dx, dy) = from_home(island, cell_x, cell_y);
    let near_home = dx * dx + dy * dy <= 9;
    let chance = dice >> 48 & 0xff;
    let kind = match *ground.get(index as usize)? {
        _ if near_home => return None,
        FOREST if chance < 150 => TREE,
        FOREST if chance < 175 => BUSH,
        GRASS if chance < 16 => TREE,
        GRASS if chance < 64 => BUSH,
        SAND if chance < 14 => STONE,
        _ => return None,
    };
    Some(Natural { kind, x: unit_x as u16, y: unit_y as u16 })
}

/// Value noise between 0 and [`ONE`], with a lattice of `period` cells and smooth steps between.
fn noise(seed: u64, x: i32, y: i32, period: i32) -> i64 {
    let (left, top) = (x.div_euclid(period), y.div_euclid(period));
    let smooth = |offset: i32| {
        let t = i64::from(offset) * ONE / i64::from(period);
        // 3t² - 2t³
        (t * t / ONE) * (3 * ONE - 2 * t) / ONE
    };
    let (u, v) = (smooth(x.rem_euclid(period)), smooth(y.rem_euclid(period)));
    let corner = |dx: i32, dy: i32| (hash(seed, left + dx, top + dy) & 0xffff) as i64;
    let mix = |a: i64, b: i64, t: i64| a + (b - a) * t / ONE;
    mix(mix(corner(0, 0), corner(1, 0), u), mix(corner(0, 1), corner(1, 1), u), v)
}

/// A hash of a lattice point: the finalizer of SplitMix64 over its coordinates.
fn hash(seed: u64, x: i32, y: i32) -> u64 {
    let point = u64::from(x as u32) << 32 | u64::from(y as u32);
    let z = seed.wrapping_add(point.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The middle of an island: of the clearing where those who are new appear, around the campfire.
pub fn home(island: &IslandSpec) -> Position {
    let units = i32::from(island.size) * CELL_UNITS * CELLS_PER_SIDE as i32;
    Position::new(units / 2, units / 2)
}

/// Where a new avatar appears.
pub fn spawn(land: &Land, arrival: Arrival, seed: u64) -> Position {
    let home = home(land.spec());
    let units = 2 * home.x;
    for attempt in 0..64 {
        let dice = hash(land.spec().seed ^ seed, attempt, 0x5a);
        let within = |bits: u64, from: i32, span: i32| from + (bits % span.max(1) as u64) as i32;
        let point = match arrival {
            // Up to 6 m from the middle of the clearing.
            Arrival::Home => Position::new(
                within(dice, home.x - 384, 768),
                within(dice >> 32, home.y - 384, 768),
            ),
            Arrival::Anywhere => {
                Position::new(within(dice, 0, units), within(dice >> 32, 0, units))
            }
        };
        if land.is_walkable(point) && is_mainland(land, point, home) {
            return point;
        }
    }
    home
}

/// Whether one can walk from `point` to the home, or at least farther than on any islet.
fn is_mainland(land: &Land, point: Position, home: Position) -> bool {
    let reached = reached(land, point, home, ISLET_CELLS);
    reached.len() > ISLET_CELLS || reached.contains(&cell_of(home))
}

/// The cells that can be reached from `point` on foot, until `goal` is one or there are more than `limit`.
fn reached(land: &Land, point: Position, goal: Position, limit: usize) -> BTreeSet<(i32, i32)> {
    let (start, goal) = (cell_of(point), cell_of(goal));
    let (mut reached, mut edge) = (BTreeSet::from([start]), vec![start]);
    while let Some((x, y)) = edge.pop() {
        if (x, y) == goal || reached.len() > limit {
            break;
        }
        for next in [(x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)] {
            if land.is_walkable(middle_of(next)) && reached.insert(next) {
                edge.push(next);
            }
        }
    }
    reached
}

fn cell_of(point: Position) -> (i32, i32) {
    (point.x.div_euclid(CELL_UNITS), point.y.div_euclid(CELL_UNITS))
}

fn middle_of((x, y): (i32, i32)) -> Position {
    Position::new(x * CELL_UNITS + CELL_UNITS / 2, y * CELL_UNITS + CELL_UNITS / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Frontier;
    use pelago_game::Game;
    use pelago_model::IslandId;

    fn island(seed: u64) -> Land {
        let spec = IslandSpec { id: IslandId(1), seed, size: 24, generator: 1 };
        Land::new(&Frontier, spec)
    }

    fn home(land: &Land) -> Position {
        middle_and_side(land).0
    }

    /// The middle of the island, and its side in cells.
    fn middle_and_side(land: &Land) -> (Position, i32) {
        let side = i32::from(land.spec().size) * CELLS_PER_SIDE as i32;
        (Position::new(side * CELL_UNITS / 2, side * CELL_UNITS / 2), side)
    }

    fn cells(land: &Land) -> impl Iterator<Item = (i32, i32)> {
        let (_, side) = middle_and_side(land);
        (0..side).flat_map(move |y| (0..side).map(move |x| (x, y)))
    }

    /// Everything that can be reached from the home.
    fn mainland(land: &Land) -> BTreeSet<(i32, i32)> {
        reached(land, home(land), Position::new(-1, -1), usize::MAX)
    }

    fn naturals(land: &Land) -> Vec<(ChunkId, u8, Position)> {
        let chunks = (0..24).flat_map(|y| (0..24).map(move |x| ChunkId::new(x, y)));
        let of_chunk = |chunk| {
            (0..).map_while(move |slot| land.natural(chunk, slot)).map(move |(k, p)| (chunk, k, p))
        };
        chunks.flat_map(of_chunk).collect()
    }

    #[test]
    fn most_of_an_island_can_be_walked_and_reached() {
        for seed in [1, 2, 3, 7, 42] {
            let land = island(seed);
            let walkable = cells(&land).filter(|cell| land.is_walkable(middle_of(*cell))).count();
            let share = walkable * 100 / cells(&land).count();
            assert!(share >= 55, "{share} % of island {seed} can be walked");
            let share = mainland(&land).len() * 100 / walkable;
            assert!(share >= 90, "{share} % of island {seed} can be reached");
        }
    }

    #[test]
    fn the_rim_of_an_island_is_deep_water_but_for_a_few_beaches() {
        for seed in 0..20 {
            let land = island(seed);
            let (_, side) = middle_and_side(&land);
            let rim = (0..side)
                .flat_map(|at| [(at, 0), (at, side - 1), (0, at), (side - 1, at)])
                .map(|(x, y)| ground_at(land.spec(), x, y));
            let beach: Vec<_> = rim.filter(|ground| *ground != DEEP).collect();
            assert!(beach.len() < 72, "{} of 1440 cells of island {seed}", beach.len());
            assert!(beach.iter().all(|ground| [SHALLOWS, SAND].contains(ground)));
            assert!(land.tile(ChunkId::new(-1, 0)).is_none());
            assert!(land.tile(ChunkId::new(0, 24)).is_none());
        }
    }

    #[test]
    fn the_home_is_a_clearing_with_bushes_near() {
        for seed in 0..20 {
            let land = island(seed);
            let home = home(&land);
            for cell in cells(&land) {
                let place = middle_of(cell);
                if place.distance_squared(home) <= 700 * 700 {
                    assert!(land.is_walkable(place), "{cell:?} of island {seed}");
                }
            }
            let bushes = naturals(&land)
                .into_iter()
                .filter(|(_, kind, place)| {
                    *kind == BUSH && place.distance_squared(home) <= 2560 * 2560
                })
                .count();
            assert!(bushes >= 3, "{bushes} bushes within 40 m of the home of island {seed}");
        }
    }

    #[test]
    fn natural_things_stand_apart_on_walkable_ground_in_their_chunk() {
        let land = island(7);
        let all = naturals(&land);
        let mut kinds = [0; 3];
        for (chunk, kind, place) in &all {
            kinds[usize::from(*kind)] += 1;
            assert!(land.is_walkable(*place) && place.chunk() == *chunk);
            assert!(land.tile(*chunk).unwrap().naturals.len() <= 40);
            let near =
                |other: &&(ChunkId, u8, Position)| other.2.distance_squared(*place) < 64 * 64;
            assert_eq!(all.iter().filter(near).count(), 1, "one within a metre of another");
        }
        assert!(kinds[0] > 1000 && kinds[1] > 500, "{kinds:?}");
        assert!((20..500).contains(&kinds[2]), "stones are rare: {kinds:?}");
    }

    #[test]
    fn everybody_appears_on_the_mainland() {
        for seed in 0..12 {
            let land = island(seed);
            let mainland = mainland(&land);
            for seed in 0..300 {
                let place = spawn(&land, Arrival::Anywhere, seed);
                assert!(land.is_walkable(place) && mainland.contains(&cell_of(place)));
                assert_eq!(place, spawn(&land, Arrival::Anywhere, seed));
                let place = spawn(&land, Arrival::Home, seed);
                assert!(land.is_walkable(place));
                assert!(place.distance_squared(home(&land)) <= 550 * 550, "farther than 9 m");
            }
        }
    }

    #[test]
    fn those_who_appear_are_spread() {
        let land = island(7);
        let places: BTreeSet<_> =
            (0..100).map(|seed| cell_of(spawn(&land, Arrival::Home, seed))).collect();
        assert!(places.len() > 20, "{} cells for a hundred", places.len());
        let chunks: BTreeSet<_> =
            (0..100).map(|seed| spawn(&land, Arrival::Anywhere, seed).chunk()).collect();
        assert!(chunks.len() > 60, "{} chunks for a hundred", chunks.len());
    }

    #[test]
    fn the_smallest_islands_have_a_home() {
        for size in 0..4 {
            let spec = IslandSpec { id: IslandId(1), seed: 7, size, generator: 1 };
            let land = Land::new(&Frontier, spec);
            let place = Frontier.spawn(&land, Arrival::Anywhere, 3);
            assert_eq!(land.is_walkable(place), size > 0);
        }
    }

    #[test]
    fn the_generator_is_pinned() {
        let hash = |seed| island(seed).manifest().to_string();
        let pinned = include_str!("../pinned.txt").lines().collect::<Vec<_>>();
        assert_eq!(vec![hash(1), hash(7)], pinned);
    }
}
