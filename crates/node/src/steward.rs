//! Stewards: durable turns, run over documents, committed in batches, acknowledged afterwards.
//!
//! A key has one steward by preference and any number in fact: revisions keep them right. Per key,
//! one batch is under way: the documents are loaded, the rules run in memory one after the other,
//! the result is one transaction. A conflict or an unknown outcome leads to another run over fresh
//! documents; a turn that was committed after all is found in its avatar's ring of outcomes, or in its audit if it is a grant.
//!
//! Whatever the store does, who asked is answered within [`TURN_DEADLINE_MS`]. What was under way goes on without him:
//! if it is committed after all, the same command under the same number gets its outcome, another one is `repeated`.

mod batch;
mod decide;
mod objects;
mod work;

pub use batch::{MAX_ATTEMPTS, MAX_BATCH_TURNS};

use crate::control::ControlInput;
use crate::effect::{Effect, Level, Message, Part, RequestId};
use crate::grant::Grant;
use crate::lane::LaneInput;
use batch::{Batch, BatchEnd};
use bytes::Bytes;
use objects::ObjectPublisher;
use pelago_cluster::IncomingCall;
use pelago_game::{Actor, Game, Land, Refusal, objects_of};
use pelago_model::{
    ChannelId, CommitOutcome, Document, IslandClock, IslandId, Key, Limit, LimitCounts, Machine,
    NodeId, PublisherId, Size, WorldTime,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use work::{Waiting, Work};

/// Commands that wait for one key; more are refused as `busy`.
pub const MAX_WAITING: usize = 4096;
/// Keys that have commands at once; commands for more are refused as `busy`.
pub const MAX_QUEUES: usize = 65_536;
/// Documents that are remembered between batches; at the limit those of idle keys are forgotten.
pub const MAX_REMEMBERED: usize = 16 * 1024;
/// How long a command waits before it is answered with `unavailable`, in ms.
pub const TURN_DEADLINE_MS: i64 = 5000;

/// Where an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// To a lane of this node.
    Lane {
        /// The lane.
        lane: u8,
        /// The lane's number of the call.
        number: u64,
    },
    /// To whoever called this node.
    Call(IncomingCall),
    /// To an operator at this node.
    Operator {
        /// The shell's number of the request.
        number: u64,
    },
}

/// A durable command, stamped by its avatar's lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurableCommand {
    /// The key that chose the steward.
    pub key: Key,
    /// Who acts, where and when.
    pub actor: Actor,
    /// The game's.
    pub payload: Bytes,
    /// To be found in the logs.
    pub trace: u64,
}

/// What became of a durable command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DurableResult {
    /// It is on disk.
    Done {
        /// What the player is told (JSON).
        effects: Bytes,
        /// The avatar's hash chain after it.
        chain: [u8; 32],
    },
    /// Nothing changed; after `unavailable` nobody knows.
    Refused(Refusal),
}

/// What can wake the stewards.
#[derive(Debug)]
pub enum StewardInput {
    /// A command to decide.
    Command {
        /// Where the answer goes.
        caller: Caller,
        /// The command.
        command: DurableCommand,
    },
    /// Something to be granted.
    Grant {
        /// Where the answer goes.
        caller: Caller,
        /// What.
        grant: Grant,
    },
    /// Documents that were asked for; `None` if the store could not read them.
    Loaded {
        /// Of the request.
        request_id: RequestId,
        /// In the order of the request.
        documents: Option<Vec<Document>>,
    },
    /// The end of a commit.
    Committed {
        /// Of the request.
        request_id: RequestId,
        /// How it ended.
        outcome: CommitOutcome,
    },
    /// A node reads the objects of a chunk from now on.
    Subscribe {
        /// Who.
        reader: NodeId,
        /// Which chunk's.
        channel: ChannelId,
        /// To be named in the answer.
        version: u64,
    },
    /// A node reads them no more.
    Unsubscribe {
        /// Who.
        reader: NodeId,
        /// Which chunk's.
        channel: ChannelId,
    },
    /// The clock.
    Wake,
}

/// What the stewards are made of.
pub struct StewardConfig {
    /// Their voice on channels.
    pub publisher: PublisherId,
    /// The rules.
    pub game: Arc<dyn Game>,
    /// The land of every island.
    pub lands: BTreeMap<IslandId, Arc<Land>>,
    /// Island time.
    pub clock: IslandClock,
    /// The server's secret, from which turns get their randomness.
    pub secret: [u8; 32],
    /// Turns of one commit, from 1 to [`MAX_BATCH_TURNS`].
    pub batch_turns: usize,
    /// For tests only: breaks a promise on purpose.
    pub sabotage: StewardSabotage,
}

/// Bugs planted on purpose, which the simulator must find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StewardSabotage {
    /// Answers before the commit has ended.
    pub acknowledge_before_commit: bool,
    /// Runs commands of any epoch.
    pub ignore_epoch: bool,
    /// Grants again what was granted before.
    pub repeat_grants: bool,
}

#[derive(Default)]
struct KeyQueue {
    waiting: VecDeque<Waiting>,
    batch: Option<Batch>,
    /// When the time of the first of them is over, if it is not answered before; as in `Steward::deadlines`.
    deadline: Option<WorldTime>,
}

impl KeyQueue {
    /// When the time of the first is over that is not answered yet.
    fn first_deadline(&self) -> Option<WorldTime> {
        let waiting = self.waiting.iter().filter(|turn| !turn.is_answered);
        let waiting = waiting.map(|turn| turn.deadline);
        waiting.chain(self.batch.as_ref().and_then(Batch::first_deadline)).min()
    }
}

/// What stewards count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StewardCounters {
    /// Batches that were committed.
    pub commits: u64,
    /// Turns of those batches: over `commits`, how many share a commit.
    pub turns: u64,
}

/// The stewards of a node.
pub struct Steward {
    config: StewardConfig,
    queues: BTreeMap<Key, KeyQueue>,
    remembered: BTreeMap<Key, Document>,
    /// When the first command of each key is answered at the latest.
    deadlines: BTreeSet<(WorldTime, Key)>,
    requests: BTreeMap<RequestId, Key>,
    next_request_id: u64,
    objects: ObjectPublisher,
    limits: LimitCounts,
    counters: StewardCounters,
}

impl Steward {
    /// Stewards that have nothing to do.
    pub fn new(config: StewardConfig) -> Self {
        Self {
            objects: ObjectPublisher::new(config.publisher, config.clock),
            config,
            queues: BTreeMap::new(),
            remembered: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            requests: BTreeMap::new(),
            next_request_id: 0,
            limits: LimitCounts::default(),
            counters: StewardCounters::default(),
        }
    }

    /// Commands that wait or are under way.
    pub fn backlog(&self) -> usize {
        self.queues
            .values()
            .map(|queue| queue.waiting.len() + queue.batch.as_ref().map_or(0, Batch::len))
            .sum()
    }

    /// How full everything is that can grow. Of what there is once per key, the fullest counts.
    pub fn sizes(&self) -> Vec<Size> {
        let longest = self.queues.values().map(|queue| queue.waiting.len()).max().unwrap_or(0);
        vec![
            Size::queue("keys with commands", self.queues.len(), MAX_QUEUES),
            Size::queue("deadlines of commands", self.deadlines.len(), MAX_QUEUES),
            Size::queue("commands that wait for a key", longest, MAX_WAITING + MAX_BATCH_TURNS),
            Size::queue("requests of the stewards", self.requests.len(), MAX_QUEUES),
            Size::table(
                "remembered documents",
                self.remembered.len(),
                MAX_REMEMBERED + MAX_QUEUES,
                MAX_REMEMBERED,
            ),
        ]
    }

    /// How often limits were met.
    pub fn limits(&self) -> LimitCounts {
        self.limits
    }

    /// What they did.
    pub fn counters(&self) -> StewardCounters {
        self.counters
    }

    fn request_id(&mut self, key: &Key) -> RequestId {
        self.next_request_id += 1;
        let request_id = RequestId(self.next_request_id);
        self.requests.insert(request_id, key.clone());
        request_id
    }

    fn enqueue(&mut self, now: WorldTime, caller: Caller, work: Work, effects: &mut Vec<Effect>) {
        let key = work.key();
        let is_full = self.queues.len() >= MAX_QUEUES && !self.queues.contains_key(&key);
        if is_full || self.queues.get(&key).is_some_and(|queue| queue.waiting.len() >= MAX_WAITING)
        {
            self.limits.note(Limit::StewardQueue);
            let refusal = Refusal::new("busy", "Too many are at it. Try again in a moment.");
            effects.push(answer(caller, DurableResult::Refused(refusal)));
            return;
        }
        let queue = self.queues.entry(key.clone()).or_default();
        let deadline = now.plus(TURN_DEADLINE_MS);
        queue.waiting.push_back(Waiting {
            caller,
            work,
            attempts: 0,
            deadline,
            is_answered: false,
        });
        if queue.deadline.is_none() {
            queue.deadline = Some(deadline);
            self.deadlines.insert((deadline, key.clone()));
        }
        self.advance(now, &key, effects);
    }

    /// Answers those whose time is over. Whoever is part of a batch stays in it: nobody can take back what was asked of
    /// the store.
    fn answer_overdue(&mut self, now: WorldTime, effects: &mut Vec<Effect>) {
        while self.deadlines.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, key)) = self.deadlines.pop_first()
        {
            let Some(queue) = self.queues.get_mut(&key) else { continue };
            let mut overdue = Vec::new();
            queue.waiting.retain(|turn| {
                let is_over = turn.deadline <= now;
                overdue.extend((is_over && !turn.is_answered).then_some(turn.caller));
                !is_over
            });
            overdue.extend(queue.batch.iter_mut().flat_map(|batch| batch.overdue(now)));
            queue.deadline = queue.first_deadline();
            self.deadlines.extend(queue.deadline.map(|deadline| (deadline, key)));
            self.limits.add(Limit::TurnTime, overdue.len() as u64);
            let refused = |caller| answer(caller, DurableResult::Refused(unavailable()));
            effects.extend(overdue.into_iter().map(refused));
        }
    }

    /// Begins the next batch of a key if none is under way.
    fn advance(&mut self, now: WorldTime, key: &Key, effects: &mut Vec<Effect>) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        if queue.batch.is_some() {
            return;
        }
        let mut turns = Vec::new();
        while turns.len() < self.config.batch_turns.clamp(1, MAX_BATCH_TURNS)
            && let Some(turn) = queue.waiting.pop_front()
        {
            if turn.is_answered {
                // Ejected from a batch after its time was over.
            } else if turns.iter().any(|other: &Waiting| other.work.avatar() == turn.work.avatar())
            {
                // Two turns of one avatar are not decided in one batch: the second may repeat the first.
                queue.waiting.push_front(turn);
                break;
            } else {
                turns.push(turn);
            }
        }
        if turns.is_empty() {
            let emptied = self.queues.remove(key).and_then(|queue| queue.deadline);
            if let Some(deadline) = emptied {
                self.deadlines.remove(&(deadline, key.clone()));
            }
            return;
        }
        let batch = Batch::new(turns, &*self.config.game, &self.remembered);
        queue.batch = Some(batch);
        self.run(now, key, effects);
    }

    /// Loads what a batch misses, or runs it and commits.
    fn run(&mut self, now: WorldTime, key: &Key, effects: &mut Vec<Effect>) {
        let Some(batch) = self.queues.get_mut(key).and_then(|queue| queue.batch.as_mut()) else {
            return;
        };
        match batch.run(&self.config) {
            BatchEnd::Missing(keys) => {
                let request_id = self.request_id(key);
                effects.push(Effect::Load { part: Part::Steward, request_id, keys });
            }
            BatchEnd::Commit(transaction) => {
                if self.config.sabotage.acknowledge_before_commit {
                    effects.extend(batch.take_answers());
                }
                let request_id = self.request_id(key);
                effects.push(Effect::Commit { part: Part::Steward, request_id, transaction });
            }
            BatchEnd::NothingToCommit => self.finish(now, key, effects),
        }
    }

    fn loaded(
        &mut self,
        now: WorldTime,
        key: &Key,
        documents: Option<Vec<Document>>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(batch) = self.queues.get_mut(key).and_then(|queue| queue.batch.as_mut()) else {
            return;
        };
        match documents {
            Some(documents) => {
                let found = batch.take_documents(documents);
                for (key, document) in found {
                    self.absorb(now, key, document, effects);
                }
                self.run(now, key, effects);
            }
            None => self.give_up(now, key, effects),
        }
    }

    fn committed(
        &mut self,
        now: WorldTime,
        key: &Key,
        outcome: CommitOutcome,
        effects: &mut Vec<Effect>,
    ) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        let Some(batch) = queue.batch.as_mut() else { return };
        match outcome {
            CommitOutcome::Committed => {
                self.counters.commits += 1;
                self.counters.turns += batch.len() as u64;
                for (key, document) in batch.committed_documents() {
                    self.absorb(now, key, document, effects);
                }
                self.finish(now, key, effects);
            }
            CommitOutcome::Conflict { keys } => {
                let (ejected, refused) = batch.conflict(key, &keys);
                self.limits.add(Limit::TurnAttempts, refused.len() as u64);
                queue.waiting.extend(ejected);
                effects.extend(refused);
                for key in &keys {
                    self.remembered.remove(key);
                }
                self.run(now, key, effects);
            }
            CommitOutcome::Unknown => {
                for key in batch.documents() {
                    self.remembered.remove(key);
                }
                let refused = batch.forget_documents();
                self.limits.add(Limit::TurnAttempts, refused.len() as u64);
                effects.extend(refused);
                self.run(now, key, effects);
            }
            CommitOutcome::Failed => self.give_up(now, key, effects),
        }
    }

    /// The batch is on disk or decided nothing: answers, and goes on.
    fn finish(&mut self, now: WorldTime, key: &Key, effects: &mut Vec<Effect>) {
        if let Some(queue) = self.queues.get_mut(key)
            && let Some(mut batch) = queue.batch.take()
        {
            effects.extend(batch.take_answers());
            // What did not fit into this transaction comes first in the next.
            for turn in batch.take_left_over().into_iter().rev() {
                queue.waiting.push_front(turn);
            }
        }
        self.advance(now, key, effects);
    }

    /// The store does not answer: everybody may try again.
    fn give_up(&mut self, now: WorldTime, key: &Key, effects: &mut Vec<Effect>) {
        if let Some(queue) = self.queues.get_mut(key)
            && let Some(mut batch) = queue.batch.take()
        {
            for key in batch.documents() {
                self.remembered.remove(key);
            }
            let text = format!("the store failed for a batch of {} on {key}", batch.len());
            effects.push(Effect::Log { level: Level::Warn, trace: 0, text });
            effects.extend(batch.refuse_all(&unavailable()));
        }
        self.advance(now, key, effects);
    }

    /// A document as the store has it: remembers it and tells readers what changed.
    fn absorb(&mut self, now: WorldTime, key: Key, document: Document, effects: &mut Vec<Effect>) {
        let Some((island, chunk, part)) = key.as_chunk() else { return };
        let old = self.remembered.get(&key);
        if old.is_some_and(|old| old.revision >= document.revision) {
            return;
        }
        let channel = ChannelId::whole(island, chunk);
        let game = &*self.config.game;
        let old = old.map(|old| objects_of(game, part, old)).unwrap_or_default();
        let new = objects_of(game, part, &document);
        self.objects.changed(now, channel, document.revision, &old, &new, effects);
        if self.remembered.len() >= MAX_REMEMBERED {
            self.limits.note(Limit::Remembered);
            self.remembered.retain(|key, _| self.queues.contains_key(&key.steward_key()));
        }
        self.remembered.insert(key, document);
    }
}

impl Machine for Steward {
    type Input = StewardInput;
    type Effect = Effect;

    fn handle(&mut self, now: WorldTime, input: StewardInput, effects: &mut Vec<Effect>) {
        self.answer_overdue(now, effects);
        match input {
            StewardInput::Command { caller, command } => {
                self.enqueue(now, caller, Work::Command(command), effects);
            }
            StewardInput::Grant { caller, grant } => {
                self.enqueue(now, caller, Work::Grant(grant), effects);
            }
            StewardInput::Loaded { request_id, documents } => {
                if let Some(key) = self.requests.remove(&request_id) {
                    self.loaded(now, &key, documents, effects);
                }
            }
            StewardInput::Committed { request_id, outcome } => {
                if let Some(key) = self.requests.remove(&request_id) {
                    self.committed(now, &key, outcome, effects);
                }
            }
            StewardInput::Subscribe { reader, channel, version } => {
                self.objects.subscribe(now, reader, channel, version, effects);
            }
            StewardInput::Unsubscribe { reader, channel } => {
                self.objects.unsubscribe(reader, channel)
            }
            StewardInput::Wake => {}
        }
    }

    fn next_wake(&self) -> Option<WorldTime> {
        self.deadlines.first().map(|(at, _)| *at)
    }
}

pub(crate) fn unavailable() -> Refusal {
    Refusal::new("unavailable", "The world is busy. Try again in a moment.")
}

pub(crate) fn answer(caller: Caller, result: DurableResult) -> Effect {
    match caller {
        Caller::Lane { lane, number } => {
            Effect::To(Message::Lane(lane, LaneInput::DurableEnded { number, result }))
        }
        Caller::Call(call) => {
            Effect::To(Message::Control(ControlInput::DurableEnded { call, result }))
        }
        Caller::Operator { number } => Effect::GrantEnded { number, result },
    }
}
