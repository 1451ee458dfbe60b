//! The reference game of Pelago: an island to walk on, to gather from, to meet on.
//!
//! Built on the public API alone. `terrain` makes the land, `rules` decides commands, `campfire` is what people meet at,
//! `content` tells clients what there is.

pub mod campfire;
pub mod content;
pub mod rules;
pub mod terrain;
pub mod wild;

pub use wild::Wild;

use bytes::Bytes;
use pelago_game::{
    Actor, Arrival, DurableContext, Game, Halt, IslandSpec, Land, LiveContext, ObjectView, Refusal,
    Route, Speech, Tile, Total,
};
use pelago_model::{ChunkId, Document, IslandTime, Key, Position};
use serde_json::Value;
use std::collections::BTreeMap;

/// The game.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frontier;

impl Game for Frontier {
    fn name(&self) -> &str {
        "frontier"
    }

    fn content(&self) -> Bytes {
        content::describe()
    }

    fn max_speed(&self) -> u16 {
        content::WALK_SPEED
    }

    fn tile(&self, island: &IslandSpec, chunk: ChunkId) -> Option<Tile> {
        terrain::tile(island, chunk)
    }

    fn walkable(&self, ground: u8) -> bool {
        content::GROUNDS.get(usize::from(ground)).is_some_and(|ground| ground.walkable)
    }

    fn spawn(&self, land: &Land, arrival: Arrival, seed: u64) -> Position {
        terrain::spawn(land, arrival, seed)
    }

    fn new_avatar(&self, _name: &str) -> Value {
        rules::new_avatar()
    }

    fn player_view(&self, state: &Value) -> Bytes {
        rules::player_view(state)
    }

    fn route(&self, actor: &Actor, payload: &[u8]) -> Result<Route, Refusal> {
        rules::route(actor, payload)
    }

    fn keys(&self, actor: &Actor, payload: &[u8]) -> Vec<Key> {
        rules::keys(actor, payload)
    }

    fn durable(&self, context: &mut DurableContext<'_>, payload: &[u8]) -> Result<Bytes, Halt> {
        rules::durable(context, payload)
    }

    fn grant(&self, context: &mut DurableContext<'_>, what: &[u8]) -> Result<Bytes, Halt> {
        rules::grant(context, what)
    }

    fn schema(&self, kind: &str) -> u16 {
        rules::schema(kind)
    }

    fn live(&self, context: &mut LiveContext, payload: &[u8]) -> Result<Bytes, Refusal> {
        rules::live(context, payload)
    }

    fn speech(
        &self,
        speaker: &Value,
        _to: Speech,
        _text: &str,
        now: IslandTime,
    ) -> Result<(), Refusal> {
        rules::speech(speaker, now)
    }

    fn objects(&self, chunk: &Document) -> Vec<ObjectView> {
        rules::objects(chunk)
    }

    fn count(&self, key: &Key, value: &Value, totals: &mut BTreeMap<String, Total>) {
        rules::count(key, value, totals);
    }
}
