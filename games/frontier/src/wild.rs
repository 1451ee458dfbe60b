//! The reference game with rules that misbehave on purpose, to test what a platform does to them.

use crate::Frontier;
use bytes::Bytes;
use pelago_game::{
    Actor, Arrival, DurableContext, Game, Halt, IslandSpec, Land, LiveContext, ObjectView, Refusal,
    Route, Speech, Tile, Total,
};
use pelago_model::{ChunkId, Document, IslandTime, Key, Position};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The reference game, in which a payload `wild WHERE WHAT` lets a function of the game misbehave. `WHERE` is `route`,
/// `keys`, `durable`, `grant`, `live` or `speech`, `WHAT` one of
///
/// * `panic`,
/// * `hang`: it does not return before [`Wild::release`],
/// * `get KEY` and `put KEY VALUE`, for `durable` and `grant`: it reads or writes this document; without a value, an empty
///   object.
///
/// Durable commands meet at the avatar of the actor, live ones are on the actor. A new avatar with the name `wild` panics.
#[derive(Clone, Debug, Default)]
pub struct Wild {
    is_released: Arc<AtomicBool>,
    is_landless: bool,
}

impl Wild {
    /// A game that panics when it makes land.
    pub fn landless() -> Self {
        Self { is_landless: true, ..Self::default() }
    }

    /// Lets all rules return that hang, and those that would.
    pub fn release(&self) {
        self.is_released.store(true, Ordering::Relaxed);
    }

    /// What a payload says that a function is to do.
    fn wish<'a>(payload: &'a [u8], function: &str) -> Option<&'a str> {
        let wish = std::str::from_utf8(payload).ok()?.strip_prefix("wild ")?;
        wish.strip_prefix(function)?.strip_prefix(' ')
    }

    fn misbehave(&self, payload: &[u8], function: &str) {
        match Self::wish(payload, function) {
            Some("panic") => panic!("a wild rule of {function}"),
            Some("hang") => {
                while !self.is_released.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            _ => {}
        }
    }

    fn turn(
        &self,
        context: &mut DurableContext<'_>,
        payload: &[u8],
        function: &str,
    ) -> Result<Bytes, Halt> {
        self.misbehave(payload, function);
        let wish = Self::wish(payload, function).unwrap_or_default();
        let key = |text: &str| Key::parse(text).map_err(|_| Refusal::malformed());
        let words: Vec<&str> = wish.splitn(3, ' ').collect();
        let found = match words[..] {
            ["get", name] => context.get::<Value>(&key(name)?)?,
            ["put", name, ref value @ ..] => {
                let value = value.first().map(|text| serde_json::from_str(text));
                let value: Value =
                    value.transpose().map_err(|_| Refusal::malformed())?.unwrap_or(json!({}));
                context.put(&key(name)?, 1, &value)?;
                None
            }
            _ => None,
        };
        Ok(json!({ "found": found }).to_string().into())
    }
}

fn is_wild(payload: &[u8]) -> bool {
    payload.starts_with(b"wild ")
}

impl Game for Wild {
    fn name(&self) -> &str {
        Frontier.name()
    }

    fn content(&self) -> Bytes {
        Frontier.content()
    }

    fn max_speed(&self) -> u16 {
        Frontier.max_speed()
    }

    fn tile(&self, island: &IslandSpec, chunk: ChunkId) -> Option<Tile> {
        assert!(!self.is_landless, "a wild rule of tile");
        Frontier.tile(island, chunk)
    }

    fn walkable(&self, ground: u8) -> bool {
        Frontier.walkable(ground)
    }

    fn spawn(&self, land: &Land, arrival: Arrival, seed: u64) -> Position {
        Frontier.spawn(land, arrival, seed)
    }

    fn new_avatar(&self, name: &str) -> Value {
        assert_ne!(name, "wild", "a wild rule of new_avatar");
        Frontier.new_avatar(name)
    }

    fn player_view(&self, state: &Value) -> Bytes {
        Frontier.player_view(state)
    }

    fn route(&self, actor: &Actor, payload: &[u8]) -> Result<Route, Refusal> {
        self.misbehave(payload, "route");
        match is_wild(payload) {
            true if payload.starts_with(b"wild live") => Ok(Route::Live { target: actor.avatar }),
            true => Ok(Route::Durable { key: Key::avatar(actor.avatar) }),
            false => Frontier.route(actor, payload),
        }
    }

    fn keys(&self, actor: &Actor, payload: &[u8]) -> Vec<Key> {
        self.misbehave(payload, "keys");
        match Self::wish(payload, "durable").and_then(|wish| wish.split(' ').nth(1)) {
            Some(name) => Key::parse(name).into_iter().collect(),
            None => Frontier.keys(actor, payload),
        }
    }

    fn durable(&self, context: &mut DurableContext<'_>, payload: &[u8]) -> Result<Bytes, Halt> {
        match is_wild(payload) {
            true => self.turn(context, payload, "durable"),
            false => Frontier.durable(context, payload),
        }
    }

    fn grant(&self, context: &mut DurableContext<'_>, what: &[u8]) -> Result<Bytes, Halt> {
        match is_wild(what) {
            true => self.turn(context, what, "grant"),
            false => Frontier.grant(context, what),
        }
    }

    fn schema(&self, kind: &str) -> u16 {
        if kind == "wild" { 1 } else { Frontier.schema(kind) }
    }

    fn live(&self, context: &mut LiveContext, payload: &[u8]) -> Result<Bytes, Refusal> {
        self.misbehave(payload, "live");
        match is_wild(payload) {
            true => Ok(Bytes::from_static(b"{}")),
            false => Frontier.live(context, payload),
        }
    }

    fn speech(
        &self,
        speaker: &Value,
        to: Speech,
        text: &str,
        now: IslandTime,
    ) -> Result<(), Refusal> {
        self.misbehave(text.as_bytes(), "speech");
        Frontier.speech(speaker, to, text, now)
    }

    fn objects(&self, chunk: &Document) -> Vec<ObjectView> {
        Frontier.objects(chunk)
    }

    fn count(&self, key: &Key, value: &Value, totals: &mut BTreeMap<String, Total>) {
        Frontier.count(key, value, totals);
    }
}
