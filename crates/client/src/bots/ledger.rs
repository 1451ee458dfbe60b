//! The ledger: what bots did, so that what others were shown can be compared with it.

use pelago_model::{ChunkId, EntityId, IslandTime, Position, Trajectory};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How long [`Ledger::places`] gives the same answer, in ms.
const PLACES_MS: i64 = 50;

/// A move of a bot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved {
    pub(super) entity: EntityId,
    pub(super) at: IslandTime,
    pub(super) position: Position,
    pub(super) sent: Instant,
    /// The node did not accept it: nobody is to see it.
    pub(super) refused: bool,
}

#[derive(Default)]
struct Inner {
    moves: Vec<Moved>,
    index: HashMap<(EntityId, IslandTime), u32>,
    truth: HashMap<EntityId, Trajectory>,
    places: Option<(IslandTime, Arc<Near>)>,
}

/// All moves of all bots of this process.
#[derive(Default)]
pub(super) struct Ledger {
    /// Guards the moves, their index and the present paths.
    inner: Mutex<Inner>,
}

/// Where everybody is at an instant, by chunk.
#[derive(Debug, Default)]
pub(super) struct Near {
    by_chunk: HashMap<ChunkId, Vec<(EntityId, Position)>>,
}

impl Near {
    pub(super) fn new(places: impl IntoIterator<Item = (EntityId, Position)>) -> Self {
        let mut near = Self::default();
        for (id, place) in places {
            near.by_chunk.entry(place.chunk()).or_default().push((id, place));
        }
        near
    }

    /// Those in the chunks around a place.
    pub(super) fn around(&self, here: Position) -> impl Iterator<Item = (EntityId, Position)> {
        let chunks = here.chunk().around(1).filter_map(|chunk| self.by_chunk.get(&chunk));
        chunks.flatten().copied()
    }
}

impl Ledger {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing is left half done under the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A bot has sent a move that leads to `path`; returns the move's number.
    pub(super) fn moved(&self, entity: EntityId, path: &Trajectory) -> u32 {
        let (at, position) = (path.start_time(), path.start());
        let mut inner = self.inner();
        let number = inner.moves.len() as u32;
        let moved = Moved { entity, at, position, sent: Instant::now(), refused: false };
        inner.moves.push(moved);
        inner.index.insert((entity, at), number);
        inner.truth.insert(entity, path.clone());
        number
    }

    /// A bot has another path than it thought: a move was refused, or it has just come.
    pub(super) fn corrected(&self, entity: EntityId, path: &Trajectory, refused: Option<u32>) {
        let mut inner = self.inner();
        if let Some(number) = refused
            && let Some(moved) = inner.moves.get_mut(number as usize)
        {
            moved.refused = true;
        }
        inner.truth.insert(entity, path.clone());
    }

    /// A bot is gone.
    pub(super) fn left(&self, entity: EntityId) {
        self.inner().truth.remove(&entity);
    }

    /// The number of a move and when it was sent.
    pub(super) fn find(&self, entity: EntityId, at: IslandTime) -> Option<(u32, Instant)> {
        let inner = self.inner();
        let number = *inner.index.get(&(entity, at))?;
        inner.moves.get(number as usize).map(|moved| (number, moved.sent))
    }

    /// Where an entity truly goes.
    pub(super) fn truth(&self, entity: EntityId) -> Option<Trajectory> {
        self.inner().truth.get(&entity).cloned()
    }

    /// Where everybody truly is, give or take [`PLACES_MS`].
    pub(super) fn places(&self, now: IslandTime) -> Arc<Near> {
        let mut inner = self.inner();
        if let Some((at, places)) = &inner.places
            && now.since(*at).abs() < PLACES_MS
        {
            return places.clone();
        }
        let places = inner.truth.iter().map(|(id, path)| (*id, path.position_at(now)));
        let places = Arc::new(Near::new(places));
        inner.places = Some((now, places.clone()));
        places
    }

    /// All moves.
    pub(super) fn moves(&self) -> Vec<Moved> {
        self.inner().moves.clone()
    }
}
