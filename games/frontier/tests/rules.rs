//! The rules of the game, played in a world in a map.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use pelago_frontier::Frontier;
use pelago_frontier::content::{
    BUSH, NATURALS, PUSH, PUSHED, STONE, TREE, WALK_SPEED, WAVE, WAVING,
};
use pelago_frontier::terrain::home;
use pelago_game::{Actor, Game, Halt, LiveContext, Route, TestWorld};
use pelago_model::gauge::NANO;
use pelago_model::limits::{MAX_CHUNK_DOCUMENT_BYTES, MAX_OBJECT_BYTES};
use pelago_model::{
    ChunkId, Document, EntityId, Epoch, IslandId, IslandTime, Key, Position, Revision, Sequence,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const ME: EntityId = EntityId(1);
const EAT: &[u8] = br#"{"eat":{"item":"berry"}}"#;
const FEED: &[u8] = br#"{"feed":{}}"#;
const HOUR_MS: i64 = 3_600_000;

fn world() -> TestWorld<Frontier> {
    TestWorld::new(Frontier, 7, 24)
}

/// A natural thing: where its document is, which it is there, and where it stands.
#[derive(Clone, Copy, Debug)]
struct Thing {
    chunk: ChunkId,
    slot: u16,
    place: Position,
}

impl Thing {
    fn gather(&self) -> Vec<u8> {
        let Thing { chunk, slot, .. } = self;
        json!({"gather": {"x": chunk.x, "y": chunk.y, "slot": slot}}).to_string().into_bytes()
    }

    fn key(&self) -> Key {
        Key::chunk(IslandId(1), self.chunk)
    }
}

fn things_of(world: &TestWorld<Frontier>, chunk: ChunkId) -> impl Iterator<Item = (u8, Thing)> {
    let thing = move |slot| {
        world.land().natural(chunk, slot).map(|(kind, place)| (kind, Thing { chunk, slot, place }))
    };
    (0..).map_while(thing)
}

fn chunks() -> impl Iterator<Item = ChunkId> {
    (0..24).flat_map(|y| (0..24).map(move |x| ChunkId::new(x, y)))
}

/// The first thing of a kind, in a chunk with some others.
fn first(world: &TestWorld<Frontier>, kind: u8) -> Thing {
    chunks()
        .filter(|chunk| things_of(world, *chunk).count() > 3)
        .flat_map(|chunk| things_of(world, chunk))
        .find_map(|(other, thing)| (other == kind).then_some(thing))
        .unwrap()
}

fn code(result: Result<Bytes, Halt>) -> String {
    match result {
        Err(Halt::Refused(refusal)) => refusal.code.into_owned(),
        other => format!("{other:?}"),
    }
}

fn is_conserved(world: &TestWorld<Frontier>) -> bool {
    world.totals().values().all(|t| t.held + t.lying == t.gathered - t.consumed)
}

fn number(state: &Value, part: &str, item: &str) -> i64 {
    state[part][item].as_i64().unwrap_or(0)
}

#[test]
fn a_gathered_thing_is_in_hand_and_gone_from_nature() {
    let mut world = world();
    for (kind, item) in [(TREE, "wood"), (BUSH, "berry"), (STONE, "stone")] {
        let thing = first(&world, kind);
        let effects = world.act(ME, thing.place, &thing.gather()).unwrap();
        let effects: Value = serde_json::from_slice(&effects).unwrap();
        assert_eq!((&effects["item"], &effects["count"]), (&json!(item), &json!(1)));
        assert_eq!(effects["held"][item], 1);
        let total = world.totals()[item];
        assert_eq!((total.held, total.gathered, total.consumed), (1, 1, 0));
    }
    let everything = json!({"wood": 1, "berry": 1, "stone": 1});
    let state = world.state(ME);
    assert_eq!(state, json!({"held": everything, "gathered": everything, "consumed": {}}));
    let view: Value = serde_json::from_slice(&Frontier.player_view(&state)).unwrap();
    assert_eq!(view, json!({"held": everything}));
}

#[test]
fn a_grant_is_in_hand_and_in_the_books() {
    let mut world = world();
    let bush = first(&world, BUSH);
    world.act(ME, bush.place, &bush.gather()).unwrap();
    let effects = world.grant(ME, br#"{"items":{"berry":3,"wood":1}}"#).unwrap();
    assert_eq!(effects, r#"{"items":{"berry":3,"wood":1}}"#);
    let state = world.state(ME);
    assert_eq!(state["held"], json!({"berry": 4, "wood": 1}));
    assert_eq!(state["granted"], json!({"berry": 3, "wood": 1}));
    world.act(ME, bush.place, EAT).unwrap();
    assert!(is_conserved(&world));
    for (what, expected) in [
        (r#"{"items":{"crown":1}}"#, "no_such_item"),
        (r#"{"items":{"berry":0}}"#, "malformed"),
        (r#"{"items":{"berry":1000001}}"#, "malformed"),
        (r#"{"items":{"berry":-1}}"#, "malformed"),
        (r#"{"things":{}}"#, "malformed"),
        ("", "malformed"),
    ] {
        assert_eq!(code(world.grant(ME, what.as_bytes())), expected, "{what}");
    }
    for _ in 0..4294 {
        world.grant(ME, br#"{"items":{"berry":1000000}}"#).unwrap();
    }
    assert_eq!(code(world.grant(ME, br#"{"items":{"berry":1000000}}"#)), "full");
}

/// Documents as earlier builds wrote them. A file that is here stays as it is.
const CHUNK_1: &str = include_str!("fixtures/chunk-1.json");
const CAMPFIRE_1: &str = include_str!("fixtures/campfire-1.json");
const STATE_1: &str = include_str!("fixtures/avatar-state-1.json");
const STATE_BEFORE_GATHERED: &str = include_str!("fixtures/avatar-state-0.json");

#[test]
fn documents_of_earlier_builds_are_read() {
    let document = |schema| {
        let value = Some(Bytes::from_static(CHUNK_1.trim_end().as_bytes()));
        Document { schema, revision: Revision(9), value }
    };
    let views = Frontier.objects(&document(1));
    assert_eq!(views.iter().map(|view| view.slot).collect::<Vec<_>>(), [3]);
    assert_eq!(&views[0].payload[..8], &4_000_000_000i64.to_le_bytes());
    // What a newer build wrote is not shown as something else.
    assert!(Frontier.objects(&document(2)).is_empty());
    let mut totals = BTreeMap::new();
    let key = Key::chunk(IslandId(1), ChunkId::new(0, 0));
    Frontier.count(&key, &serde_json::from_str(CHUNK_1).unwrap(), &mut totals);
    for state in [STATE_1, STATE_BEFORE_GATHERED] {
        let state = serde_json::from_str(state).unwrap();
        Frontier.count(&Key::avatar(ME), &state, &mut totals);
    }
    let berries = totals["berry"];
    assert_eq!((berries.held, berries.gathered, berries.consumed), (7, 10, 3));
    let key = Key::parse("campfire/0000000000000001").unwrap();
    Frontier.count(&key, &serde_json::from_str(CAMPFIRE_1).unwrap(), &mut totals);
    assert_eq!((totals["wood"].lying, totals["wood"].consumed), (2, 7));
}

#[test]
fn a_bush_gives_its_stock_and_grows_back() {
    let mut world = world();
    let bush = first(&world, BUSH);
    for _ in 0..5 {
        world.act(ME, bush.place, &bush.gather()).unwrap();
    }
    assert_eq!(code(world.act(ME, bush.place, &bush.gather())), "empty");
    // A berry takes 30 s; the rate is rounded down, so that it comes a moment later.
    world.now = IslandTime(30_000);
    assert_eq!(code(world.act(ME, bush.place, &bush.gather())), "empty");
    world.now = IslandTime(30_001);
    world.act(ME, bush.place, &bush.gather()).unwrap();
    assert_eq!(code(world.act(ME, bush.place, &bush.gather())), "empty");
    assert_eq!(world.totals()["berry"].held, 6);
    assert!(is_conserved(&world));
}

#[test]
fn one_look_after_an_hour_equals_many_looks() {
    let (mut patient, mut curious) = (world(), world());
    let tree = first(&patient, TREE);
    for world in [&mut patient, &mut curious] {
        for _ in 0..3 {
            world.act(ME, tree.place, &tree.gather()).unwrap();
        }
    }
    for second in 1..120 {
        curious.now = IslandTime(second * 1000);
        assert_eq!(code(curious.act(ME, tree.place, &tree.gather())), "empty");
    }
    for world in [&mut patient, &mut curious] {
        for now in [HOUR_MS, HOUR_MS + 7, HOUR_MS + 11] {
            world.now = IslandTime(now);
            world.act(ME, tree.place, &tree.gather()).unwrap();
        }
        assert_eq!(code(world.act(ME, tree.place, &tree.gather())), "empty");
    }
    assert_eq!(patient.document(&tree.key()), curious.document(&tree.key()));
}

#[test]
fn what_is_full_again_is_forgotten_but_not_what_was_taken() {
    let mut world = world();
    let bush = first(&world, BUSH);
    let (_, other) =
        things_of(&world, bush.chunk).find(|(_, thing)| thing.slot != bush.slot).unwrap();
    world.act(ME, bush.place, &bush.gather()).unwrap();
    let objects = |world: &TestWorld<Frontier>| {
        let views = Frontier.objects(&world.document(&bush.key()));
        views.into_iter().map(|view| view.slot).collect::<Vec<_>>()
    };
    assert_eq!(objects(&world), [bush.slot]);
    world.now = IslandTime(HOUR_MS);
    world.act(ME, other.place, &other.gather()).unwrap();
    assert_eq!(objects(&world), [other.slot]);
    assert_eq!(world.totals().values().map(|total| total.gathered).sum::<i64>(), 2);
    assert!(is_conserved(&world));
}

#[test]
fn a_clock_that_is_behind_takes_no_time_back() {
    let mut world = world();
    let bush = first(&world, BUSH);
    world.now = IslandTime(60_000);
    for _ in 0..3 {
        world.act(ME, bush.place, &bush.gather()).unwrap();
    }
    world.now = IslandTime(59_000);
    for _ in 0..2 {
        world.act(EntityId(2), bush.place, &bush.gather()).unwrap();
    }
    assert_eq!(code(world.act(ME, bush.place, &bush.gather())), "empty");
    world.now = IslandTime(60_000);
    assert_eq!(code(world.act(ME, bush.place, &bush.gather())), "empty");
}

#[test]
fn what_cannot_be_reached_or_is_not_there_is_refused() {
    let mut world = world();
    let bush = first(&world, BUSH);
    let at = |distance| Position::new(bush.place.x + distance, bush.place.y);
    assert_eq!(code(world.act(ME, at(161), &bush.gather())), "too_far");
    assert_eq!(code(world.act(ME, at(0), &Thing { slot: 999, ..bush }.gather())), "no_such_thing");
    let sea = Thing { chunk: ChunkId::new(-1, i16::MIN), ..bush };
    assert_eq!(code(world.act(ME, at(0), &sea.gather())), "no_such_thing");
    assert!(world.totals().is_empty());
    world.act(ME, at(160), &bush.gather()).unwrap();
}

#[test]
fn berries_are_eaten_and_nothing_else() {
    let mut world = world();
    let (bush, tree) = (first(&world, BUSH), first(&world, TREE));
    assert_eq!(code(world.act(ME, bush.place, EAT)), "nothing_held");
    world.act(ME, bush.place, &bush.gather()).unwrap();
    world.act(ME, bush.place, EAT).unwrap();
    assert_eq!(code(world.act(ME, bush.place, EAT)), "nothing_held");
    let berry = world.totals()["berry"];
    assert_eq!((berry.held, berry.gathered, berry.consumed), (0, 1, 1));
    world.act(ME, tree.place, &tree.gather()).unwrap();
    assert_eq!(code(world.act(ME, tree.place, br#"{"eat":{"item":"wood"}}"#)), "not_edible");
    assert!(is_conserved(&world));
}

#[test]
fn the_campfire_takes_wood_and_burns_it() {
    let mut world = world();
    let fire = home(world.land().spec());
    assert_eq!(code(world.act(ME, fire, FEED)), "nothing_held");
    world.grant(ME, br#"{"items":{"wood":3}}"#).unwrap();
    world.now = IslandTime(1_000_000);
    assert_eq!(code(world.act(ME, Position::new(fire.x + 321, fire.y), FEED)), "too_far");
    let effects = world.act(ME, Position::new(fire.x + 320, fire.y), FEED).unwrap();
    assert_eq!(effects, r#"{"count":-1,"fire":1,"held":{"wood":2},"item":"wood"}"#);
    world.act(ME, fire, FEED).unwrap();
    let wood = world.totals()["wood"];
    assert_eq!((wood.held, wood.lying, wood.gathered, wood.consumed), (1, 2, 3, 0));
    // An hour later both have burnt down, and the third is alone.
    world.now = IslandTime(1_000_000 + HOUR_MS);
    let effects = world.act(ME, fire, FEED).unwrap();
    assert_eq!(effects, r#"{"count":-1,"fire":1,"held":{},"item":"wood"}"#);
    let wood = world.totals()["wood"];
    assert_eq!((wood.held, wood.lying, wood.gathered, wood.consumed), (0, 1, 3, 2));
    assert!(is_conserved(&world));
    assert_eq!(code(world.act(ME, fire, FEED)), "nothing_held");
}

#[test]
fn a_torn_transaction_shows_in_the_books() {
    let mut world = world();
    let bush = first(&world, BUSH);
    world.act(ME, bush.place, &bush.gather()).unwrap();
    // Only the chunk's half of the gathering.
    let document = world.document(&bush.key());
    let value: Value = serde_json::from_slice(&document.value.unwrap()).unwrap();
    let mut totals = BTreeMap::new();
    Frontier.count(&bush.key(), &value, &mut totals);
    assert_eq!((totals["berry"].held, totals["berry"].gathered), (0, 1));
}

#[test]
fn who_is_waved_at_waves_back_and_who_is_pushed_stumbles() {
    let you = EntityId(2);
    let turn = |verb: &str, distance| {
        let there = Position::new(distance, 0);
        let mut context =
            LiveContext::new((ME, Position::default()), (you, there), Default::default());
        let payload = json!({verb: you}).to_string();
        let effects = Frontier.live(&mut context, payload.as_bytes());
        let (state, lasts_ms, gesture) = context.finish();
        effects.map(|effects| (effects, state.stance, lasts_ms, gesture))
    };
    let waving = (Bytes::from(r#"{"stance":1}"#), WAVING, Some(2000), Some(WAVE));
    assert_eq!(turn("wave", 1920), Ok(waving));
    assert_eq!(turn("wave", 1921).unwrap_err().code, "too_far");
    let pushed = (Bytes::from(r#"{"stance":2}"#), PUSHED, Some(1000), Some(PUSH));
    assert_eq!(turn("push", 160), Ok(pushed));
    assert_eq!(turn("push", 161).unwrap_err().code, "too_far");
    assert_eq!(turn("hug", 0).unwrap_err().code, "malformed");
}

#[test]
fn commands_are_decided_where_their_documents_are() {
    let route = |payload: &str| Frontier.route(&actor(), payload.as_bytes());
    let keys = |payload: &str| Frontier.keys(&actor(), payload.as_bytes());
    let gather = r#"{"gather":{"x":-3,"y":4,"slot":5}}"#;
    let chunk = Key::chunk(IslandId(1), ChunkId::new(-3, 4));
    assert_eq!(route(gather), Ok(Route::Durable { key: chunk.clone() }));
    assert_eq!(keys(gather), [chunk]);
    let eat = r#"{"eat":{"item":"berry"}}"#;
    assert_eq!(route(eat), Ok(Route::Durable { key: Key::avatar(ME) }));
    let feed = r#"{"feed":{}}"#;
    let campfire = Key::parse("campfire/0000000000000001").unwrap();
    assert_eq!(route(feed), Ok(Route::Durable { key: campfire.clone() }));
    assert_eq!(keys(feed), [campfire]);
    let wave = r#"{"wave":"000010000000000f"}"#;
    assert_eq!(route(wave), Ok(Route::Live { target: EntityId(0x1000_0000_000f) }));
    assert!(keys(wave).is_empty() && keys("{").is_empty());
}

#[test]
fn what_is_almost_a_command_is_malformed() {
    for payload in [
        "",
        "null",
        "{}",
        "[]",
        r#""eat""#,
        r#"{"gather":{}}"#,
        r#"{"gather":{"x":0,"y":0}}"#,
        r#"{"gather":{"x":0,"y":0,"slot":0,"z":0}}"#,
        r#"{"gather":{"x":0,"x":0,"y":0,"slot":0}}"#,
        r#"{"gather":{"x":32768,"y":0,"slot":0}}"#,
        r#"{"gather":{"x":0.5,"y":0,"slot":0}}"#,
        r#"{"gather":{"x":0,"y":0,"slot":-1}}"#,
        r#"{"gather":{"x":0,"y":0,"slot":0},"eat":{"item":"berry"}}"#,
        r#"{"eat":{"item":7}}"#,
        r#"{"feed":{"item":"wood"}}"#,
        r#"{"wave":"1"}"#,
        r#"{"wave":1}"#,
        r#"{"dance":{}}"#,
        r#"{"eat":{"item":"berry"}} {}"#,
    ] {
        assert_malformed(payload.as_bytes());
    }
    assert_malformed("[".repeat(1000).as_bytes());
}

#[test]
fn objects_are_shown_as_clients_are_told() {
    let mut world = world();
    let bush = first(&world, BUSH);
    world.now = IslandTime(12_345);
    world.act(ME, bush.place, &bush.gather()).unwrap();
    let views = Frontier.objects(&world.document(&bush.key()));
    let mut bytes = Vec::new();
    bytes.extend((4 * NANO).to_le_bytes());
    bytes.extend(12_345i64.to_le_bytes());
    bytes.extend(33_333i64.to_le_bytes());
    bytes.push(5);
    assert_eq!((views.len(), views[0].slot), (1, bush.slot));
    assert_eq!(views[0].payload, bytes);
    assert!(bytes.len() <= MAX_OBJECT_BYTES);
}

#[test]
fn a_chunk_that_is_plundered_fits_its_document() {
    let mut world = world();
    world.now = IslandTime(1 << 50);
    let rich = chunks().max_by_key(|chunk| things_of(&world, *chunk).count()).unwrap();
    let things: Vec<_> = things_of(&world, rich).collect();
    assert!(things.len() > 15);
    for (_, thing) in &things {
        world.act(ME, thing.place, &thing.gather()).unwrap();
    }
    let bytes = world.document(&things[0].1.key()).value.unwrap().len();
    assert!(bytes * 2 < MAX_CHUNK_DOCUMENT_BYTES, "{bytes} bytes");
}

#[test]
fn the_game_tells_clients_what_there_is() {
    let content: Value = serde_json::from_slice(&Frontier.content()).unwrap();
    assert_eq!(content["name"], "frontier");
    for (ground, entry) in (0..).zip(content["ground"].as_array().unwrap()) {
        assert_eq!(entry["walkable"], Frontier.walkable(ground));
        assert!(entry["name"].is_string() && entry["color"].is_string());
    }
    assert!(!Frontier.walkable(6) && !Frontier.walkable(255));
    let naturals: Vec<_> = NATURALS
        .iter()
        .map(|k| json!({"name": k.name, "item": k.item, "stock": k.stock, "regrow_s": k.regrow_s}))
        .collect();
    assert_eq!(content["naturals"], json!(naturals));
    assert_eq!(content["entities"], json!([{"name": "avatar", "speed_units_per_s": WALK_SPEED}]));
    // Who goes as fast as clients are told is not refused, and nobody goes faster.
    assert_eq!(content["entities"][0]["speed_units_per_s"], json!(Frontier.max_speed()));
    assert_eq!(content["stances"], json!(["standing", "waving", "pushed"]));
    assert_eq!(content["gestures"], json!(["wave", "push"]));
    assert_eq!(content["reach_units"], 160);
    let campfire = json!({"item": "wood", "burn_s": 10, "reach_units": 320});
    assert_eq!(content["campfire"], campfire);
}

fn actor() -> Actor {
    Actor {
        avatar: ME,
        epoch: Epoch(1),
        sequence: Sequence(1),
        island: IslandId(1),
        position: Position::default(),
        received: IslandTime(0),
    }
}

fn assert_malformed(payload: &[u8]) {
    let shown = String::from_utf8_lossy(payload);
    let refusal = Frontier.route(&actor(), payload).unwrap_err();
    assert_eq!(refusal.code, "malformed", "{shown}");
    let mut world = TestWorld::new(Frontier, 7, 1);
    assert_eq!(code(world.act(ME, Position::default(), payload)), "malformed", "{shown}");
}

/// JSON made of the game's own words.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "gather", "eat", "feed", "wave", "push", "x", "y", "slot", "item", "berry", "slots",
        "taken", "held", "gathered", "consumed", "stock", "rates", "at", "max", "5", "wood",
        "burnt", "since",
    ]);
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
        Just(Value::Null),
    ];
    leaf.prop_recursive(4, 24, 5, move |inner| {
        let name = word.clone().prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// One thing that an avatar tries: to gather from one of some things, to eat, or to feed the fire.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    who: u64,
    what: Try,
    wait_ms: i64,
}

#[derive(Clone, Copy, Debug)]
enum Try {
    Gather(usize),
    Eat,
    Feed,
}

fn attempts() -> impl Strategy<Value = Attempt> {
    let what = prop_oneof![
        6 => (0usize..5).prop_map(Try::Gather),
        2 => Just(Try::Eat),
        2 => Just(Try::Feed),
    ];
    // Now and then the clock of the next one is behind.
    (0u64..3, what, -500i64..20_000).prop_map(|(who, what, wait_ms)| Attempt { who, what, wait_ms })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn items_are_conserved(attempts in prop::collection::vec(attempts(), 1..80)) {
        let mut world = world();
        let bush = first(&world, BUSH);
        let mut things: Vec<_> =
            things_of(&world, bush.chunk).map(|(_, thing)| thing).take(2).collect();
        things.extend([bush, first(&world, STONE), first(&world, TREE)]);
        let fire = home(world.land().spec());
        let mut fed: BTreeMap<u64, i64> = BTreeMap::new();
        for Attempt { who, what, wait_ms } in attempts {
            world.now = world.now.plus(wait_ms);
            let (place, command) = match what {
                Try::Gather(thing) => (things[thing].place, things[thing].gather()),
                Try::Eat => (bush.place, EAT.to_vec()),
                Try::Feed => (fire, FEED.to_vec()),
            };
            let ended = world.act(EntityId(who), place, &command);
            prop_assert!(matches!(ended, Ok(_) | Err(Halt::Refused(_))), "{ended:?}");
            *fed.entry(who).or_default() += i64::from(matches!(what, Try::Feed) && ended.is_ok());
            prop_assert!(is_conserved(&world));
        }
        // The two sides of every gathering, and every avatar by itself.
        let states: Vec<_> = (0..3).map(|who| world.state(EntityId(who))).collect();
        for (item, total) in world.totals() {
            let sum: i64 = states.iter().map(|state| number(state, "gathered", &item)).sum();
            prop_assert_eq!(sum, total.gathered);
            for (who, state) in (0..).zip(&states) {
                let fed = if item == "wood" { fed.get(&who).copied().unwrap_or(0) } else { 0 };
                let left = number(state, "gathered", &item) - number(state, "consumed", &item);
                prop_assert_eq!(number(state, "held", &item), left - fed);
            }
        }
    }

    #[test]
    fn garbage_is_malformed(payload in prop::collection::vec(any::<u8>(), 0..100)) {
        assert_malformed(&payload);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_payload_breaks_a_rule(payload in any_json()) {
        let payload = payload.to_string();
        let mut world = TestWorld::new(Frontier, 7, 1);
        let ended = world.act(ME, Position::default(), payload.as_bytes());
        prop_assert!(matches!(ended, Ok(_) | Err(Halt::Refused(_))), "{ended:?}");
        drop(Frontier.keys(&actor(), payload.as_bytes()));
        let here = (ME, Position::default());
        let mut context = LiveContext::new(here, here, Default::default());
        drop(Frontier.live(&mut context, payload.as_bytes()));
    }

    #[test]
    fn no_document_breaks_a_view(value in any_json()) {
        let bytes = Bytes::from(value.to_string());
        let document = Document { schema: 1, revision: Revision(1), value: Some(bytes) };
        drop(Frontier.objects(&document));
        drop(Frontier.player_view(&value));
        let mut totals = BTreeMap::new();
        Frontier.count(&Key::avatar(ME), &value, &mut totals);
        Frontier.count(&Key::chunk(IslandId(1), ChunkId::new(0, 0)), &value, &mut totals);
        Frontier.count(&Key::parse("campfire/0000000000000001").unwrap(), &value, &mut totals);
    }
}
