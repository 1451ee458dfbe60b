//! An instance of the stewards: takes calls in, and carries out what their batches need next.

use super::batch::{Batch, MAX_BATCH_TURNS, Step};
use super::changed;
use super::config::StewardConfig;
use super::objects::ObjectPublisher;
use super::queue::{Full, MAX_QUEUES, MAX_WAITING, Queues};
use super::run::Ran;
use super::turn::Waiting;
use crate::log::Level;
use crate::rule_run::RuleRun;
use crate::service::{Completion, Service, ServiceCall, ServiceContext};
use crate::store_request::{RequestId, StoreAnswer};
use crate::turn::{StewardCall, unavailable};
use bytes::Bytes;
use pelago_game::{Refusal, objects_of};
use pelago_model::{
    ChannelId, CommitOutcome, Document, Key, Limit, LimitCounts, PublisherId, Reader, Role, Size,
    WorldTime,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Documents that are remembered between batches; at the limit those of idle keys are forgotten.
pub const MAX_REMEMBERED: usize = 16 * 1024;
/// Looks at chunks that others have changed, under way at once; of more nothing is heard before the readers look.
const MAX_LOOKS: usize = 256;
/// How long somebody is told for whose chunk was changed, in ms.
const TELL_MS: u32 = 2000;
/// How long a command waits before it is answered with `unavailable`, in ms.
pub const TURN_DEADLINE_MS: i64 = 5000;

/// What the batch of a key waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Errand {
    Load,
    Run,
    Commit,
}

/// An instance of the stewards of a node.
pub struct Steward {
    config: Arc<StewardConfig>,
    queues: Queues,
    /// What is under way, one request at most for each key that has a batch.
    requests: BTreeMap<RequestId, (Key, Errand)>,
    /// When batches are tried again that pause: one at most for each key that has a batch.
    pauses: BTreeSet<(WorldTime, Key)>,
    remembered: BTreeMap<Key, Document>,
    objects: ObjectPublisher,
    /// What is being read because others have changed it: the pages.
    looks: BTreeMap<RequestId, Vec<Key>>,
    limits: LimitCounts,
    commits: u64,
    turns: u64,
    longest_run_ms: i64,
}

impl Steward {
    /// An instance that has nothing to do, with its voice on channels.
    pub fn new(publisher: PublisherId, config: StewardConfig) -> Self {
        Self {
            objects: ObjectPublisher::new(publisher, config.clock),
            config: Arc::new(config),
            queues: Queues::default(),
            requests: BTreeMap::new(),
            pauses: BTreeSet::new(),
            remembered: BTreeMap::new(),
            looks: BTreeMap::new(),
            limits: LimitCounts::default(),
            commits: 0,
            turns: 0,
            longest_run_ms: 0,
        }
    }

    /// Begins the next batch of a key if none is under way.
    fn advance(&mut self, cx: &mut ServiceContext<'_>, key: &Key) {
        let most = self.config.batch_turns.clamp(1, MAX_BATCH_TURNS);
        if let Some(turns) = self.queues.next_turns(key, most) {
            let batch = Batch::new(turns, &*self.config.game, &self.remembered);
            self.queues.begin(key, batch);
            self.go_on(cx, key);
        }
    }

    /// Does what the batch of a key needs next.
    fn go_on(&mut self, cx: &mut ServiceContext<'_>, key: &Key) {
        if let Some(batch) = self.queues.batch(key) {
            let step = batch.next(cx.now(), &self.config);
            self.carry_out(cx, key, step);
        }
    }

    /// Tries a batch again after a pause, if anything is left of it.
    fn go_on_later(&mut self, cx: &mut ServiceContext<'_>, key: &Key) {
        match self.queues.batch(key) {
            Some(batch) if batch.is_empty() => self.go_on(cx, key),
            Some(batch) => {
                let until = batch.pause(cx.now());
                self.pauses.insert((until, key.clone()));
            }
            None => {}
        }
    }

    fn carry_out(&mut self, cx: &mut ServiceContext<'_>, key: &Key, step: Step) {
        let (request, errand) = match step {
            Step::Load(keys) => (cx.load(keys), Errand::Load),
            Step::Run(run) => (
                cx.run(RuleRun::of_steps(run.len(), move |progress| run.run(progress))),
                Errand::Run,
            ),
            Step::Commit(transaction) => (cx.commit(transaction), Errand::Commit),
            Step::Again => return self.go_on(cx, key),
            Step::Finish => return self.finish(cx, key),
        };
        self.requests.insert(request, (key.clone(), errand));
    }

    fn loaded(&mut self, cx: &mut ServiceContext<'_>, key: &Key, documents: Option<Vec<Document>>) {
        let Some(documents) = documents else { return self.give_up(cx, key) };
        let Some(batch) = self.queues.batch(key) else { return };
        for (key, document) in batch.take_documents(documents) {
            self.absorb(cx, key, document);
        }
        self.go_on(cx, key);
    }

    fn ran(&mut self, cx: &mut ServiceContext<'_>, key: &Key, ran: Ran) {
        let Some(batch) = self.queues.batch(key) else { return };
        self.longest_run_ms = self.longest_run_ms.max(batch.run_ended(cx.now()));
        let step = batch.ran(cx, ran);
        if matches!(step, Step::Commit(_)) && self.config.sabotage.acknowledge_before_commit {
            batch.answer_all(cx);
        }
        self.carry_out(cx, key, step);
    }

    /// A rule has not returned, and its thread is lost: its turn fails, and the others are decided on another thread.
    fn abandoned(&mut self, cx: &mut ServiceContext<'_>, key: &Key, step: u32) {
        let Some(batch) = self.queues.batch(key) else { return };
        self.longest_run_ms = self.longest_run_ms.max(batch.run_ended(cx.now()));
        batch.abandoned(cx, step);
        self.go_on(cx, key);
    }

    fn committed(&mut self, cx: &mut ServiceContext<'_>, key: &Key, outcome: CommitOutcome) {
        let Some(batch) = self.queues.batch(key) else { return };
        match outcome {
            CommitOutcome::Committed => {
                self.commits += 1;
                self.turns += batch.len() as u64;
                let documents = batch.committed_documents();
                for (whose, pages) in changed::published_elsewhere(key, documents.keys()) {
                    cx.call_role(Role::steward(), whose, changed::encode(&pages), TELL_MS);
                }
                for (key, document) in documents {
                    self.absorb(cx, key, document);
                }
                self.finish(cx, key);
            }
            CommitOutcome::Conflict { keys } => {
                let (ejected, refused) = batch.conflict(cx, key, &keys);
                self.limits.add(Limit::TurnAttempts, refused as u64);
                self.queues.put_behind(key, ejected);
                for key in &keys {
                    self.remembered.remove(key);
                }
                self.go_on_later(cx, key);
            }
            CommitOutcome::Unknown => {
                for key in batch.documents() {
                    self.remembered.remove(key);
                }
                let refused = batch.forget_documents(cx);
                self.limits.add(Limit::TurnAttempts, refused as u64);
                self.go_on_later(cx, key);
            }
            CommitOutcome::Failed => self.give_up(cx, key),
        }
    }

    /// The batch is on disk or decided nothing: answers, and goes on.
    fn finish(&mut self, cx: &mut ServiceContext<'_>, key: &Key) {
        if let Some(mut batch) = self.queues.end(key) {
            batch.answer_all(cx);
            // What did not fit into this transaction comes first in the next.
            self.queues.put_before(key, batch.into_left_over());
        }
        self.advance(cx, key);
    }

    /// The store does not answer: everybody may try again.
    fn give_up(&mut self, cx: &mut ServiceContext<'_>, key: &Key) {
        let text = "the store failed for a batch";
        self.abandon(cx, key, (Level::Warn, text), &unavailable());
    }

    /// The completion does not fit the request: a bug of the shell that carries requests out.
    fn confused(&mut self, cx: &mut ServiceContext<'_>, key: &Key) {
        let text = "something else ended than was begun for a batch";
        self.abandon(cx, key, (Level::Error, text), &Refusal::internal());
    }

    /// Ends a batch without knowing what became of it.
    fn abandon(
        &mut self,
        cx: &mut ServiceContext<'_>,
        key: &Key,
        (level, text): (Level, &str),
        refusal: &Refusal,
    ) {
        if let Some(mut batch) = self.queues.end(key) {
            for key in batch.documents() {
                self.remembered.remove(key);
            }
            cx.log(level, 0, format!("{text} of {} on {key}", batch.len()));
            batch.refuse_all(cx, refusal);
        }
        self.advance(cx, key);
    }

    /// Others have changed these pages of a chunk. Who has no readers of it learns of that by a conflict.
    fn look(&mut self, cx: &mut ServiceContext<'_>, pages: Vec<Key>) {
        let is_read = |page: &Key| {
            let chunk = page.as_chunk();
            chunk.is_some_and(|(island, chunk, _)| {
                self.objects.has_readers(&ChannelId::whole(island, chunk))
            })
        };
        if pages.iter().any(is_read) && self.looks.len() < MAX_LOOKS {
            self.looks.insert(cx.load(pages.clone()), pages);
        }
    }

    fn looked(&mut self, cx: &mut ServiceContext<'_>, pages: Vec<Key>, end: Completion) {
        if let Completion::Stored(StoreAnswer::Loaded(Some(documents))) = end {
            for (page, document) in pages.into_iter().zip(documents) {
                self.absorb(cx, page, document);
            }
        }
    }

    /// A document as the store has it: remembers it and tells readers what changed.
    fn absorb(&mut self, cx: &mut ServiceContext<'_>, key: Key, document: Document) {
        let Some((island, chunk, page)) = key.as_chunk() else { return };
        let old = self.remembered.get(&key);
        if old.is_some_and(|old| old.revision >= document.revision) {
            return;
        }
        let channel = ChannelId::whole(island, chunk);
        let game = &*self.config.game;
        let old = old.map(|old| objects_of(game, page, old)).transpose();
        match (old, objects_of(game, page, &document)) {
            (Ok(old), Ok(new)) => {
                let old = old.unwrap_or_default();
                self.objects.changed(cx, channel, document.revision, &old, &new);
            }
            // Readers read the document itself now and then, and find out that they cannot.
            (Err(panic), _) | (_, Err(panic)) => {
                cx.log(Level::Error, 0, format!("{key} is not shown: {panic}"));
            }
        }
        if self.remembered.len() >= MAX_REMEMBERED {
            self.limits.note(Limit::Remembered);
            self.remembered.retain(|key, _| self.queues.contains(&key.steward_key()));
        }
        self.remembered.insert(key, document);
    }
}

impl Service for Steward {
    fn call(&mut self, cx: &mut ServiceContext<'_>, call: ServiceCall) {
        let ServiceCall { caller, key, body, trace } = call;
        let Some(call) = StewardCall::decode(&key, &body, trace) else {
            let Some(pages) = changed::decode(&key, &body) else {
                return cx.reject(caller, "malformed");
            };
            self.look(cx, pages);
            return cx.reply(caller, Bytes::new());
        };
        let waiting = Waiting::new(caller, call, cx.now().plus(TURN_DEADLINE_MS));
        match self.queues.join(&key, waiting) {
            Ok(()) => self.advance(cx, &key),
            Err(Full(mut waiting)) => {
                self.limits.note(Limit::StewardQueue);
                let sentence = "Too many are at it. Try again in a moment.";
                waiting.refuse(cx, Refusal::new("busy", sentence));
            }
        }
    }

    fn completed(&mut self, cx: &mut ServiceContext<'_>, request: RequestId, end: Completion) {
        if let Some(pages) = self.looks.remove(&request) {
            return self.looked(cx, pages, end);
        }
        // The answer of somebody who was told of a change is of no use.
        let Some((key, errand)) = self.requests.remove(&request) else { return };
        match (errand, end) {
            (Errand::Load, Completion::Stored(StoreAnswer::Loaded(documents))) => {
                self.loaded(cx, &key, documents);
            }
            (Errand::Commit, Completion::Stored(StoreAnswer::Committed(outcome))) => {
                self.committed(cx, &key, outcome);
            }
            (Errand::Run, Completion::Ran(end)) => match end.take() {
                Some(ran) => self.ran(cx, &key, ran),
                None => self.confused(cx, &key),
            },
            (Errand::Run, Completion::Abandoned { step }) => self.abandoned(cx, &key, step),
            _ => self.confused(cx, &key),
        }
    }

    fn subscribe(
        &mut self,
        cx: &mut ServiceContext<'_>,
        reader: Reader,
        channel: ChannelId,
        version: u64,
    ) {
        self.objects.subscribe(cx, reader, channel, version);
    }

    fn unsubscribe(&mut self, _cx: &mut ServiceContext<'_>, reader: Reader, channel: ChannelId) {
        self.objects.unsubscribe(reader, channel);
    }

    fn wake(&mut self, cx: &mut ServiceContext<'_>) {
        let overdue = self.queues.answer_overdue(cx);
        self.limits.add(Limit::TurnTime, overdue as u64);
        while self.pauses.first().is_some_and(|(until, _)| *until <= cx.now())
            && let Some((_, key)) = self.pauses.pop_first()
        {
            if self.queues.batch(&key).is_some_and(|batch| batch.ends_pause(cx.now())) {
                self.go_on(cx, &key);
            }
        }
    }

    fn next_wake(&self) -> Option<WorldTime> {
        let pause = self.pauses.first().map(|(until, _)| *until);
        [self.queues.next_deadline(), pause].into_iter().flatten().min()
    }

    /// Of what there is once per key, the fullest counts.
    fn sizes(&self) -> Vec<Size> {
        let longest = self.queues.longest();
        vec![
            Size::queue("keys with commands", self.queues.len(), MAX_QUEUES),
            Size::queue("deadlines of commands", self.queues.deadlines(), MAX_QUEUES),
            Size::queue("commands that wait for a key", longest, MAX_WAITING + MAX_BATCH_TURNS),
            Size::queue("requests of the stewards", self.requests.len(), MAX_QUEUES),
            Size::queue("batches that pause", self.pauses.len(), MAX_QUEUES),
            Size::queue("chunks that others have changed", self.looks.len(), MAX_LOOKS),
            Size::table(
                "remembered documents",
                self.remembered.len(),
                MAX_REMEMBERED + MAX_QUEUES,
                MAX_REMEMBERED,
            ),
        ]
    }

    fn limits(&self) -> LimitCounts {
        self.limits
    }

    /// `commits` and the `turns` that were in them: over `commits`, how many share a commit. `backlog`: turns that are not
    /// answered yet. `longest_run_ms`: of the runs that have ended, how long the longest was out.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("commits", self.commits),
            ("turns", self.turns),
            ("backlog", self.queues.backlog() as u64),
            ("longest_run_ms", self.longest_run_ms.max(0) as u64),
        ]
    }
}
