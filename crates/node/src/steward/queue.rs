//! Queues: per key the turns that wait, the batch that is under way, and when somebody has to be answered.

use super::batch::Batch;
use super::turn::Waiting;
use crate::service::ServiceContext;
use crate::turn::unavailable;
use pelago_model::{Key, WorldTime};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Commands that wait for one key; more are refused as `busy`.
pub const MAX_WAITING: usize = 4096;
/// Keys that have commands at once; commands for more are refused as `busy`.
pub const MAX_QUEUES: usize = 65_536;

/// All queues of an instance.
#[derive(Default)]
pub(super) struct Queues {
    by_key: BTreeMap<Key, KeyQueue>,
    /// When the first command of each key is answered at the latest.
    deadlines: BTreeSet<(WorldTime, Key)>,
}

#[derive(Default)]
struct KeyQueue {
    waiting: VecDeque<Waiting>,
    batch: Option<Batch>,
    /// When the time of the first of them is over, if it is not answered before; as in `Queues::deadlines`.
    deadline: Option<WorldTime>,
}

/// There is no room for this turn.
pub(super) struct Full(pub(super) Waiting);

impl Queues {
    /// Takes a turn in, unless its queue or the table of queues is full.
    pub(super) fn join(&mut self, key: &Key, waiting: Waiting) -> Result<(), Full> {
        let is_full = match self.by_key.get(key) {
            Some(queue) => queue.waiting.len() >= MAX_WAITING,
            None => self.by_key.len() >= MAX_QUEUES,
        };
        if is_full {
            return Err(Full(waiting));
        }
        let queue = self.by_key.entry(key.clone()).or_default();
        if queue.deadline.is_none() {
            queue.deadline = Some(waiting.deadline);
            self.deadlines.insert((waiting.deadline, key.clone()));
        }
        queue.waiting.push_back(waiting);
        Ok(())
    }

    /// The turns of a key's next batch, if none is under way. A queue in which nothing is left is removed.
    pub(super) fn next_turns(&mut self, key: &Key, most: usize) -> Option<Vec<Waiting>> {
        let queue = self.by_key.get_mut(key)?;
        if queue.batch.is_some() {
            return None;
        }
        let mut turns: Vec<Waiting> = Vec::new();
        while turns.len() < most
            && let Some(next) = queue.waiting.pop_front()
        {
            let avatar = next.turn.avatar();
            if next.is_answered() {
                // It was ejected from a batch after its time was over.
            } else if turns.iter().any(|other| other.turn.avatar() == avatar) {
                // Two turns of one avatar are not decided in one batch: the second may repeat the first.
                queue.waiting.push_front(next);
                break;
            } else {
                turns.push(next);
            }
        }
        if turns.is_empty() {
            let emptied = self.by_key.remove(key).and_then(|queue| queue.deadline);
            if let Some(deadline) = emptied {
                self.deadlines.remove(&(deadline, key.clone()));
            }
            return None;
        }
        Some(turns)
    }

    /// Puts a batch of a key under way.
    pub(super) fn begin(&mut self, key: &Key, batch: Batch) {
        if let Some(queue) = self.by_key.get_mut(key) {
            queue.batch = Some(batch);
        }
    }

    /// The batch of a key that is under way.
    pub(super) fn batch(&mut self, key: &Key) -> Option<&mut Batch> {
        self.by_key.get_mut(key)?.batch.as_mut()
    }

    /// The batch of a key, which is no longer under way.
    pub(super) fn end(&mut self, key: &Key) -> Option<Batch> {
        self.by_key.get_mut(key)?.batch.take()
    }

    /// Turns that come first in the next batch.
    pub(super) fn put_before(&mut self, key: &Key, turns: Vec<Waiting>) {
        if let Some(queue) = self.by_key.get_mut(key) {
            turns.into_iter().rev().for_each(|waiting| queue.waiting.push_front(waiting));
        }
    }

    /// Turns that come after all others.
    pub(super) fn put_behind(&mut self, key: &Key, turns: Vec<Waiting>) {
        if let Some(queue) = self.by_key.get_mut(key) {
            queue.waiting.extend(turns);
        }
    }

    /// Answers those whose time is over, and counts them. Those that only wait are forgotten.
    pub(super) fn answer_overdue(&mut self, cx: &mut ServiceContext<'_>) -> usize {
        let (now, mut answered) = (cx.now(), 0);
        while self.deadlines.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, key)) = self.deadlines.pop_first()
        {
            let Some(queue) = self.by_key.get_mut(&key) else { continue };
            queue.waiting.retain_mut(|waiting| {
                if waiting.is_overdue(now) {
                    waiting.refuse(cx, unavailable());
                    answered += 1;
                }
                waiting.deadline > now
            });
            answered += queue.batch.as_mut().map_or(0, |batch| batch.answer_overdue(cx));
            queue.deadline = queue.first_deadline();
            self.deadlines.extend(queue.deadline.map(|deadline| (deadline, key)));
        }
        answered
    }

    /// When somebody has to be answered next.
    pub(super) fn next_deadline(&self) -> Option<WorldTime> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Whether a key has turns.
    pub(super) fn contains(&self, key: &Key) -> bool {
        self.by_key.contains_key(key)
    }

    /// How many keys have turns.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// How many keys have a deadline.
    pub(super) fn deadlines(&self) -> usize {
        self.deadlines.len()
    }

    /// The turns that wait for the key for which most wait.
    pub(super) fn longest(&self) -> usize {
        self.by_key.values().map(|queue| queue.waiting.len()).max().unwrap_or(0)
    }

    /// The turns that wait or are under way.
    pub(super) fn backlog(&self) -> usize {
        let of =
            |queue: &KeyQueue| queue.waiting.len() + queue.batch.as_ref().map_or(0, Batch::len);
        self.by_key.values().map(of).sum()
    }
}

impl KeyQueue {
    /// When the time of the first is over that is not answered yet.
    fn first_deadline(&self) -> Option<WorldTime> {
        let waiting = self.waiting.iter().filter(|waiting| !waiting.is_answered());
        let waiting = waiting.map(|waiting| waiting.deadline);
        waiting.chain(self.batch.as_ref().and_then(Batch::first_deadline)).min()
    }
}
