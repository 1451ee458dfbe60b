//! What a game implements, and nothing else of Pelago: rules, land, content.
//!
//! A game is a set of pure functions. It never waits, never sends and never sees a clock, a socket
//! or a node, so that its rules can be run again after a conflict, replayed by the simulator, and
//! tested with a map, see [`TestWorld`].
//!
//! A whole game, in which one can do nothing but count:
//!
//! ```
//! use bytes::Bytes;
//! use pelago_game::*;
//! use pelago_model::{ChunkId, Document, EntityId, Key, Position};
//! use serde_json::{Value, json};
//! use std::collections::BTreeMap;
//!
//! struct Counting;
//!
//! impl Game for Counting {
//!     fn name(&self) -> &str { "counting" }
//!     fn content(&self) -> Bytes { json!({"name": "counting"}).to_string().into() }
//!     fn max_speed(&self) -> u16 { 256 }
//!     fn tile(&self, _: &IslandSpec, _: ChunkId) -> Option<Tile> {
//!         Some(Tile { ground: [0; 225], naturals: Vec::new() })
//!     }
//!     fn walkable(&self, _: u8) -> bool { true }
//!     fn spawn(&self, _: &Land, _: Arrival, _: u64) -> Position { Position::new(960, 960) }
//!     fn new_avatar(&self, _: &str) -> Value { json!(0) }
//!     fn player_view(&self, state: &Value) -> Bytes { state.to_string().into() }
//!     fn route(&self, actor: &Actor, _: &[u8]) -> Result<Route, Refusal> {
//!         Ok(Route::Durable { key: Key::avatar(actor.avatar) })
//!     }
//!     fn durable(&self, context: &mut DurableContext<'_>, _: &[u8]) -> Result<Bytes, Halt> {
//!         let count = context.state::<u64>()? + 1;
//!         context.set_state(&count)?;
//!         Ok(count.to_string().into())
//!     }
//!     fn live(&self, _: &mut LiveContext, _: &[u8]) -> Result<Bytes, Refusal> {
//!         Err(Refusal::malformed())
//!     }
//!     fn objects(&self, _: &Document) -> Vec<ObjectView> { Vec::new() }
//!     fn count(&self, _: &Key, _: &Value, _: &mut BTreeMap<String, Total>) {}
//! }
//!
//! let mut world = TestWorld::new(Counting, 7, 1);
//! let here = Position::new(960, 960);
//! world.act(EntityId(1), here, b"").unwrap();
//! assert_eq!(world.act(EntityId(1), here, b"").unwrap(), "2");
//! ```
//!
//! `pelago::run(Counting)` is its server.

pub mod content;
pub mod durable;
pub mod economy;
pub mod guard;
pub mod land;
pub mod live;
pub mod refusal;
pub mod speech;
pub mod test_world;

pub use content::ContentHash;
pub use durable::{
    Actor, DurableContext, DurableTurn, Halt, MAX_RUNS, TurnEnd, run_durable, run_grant,
};
pub use economy::{Changes, Total};
pub use guard::{BrokenRule, RulePanic, asked, command_kind, guarded};
pub use land::{IslandSpec, Land, Natural, Tile};
pub use live::{LiveContext, LiveState};
pub use pelago_model::json;
pub use refusal::Refusal;
pub use speech::Speech;
pub use test_world::TestWorld;

use bytes::Bytes;
use pelago_model::{ChunkId, ChunkPage, Document, EntityId, IslandTime, Key, Position};
use std::collections::BTreeMap;

/// Where a command is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// By the steward of this key, over documents, committed before it is acknowledged.
    Durable {
        /// The document that most commands of this sort meet at: it chooses the steward. All pages of a chunk have one,
        /// see [`Key::steward_key`].
        key: Key,
    },
    /// On the lane of this entity, over its live state.
    Live {
        /// The avatar whose state changes.
        target: EntityId,
    },
}

/// Where an avatar that is new appears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arrival {
    /// At the island's usual place.
    #[default]
    Home,
    /// Anywhere that can be stood on.
    Anywhere,
}

/// What players changed about a natural object, as clients are shown it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectView {
    /// The natural slot: the object's index in the list of its tile.
    pub slot: u16,
    /// For the game's client, at most
    /// [`MAX_OBJECT_BYTES`](pelago_model::limits::MAX_OBJECT_BYTES).
    pub payload: Bytes,
}

/// What a document of a chunk shows of its own slots. What it says of the slots of other pages is not shown: revisions of
/// different documents cannot be compared, so that every slot is in one of them for ever. Of several views of a slot the
/// first counts.
///
/// # Errors
/// [`RulePanic`] if the game's function panics.
pub fn objects_of(
    game: &dyn Game,
    page: ChunkPage,
    document: &Document,
) -> Result<Vec<ObjectView>, RulePanic> {
    let views = guarded(|| game.objects(document))?;
    let mut shown = BTreeMap::new();
    for view in views.into_iter().filter(|view| page.slots().contains(&view.slot)) {
        shown.entry(view.slot).or_insert(view);
    }
    Ok(shown.into_values().collect())
}

/// A game.
pub trait Game: Send + Sync + 'static {
    /// The game's name, for logs and pages.
    fn name(&self) -> &str;

    /// The game's description of itself for its clients, JSON: kinds, names, colours.
    fn content(&self) -> Bytes;

    /// The speed an avatar may go at, in 1/64 m per second.
    fn max_speed(&self) -> u16;

    /// The tile of a chunk: a pure function of the island's seed, size and generator version.
    /// `None` where there is only open water.
    fn tile(&self, island: &IslandSpec, chunk: ChunkId) -> Option<Tile>;

    /// Whether this kind of ground can be walked on.
    fn walkable(&self, ground: u8) -> bool;

    /// Where a new avatar appears; `seed` differs between avatars.
    fn spawn(&self, land: &Land, arrival: Arrival, seed: u64) -> Position;

    /// The state of a new avatar: the part of its document that is the game's.
    fn new_avatar(&self, name: &str) -> serde_json::Value;

    /// What a player is told about its own avatar on arrival (JSON).
    fn player_view(&self, state: &serde_json::Value) -> Bytes;

    /// Where a command is decided.
    ///
    /// # Errors
    /// A [`Refusal`] of what is no command of this game.
    fn route(&self, actor: &Actor, payload: &[u8]) -> Result<Route, Refusal>;

    /// The documents that a durable command is known to need, so that they are loaded at once. Those that rules may not see
    /// are left out, see [`Key::is_open_to_rules`].
    fn keys(&self, _actor: &Actor, _payload: &[u8]) -> Vec<Key> {
        Vec::new()
    }

    /// Decides a durable command; returns its effects for the player (JSON).
    ///
    /// # Errors
    /// [`Halt`], by `?` of the context's functions or from a [`Refusal`].
    fn durable(&self, context: &mut DurableContext<'_>, payload: &[u8]) -> Result<Bytes, Halt>;

    /// Carries out a grant: mail, a prize, a gift of the operator's. `what` is whatever this game lets operators give; the
    /// platform sees to it that a grant is carried out once. The actor is the avatar that gets it, which may be anywhere or
    /// not in the world at all; its place is that of its last command. Returns what the player is told (JSON).
    ///
    /// # Errors
    /// As [`Game::durable`]. A game that grants nothing refuses everything.
    fn grant(&self, _context: &mut DurableContext<'_>, _what: &[u8]) -> Result<Bytes, Halt> {
        Err(Refusal::new("no_grants", "Nothing can be granted here.").into())
    }

    /// The newest schema version of a kind of documents that this build of the game reads and writes. The platform refuses
    /// to read or replace newer ones.
    fn schema(&self, _kind: &str) -> u16 {
        1
    }

    /// Decides a live command; returns its effects for the player (JSON).
    ///
    /// # Errors
    /// A [`Refusal`], which undoes what the rule did.
    fn live(&self, context: &mut LiveContext, payload: &[u8]) -> Result<Bytes, Refusal>;

    /// Whether an avatar may say this now. `speaker` is the game's part of the avatar's document. The platform limits how often
    /// and how much is said; a game mutes.
    ///
    /// # Errors
    /// A [`Refusal`], usually with the code `muted`.
    fn speech(
        &self,
        _speaker: &serde_json::Value,
        _to: Speech,
        _text: &str,
        _now: IslandTime,
    ) -> Result<(), Refusal> {
        Ok(())
    }

    /// What a document of a chunk shows, by slot: see [`ChunkPage`] for which slots are in it.
    fn objects(&self, chunk: &Document) -> Vec<ObjectView>;

    /// The books: adds what a document holds to the totals, by item. The platform derives from it what a turn made, moved
    /// and destroyed, and refuses turns that do not balance: see [`economy`].
    fn count(&self, key: &Key, value: &serde_json::Value, totals: &mut BTreeMap<String, Total>);
}
