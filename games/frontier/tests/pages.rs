//! Chunks with so much on them that what players changed takes more than one document.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use pelago_frontier::Frontier;
use pelago_frontier::content::NATURALS;
use pelago_frontier::terrain::{overgrown_tile, tile};
use pelago_game::{Game, Halt, IslandSpec, Land, ObjectView, TestWorld, objects_of};
use pelago_model::gauge::NANO;
use pelago_model::limits::{CHUNK_PAGE_SLOTS, MAX_CHUNK_DOCUMENT_BYTES};
use pelago_model::{ChunkId, ChunkPage, Document, EntityId, IslandId, IslandTime, Key, Revision};
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;

const ISLAND: IslandId = IslandId(1);
/// Home: a clearing.
const CHUNK: ChunkId = ChunkId { x: 1, y: 1 };
/// As long a number as the world's clock will show in its first 35,000 years.
const NOW: IslandTime = IslandTime(1 << 50);

fn spec(seed: u64, size: u16) -> IslandSpec {
    IslandSpec { id: ISLAND, seed, size, generator: 1 }
}

fn overgrown() -> TestWorld<Frontier> {
    let land = Land::with_tiles(&Frontier, spec(7, 3), overgrown_tile);
    let mut world = TestWorld::on(Frontier, land);
    world.now = NOW;
    world
}

fn key(page: ChunkPage) -> Key {
    Key::chunk_page(ISLAND, CHUNK, page)
}

fn gather(world: &mut TestWorld<Frontier>, who: u64, slot: u16) -> Result<Bytes, Halt> {
    let (_, place) = world.land().natural(CHUNK, slot).unwrap();
    let command = json!({"gather": {"x": CHUNK.x, "y": CHUNK.y, "slot": slot}}).to_string();
    world.act(EntityId(who), place, command.as_bytes())
}

/// What a reader of all documents of the chunk is shown: how many there are of each thing that is not full.
fn shown(world: &TestWorld<Frontier>) -> BTreeMap<u16, i64> {
    let stock = |view: ObjectView| {
        let bytes = view.payload[..8].try_into().unwrap();
        (view.slot, i64::from_le_bytes(bytes) / NANO)
    };
    let pages = world.land().pages(CHUNK);
    pages
        .flat_map(|page| objects_of(&Frontier, page, &world.document(&key(page))).unwrap())
        .map(stock)
        .collect()
}

fn assert_small(world: &TestWorld<Frontier>) {
    for page in world.land().pages(CHUNK) {
        let bytes = world.document(&key(page)).value.map_or(0, |value| value.len());
        assert!(bytes <= MAX_CHUNK_DOCUMENT_BYTES, "{bytes} bytes");
    }
}

#[test]
fn a_chunk_of_which_everything_was_taken_is_in_small_documents() {
    let mut world = overgrown();
    let slots = world.land().tile(CHUNK).unwrap().naturals.len() as u16;
    assert!(slots > 200, "{slots}");
    for slot in 0..slots {
        while gather(&mut world, 1, slot).is_ok() {}
    }
    assert_small(&world);
    assert_eq!(shown(&world), (0..slots).map(|slot| (slot, 0)).collect());
    let bytes = |page| world.document(&key(page)).value.unwrap().len();
    let all: usize = world.land().pages(CHUNK).map(bytes).sum();
    assert!(all > MAX_CHUNK_DOCUMENT_BYTES, "{all} bytes would have fitted into one document");
    assert!(world.totals().values().all(|total| total.is_balanced() && total.held > 100));
}

/// What earlier builds wrote is where this build looks for it: they kept all slots in the first document, and no island of theirs
/// has a chunk with more than the first page holds.
#[test]
fn land_has_no_chunk_with_more_than_one_page() {
    for seed in 0..20 {
        let spec = spec(seed, 16);
        for chunk in (0..16).flat_map(|y| (0..16).map(move |x| ChunkId::new(x, y))) {
            let naturals = tile(&spec, chunk).map_or(0, |tile| tile.naturals.len());
            assert!(
                naturals <= usize::from(CHUNK_PAGE_SLOTS),
                "seed {seed}, {chunk:?}: {naturals}"
            );
        }
    }
}

/// A file that is here stays as it is.
const CHUNK_1_PAGE: &str = include_str!("fixtures/chunk-1-page.json");

#[test]
fn pages_of_earlier_builds_are_read() {
    let value = Some(Bytes::from_static(CHUNK_1_PAGE.trim_end().as_bytes()));
    let document = Document { schema: 1, revision: Revision(9), value };
    let slots = |page| {
        let views = objects_of(&Frontier, page, &document).unwrap();
        views.into_iter().map(|view| view.slot).collect::<Vec<_>>()
    };
    assert_eq!(slots(ChunkPage::of(32)), [32, 63]);
    assert!(slots(ChunkPage::FIRST).is_empty(), "slots of another page are not shown");
    let mut totals = BTreeMap::new();
    let value = serde_json::from_str(CHUNK_1_PAGE).unwrap();
    Frontier.count(&key(ChunkPage::of(32)), &value, &mut totals);
    assert_eq!((totals["berry"].gathered, totals["wood"].gathered), (2, 3));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn nothing_is_lost_in_any_order_of_changes(
        order in prop::collection::vec((0u64..3, any::<prop::sample::Index>()), 1..600),
    ) {
        let mut world = overgrown();
        let naturals = world.land().tile(CHUNK).unwrap().naturals.clone();
        let full: Vec<i64> = naturals
            .iter()
            .map(|natural| i64::from(NATURALS[usize::from(natural.kind)].stock))
            .collect();
        let mut left: BTreeMap<u16, i64> = BTreeMap::new();
        for (who, index) in order {
            let slot = index.index(naturals.len()) as u16;
            let stock = left.get(&slot).copied().unwrap_or(full[usize::from(slot)]);
            let given = gather(&mut world, who, slot).is_ok();
            prop_assert_eq!(given, stock > 0);
            left.insert(slot, stock - i64::from(given));
            assert_small(&world);
        }
        prop_assert_eq!(&shown(&world), &left);
        let taken: i64 = left.iter().map(|(slot, left)| full[usize::from(*slot)] - left).sum();
        let totals = world.totals();
        prop_assert_eq!(totals.values().map(|total| total.gathered).sum::<i64>(), taken);
        prop_assert!(totals.values().all(|total| total.is_balanced()));
    }
}
