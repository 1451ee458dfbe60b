//! A batch: turns of one key that are decided together and committed as one transaction.
//!
//! It says what has to happen next ([`Step`]) and is told how that ended. Meanwhile it keeps the turns with those who wait for
//! them, so that they can be answered when their time is over, whatever is out.

use super::config::StewardConfig;
use super::decide::{Decision, Notice};
use super::run::{Ran, Run};
use super::turn::Waiting;
use crate::log::Level;
use crate::service::ServiceContext;
use crate::turn::{DurableResult, unavailable};
use pelago_game::{Game, MAX_RUNS, Refusal};
use pelago_model::limits::MAX_TRANSACTION_DOCUMENTS;
use pelago_model::{Backoff, Document, Key, Retry, Transaction, WorldTime};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Turns of one batch: each writes its avatar and its audit, and together they write the document that they meet at. With more
/// documents than these fewer fit into the transaction.
pub const MAX_BATCH_TURNS: usize = (MAX_TRANSACTION_DOCUMENTS - 1) / 2;
/// How often a turn is tried again after a conflict or an unknown outcome.
pub const MAX_ATTEMPTS: usize = 16;
/// The pauses before that.
const AGAIN: Backoff = Backoff { first_ms: 4, longest_ms: 250, attempts: Backoff::ENDLESS };

/// The next step of a batch.
pub(super) enum Step {
    /// These documents are wanted first.
    Load(Vec<Key>),
    /// The turns are to be decided.
    Run(Run),
    /// The decisions are to be committed.
    Commit(Transaction),
    /// Some turns were refused: the others are decided without them.
    Again,
    /// All turns were refused, or known before, or none is left.
    Finish,
}

pub(super) struct Batch {
    turns: Vec<Waiting>,
    /// Turns that found no room in the transaction.
    left_over: Vec<Waiting>,
    /// The documents at hand, as the store had them. They stay here while a run is out, which has references to them.
    documents: BTreeMap<Key, Document>,
    wanted: BTreeSet<Key>,
    asked: Vec<Key>,
    runs: usize,
    /// When the run that is out was handed out.
    running_since: Option<WorldTime>,
    /// The decisions of the last run, by index in `turns`.
    decisions: Vec<Decision>,
    /// The documents that each turn touched, by index in `turns`.
    touched: Vec<BTreeSet<Key>>,
    written: BTreeMap<Key, Document>,
    /// How often it has met conflicts, or nobody knew how its commit ended.
    retry: Retry,
    /// Until when it waits to be tried again.
    pause: Option<WorldTime>,
}

impl Batch {
    pub(super) fn new(
        turns: Vec<Waiting>,
        game: &dyn Game,
        remembered: &BTreeMap<Key, Document>,
    ) -> Self {
        let wanted: BTreeSet<Key> =
            turns.iter().flat_map(|waiting| waiting.turn.keys(game)).collect();
        let known = |key: &Key| Some((key.clone(), remembered.get(key)?.clone()));
        let documents: BTreeMap<Key, Document> = wanted.iter().filter_map(known).collect();
        Self {
            turns,
            left_over: Vec::new(),
            documents,
            wanted,
            asked: Vec::new(),
            runs: 0,
            running_since: None,
            decisions: Vec::new(),
            touched: Vec::new(),
            written: BTreeMap::new(),
            retry: Retry::new(AGAIN),
            pause: None,
        }
    }

    /// Begins the pause before it is tried again, and says until when.
    pub(super) fn pause(&mut self, now: WorldTime) -> WorldTime {
        let avatar = self.turns.first().map_or(0, |waiting| waiting.turn.avatar().0);
        let pause_ms = self.retry.failed(avatar ^ now.0.cast_unsigned());
        let until = now.plus(pause_ms.unwrap_or(AGAIN.longest_ms));
        self.pause = Some(until);
        until
    }

    /// Whether its pause ends now.
    pub(super) fn ends_pause(&mut self, now: WorldTime) -> bool {
        self.pause.take_if(|until| *until <= now).is_some()
    }

    pub(super) fn len(&self) -> usize {
        self.turns.len()
    }

    /// Whether no turn is left of it.
    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty() && self.left_over.is_empty()
    }

    /// The documents at hand.
    pub(super) fn documents(&self) -> impl Iterator<Item = &Key> {
        self.documents.keys()
    }

    /// When the time of the first is over that is not answered yet.
    pub(super) fn first_deadline(&self) -> Option<WorldTime> {
        let turns = self.turns.iter().chain(&self.left_over);
        turns.filter(|waiting| !waiting.is_answered()).map(|waiting| waiting.deadline).min()
    }

    /// Answers those whose time is over, and counts them. They stay in the batch: nobody can take back what is handed out
    /// or was asked of the store.
    pub(super) fn answer_overdue(&mut self, cx: &mut ServiceContext<'_>) -> usize {
        let now = cx.now();
        let turns = self.turns.iter_mut().chain(&mut self.left_over);
        let overdue = turns.filter(|waiting| waiting.is_overdue(now));
        overdue.map(|waiting| waiting.refuse(cx, unavailable())).count()
    }

    /// Loads what is missing, or hands out all turns to be decided over the documents at hand.
    pub(super) fn next(&mut self, now: WorldTime, config: &Arc<StewardConfig>) -> Step {
        if let Some(missing) = self.missing() {
            return missing;
        }
        self.turns.append(&mut self.left_over);
        if self.turns.is_empty() {
            return Step::Finish;
        }
        self.runs += 1;
        self.running_since = Some(now);
        let turns = self.turns.iter().map(|waiting| waiting.turn.clone()).collect();
        Step::Run(Run::new(config.clone(), turns, self.documents.clone()))
    }

    /// For how long the run was out that has ended, in ms.
    pub(super) fn run_ended(&mut self, now: WorldTime) -> i64 {
        self.running_since.take().map_or(0, |since| now.since(since))
    }

    /// The run was abandoned while it decided this turn, which is not run again.
    pub(super) fn abandoned(&mut self, cx: &mut ServiceContext<'_>, step: u32) {
        let turn = self.turns.get_mut(step as usize).map(|waiting| &mut waiting.turn);
        let Some(turn) = turn else { return };
        turn.never_returned = true;
        let what = turn.described();
        let text = format!("{what}: the rule does not return, and its thread is lost");
        cx.log(Level::Error, turn.call.trace(), text);
        cx.rules_lost(what);
    }

    /// Takes in what a run decided.
    pub(super) fn ran(&mut self, cx: &mut ServiceContext<'_>, ran: Ran) -> Step {
        self.decisions.clear();
        self.touched.clear();
        let turns = std::mem::take(&mut self.turns);
        for (waiting, mut decided) in turns.into_iter().zip(ran.turns) {
            match &mut decided.decision {
                Decision::Full => {
                    self.left_over.push(waiting);
                    continue;
                }
                Decision::Missing(keys) => self.wanted.extend(keys.drain(..)),
                _ => {}
            }
            self.turns.push(waiting);
            self.decisions.push(decided.decision);
            self.touched.push(decided.touched);
        }
        if let Some(missing) = self.missing() {
            if self.runs <= MAX_RUNS {
                return missing;
            }
            self.refuse_insatiable(cx);
            return Step::Again;
        }
        if ran.transaction.writes.is_empty() {
            return Step::Finish;
        }
        self.written = ran.written;
        Step::Commit(ran.transaction)
    }

    /// Refuses the turns whose rules still want documents. The others are none the worse for having met them.
    fn refuse_insatiable(&mut self, cx: &mut ServiceContext<'_>) {
        let turns = std::mem::take(&mut self.turns).into_iter();
        for (mut waiting, decision) in turns.zip(std::mem::take(&mut self.decisions)) {
            if matches!(decision, Decision::Missing(_)) {
                let what = waiting.turn.described();
                let text = format!("{what}: a rule wanted documents in more than {MAX_RUNS} runs");
                cx.log(Level::Error, waiting.turn.call.trace(), text);
                waiting.refuse(cx, Refusal::internal());
            } else {
                self.turns.push(waiting);
            }
        }
        self.wanted.retain(|key| self.documents.contains_key(key));
        self.restart();
    }

    fn missing(&mut self) -> Option<Step> {
        let missing = self.wanted.iter().filter(|key| !self.documents.contains_key(*key));
        let missing: Vec<Key> = missing.cloned().collect();
        self.asked = missing.clone();
        (!missing.is_empty()).then_some(Step::Load(missing))
    }

    /// Takes in the documents that were missing.
    pub(super) fn take_documents(&mut self, documents: Vec<Document>) -> Vec<(Key, Document)> {
        let found: Vec<(Key, Document)> = self.asked.drain(..).zip(documents).collect();
        self.documents.extend(found.iter().cloned());
        found
    }

    /// The documents as the commit left them.
    pub(super) fn committed_documents(&mut self) -> BTreeMap<Key, Document> {
        std::mem::take(&mut self.written)
    }

    /// These documents were not as expected: forgets them. Turns that met them elsewhere than where the whole batch meets
    /// are ejected, so that they do not hold up the others; those that were tried too often are refused and counted.
    pub(super) fn conflict(
        &mut self,
        cx: &mut ServiceContext<'_>,
        key: &Key,
        keys: &[Key],
    ) -> (Vec<Waiting>, usize) {
        for key in keys {
            self.documents.remove(key);
        }
        let others: BTreeSet<&Key> =
            keys.iter().filter(|other| other.steward_key() != *key).collect();
        let (mut kept, mut ejected) = (Vec::new(), Vec::new());
        for (waiting, touched) in std::mem::take(&mut self.turns).into_iter().zip(&self.touched) {
            let meets = touched.iter().any(|key| others.contains(key));
            if meets { ejected.push(waiting) } else { kept.push(waiting) }
        }
        let refused = count_attempt(cx, &mut kept) + count_attempt(cx, &mut ejected);
        self.turns = kept;
        self.restart();
        (ejected, refused)
    }

    /// Nobody knows what the store holds: everything is read again. Counts those that were tried too often, and are refused.
    pub(super) fn forget_documents(&mut self, cx: &mut ServiceContext<'_>) -> usize {
        self.documents.clear();
        self.restart();
        count_attempt(cx, &mut self.turns)
    }

    fn restart(&mut self) {
        self.runs = 0;
        self.decisions.clear();
        self.touched.clear();
        self.written.clear();
    }

    /// Answers all turns as the last run decided.
    pub(super) fn answer_all(&mut self, cx: &mut ServiceContext<'_>) {
        for (waiting, decision) in self.turns.iter_mut().zip(self.decisions.drain(..)) {
            match decision {
                Decision::Answer(result) => waiting.answer(cx, result),
                Decision::Granted(result, notice) => {
                    waiting.answer(cx, result);
                    let Notice { node, avatar, epoch, payload } = *notice;
                    cx.notify(node, avatar, epoch, payload);
                }
                Decision::Broken(text) => {
                    let text = format!("{}: {text}", waiting.turn.described());
                    cx.log(Level::Error, waiting.turn.call.trace(), text);
                    waiting.refuse(cx, Refusal::internal());
                }
                Decision::Failed { chain, why } => {
                    if let Some(why) = why {
                        let text = format!("{}: {why}", waiting.turn.described());
                        cx.log(Level::Error, waiting.turn.call.trace(), text);
                    }
                    waiting.answer(cx, DurableResult::Failed { chain });
                }
                // A batch is not at its end as long as there are any, and a run ends with failures instead of panics.
                Decision::Missing(_) | Decision::Full | Decision::Panicked(_) => {}
            }
        }
    }

    /// Answers every turn with the same refusal; none is left.
    pub(super) fn refuse_all(&mut self, cx: &mut ServiceContext<'_>, refusal: &Refusal) {
        let turns = self.turns.drain(..).chain(self.left_over.drain(..));
        turns.for_each(|mut waiting| waiting.refuse(cx, refusal.clone()));
    }

    /// The turns that found no room in the transaction.
    pub(super) fn into_left_over(self) -> Vec<Waiting> {
        self.left_over
    }
}

/// Counts one more attempt of these turns. Those that were tried too often are refused and removed; returns how many.
fn count_attempt(cx: &mut ServiceContext<'_>, turns: &mut Vec<Waiting>) -> usize {
    turns.iter_mut().for_each(|waiting| waiting.turn.attempts += 1);
    let tired = turns.extract_if(.., |waiting| waiting.turn.attempts > MAX_ATTEMPTS);
    tired.map(|mut waiting| waiting.refuse(cx, unavailable())).count()
}
