//! An instance of the chat: takes calls in, and carries out what their batches need next.

use super::ChatConfig;
use super::batch::{Batch, MAX_BATCH_CALLS, Step, Waiting};
use super::decide::{Decided, Nudge};
use crate::chat_call::ChatCall;
use crate::lane_call::LaneCall;
use crate::log::Level;
use crate::rule_run::RuleRun;
use crate::service::{Completion, Service, ServiceCall, ServiceContext};
use crate::store_request::{RequestId, StoreAnswer};
use crate::turn::unavailable;
use pelago_game::Refusal;
use pelago_model::{CommitOutcome, Key, Limit, LimitCounts, Size, WorldTime};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Calls that wait for one key; more are refused as `busy`.
pub const MAX_WAITING: usize = 256;
/// Keys that have calls at once; calls for more are refused as `busy`.
pub const MAX_QUEUES: usize = 65_536;
/// How long a call waits before it is answered with `unavailable`, in ms.
pub const CALL_TIME_MS: i64 = 5000;

/// The calls of one key. One without any is removed.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    batch: Option<Batch>,
}

/// An instance of the chat.
pub struct Chat {
    config: Arc<ChatConfig>,
    queues: BTreeMap<Key, Queue>,
    /// What is under way, one request at most for each key.
    requests: BTreeMap<RequestId, Key>,
    /// When batches are tried again that pause: one at most for each key.
    pauses: BTreeSet<(WorldTime, Key)>,
    /// No call has to be answered before then.
    next_deadline: Option<WorldTime>,
    limits: LimitCounts,
    commits: u64,
    calls: u64,
}

impl Chat {
    /// An instance that has nothing to do.
    pub fn new(config: ChatConfig) -> Self {
        Self {
            config: Arc::new(config),
            queues: BTreeMap::new(),
            requests: BTreeMap::new(),
            pauses: BTreeSet::new(),
            next_deadline: None,
            limits: LimitCounts::default(),
            commits: 0,
            calls: 0,
        }
    }

    /// Begins the next batch of a key if none is under way.
    fn advance(&mut self, cx: &mut ServiceContext<'_>, key: &Key) {
        let Some(queue) = self.queues.get_mut(key).filter(|queue| queue.batch.is_none()) else {
            return;
        };
        let count = queue.waiting.len().min(MAX_BATCH_CALLS);
        let calls: Vec<Waiting> =
            queue.waiting.drain(..count).filter(|waiting| !waiting.is_answered()).collect();
        if !calls.is_empty() {
            queue.batch = Some(Batch::new(calls));
            return self.go_on(cx, key);
        }
        if queue.waiting.is_empty() {
            self.queues.remove(key);
            if self.queues.is_empty() {
                self.next_deadline = None;
            }
        } else {
            // Only those were first whose time was over before their turn came.
            self.advance(cx, key);
        }
    }

    fn batch(&mut self, key: &Key) -> Option<&mut Batch> {
        self.queues.get_mut(key)?.batch.as_mut()
    }

    /// Does what the batch of a key needs next.
    fn go_on(&mut self, cx: &mut ServiceContext<'_>, key: &Key) {
        let config = self.config.clone();
        if let Some(batch) = self.batch(key) {
            let step = batch.next(cx, &config);
            self.carry_out(cx, key, step);
        }
    }

    fn carry_out(&mut self, cx: &mut ServiceContext<'_>, key: &Key, step: Step) {
        let request = match step {
            Step::Load(keys) => cx.load(keys),
            Step::Run(question) => cx.run(RuleRun::new(move || question.decide())),
            Step::Commit(transaction) => cx.commit(transaction),
            Step::Finish => return self.finish(cx, key),
        };
        self.requests.insert(request, key.clone());
    }

    fn decided(&mut self, cx: &mut ServiceContext<'_>, key: &Key, decided: Decided) {
        for refusal in decided.answers.iter().filter_map(|answer| answer.as_ref().err()) {
            match &*refusal.code {
                "busy" => self.limits.note(Limit::ChatSpeakers),
                "mailbox_full" => self.limits.note(Limit::MailboxLines),
                _ => {}
            }
        }
        if let Some(batch) = self.batch(key) {
            let step = batch.decided(cx, decided);
            self.carry_out(cx, key, step);
        }
    }

    fn committed(&mut self, cx: &mut ServiceContext<'_>, key: &Key, outcome: &CommitOutcome) {
        match outcome {
            CommitOutcome::Committed => {
                self.commits += 1;
                self.finish(cx, key);
            }
            // Another instance was faster, or nobody knows: what was said is found in the document's memory.
            CommitOutcome::Conflict { .. } | CommitOutcome::Unknown => {
                match self.batch(key).map(|batch| batch.again(cx.now())) {
                    Some(Some(until)) => {
                        self.pauses.insert((until, key.clone()));
                    }
                    Some(None) => {
                        self.limits.note(Limit::ChatAttempts);
                        self.give_up(cx, key, "met too many conflicts");
                    }
                    None => {}
                }
            }
            CommitOutcome::Failed => self.give_up(cx, key, "could not be written"),
        }
    }

    /// Everybody is answered, and those who listen are told.
    fn finish(&mut self, cx: &mut ServiceContext<'_>, key: &Key) {
        if let Some(batch) = self.queues.get_mut(key).and_then(|queue| queue.batch.take()) {
            self.calls += batch.calls.len() as u64;
            match batch.finish(cx) {
                Some(Nudge::Room(island, lines)) => {
                    cx.tell_everybody(LaneCall::Lines { island, lines });
                }
                Some(Nudge::Mailbox(node, avatar)) => {
                    cx.tell_lanes(node, LaneCall::Mail { avatar });
                }
                None => {}
            }
        }
        self.advance(cx, key);
    }

    /// Ends a batch without knowing what became of it: everybody may try again.
    fn give_up(&mut self, cx: &mut ServiceContext<'_>, key: &Key, what: &str) {
        let count = self.batch(key).map_or(0, |batch| batch.calls.len());
        cx.log(Level::Warn, 0, format!("{count} calls on {key} {what}"));
        self.refuse(cx, key, &unavailable());
    }

    /// Ends a batch with the same refusal for everybody.
    fn refuse(&mut self, cx: &mut ServiceContext<'_>, key: &Key, refusal: &Refusal) {
        if let Some(batch) = self.queues.get_mut(key).and_then(|queue| queue.batch.take()) {
            batch.refuse_all(cx, refusal);
        }
        self.advance(cx, key);
    }
}

impl Service for Chat {
    fn call(&mut self, cx: &mut ServiceContext<'_>, call: ServiceCall) {
        let ServiceCall { caller, key, body, .. } = call;
        let Some(call) = ChatCall::decode(&key, &body) else {
            return cx.reject(caller, "malformed");
        };
        let deadline = cx.now().plus(CALL_TIME_MS);
        let mut waiting = Waiting::new(caller, call, deadline);
        let is_full = match self.queues.get(&key) {
            Some(queue) => queue.waiting.len() >= MAX_WAITING,
            None => self.queues.len() >= MAX_QUEUES,
        };
        if is_full {
            self.limits.note(Limit::ChatQueue);
            return waiting.answer(cx, Err(Refusal::new("busy", "Too many speak at once.")));
        }
        self.next_deadline.get_or_insert(deadline);
        self.queues.entry(key.clone()).or_default().waiting.push_back(waiting);
        self.advance(cx, &key);
    }

    fn completed(&mut self, cx: &mut ServiceContext<'_>, request: RequestId, end: Completion) {
        let Some(key) = self.requests.remove(&request) else { return };
        match end {
            Completion::Stored(StoreAnswer::Loaded(Some(documents))) => {
                if let Some(batch) = self.batch(&key) {
                    batch.loaded(documents);
                }
                self.go_on(cx, &key);
            }
            Completion::Stored(StoreAnswer::Committed(outcome)) => {
                self.committed(cx, &key, &outcome);
            }
            Completion::Ran(end) => match end.take::<Decided>() {
                Some(decided) => self.decided(cx, &key, decided),
                None => self.give_up(cx, &key, "were not decided"),
            },
            Completion::Stored(StoreAnswer::Loaded(None)) => {
                self.give_up(cx, &key, "could not be read");
            }
            Completion::Abandoned { .. } => {
                if let Some(batch) = self.batch(&key) {
                    let speakers: Vec<String> =
                        batch.calls.iter().map(|it| it.call.session().0.to_string()).collect();
                    let what = format!("a line on {key} of one of {}", speakers.join(", "));
                    cx.log(Level::Error, 0, format!("{what}: the rule does not return"));
                    cx.rules_lost(what);
                }
                self.refuse(cx, &key, &Refusal::internal());
            }
            Completion::Answered(_) => self.give_up(cx, &key, "ended as something else"),
        }
    }

    /// Goes on with batches whose pauses are over, and tells those whose time is over that nobody knows what becomes of
    /// their calls.
    fn wake(&mut self, cx: &mut ServiceContext<'_>) {
        let now = cx.now();
        while self.pauses.first().is_some_and(|(until, _)| *until <= now)
            && let Some((_, key)) = self.pauses.pop_first()
        {
            let batch = self.batch(&key);
            if batch.is_some_and(|batch| batch.pause.take_if(|until| *until <= now).is_some()) {
                self.go_on(cx, &key);
            }
        }
        self.next_deadline = None;
        for queue in self.queues.values_mut() {
            let batch = queue.batch.iter_mut().flat_map(|batch| &mut batch.calls);
            for waiting in batch.chain(&mut queue.waiting).filter(|it| !it.is_answered()) {
                if waiting.deadline <= now {
                    self.limits.note(Limit::ChatTime);
                    waiting.answer(cx, Err(unavailable()));
                } else {
                    let next = self.next_deadline.get_or_insert(waiting.deadline);
                    *next = (*next).min(waiting.deadline);
                }
            }
        }
    }

    fn next_wake(&self) -> Option<WorldTime> {
        let pause = self.pauses.first().map(|(until, _)| *until);
        [self.next_deadline, pause].into_iter().flatten().min()
    }

    /// Of what there is once per key, the fullest counts.
    fn sizes(&self) -> Vec<Size> {
        let longest = self.queues.values().map(|queue| queue.waiting.len()).max().unwrap_or(0);
        vec![
            Size::queue("keys with lines", self.queues.len(), MAX_QUEUES),
            Size::queue("lines that wait for a key", longest, MAX_WAITING),
            Size::queue("batches of lines that pause", self.pauses.len(), MAX_QUEUES),
            Size::queue("requests of the chat", self.requests.len(), MAX_QUEUES),
        ]
    }

    fn limits(&self) -> LimitCounts {
        self.limits
    }

    /// `commits`, and the `calls` that were answered after one or without.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![("commits", self.commits), ("calls", self.calls)]
    }
}
