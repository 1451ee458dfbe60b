//! The rules: gathering, eating, feeding the campfire, grants, waving, pushing.

use crate::campfire::{self, CAMPFIRE_SCHEMA};
use crate::content::{
    FUEL, NATURALS, NaturalKind, PUSH, PUSHED, REACH_UNITS, WAVE, WAVE_UNITS, WAVING,
};
use bytes::{BufMut, Bytes, BytesMut};
use pelago_game::{Actor, DurableContext, Halt, LiveContext, ObjectView, Refusal, Route, Total};
use pelago_model::gauge::{GaugeRate, NANO};
use pelago_model::{ChunkId, ChunkPage, Document, EntityId, Gauge, IslandTime, Key};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The schema version of chunk documents.
pub const CHUNK_SCHEMA: u16 = 1;
/// The most of one item that one grant gives.
const MAX_GRANTED: u32 = 1_000_000;
/// How long one waves back, in ms.
const WAVE_MS: i64 = 2000;
/// How long one stumbles, in ms.
const PUSH_MS: i64 = 1000;

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Command {
    Gather { x: i16, y: i16, slot: u16 },
    Eat { item: String },
    Feed {},
    Wave(EntityId),
    Push(EntityId),
}

/// The game's state in an avatar's document.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Avatar {
    /// What it carries.
    held: BTreeMap<String, u32>,
    /// What it ever took from nature.
    #[serde(default)]
    gathered: BTreeMap<String, u64>,
    /// What it was ever granted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    granted: BTreeMap<String, u64>,
    /// What it ever used up.
    consumed: BTreeMap<String, u64>,
    /// Until when it may say nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    muted_until: Option<IslandTime>,
}

/// What players changed about the slots of a page of a chunk.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Chunk {
    /// The natural things that are not full, by slot.
    slots: BTreeMap<u16, Natural>,
    /// What was ever taken from here, by item: nature's side of the books. Of the whole page, so
    /// that slots can be forgotten when they are full again.
    taken: BTreeMap<String, u64>,
}

/// A natural thing that was taken from.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Natural {
    stock: Gauge,
}

pub(crate) fn new_avatar() -> Value {
    json!({"held": {}, "gathered": {}, "consumed": {}})
}

pub(crate) fn player_view(state: &Value) -> Bytes {
    json!({"held": state.get("held").unwrap_or(&json!({}))}).to_string().into()
}

fn parse(payload: &[u8]) -> Result<Command, Refusal> {
    serde_json::from_slice(payload).map_err(|_| Refusal::malformed())
}

pub(crate) fn route(actor: &Actor, payload: &[u8]) -> Result<Route, Refusal> {
    Ok(match parse(payload)? {
        Command::Gather { x, y, .. } => {
            Route::Durable { key: Key::chunk(actor.island, ChunkId::new(x, y)) }
        }
        Command::Eat { .. } => Route::Durable { key: Key::avatar(actor.avatar) },
        Command::Feed {} => Route::Durable { key: campfire::key(actor.island)? },
        Command::Wave(target) | Command::Push(target) => Route::Live { target },
    })
}

pub(crate) fn keys(actor: &Actor, payload: &[u8]) -> Vec<Key> {
    match parse(payload) {
        Ok(Command::Gather { x, y, slot }) => {
            vec![Key::chunk_page(actor.island, ChunkId::new(x, y), ChunkPage::of(slot))]
        }
        Ok(Command::Feed {}) => campfire::key(actor.island).into_iter().collect(),
        _ => Vec::new(),
    }
}

pub(crate) fn durable(context: &mut DurableContext<'_>, payload: &[u8]) -> Result<Bytes, Halt> {
    match parse(payload)? {
        Command::Gather { x, y, slot } => gather(context, ChunkId::new(x, y), slot),
        Command::Eat { item } => eat(context, &item),
        Command::Feed {} => feed(context),
        Command::Wave(_) | Command::Push(_) => Err(Refusal::malformed().into()),
    }
}

fn gather(context: &mut DurableContext<'_>, chunk: ChunkId, slot: u16) -> Result<Bytes, Halt> {
    let (kind, place) = context
        .land()
        .natural(chunk, slot)
        .ok_or(Refusal::new("no_such_thing", "There is nothing like that."))?;
    let natural = NATURALS.get(usize::from(kind)).ok_or_else(|| broken("an unknown kind"))?;
    let reach = u64::from(REACH_UNITS).pow(2);
    if context.actor().position.distance_squared(place) > reach {
        return Err(Refusal::new("too_far", "That is too far away.").into());
    }
    let key = Key::chunk_page(context.actor().island, chunk, ChunkPage::of(slot));
    let mut document: Chunk = context.get(&key)?.unwrap_or_default();
    let now = context.now();
    let entry = document.slots.entry(slot).or_insert_with(|| Natural { stock: full(natural, now) });
    // Somebody whose lane's clock is ahead may have been here "later": time does not run backwards.
    let now = now.max(entry.stock.since());
    if entry.stock.value_at(now) < NANO {
        return Err(Refusal::new("empty", "There is nothing left. It will grow back.").into());
    }
    entry.stock.add(now, -NANO);
    document.slots.retain(|_, other| other.stock.value_at(now) < other.stock.max());
    *document.taken.entry(natural.item.to_owned()).or_default() += 1;
    context.put(&key, CHUNK_SCHEMA, &document)?;

    let mut avatar: Avatar = context.state()?;
    *avatar.held.entry(natural.item.to_owned()).or_default() += 1;
    *avatar.gathered.entry(natural.item.to_owned()).or_default() += 1;
    context.set_state(&avatar)?;
    Ok(json!({"item": natural.item, "count": 1, "held": avatar.held}).to_string().into())
}

fn full(natural: &NaturalKind, now: IslandTime) -> Gauge {
    let most = i64::from(natural.stock) * NANO;
    let mut stock = Gauge::new(most, 0, most, now);
    let rate = GaugeRate {
        nano_per_ms: natural.regrow_nano_per_ms(),
        from: IslandTime(0),
        until: IslandTime(i64::MAX),
    };
    // A new gauge has room for its first rate.
    let added = stock.add_rate(rate);
    debug_assert!(added.is_ok());
    stock
}

fn eat(context: &mut DurableContext<'_>, item: &str) -> Result<Bytes, Halt> {
    let mut avatar: Avatar = context.state()?;
    take_one(&mut avatar, item)?;
    if item != "berry" {
        return Err(Refusal::new("not_edible", "That cannot be eaten.").into());
    }
    *avatar.consumed.entry(item.to_owned()).or_default() += 1;
    context.set_state(&avatar)?;
    Ok(json!({"item": item, "count": -1, "held": avatar.held}).to_string().into())
}

fn feed(context: &mut DurableContext<'_>) -> Result<Bytes, Halt> {
    let mut avatar: Avatar = context.state()?;
    take_one(&mut avatar, FUEL)?;
    context.set_state(&avatar)?;
    let lying = campfire::feed(context)?;
    Ok(json!({"item": FUEL, "count": -1, "held": avatar.held, "fire": lying}).to_string().into())
}

/// Takes one of an item out of somebody's hands.
fn take_one(avatar: &mut Avatar, item: &str) -> Result<(), Refusal> {
    let nothing = Refusal::new("nothing_held", "You have none.");
    let held = avatar.held.get_mut(item).filter(|count| **count > 0).ok_or(nothing)?;
    *held -= 1;
    if *held == 0 {
        avatar.held.remove(item);
    }
    Ok(())
}

/// What an operator may give, or take: the right to speak.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Grant {
    /// How many, by item.
    #[serde(default)]
    items: BTreeMap<String, u32>,
    /// For how long the avatar may say nothing from now on.
    mute: Option<Mute>,
}

/// A time without speech; 0 seconds end one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mute {
    seconds: u32,
}

pub(crate) fn grant(context: &mut DurableContext<'_>, what: &[u8]) -> Result<Bytes, Halt> {
    let grant: Grant = serde_json::from_slice(what).map_err(|_| Refusal::malformed())?;
    let mut avatar: Avatar = context.state()?;
    let full = || Refusal::new("full", "There is no room for so much.");
    if grant.items.is_empty() && grant.mute.is_none() {
        return Err(Refusal::malformed().into());
    }
    for (item, count) in &grant.items {
        if !NATURALS.iter().any(|natural| natural.item == item) {
            return Err(Refusal::new("no_such_item", "There is no such item.").into());
        }
        if !(1..=MAX_GRANTED).contains(count) {
            return Err(Refusal::malformed().into());
        }
        let held = avatar.held.entry(item.clone()).or_default();
        *held = held.checked_add(*count).ok_or_else(full)?;
        *avatar.granted.entry(item.clone()).or_default() += u64::from(*count);
    }
    let mut effects = json!({});
    if !grant.items.is_empty() {
        effects["items"] = json!(grant.items);
    }
    if let Some(Mute { seconds }) = grant.mute {
        avatar.muted_until = (seconds > 0).then(|| context.now().plus(i64::from(seconds) * 1000));
        effects["muted_seconds"] = json!(seconds);
    }
    context.set_state(&avatar)?;
    Ok(effects.to_string().into())
}

/// Whether an avatar in this state may say something.
pub(crate) fn speech(state: &Value, now: IslandTime) -> Result<(), Refusal> {
    let until = state.get("muted_until").and_then(Value::as_i64);
    if until.is_some_and(|until| now.0 < until) {
        return Err(Refusal::new("muted", "You may not speak for a while."));
    }
    Ok(())
}

pub(crate) fn schema(kind: &str) -> u16 {
    match kind {
        "chunk" => CHUNK_SCHEMA,
        campfire::KIND => CAMPFIRE_SCHEMA,
        _ => 0,
    }
}

fn broken(text: &str) -> Halt {
    Halt::Broken(text.to_owned())
}

pub(crate) fn live(context: &mut LiveContext, payload: &[u8]) -> Result<Bytes, Refusal> {
    match parse(payload)? {
        Command::Wave(_) => {
            context.within(WAVE_UNITS)?;
            context.set_stance(WAVING, Some(WAVE_MS));
            context.gesture(WAVE);
        }
        Command::Push(_) => {
            context.within(REACH_UNITS)?;
            context.set_stance(PUSHED, Some(PUSH_MS));
            context.gesture(PUSH);
        }
        Command::Gather { .. } | Command::Eat { .. } | Command::Feed {} => {
            return Err(Refusal::malformed());
        }
    }
    Ok(json!({"stance": context.stance()}).to_string().into())
}

/// The payload of an object: value in billionths, when it was true, growth per ms (i64 LE each), maximum (u8).
pub(crate) fn objects(document: &Document) -> Vec<ObjectView> {
    // What a newer build has written is not understood, and not shown.
    let value = document.value.as_ref().filter(|_| document.schema <= CHUNK_SCHEMA);
    let chunk: Option<Chunk> = value.and_then(|bytes| pelago_game::json::decode(bytes).ok());
    let view = |(slot, Natural { stock }): (u16, Natural)| {
        let since = stock.since();
        let mut payload = BytesMut::with_capacity(25);
        payload.put_i64_le(stock.value_at(since));
        payload.put_i64_le(since.0);
        payload.put_i64_le(stock.slope(since));
        payload.put_u8(u8::try_from(stock.max() / NANO).unwrap_or(u8::MAX));
        ObjectView { slot, payload: payload.freeze() }
    };
    chunk.map(|chunk| chunk.slots).unwrap_or_default().into_iter().map(view).collect()
}

/// Held, granted and consumed are counted by avatars, what was taken from nature by the chunks it came from: a torn
/// transaction shows.
pub(crate) fn count(key: &Key, value: &Value, totals: &mut BTreeMap<String, Total>) {
    match key.kind() {
        "avatar" => {
            let avatar = Avatar::deserialize(value).unwrap_or_default();
            for (item, count) in avatar.held {
                totals.entry(item).or_default().held += i64::from(count);
            }
            for (item, count) in avatar.granted {
                totals.entry(item).or_default().gathered += count as i64;
            }
            for (item, count) in avatar.consumed {
                totals.entry(item).or_default().consumed += count as i64;
            }
        }
        "chunk" => {
            let chunk = Chunk::deserialize(value).unwrap_or_default();
            for (item, count) in chunk.taken {
                totals.entry(item).or_default().gathered += count as i64;
            }
        }
        campfire::KIND => campfire::count(value, totals),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelago_model::limits::{
        CHUNK_PAGE_SLOTS, MAX_CHUNK_DOCUMENT_BYTES, MAX_CHUNK_MARGIN_BYTES, MAX_OVERRIDE_BYTES,
    };

    /// Longer than any that is ever written.
    fn longest() -> Natural {
        let first = IslandTime(i64::MIN);
        let mut stock = Gauge::new(i64::MIN, i64::MIN, i64::MIN, first);
        stock.add_rate(GaugeRate { nano_per_ms: i64::MIN, from: first, until: first }).unwrap();
        Natural { stock }
    }

    #[test]
    fn a_part_in_which_everything_is_as_long_as_can_be_fits() {
        let bytes = |chunk: &Chunk| pelago_game::json::encode(chunk).unwrap().len();
        let taken = NATURALS.iter().map(|kind| (kind.item.to_owned(), u64::MAX)).collect();
        let mut chunk = Chunk { slots: BTreeMap::new(), taken };
        assert!(bytes(&chunk) <= MAX_CHUNK_MARGIN_BYTES);
        for slot in u16::MAX - CHUNK_PAGE_SLOTS + 1..=u16::MAX {
            let before = bytes(&chunk);
            chunk.slots.insert(slot, longest());
            assert!(bytes(&chunk) - before <= MAX_OVERRIDE_BYTES);
        }
        assert!(bytes(&chunk) <= MAX_CHUNK_DOCUMENT_BYTES);
    }
}
