//! What the platform promises to rules, what it does to broken ones, and where one can walk.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use pelago_game::land::CELL_UNITS;
use pelago_game::*;
use pelago_model::limits::{
    MAX_EFFECTS_BYTES, MAX_NATURAL_SLOTS, MAX_STATE_BYTES, MAX_TURN_DOCUMENTS,
};
use pelago_model::{
    ChunkId, Document, EntityId, Epoch, GrantKey, IslandId, IslandTime, Key, Position, Revision,
    Sequence,
};
use proptest::prelude::*;
use rand_chacha::rand_core::Rng;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Does what its payload says.
struct Obedient;

/// The seed of an island with more natural things than there are slots.
const CROWDED: u64 = 1000;

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
        let naturals = match island.seed {
            CROWDED => vec![Natural { kind: 0, x: 0, y: 0 }; MAX_NATURAL_SLOTS + 1],
            _ => Vec::new(),
        };
        inside.then(|| Tile { ground: std::array::from_fn(wall), naturals })
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
            b"fraction" => {
                context.set_state(&json!({"share": 0.5}))?;
                Ok(Bytes::new())
            }
            // Writes as many documents as the byte after the word says.
            [b'm', b'a', b'n', b'y', count] => {
                for number in 0..*count {
                    context.put(&key(&format!("many/{number}")), 1, &json!(number))?;
                }
                Ok(Bytes::new())
            }
            b"again" => {
                // What a rule wrote is what it reads.
                let before: Option<i64> = context.get(&key("a/1"))?;
                context.put(&key("a/1"), 1, &before.unwrap_or(0))?;
                let read: Option<i64> = context.get(&key("a/1"))?;
                context.put(&key("a/1"), 2, &read.map(|read| read + 1))?;
                Ok(Bytes::new())
            }
            b"large" => {
                context.put(&key("chunk/0000000000000001/0/0"), 1, &"x".repeat(20_000))?;
                Ok(Bytes::new())
            }
            b"wrong" => {
                context.get::<String>(&key("a/read"))?;
                Ok(Bytes::new())
            }
            // Reads or writes the document whose key follows, and goes on as if that had gone well.
            [b'g', b'e', b't', b' ', name @ ..] => {
                drop(context.get::<Value>(&key(std::str::from_utf8(name).unwrap())));
                Ok(Bytes::new())
            }
            [b'p', b'u', b't', b' ', name @ ..] => {
                drop(context.put(&key(std::str::from_utf8(name).unwrap()), 1, &json!({})));
                Ok(Bytes::new())
            }
            b"newer" => {
                context.put(&key("a/1"), 4, &json!({}))?;
                Ok(Bytes::new())
            }
            b"tell" => Ok("\"".repeat(MAX_EFFECTS_BYTES / 2).into()),
            b"hold" => {
                context.set_state(&"x".repeat(MAX_STATE_BYTES))?;
                Ok(Bytes::new())
            }
            // Pays in what the byte after the word says, of what is held.
            [b'p', b'a', b'y', coins] => {
                let held: Value = context.state()?;
                let held = held["coins"].as_i64().unwrap_or(0) - i64::from(*coins);
                context.set_state(&json!({"coins": held}))?;
                let bank: Option<Value> = context.get(&key("bank/1"))?;
                let lies = bank.map_or(0, |bank| bank["coins"].as_i64().unwrap_or(0));
                // A bank that keeps a coin of ten for itself, and books it nowhere.
                let lies = lies + i64::from(*coins) - i64::from(*coins / 10);
                context.put(&key("bank/1"), 1, &json!({"coins": lies}))?;
                Ok(Bytes::new())
            }
            b"no json" => Ok(Bytes::from("this is none")),
            b"as platform" => Err(Refusal::new("superseded", "Go.").into()),
            b"too many" => {
                for number in 0..=MAX_TURN_DOCUMENTS {
                    drop(context.get::<Value>(&key(&format!("many/{number}"))));
                }
                Ok(Bytes::new())
            }
            b"random" => Ok(context.rng().next_u64().to_string().into()),
            _ => {
                let read: Value = context.get(&key("a/read"))?.unwrap_or_default();
                context.put(&key("a/1"), 3, &json!({"seen": read}))?;
                Ok(Bytes::from("\"done\""))
            }
        }
    }
    fn live(&self, _: &mut LiveContext, _: &[u8]) -> Result<Bytes, Refusal> {
        Err(Refusal::malformed())
    }
    fn objects(&self, _: &Document) -> Vec<ObjectView> {
        Vec::new()
    }
    fn schema(&self, kind: &str) -> u16 {
        if kind == "a" { 3 } else { 1 }
    }
    /// Coins: avatars hold them, and banks let them lie.
    fn count(&self, key: &Key, value: &Value, totals: &mut BTreeMap<String, Total>) {
        let coins = value["coins"].as_i64().unwrap_or(0);
        let total = match key.kind() {
            "avatar" => Total { held: coins, ..Total::default() },
            "bank" => Total { lying: coins, ..Total::default() },
            _ => return,
        };
        totals.entry("coin".into()).or_default().add(&total, 1);
    }
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
    assert!(matches!(run(b"panic", &loaded()), TurnEnd::Panicked(text) if text == "a broken rule"));
}

#[test]
fn randomness_is_the_same_in_every_run() {
    let effects = || match run(b"random", &loaded()) {
        TurnEnd::Done { effects, .. } => effects,
        end => panic!("{end:?}"),
    };
    assert_eq!(effects(), effects());
}

#[test]
fn a_document_that_is_written_is_guarded_once_by_the_revision_it_had() {
    let mut documents = loaded();
    let old = Document { schema: 1, revision: Revision(9), value: Some(Bytes::from("5")) };
    documents.insert(key("a/1"), old);
    let TurnEnd::Done { checks, writes, .. } = run(b"again", &documents) else {
        panic!("not done")
    };
    assert!(checks.is_empty());
    assert_eq!(writes.len(), 1);
    assert_eq!((writes[0].expected, writes[0].schema), (Revision(9), 2));
    assert_eq!(writes[0].value, Some(Bytes::from("6")));
}

#[test]
fn what_cannot_be_stored_is_found_before_the_commit() {
    for broken in [&b"fraction"[..], b"no json", b"as platform", b"too many"] {
        assert!(matches!(run(broken, &loaded()), TurnEnd::Broken(_)));
    }
    assert!(
        matches!(run(b"wrong", &loaded()), TurnEnd::Broken(text) if text.starts_with("a/read"))
    );
    let documents = BTreeMap::from([(key("chunk/0000000000000001/0/0"), Document::ABSENT)]);
    assert!(
        matches!(run(b"large", &documents), TurnEnd::Refused(refusal) if refusal.code == "full")
    );
}

#[test]
fn a_turn_fits_a_transaction_with_what_the_platform_adds() {
    let documents: BTreeMap<_, _> =
        (0..100).map(|number| (key(&format!("many/{number}")), Document::ABSENT)).collect();
    let many = |count: usize| run(&[&b"many"[..], &[count as u8]].concat(), &documents);
    assert!(matches!(many(MAX_TURN_DOCUMENTS), TurnEnd::Done { .. }));
    assert!(matches!(many(MAX_TURN_DOCUMENTS + 1), TurnEnd::Broken(_)));
}

#[test]
fn what_a_turn_moves_is_told_and_what_vanishes_breaks_it() {
    let pay = |coins: u8| {
        let documents = BTreeMap::from([(key("bank/1"), Document::ABSENT)]);
        run(&[&b"pay"[..], &[coins]].concat(), &documents)
    };
    let TurnEnd::Done { changes, .. } = pay(9) else { panic!("not done") };
    let coins = |of: &Key| changes.0[of]["coin"];
    assert_eq!(coins(&Key::avatar(EntityId(1))), Total { held: -9, ..Total::default() });
    assert_eq!(coins(&key("bank/1")), Total { lying: 9, ..Total::default() });
    let TurnEnd::Done { changes, .. } = run(b"", &loaded()) else { panic!("not done") };
    assert!(changes.is_empty());
    assert!(matches!(pay(10), TurnEnd::Broken(text) if text.starts_with("coin does not balance")));
}

#[test]
fn a_document_of_a_newer_build_is_neither_read_nor_replaced() {
    let newer = Document { schema: 4, revision: Revision(4), value: Some(Bytes::from("7")) };
    for name in ["a/read", "a/1"] {
        let mut documents = loaded();
        documents.insert(key(name), newer.clone());
        let TurnEnd::Broken(text) = run(b"", &documents) else { panic!("{name} was used") };
        let expected = format!("{name}: a documents are read up to schema 3, this one has 4");
        assert_eq!(text, expected);
    }
}

#[test]
fn no_rule_sees_or_writes_a_document_of_the_platform() {
    let island = IslandId(1);
    let keys = [
        Key::world(),
        Key::serials(),
        Key::island(island),
        Key::name("Anna"),
        Key::avatar(EntityId(2)),
        // What is the game's of the actor's own document is its state.
        Key::avatar(EntityId(1)),
        Key::place(EntityId(2)),
        Key::room(island),
        Key::mailbox(EntityId(2)),
        Key::audit(EntityId(1), Sequence(7)),
        Key::grant(EntityId(1), &GrantKey::parse("mail/1").unwrap()),
        key("session/1"),
        key("lease/world"),
        key("chunk/anything"),
    ];
    // Whether they are loaded or not: others in the batch may have wanted them.
    for documents in
        [BTreeMap::new(), keys.iter().map(|it| (it.clone(), Document::ABSENT)).collect()]
    {
        for key in &keys {
            for verb in ["get", "put"] {
                let end = run(format!("{verb} {key}").as_bytes(), &documents);
                let TurnEnd::Broken(text) = end else { panic!("{verb} {key}: {end:?}") };
                assert!(text.starts_with(&format!("{key}: ")), "{text}");
            }
        }
    }
}

#[test]
fn what_this_build_could_not_read_or_remember_is_not_written() {
    let end = run(b"newer", &loaded());
    assert!(matches!(&end, TurnEnd::Broken(text) if text.contains("newest schema")), "{end:?}");
    assert!(matches!(run(b"tell", &loaded()), TurnEnd::Broken(_)));
    let end = run(b"hold", &loaded());
    assert!(matches!(end, TurnEnd::Refused(refusal) if refusal.code == "full"));
}

#[test]
fn a_game_that_grants_nothing_says_so() {
    let granted = TestWorld::new(Obedient, 1, 3).grant(EntityId(1), b"{}");
    assert!(matches!(granted, Err(Halt::Refused(refusal)) if refusal.code == "no_grants"));
}

#[test]
fn a_refused_or_broken_command_leaves_the_world_as_it_was() {
    let mut world = TestWorld::new(Obedient, 1, 3);
    let me = EntityId(1);
    world.act(me, Position::default(), b"again").unwrap();
    let before = (world.document(&key("a/1")), world.state(me));
    for payload in [&b"refuse"[..], b"panic", b"fraction", b"many\xff"] {
        assert!(world.act(me, Position::default(), payload).is_err());
    }
    assert_eq!((world.document(&key("a/1")), world.state(me)), before);
}

#[test]
fn clients_and_rules_know_the_same_natural_things() {
    let land = land(CROWDED);
    let tile = land.tile(ChunkId::new(0, 0)).unwrap();
    assert_eq!(tile.naturals.len(), MAX_NATURAL_SLOTS);
    let hash = ContentHash::of(&tile.encode());
    assert!(land.content().any(|(other, _)| other == hash));
}

/// A way of at most 12 cells per axis; its ends often lie on borders and in corners of cells.
fn ways() -> impl Strategy<Value = (Position, Position)> {
    let grid = prop::sample::select(vec![1, 32, 64, 128]);
    let (number, difference) = (-200i32..5960, -1536i32..1536);
    (grid, number.clone(), number, difference.clone(), difference).prop_map(
        |(grid, x, y, dx, dy)| {
            let snapped = |x: i32, y: i32| Position::new(x / grid * grid, y / grid * grid);
            (snapped(x, y), snapped(x + dx, y + dy))
        },
    )
}

/// Whether a way meets a cell: its inside, or it with its border. By separating axes (the cell's two and
/// the way's normal), in integers, so that it is exact.
fn meets((a, b): (Position, Position), (x, y): (i32, i32), with_border: bool) -> bool {
    let overlap = |low: i64, high: i64, from: i64, to: i64| {
        let (least, most) = (from.min(to), from.max(to));
        if with_border { least <= high && low <= most } else { least < high && low < most }
    };
    let (left, top) = (i64::from(x * CELL_UNITS), i64::from(y * CELL_UNITS));
    let (right, bottom) = (left + i64::from(CELL_UNITS), top + i64::from(CELL_UNITS));
    let (ax, ay, bx, by) = (i64::from(a.x), i64::from(a.y), i64::from(b.x), i64::from(b.y));
    let side = |x: i64, y: i64| (bx - ax) * (y - ay) - (by - ay) * (x - ax);
    let sides = [side(left, top), side(right, top), side(left, bottom), side(right, bottom)];
    let (least, most) = (sides.into_iter().min().unwrap(), sides.into_iter().max().unwrap());
    overlap(left, right, ax, bx)
        && overlap(top, bottom, ay, by)
        && (a == b || overlap(least, most, 0, 0))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn a_way_is_clear_if_all_cells_that_it_meets_are(seed in 1u64..50, way in ways()) {
        let land = land(seed);
        let (from, to) = way;
        let clear = land.is_clear(from, to);
        prop_assert_eq!(land.is_clear(to, from), clear, "not so from the other side");
        let cells = |a: i32, b: i32| {
            a.min(b).div_euclid(CELL_UNITS) - 1..=a.max(b).div_euclid(CELL_UNITS) + 1
        };
        let middle = |cell: i32| cell * CELL_UNITS + CELL_UNITS / 2;
        let walls: Vec<_> = cells(from.y, to.y)
            .flat_map(|y| cells(from.x, to.x).map(move |x| (x, y)))
            .filter(|(x, y)| !land.is_walkable(Position::new(middle(*x), middle(*y))))
            .collect();
        let through = walls.iter().any(|cell| meets(way, *cell, false));
        let touched = walls.iter().any(|cell| meets(way, *cell, true));
        prop_assert!(!(clear && through), "clear through a wall");
        prop_assert!(clear || touched, "blocked by nothing");
        let mut ends = [from, to].into_iter();
        prop_assert!(!clear || ends.all(|end| land.is_walkable(end)));
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
