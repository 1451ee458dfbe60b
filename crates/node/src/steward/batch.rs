//! A batch: turns of one key that are decided in memory and committed as one transaction.

use super::decide::{Decision, decide};
use super::{Caller, DurableResult, StewardConfig, Waiting, answer, unavailable};
use crate::effect::{Effect, Level};
use pelago_game::{Game, MAX_RUNS, Refusal};
use pelago_model::limits::MAX_TRANSACTION_DOCUMENTS;
use pelago_model::{Check, Document, Key, Revision, Transaction, WorldTime, Write};
use std::collections::{BTreeMap, BTreeSet};

/// Turns of one batch: each writes its avatar and its audit, and together they write the document that they meet at. With more
/// documents than these fewer fit into the transaction.
pub const MAX_BATCH_TURNS: usize = (MAX_TRANSACTION_DOCUMENTS - 1) / 2;
/// How often a turn is tried again after a conflict or an unknown outcome.
pub const MAX_ATTEMPTS: usize = 16;

/// How a run of a batch ended.
pub(super) enum BatchEnd {
    /// These documents are wanted first.
    Missing(Vec<Key>),
    /// To be committed.
    Commit(Transaction),
    /// All turns were refused or known.
    NothingToCommit,
}

pub(super) struct Batch {
    turns: Vec<Waiting>,
    documents: BTreeMap<Key, Document>,
    wanted: BTreeSet<Key>,
    asked: Vec<Key>,
    runs: usize,
    /// Which documents each turn touched, by its place in `turns`.
    touched: Vec<BTreeSet<Key>>,
    answers: Vec<Effect>,
    left_over: Vec<Waiting>,
    written: BTreeMap<Key, Document>,
}

/// The documents as the turns before left them, and what is to be written and checked.
pub(super) struct Draft {
    pub(super) view: BTreeMap<Key, Document>,
    writes: BTreeMap<Key, Write>,
    checks: BTreeMap<Key, Revision>,
}

impl Batch {
    pub(super) fn new(
        turns: Vec<Waiting>,
        game: &dyn Game,
        remembered: &BTreeMap<Key, Document>,
    ) -> Self {
        let mut wanted: BTreeSet<Key> = BTreeSet::new();
        for turn in &turns {
            wanted.extend(turn.work.keys(game));
        }
        let known = |key: &Key| Some((key.clone(), remembered.get(key)?.clone()));
        let documents: BTreeMap<Key, Document> = wanted.iter().filter_map(known).collect();
        Self {
            turns,
            documents,
            wanted,
            asked: Vec::new(),
            runs: 0,
            touched: Vec::new(),
            answers: Vec::new(),
            left_over: Vec::new(),
            written: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.turns.len()
    }

    /// The documents at hand.
    pub(super) fn documents(&self) -> impl Iterator<Item = &Key> {
        self.documents.keys()
    }

    /// When the time of the first is over that is not answered yet.
    pub(super) fn first_deadline(&self) -> Option<WorldTime> {
        let turns = self.turns.iter().chain(&self.left_over);
        turns.filter(|turn| !turn.is_answered).map(|turn| turn.deadline).min()
    }

    /// Those whose time is over, each of them told once.
    pub(super) fn overdue(&mut self, now: WorldTime) -> Vec<Caller> {
        let turns = self.turns.iter_mut().chain(&mut self.left_over);
        let overdue = turns.filter(|turn| turn.deadline <= now && !turn.is_answered);
        let told = overdue.map(|turn| {
            turn.is_answered = true;
            turn.caller
        });
        told.collect()
    }

    /// Decides all turns over the documents at hand.
    pub(super) fn run(&mut self, config: &StewardConfig) -> BatchEnd {
        if let Some(missing) = self.missing() {
            return missing;
        }
        self.answers.clear();
        self.touched.clear();
        self.turns.append(&mut self.left_over);
        let mut draft = Draft {
            view: self.documents.clone(),
            writes: BTreeMap::new(),
            checks: BTreeMap::new(),
        };
        let turns = std::mem::take(&mut self.turns);
        for turn in turns {
            let mut touched = BTreeSet::from([Key::avatar(turn.work.avatar())]);
            match decide(config, &turn, &mut draft, &mut touched) {
                Decision::Answer(result) => self.answers.push(answer(turn.caller, result)),
                Decision::Granted(result, notify) => {
                    self.answers.extend([answer(turn.caller, result), *notify]);
                }
                Decision::Broken(text) => {
                    let trace = turn.work.trace();
                    self.answers.push(Effect::Log { level: Level::Error, trace, text });
                    let refusal = DurableResult::Refused(Refusal::internal());
                    self.answers.push(answer(turn.caller, refusal));
                }
                Decision::Missing(keys) => self.wanted.extend(keys),
                Decision::Full => {
                    self.left_over.push(turn);
                    continue;
                }
            }
            self.turns.push(turn);
            self.touched.push(touched);
        }
        self.runs += 1;
        if let Some(missing) = self.missing() {
            if self.runs <= MAX_RUNS {
                return missing;
            }
            let trace = self.turns.first().map_or(0, |turn| turn.work.trace());
            let text = format!("a rule wanted documents in more than {MAX_RUNS} runs");
            self.answers = self.refuse_all(&Refusal::internal());
            self.answers.push(Effect::Log { level: Level::Error, trace, text });
            return BatchEnd::NothingToCommit;
        }
        if draft.writes.is_empty() {
            return BatchEnd::NothingToCommit;
        }
        self.written = draft
            .writes
            .keys()
            .filter_map(|key| draft.view.get(key).map(|document| (key.clone(), document.clone())))
            .collect();
        let writes: Vec<Write> = draft.writes.into_values().collect();
        let unwritten = |key: &Key| !self.written.contains_key(key);
        let checks = draft.checks.into_iter().filter(|(key, _)| unwritten(key));
        let checks = checks.map(|(key, revision)| Check { key, revision }).collect();
        BatchEnd::Commit(Transaction { checks, writes })
    }

    fn missing(&mut self) -> Option<BatchEnd> {
        let missing = self.wanted.iter().filter(|key| !self.documents.contains_key(*key));
        let missing: Vec<Key> = missing.cloned().collect();
        self.asked = missing.clone();
        (!missing.is_empty()).then_some(BatchEnd::Missing(missing))
    }

    /// Takes in the documents that were missing.
    pub(super) fn take_documents(&mut self, documents: Vec<Document>) -> Vec<(Key, Document)> {
        let found: Vec<(Key, Document)> = self.asked.drain(..).zip(documents).collect();
        self.documents.extend(found.iter().cloned());
        found
    }

    /// The documents as the commit left them.
    pub(super) fn committed_documents(&mut self) -> Vec<(Key, Document)> {
        std::mem::take(&mut self.written).into_iter().collect()
    }

    /// These documents were not as expected: forgets them. Turns that met them elsewhere than where the whole batch meets
    /// are ejected, so that they do not hold up the others; who was tried too often is refused.
    pub(super) fn conflict(&mut self, key: &Key, keys: &[Key]) -> (Vec<Waiting>, Vec<Effect>) {
        for key in keys {
            self.documents.remove(key);
        }
        let others: BTreeSet<&Key> =
            keys.iter().filter(|other| other.steward_key() != *key).collect();
        let (mut kept, mut ejected) = (Vec::new(), Vec::new());
        for (turn, touched) in std::mem::take(&mut self.turns).into_iter().zip(&self.touched) {
            let meets = touched.iter().any(|key| others.contains(key));
            if meets { ejected.push(turn) } else { kept.push(turn) }
        }
        self.turns = kept;
        let mut refused = self.count_attempt();
        let (tired, ejected): (Vec<Waiting>, Vec<Waiting>) = ejected
            .into_iter()
            .map(|turn| Waiting { attempts: turn.attempts + 1, ..turn })
            .partition(|turn| turn.attempts > MAX_ATTEMPTS);
        refused.extend(
            tired.iter().map(|turn| answer(turn.caller, DurableResult::Refused(unavailable()))),
        );
        self.restart();
        (ejected, refused)
    }

    /// Nobody knows what the store holds: everything is read again.
    pub(super) fn forget_documents(&mut self) -> Vec<Effect> {
        self.documents.clear();
        let refused = self.count_attempt();
        self.restart();
        refused
    }

    fn count_attempt(&mut self) -> Vec<Effect> {
        self.turns.iter_mut().for_each(|turn| turn.attempts += 1);
        let tired = self.turns.extract_if(.., |turn| turn.attempts > MAX_ATTEMPTS);
        tired.map(|turn| answer(turn.caller, DurableResult::Refused(unavailable()))).collect()
    }

    fn restart(&mut self) {
        self.runs = 0;
        self.answers.clear();
        self.written.clear();
    }

    /// The answers to all turns of the last run.
    pub(super) fn take_answers(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.answers)
    }

    /// The turns that found no room in the transaction.
    pub(super) fn take_left_over(&mut self) -> Vec<Waiting> {
        std::mem::take(&mut self.left_over)
    }

    /// Answers every turn with the same refusal.
    pub(super) fn refuse_all(&mut self, refusal: &Refusal) -> Vec<Effect> {
        let turns = self.turns.drain(..).chain(self.left_over.drain(..));
        turns.map(|turn| answer(turn.caller, DurableResult::Refused(refusal.clone()))).collect()
    }
}

impl Draft {
    /// Takes in a turn; `false` and unchanged if the transaction would grow too large.
    pub(super) fn apply(&mut self, checks: Vec<Check>, writes: Vec<Write>) -> bool {
        let new = |key: &Key| !self.writes.contains_key(key) && !self.checks.contains_key(key);
        let keys = checks.iter().map(|check| &check.key).chain(writes.iter().map(|w| &w.key));
        let more = keys.filter(|key| new(key)).count();
        if self.writes.len() + self.checks.len() + more > MAX_TRANSACTION_DOCUMENTS {
            return false;
        }
        for check in checks {
            if !self.writes.contains_key(&check.key) {
                self.checks.insert(check.key, check.revision);
            }
        }
        for write in writes {
            let (key, schema, value) = (write.key.clone(), write.schema, write.value.clone());
            // The first write of a document names the revision that the store has.
            let merged = self.writes.entry(key.clone()).or_insert(write);
            (merged.schema, merged.value) = (schema, value.clone());
            let revision = merged.expected.next();
            self.view.insert(key, Document { schema, revision, value });
        }
        true
    }
}
