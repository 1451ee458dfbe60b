//! What a node reads from its store.

use crate::input::Input;
use crate::machine::{HOME, LAND, SPAWN};
use bytes::Bytes;
use pelago_frontier::Frontier;
use pelago_game::{Actor, DurableTurn, Game, IslandSpec, TurnEnd, json, run_durable};
use pelago_model::{
    ChunkId, Document, EntityId, Epoch, IslandTime, Key, Position, Revision, Sequence,
};
use pelago_node::WorldDocument;
use pelago_node::documents::avatar::{
    AvatarDocument, NameDocument, PlaceDocument, SequenceCheck, SerialsDocument, read,
};
use pelago_node::documents::schema::Stored;
use pelago_store::envelope;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// The first byte says what the others are.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let selector = input.u8();
    let bytes = input.rest();
    match selector {
        0 => enveloped(bytes),
        1 => avatar(bytes),
        2 => drop(canonical::<PlaceDocument>(bytes)),
        3 => name(bytes),
        4 => drop(canonical::<SerialsDocument>(bytes)),
        5 => drop(canonical::<WorldDocument>(bytes)),
        6 => drop(canonical::<IslandSpec>(bytes)),
        7 => chunk(bytes),
        8 => key(bytes),
        9 => command(bytes),
        _ => {}
    }
}

fn document(bytes: &[u8]) -> Document {
    Document { schema: 1, revision: Revision(1), value: Some(Bytes::copy_from_slice(bytes)) }
}

fn enveloped(bytes: &[u8]) {
    if let Ok(document) = envelope::decode(bytes) {
        let again = envelope::decode(&envelope::encode(&document));
        assert_eq!(again, Ok(document), "a document changes in its envelope");
    }
}

/// A value that can be read can be written, in one form only.
fn canonical<T: Serialize + Stored + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let value: T = read(&document(bytes)).ok()??;
    // A fraction in the game's part is refused.
    let written = json::encode(&value).ok()?;
    let again: T = json::decode(&written).expect("what was written is read");
    assert_eq!(again, value, "a document changes in the store");
    assert_eq!(json::encode(&again).ok(), Some(written), "a document has two forms");
    Some(value)
}

fn name(bytes: &[u8]) {
    let _ = canonical::<NameDocument>(bytes);
    for schema in 1..=3 {
        let _ = NameDocument::read(&Document { schema, ..document(bytes) });
    }
}

fn avatar(bytes: &[u8]) {
    let Some(mut avatar) = canonical::<AvatarDocument>(bytes) else { return };
    Frontier.player_view(&avatar.game);
    Frontier.count(&Key::avatar(EntityId(1)), &avatar.game, &mut BTreeMap::new());
    for number in [0, 1, avatar.sequence.0, u64::MAX] {
        avatar.check(Sequence(number), b"{}");
    }
    let next = Sequence(avatar.sequence.0.saturating_add(1));
    // A ring that holds outcomes to come was never written by a node: it is only read.
    let is_past = avatar.outcomes.iter().all(|outcome| outcome.sequence < next);
    if is_past && avatar.check(next, b"{}") == SequenceCheck::Next {
        let outcome = avatar.record(b"{}", "{}".into());
        assert_eq!(avatar.check(next, b"{}"), SequenceCheck::Known(outcome));
    }
}

fn chunk(bytes: &[u8]) {
    let document = document(bytes);
    for view in Frontier.objects(&document) {
        assert!(view.payload.len() <= pelago_model::limits::MAX_OBJECT_BYTES);
    }
    let chunk = SPAWN.chunk();
    let key = Key::chunk(HOME, chunk);
    if let Ok(Some(value)) = read(&document) {
        Frontier.count(&key, &value, &mut BTreeMap::new());
    }
    for slot in 0..4 {
        let Some((_, place)) = LAND.natural(chunk, slot) else { continue };
        let payload = format!(r#"{{"gather":{{"x":{},"y":{},"slot":{slot}}}}}"#, chunk.x, chunk.y);
        let documents = BTreeMap::from([(key.clone(), document.clone())]);
        decide(&documents, place, payload.as_bytes());
    }
}

fn command(bytes: &[u8]) {
    let documents = (-1..=1).flat_map(|x| (-1..=1).map(move |y| ChunkId::new(x, y)));
    let documents = documents.map(|chunk| (Key::chunk(HOME, chunk), Document::ABSENT)).collect();
    decide(&documents, *SPAWN, bytes);
}

/// A rule may refuse, and may find a document broken, but does not panic.
fn decide(documents: &BTreeMap<Key, Document>, position: Position, payload: &[u8]) {
    let actor = Actor {
        avatar: EntityId(1),
        epoch: Epoch(1),
        sequence: Sequence(1),
        island: HOME,
        position,
        received: IslandTime(1_000_000),
    };
    let state = Frontier.new_avatar("tester");
    let turn = DurableTurn { actor: &actor, state: &state, documents, land: &LAND, seed: [0; 32] };
    let _ = Frontier.route(&actor, payload);
    if let TurnEnd::Panicked(words) = run_durable(&Frontier, turn, payload) {
        panic!("{words}");
    }
}

fn key(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let name = Key::name(text);
    assert_eq!(Key::parse(name.as_str()), Ok(name), "a name is no key");
    let Ok(key) = Key::parse(text) else { return };
    assert_eq!(key.as_str(), text);
    key.kind();
    if let Some(avatar) = key.as_avatar() {
        // Hexadecimal digits and signs have other forms; what is meant is the same.
        assert_eq!(Key::avatar(avatar).as_avatar(), Some(avatar));
    }
    if let Some((island, chunk, page)) = key.as_chunk() {
        assert_eq!(Key::chunk_page(island, chunk, page), key);
    }
    assert_eq!(key.steward_key().steward_key(), key.steward_key());
}
