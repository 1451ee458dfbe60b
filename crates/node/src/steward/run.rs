//! A run: the turns of a batch, decided one after the other over documents in memory.
//!
//! A run owns all that it needs, because it is handed out: it may be run on another thread, since a rule that does not
//! return must not hold up the steward. What it owns is shared (documents and turns are reference counts), so that
//! nothing of any size is copied on the way out or back.

use super::config::StewardConfig;
use super::decide::{Decision, decide};
use super::draft::Draft;
use super::failure::fail;
use super::turn::Turn;
use crate::rule_run::RunProgress;
use pelago_model::{Document, Key, Transaction};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Turns to be decided.
pub(super) struct Run {
    config: Arc<StewardConfig>,
    turns: Vec<Turn>,
    documents: BTreeMap<Key, Document>,
}

/// What became of one turn of a run.
pub(super) struct Decided {
    pub(super) decision: Decision,
    /// The documents that it read or wrote.
    pub(super) touched: BTreeSet<Key>,
}

/// What a run decided.
pub(super) struct Ran {
    /// By turn, in the order in which they were handed out.
    pub(super) turns: Vec<Decided>,
    /// To be committed, if no document was missing and anything was written.
    pub(super) transaction: Transaction,
    /// The documents as the commit leaves them.
    pub(super) written: BTreeMap<Key, Document>,
}

impl Run {
    pub(super) fn new(
        config: Arc<StewardConfig>,
        turns: Vec<Turn>,
        documents: BTreeMap<Key, Document>,
    ) -> Self {
        Self { config, turns, documents }
    }

    pub(super) fn len(&self) -> usize {
        self.turns.len()
    }

    /// Decides all turns. The step that is under way is the index of the turn.
    pub(super) fn run(self, progress: &RunProgress) -> Ran {
        let mut draft = Draft::new(self.documents);
        let decide = |(index, turn): (usize, &Turn)| {
            progress.begin(index);
            let mut touched = BTreeSet::from([Key::avatar(turn.avatar())]);
            let config = &self.config;
            let decision = match turn.never_returned {
                true => fail(config, turn, &mut draft, &mut touched, None),
                false => match decide(config, turn, &mut draft, &mut touched) {
                    Decision::Panicked(panic) => {
                        fail(config, turn, &mut draft, &mut touched, Some(panic.to_string()))
                    }
                    decision => decision,
                },
            };
            Decided { decision, touched }
        };
        let turns = self.turns.iter().enumerate().map(decide).collect();
        let (transaction, written) = draft.finish();
        Ran { turns, transaction, written }
    }
}
