//! Company: newcomers appear where people are.
//!
//! A game says where those who are new appear. If hardly anybody is there, they appear beside somebody who has others
//! around, in a chunk that is not crowded: the nearest one, so that those who come on different nodes meet.

use pelago_game::Land;
use pelago_model::{ChunkId, IslandId, Position};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// So many people in the nine chunks around it are company enough: the game's place is taken.
const COMPANY: u32 = 4;
/// A chunk with so many people is a crowd: nobody else is put there.
const CROWD: u32 = 40;
/// How far from somebody a newcomer appears at most, per axis, in 1/64 m: 8 m.
const BESIDE_UNITS: i32 = 512;
/// How often a point beside somebody is looked for; then it is where that somebody stands.
const ATTEMPTS: u64 = 16;

/// The people of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowd {
    /// The island.
    pub island: IslandId,
    /// Where one of them is.
    pub somebody: Position,
    /// How many they are.
    pub people: u32,
}

/// Where a newcomer appears whom the game would put at `usual`. `seed` differs between newcomers.
pub fn place_of_newcomer(land: &Land, usual: Position, crowds: &[Crowd], seed: u64) -> Position {
    let mut people: BTreeMap<ChunkId, Crowd> = BTreeMap::new();
    for crowd in crowds.iter().filter(|crowd| crowd.island == land.spec().id) {
        // Whoever is seen by several lanes is counted by each.
        let known = people.entry(crowd.somebody.chunk()).or_insert(*crowd);
        known.people = known.people.max(crowd.people);
    }
    let around = |chunk: ChunkId| -> u32 {
        let near = |offset: i16, at: i16| at.checked_add(offset);
        let chunks = (-1..=1).flat_map(|x| (-1..=1).map(move |y| (x, y)));
        let chunks = chunks.filter_map(|(x, y)| Some((near(x, chunk.x)?, near(y, chunk.y)?)));
        chunks.filter_map(|(x, y)| people.get(&ChunkId::new(x, y))).map(|it| it.people).sum()
    };
    let usual_company = around(usual.chunk());
    if usual_company >= COMPANY {
        return usual;
    }
    let free = people.iter().filter(|(_, crowd)| crowd.people < CROWD);
    let distance = |chunk: ChunkId| chunk.distance(usual.chunk());
    // The nearest of those that are company enough; of less than that the most.
    let best = free.max_by_key(|(chunk, crowd)| {
        (around(**chunk).min(COMPANY), Reverse(distance(**chunk)), crowd.people)
    });
    match best.filter(|(chunk, _)| around(**chunk) > usual_company) {
        Some((_, crowd)) => beside(land, crowd.somebody, seed),
        None => usual,
    }
}

/// A point near somebody, from which one can walk there.
fn beside(land: &Land, somebody: Position, seed: u64) -> Position {
    let point = |attempt: u64| {
        let dice = mixed(seed.wrapping_mul(ATTEMPTS).wrapping_add(attempt));
        let off = |bits: u64| (bits % (2 * BESIDE_UNITS as u64 + 1)) as i32 - BESIDE_UNITS;
        let (x, y) = (off(dice & 0xffff_ffff), off(dice >> 32));
        Position::new(somebody.x.saturating_add(x), somebody.y.saturating_add(y))
    };
    let mut points = (0..ATTEMPTS).map(point);
    points.find(|point| land.is_clear(*point, somebody)).unwrap_or(somebody)
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelago_frontier::Frontier;
    use pelago_game::{Arrival, Game, IslandSpec};

    const ISLAND: IslandId = IslandId(1);

    fn land() -> Land {
        let spec = IslandSpec { id: ISLAND, seed: 7, size: 24, generator: 1 };
        Land::new(&Frontier, spec)
    }

    fn crowds(people: &[Position]) -> Vec<Crowd> {
        let mut chunks: BTreeMap<ChunkId, Crowd> = BTreeMap::new();
        for &somebody in people {
            let new = Crowd { island: ISLAND, somebody, people: 0 };
            chunks.entry(somebody.chunk()).or_insert(new).people += 1;
        }
        chunks.into_values().collect()
    }

    fn seen(people: &[Position], from: Position) -> usize {
        let (here, mut seen) = (from.chunk(), 0);
        for chunk in people.iter().map(|position| position.chunk()) {
            let is_near = |a: i16, b: i16| a.abs_diff(b) <= 1;
            seen += usize::from(is_near(chunk.x, here.x) && is_near(chunk.y, here.y));
        }
        seen
    }

    /// What was found: of five new players beside 200 who were all over the island, some saw nobody.
    #[test]
    fn newcomers_to_an_island_on_which_200_walk_about_see_several_each() {
        let land = land();
        for day in 0..20 {
            let anywhere =
                |number: u64| Frontier.spawn(&land, Arrival::Anywhere, day * 1000 + number);
            let mut people: Vec<Position> = (0..200).map(anywhere).collect();
            for newcomer in 0..5 {
                let usual = Frontier.spawn(&land, Arrival::Home, newcomer);
                let place = place_of_newcomer(&land, usual, &crowds(&people), newcomer);
                assert!(land.is_walkable(place));
                assert!(seen(&people, place) >= COMPANY as usize, "day {day}");
                people.push(place);
            }
        }
    }

    #[test]
    fn where_somebody_is_already_the_games_place_is_taken() {
        let land = land();
        let home = Frontier.spawn(&land, Arrival::Home, 1);
        assert_eq!(place_of_newcomer(&land, home, &[], 1), home);
        let far = Frontier.spawn(&land, Arrival::Anywhere, 5);
        let mut people = vec![home; COMPANY as usize];
        people.extend([far; 30]);
        assert_eq!(place_of_newcomer(&land, home, &crowds(&people), 1), home);
    }

    #[test]
    fn of_two_companies_the_nearer_one_is_joined_though_the_other_is_larger() {
        let land = land();
        let home = Frontier.spawn(&land, Arrival::Home, 1);
        let mut places: Vec<Position> =
            (0..40).map(|number| Frontier.spawn(&land, Arrival::Anywhere, number)).collect();
        places.sort_by_key(|place| place.chunk().distance(home.chunk()));
        let beyond = |place: &&Position| place.chunk().distance(home.chunk()) > 2;
        let (near, far) = (*places.iter().find(beyond).unwrap(), *places.last().unwrap());
        assert!(far.chunk().distance(near.chunk()) > 3, "the test wants them far apart");
        let mut people = vec![near; COMPANY as usize];
        people.extend([far; 30]);
        let place = place_of_newcomer(&land, home, &crowds(&people), 1);
        assert!(place.distance_squared(near) <= 2 * (BESIDE_UNITS as u64).pow(2), "{place:?}");
    }

    #[test]
    fn nobody_is_put_into_a_crowd_or_onto_another_island() {
        let land = land();
        let home = Frontier.spawn(&land, Arrival::Home, 1);
        let far = Frontier.spawn(&land, Arrival::Anywhere, 5);
        let people = vec![far; CROWD as usize];
        assert_eq!(place_of_newcomer(&land, home, &crowds(&people), 1), home);
        let near = place_of_newcomer(&land, home, &crowds(&people[1..]), 1);
        assert!(near.distance_squared(far) <= 2 * (BESIDE_UNITS as u64).pow(2), "{near:?}");
        let elsewhere = Crowd { island: IslandId(2), somebody: far, people: 9 };
        assert_eq!(place_of_newcomer(&land, home, &[elsewhere], 1), home);
    }
}
