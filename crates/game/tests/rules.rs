//! What the platform promises to rules, and what it does to broken ones.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use pelago_game::*;
use pelago_model::{
    ChunkId, Document, EntityId, Epoch, IslandId, IslandTime, Key, Position, Revision, Sequence,
};
use proptest::prelude::*;
use rand_chacha::rand_core::Rng;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Does what its payload says.
struct Obedient;

fn key(name: &str) -> Key {
    Key::parse(name).unwrap()
}

impl Game for Obedient {
    fn name(&self) -> &str {
        "obedient"
    }
    fn content(&self) -> Bytes {
        Bytes::new()
    }
    fn max_speed(&self) -> u16 {
        256
    }
    /// Walls where a hash of the cell says so.
    fn tile(&self, island: &IslandSpec, chunk: ChunkId) -> Option<Tile> {
        let wall = |cell: usize| {
            let mix = (cell as u64 + 1) * (chunk.x as u64 * 31 + chunk.y as u64 * 17 + island.seed);
            u8::from(mix.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62 == 0)
        };
        let inside = (0..3).contains(&chunk.x) && (0..3).contains(&chunk.y);
        inside.then(|| Tile { ground: std::array::from_fn(wall), naturals: Vec::new() })
    }
    fn walkable(&self, ground: u8) -> bool {
        ground == 0
    }
    fn spawn(&self, _: &Land, _: Arrival, _: u64) -> Position {
        Position::default()
    }
    fn new_avatar(&self, _: &str) -> Value {
        json!({})
    }
    fn player_view(&self, _: &Value) -> Bytes {
        Bytes::new()
    }
    fn route(&self, _: &Actor, _: &[u8]) -> Result<Route, Refusal> {
        Err(Refusal::malformed())
    }
    fn durable(&self, context: &mut DurableContext<'_>, payload: &[u8]) -> Result<Bytes, Halt> {
        match payload {
            b"panic" => panic!("a broken rule"),
            b"swallow" => {
                // Goes on without the document that it wanted.
                drop(context.get::<Value>(&key("a/missing")));
                Ok(Bytes::new())
            }
            b"refuse" => {
                context.put(&key("a/1"), 1, &json!(5))?;
                Err(Refusal::new("no", "No.").into())
            }
            b"random" => Ok(context.rng().next_u64().to_string().into()),
            _ => {
                let read: Value = context.get(&key("a/read"))?.unwrap_or_default();
                context.put(&key("a/1"), 3, &json!({"seen": read}))?;
                Ok(Bytes::from("done"))
            }
        }
    }
    fn live(&self, _: &mut LiveContext, _: &[u8]) -> Result<Bytes, Refusal> {
        Err(Refusal::malformed())
    }
    fn objects(&self, _: &Document) -> Vec<ObjectView> {
        Vec::new()
    }
    fn count(&self, _: &Key, _: &Value, _: &mut BTreeMap<String, Total>) {}
}

fn land(seed: u64) -> Land {
    Land::new(&Obedient, IslandSpec { id: IslandId(1), seed, size: 3, generator: 1 })
}

fn run(payload: &[u8], documents: &BTreeMap<Key, Document>) -> TurnEnd {
    let actor = Actor {
        avatar: EntityId(1),
        epoch: Epoch(1),
        sequence: Sequence(1),
        island: IslandId(1),
        position: Position::default(),
        received: IslandTime(0),
    };
    let (land, state) = (land(1), json!({}));
    let turn = DurableTurn { actor: &actor, state: &state, documents, land: &land, seed: [3; 32] };
    run_durable(&Obedient, turn, payload)
}

fn loaded() -> BTreeMap<Key, Document> {
    let read = Document { schema: 1, revision: Revision(4), value: Some(Bytes::from("7")) };
    BTreeMap::from([(key("a/read"), read), (key("a/1"), Document::ABSENT)])
}

#[test]
fn what_is_not_loaded_is_asked_for_first() {
    let end = run(b"", &BTreeMap::new());
    assert!(matches!(end, TurnEnd::Missing(keys) if keys == [key("a/read")]));
}

#[test]
fn a_swallowed_miss_still_ends_the_run() {
    assert!(matches!(run(b"swallow", &loaded()), TurnEnd::Missing(_)));
}

#[test]
fn reads_are_checked_and_writes_are_guarded() {
    let TurnEnd::Done { checks, writes, .. } = run(b"", &loaded()) else { panic!("not done") };
    assert_eq!((&checks[0].key, checks[0].revision), (&key("a/read"), Revision(4)));
    assert_eq!((&writes[0].key, writes[0].expected), (&key("a/1"), Revision(0)));
    assert_eq!(writes[0].value, Some(Bytes::from(r#"{"seen":7}"#)));
}

#[test]
fn a_refused_rule_leaves_nothing_and_a_broken_one_hurts_nobody() {
    assert!(matches!(run(b"refuse", &loaded()), TurnEnd::Refused(refusal) if refusal.code == "no"));
    assert!(matches!(run(b"panic", &loaded()), TurnEnd::Broken(_)));
}

#[test]
fn randomness_is_the_same_in_every_run() {
    let effects = || match run(b"random", &loaded()) {
        TurnEnd::Done { effects, .. } => effects,
        end => panic!("{end:?}"),
    };
    assert_eq!(effects(), effects());
}

proptest! {
    #[test]
    fn a_clear_way_leads_through_no_wall(
        seed in 1u64..50,
        from in (0i32..5760, 0i32..5760),
        to in (0i32..5760, 0i32..5760),
    ) {
        let land = land(seed);
        let (from, to) = (Position::new(from.0, from.1), Position::new(to.0, to.1));
        let clear = land.is_clear(from, to);
        // Points between are rounded: only those well inside of their cells count.
        let inside = |at: i32| (4..124).contains(&at.rem_euclid(128));
        let mut blocked = false;
        for step in 0..=2000 {
            let along = |a: i32, b: i32| a + ((i64::from(b) - i64::from(a)) * step / 2000) as i32;
            let point = Position::new(along(from.x, to.x), along(from.y, to.y));
            blocked |= inside(point.x) && inside(point.y) && !land.is_walkable(point);
        }
        prop_assert!(!(clear && blocked), "clear through a wall");
    }

    #[test]
    fn along_an_axis_every_cell_counts(seed in 1u64..50, row in 0i32..45, from in 0i32..45, to in 0i32..45) {
        let land = land(seed);
        let middle = |cell: i32| cell * 128 + 64;
        let all = (from.min(to)..=from.max(to))
            .all(|cell| land.is_walkable(Position::new(middle(cell), middle(row))));
        let (a, b) = (Position::new(middle(from), middle(row)), Position::new(middle(to), middle(row)));
        prop_assert_eq!(land.is_clear(a, b), all);
        let turned = |point: Position| Position::new(point.y, point.x);
        let all = (from.min(to)..=from.max(to))
            .all(|cell| land.is_walkable(Position::new(middle(row), middle(cell))));
        prop_assert_eq!(land.is_clear(turned(a), turned(b)), all);
    }
}
