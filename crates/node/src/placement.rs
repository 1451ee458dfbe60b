//! Placement: which lane of its node a player is on.
//!
//! Players who are near each other are best on one lane, because a lane does not decode its own frames. But one lane is
//! one core. So the players who arrive in a chunk go in turn to the first `spread` lanes in the chunk's own order of
//! preference (rendezvous hashing: chunks differ, and a node with more lanes moves only a share). How many pay is
//! measured: `docs/benchmarks.md`, scenario `share`.

pub mod company;

use pelago_cluster::rendezvous::preferred;
use pelago_model::{ChunkId, IslandId, Key, NodeId};

/// How many lanes share a chunk unless the operator says otherwise: as many as were measured. Taking in what all
/// publish costs a lane about a thirtieth of the logic of a whole chunk, so that the knee lies far beyond.
pub const DEFAULT_SPREAD: u8 = 8;

/// The lane of a node's `turn`-th player, who arrives in this chunk.
pub fn lane_for((island, chunk): (IslandId, ChunkId), lanes: u8, spread: u8, turn: u64) -> u8 {
    let lanes = lanes.max(1);
    let shared = spread.clamp(1, lanes);
    // Lanes are weighed as nodes are.
    let order = preferred(&Key::chunk(island, chunk), (0..lanes).map(|lane| NodeId(lane.into())));
    order[(turn % u64::from(shared)) as usize].0 as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const ISLAND: IslandId = IslandId(1);

    /// How many of 60 players who come to a chunk are on each lane.
    fn placed(chunk: ChunkId, lanes: u8, spread: u8) -> Vec<usize> {
        let mut population = vec![0; usize::from(lanes)];
        for turn in 0..60 {
            population[usize::from(lane_for((ISLAND, chunk), lanes, spread, turn))] += 1;
        }
        population
    }

    fn chunks() -> impl Iterator<Item = ChunkId> {
        (0..20).flat_map(|x| (0..20).map(move |y| ChunkId::new(x, y)))
    }

    #[test]
    fn the_players_of_a_chunk_are_evenly_on_as_many_lanes_as_the_spread_says() {
        for (lanes, spread, used) in [(8, 1, 1), (8, 3, 3), (2, 3, 2), (1, 3, 1), (8, 0, 1)] {
            for chunk in chunks().take(20) {
                let population = placed(chunk, lanes, spread);
                let full: Vec<_> = population.iter().filter(|count| **count > 0).collect();
                assert_eq!(full, vec![&(60 / used); used], "{lanes} lanes, spread {spread}");
            }
        }
    }

    #[test]
    fn chunks_are_spread_over_all_lanes() {
        let on = |lane| chunks().filter(|it| lane_for((ISLAND, *it), 8, 1, 0) == lane).count();
        let counts: Vec<usize> = (0..8).map(on).collect();
        assert!(counts.iter().all(|count| *count > 400 / 8 / 2), "{counts:?}");
    }

    #[test]
    fn one_lane_more_moves_only_its_share_of_chunks() {
        let lane = |chunk, lanes| lane_for((ISLAND, chunk), lanes, 1, 0);
        let moved: Vec<u8> = chunks()
            .filter(|chunk| lane(*chunk, 4) != lane(*chunk, 5))
            .map(|chunk| lane(chunk, 5))
            .collect();
        assert_eq!(moved.iter().collect::<BTreeSet<_>>(), BTreeSet::from([&4]));
        assert!(moved.len() < 400 / 3, "{} moved", moved.len());
    }
}
