//! A watch over the game's functions that machines call themselves: live rules, routes, what documents show.
//!
//! Such a function is short. One that does not return holds up its machine for ever, and cannot be stopped: the process
//! ends, and says for which command. Durable rules run on threads of their own (`tasks::rules`) and are not watched here.

use bytes::Bytes;
use pelago_game::{
    Actor, Arrival, DurableContext, Game, Halt, IslandSpec, Land, LiveContext, ObjectView, Refusal,
    Route, Speech, Tile, Total, command_kind,
};
use pelago_model::limits::MAX_COMMAND_BYTES;
use pelago_model::{ChunkId, Document, EntityId, IslandTime, Key, Position};
use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::process::exit;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// How often it is looked which functions are under way.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A function that is under way at so many looks in a row does not return. Looks are counted and not time, so that a
/// process that was stopped for a while blames nobody.
const MAX_LOOKS: u32 = 20;
/// The status of a process that ends for this reason: `EX_SOFTWARE` of `sysexits.h`.
const STATUS: i32 = 70;

thread_local! {
    static MAY_BE_LOST: Cell<bool> = const { Cell::new(false) };
}

/// From now on nobody waits for ever for what this thread calls.
pub(crate) fn this_thread_may_be_lost() {
    MAY_BE_LOST.set(true);
}

/// A game whose functions are watched.
pub(crate) struct WatchedGame {
    game: Arc<dyn Game>,
    calls: Arc<Calls>,
}

/// The calls that are under way, at most one for each machine of a process.
#[derive(Default)]
struct Calls {
    /// Guards the calls. Held for a few lines.
    under_way: Mutex<UnderWay>,
}

#[derive(Default)]
struct UnderWay {
    last: u64,
    calls: BTreeMap<u64, Call>,
}

struct Call {
    function: &'static str,
    avatar: Option<EntityId>,
    payload: Box<[u8]>,
    looks: u32,
}

/// A call that is under way until this is dropped.
struct Guard<'a>(&'a Calls, u64);

impl WatchedGame {
    /// Watches a game for as long as somebody has it. A function that does not return ends the process.
    pub(crate) fn new(game: Arc<dyn Game>) -> Arc<Self> {
        let calls = Arc::<Calls>::default();
        let watched = Arc::downgrade(&calls);
        let watch = std::thread::Builder::new().name("rule-watch".into());
        if let Err(error) = watch.spawn(move || watch_over(&watched)) {
            tracing::error!(%error, "nobody watches over live rules");
        }
        Arc::new(Self { game, calls })
    }

    fn watch(
        &self,
        function: &'static str,
        avatar: Option<EntityId>,
        payload: &[u8],
    ) -> Option<Guard<'_>> {
        if MAY_BE_LOST.get() {
            return None;
        }
        let payload = payload.get(..MAX_COMMAND_BYTES).unwrap_or(payload).into();
        let mut under_way = self.calls.lock();
        under_way.last += 1;
        let number = under_way.last;
        under_way.calls.insert(number, Call { function, avatar, payload, looks: 0 });
        Some(Guard(&self.calls, number))
    }
}

fn watch_over(calls: &Weak<Calls>) {
    while let Some(calls) = calls.upgrade() {
        if let Some(what) = calls.look() {
            tracing::error!("a rule does not return, and the process ends: {what}");
            // Whoever writes the log has a moment.
            std::thread::sleep(LOOK_EVERY);
            exit(STATUS);
        }
        drop(calls);
        std::thread::sleep(LOOK_EVERY);
    }
}

impl Calls {
    /// Every step leaves the calls whole.
    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at all calls: one that does not return, in words.
    fn look(&self) -> Option<String> {
        let mut under_way = self.lock();
        under_way.calls.values_mut().for_each(|call| call.looks += 1);
        under_way.calls.values().find(|call| call.looks > MAX_LOOKS).map(Call::described)
    }
}

impl Call {
    fn described(&self) -> String {
        let avatar = self.avatar.map(|avatar| format!(" of avatar {avatar}")).unwrap_or_default();
        format!("{} for {:?}{avatar}", self.function, command_kind(&self.payload))
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.lock().calls.remove(&self.1);
    }
}

impl Game for WatchedGame {
    fn name(&self) -> &str {
        self.game.name()
    }

    fn content(&self) -> Bytes {
        self.game.content()
    }

    fn max_speed(&self) -> u16 {
        self.game.max_speed()
    }

    fn tile(&self, island: &IslandSpec, chunk: ChunkId) -> Option<Tile> {
        self.game.tile(island, chunk)
    }

    fn walkable(&self, ground: u8) -> bool {
        self.game.walkable(ground)
    }

    fn spawn(&self, land: &Land, arrival: Arrival, seed: u64) -> Position {
        let _guard = self.watch("spawn", None, b"");
        self.game.spawn(land, arrival, seed)
    }

    fn new_avatar(&self, name: &str) -> Value {
        let _guard = self.watch("new_avatar", None, b"");
        self.game.new_avatar(name)
    }

    fn player_view(&self, state: &Value) -> Bytes {
        let _guard = self.watch("player_view", None, b"");
        self.game.player_view(state)
    }

    fn route(&self, actor: &Actor, payload: &[u8]) -> Result<Route, Refusal> {
        let _guard = self.watch("route", Some(actor.avatar), payload);
        self.game.route(actor, payload)
    }

    fn keys(&self, actor: &Actor, payload: &[u8]) -> Vec<Key> {
        let _guard = self.watch("keys", Some(actor.avatar), payload);
        self.game.keys(actor, payload)
    }

    fn durable(&self, context: &mut DurableContext<'_>, payload: &[u8]) -> Result<Bytes, Halt> {
        self.game.durable(context, payload)
    }

    fn grant(&self, context: &mut DurableContext<'_>, what: &[u8]) -> Result<Bytes, Halt> {
        self.game.grant(context, what)
    }

    fn schema(&self, kind: &str) -> u16 {
        self.game.schema(kind)
    }

    fn live(&self, context: &mut LiveContext, payload: &[u8]) -> Result<Bytes, Refusal> {
        let _guard = self.watch("live", Some(context.actor), payload);
        self.game.live(context, payload)
    }

    fn speech(
        &self,
        speaker: &Value,
        to: Speech,
        text: &str,
        now: IslandTime,
    ) -> Result<(), Refusal> {
        let _guard = self.watch("speech", None, b"");
        self.game.speech(speaker, to, text, now)
    }

    fn objects(&self, chunk: &Document) -> Vec<ObjectView> {
        let _guard = self.watch("objects", None, b"");
        self.game.objects(chunk)
    }

    fn count(&self, key: &Key, value: &Value, totals: &mut BTreeMap<String, Total>) {
        self.game.count(key, value, totals);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelago_frontier::Frontier;

    #[test]
    fn a_function_that_does_not_return_is_named_after_a_while() {
        let watched = WatchedGame { game: Arc::new(Frontier), calls: Arc::default() };
        let guard = watched.watch("live", Some(EntityId(7)), br#"{"wave":"00"}"#);
        for _ in 0..MAX_LOOKS {
            // What returns meanwhile is not blamed.
            watched.player_view(&Value::Null);
            assert_eq!(watched.calls.look(), None);
        }
        let named = "live for \"wave\" of avatar 0000000000000007";
        assert_eq!(watched.calls.look().as_deref(), Some(named));
        drop(guard);
        assert_eq!(watched.calls.look(), None);
    }

    #[test]
    fn what_runs_on_a_thread_that_may_be_lost_is_not_watched() {
        let watched = WatchedGame { game: Arc::new(Frontier), calls: Arc::default() };
        std::thread::scope(|scope| {
            let lost = scope.spawn(|| {
                this_thread_may_be_lost();
                watched.watch("speech", None, b"").is_none()
            });
            assert!(lost.join().unwrap());
        });
        assert!(watched.watch("speech", None, b"").is_some());
    }
}
