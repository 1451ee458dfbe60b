//! The ledger: what bots did, so that what others were shown can be compared with it.

use pelago_model::{ChunkId, EntityId, IslandTime, Position, Trajectory};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long [`Ledger::places`] gives the same answer, in ms.
const PLACES_MS: i64 = 50;

/// How long a forgetful ledger remembers a move.
const REMEMBERED: Duration = Duration::from_secs(60);

/// A move of a bot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    pub(crate) entity: EntityId,
    pub(crate) at: IslandTime,
    pub(crate) position: Position,
    pub(crate) sent: Instant,
    /// The node did not accept it: nobody is to see it.
    pub(crate) refused: bool,
}

#[derive(Default)]
struct Inner {
    moves: VecDeque<Moved>,
    /// Moves that are forgotten: the number of the first that is not.
    forgotten: u32,
    index: HashMap<(EntityId, IslandTime), u32>,
    truth: HashMap<EntityId, Trajectory>,
    places: Option<(IslandTime, Arc<Near>)>,
}

impl Inner {
    fn forget(&mut self) {
        while let Some(first) = self.moves.front()
            && first.sent.elapsed() > REMEMBERED
        {
            let (key, number) = ((first.entity, first.at), self.forgotten);
            // A later move may have the same key.
            if self.index.get(&key) == Some(&number) {
                self.index.remove(&key);
            }
            self.moves.pop_front();
            self.forgotten += 1;
        }
    }
}

/// All moves of all bots of this process.
pub(crate) struct Ledger {
    /// Guards the moves, their index and the present paths.
    inner: Mutex<Inner>,
    /// Whether old moves are forgotten: in a long run they would be most of the memory.
    forgetful: bool,
}

/// The positions of everybody at an instant, by chunk.
#[derive(Debug, Default)]
pub(crate) struct Near {
    by_chunk: HashMap<ChunkId, Vec<(EntityId, Position)>>,
}

impl Near {
    pub(crate) fn new(places: impl IntoIterator<Item = (EntityId, Position)>) -> Self {
        let mut near = Self::default();
        for (id, place) in places {
            near.by_chunk.entry(place.chunk()).or_default().push((id, place));
        }
        near
    }

    /// Those in the chunks around a place.
    pub(crate) fn around(&self, here: Position) -> impl Iterator<Item = (EntityId, Position)> {
        let chunks = here.chunk().around(1).filter_map(|chunk| self.by_chunk.get(&chunk));
        chunks.flatten().copied()
    }
}

impl Ledger {
    /// Without a move.
    pub(crate) fn new(forgetful: bool) -> Self {
        Self { inner: Mutex::default(), forgetful }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing is left half done under the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A bot has sent a move that leads to `path`; returns the move's number.
    pub(crate) fn moved(&self, entity: EntityId, path: &Trajectory) -> u32 {
        let (at, position) = (path.start_time(), path.start());
        let mut inner = self.inner();
        if self.forgetful {
            inner.forget();
        }
        let number = inner.forgotten + inner.moves.len() as u32;
        let moved = Moved { entity, at, position, sent: Instant::now(), refused: false };
        inner.moves.push_back(moved);
        inner.index.insert((entity, at), number);
        inner.truth.insert(entity, path.clone());
        number
    }

    /// A bot has another path than it thought: a move was refused, or it has just come.
    pub(crate) fn corrected(&self, entity: EntityId, path: &Trajectory, refused: Option<u32>) {
        let mut inner = self.inner();
        if let Some(number) = refused
            && let Some(index) = number.checked_sub(inner.forgotten)
            && let Some(moved) = inner.moves.get_mut(index as usize)
        {
            moved.refused = true;
        }
        inner.truth.insert(entity, path.clone());
    }

    /// A bot is gone.
    pub(crate) fn left(&self, entity: EntityId) {
        self.inner().truth.remove(&entity);
    }

    /// The number of a move and when it was sent.
    pub(crate) fn find(&self, entity: EntityId, at: IslandTime) -> Option<(u32, Instant)> {
        let inner = self.inner();
        let number = *inner.index.get(&(entity, at))?;
        let index = number.checked_sub(inner.forgotten)?;
        inner.moves.get(index as usize).map(|moved| (number, moved.sent))
    }

    /// The true path of an entity.
    pub(crate) fn truth(&self, entity: EntityId) -> Option<Trajectory> {
        self.inner().truth.get(&entity).cloned()
    }

    /// Everybody who is there.
    pub(crate) fn present(&self) -> Vec<EntityId> {
        self.inner().truth.keys().copied().collect()
    }

    /// The true positions of everybody, at most [`PLACES_MS`] old.
    pub(crate) fn places(&self, now: IslandTime) -> Arc<Near> {
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
    pub(crate) fn moves(&self) -> Vec<Moved> {
        self.inner().moves.iter().copied().collect()
    }
}
