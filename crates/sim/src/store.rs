//! The store of the simulation: late, failing, ambiguous, and with a memory of every epoch.

use crate::said::Said;
use pelago_model::{CommitOutcome, Document, EntityId, Epoch, Key, Transaction};
use pelago_node::documents::avatar::{AvatarDocument, ChainHash, read};
use pelago_node::documents::lines::Line;
use pelago_store::Memory;
use std::collections::BTreeMap;

/// What a commit did to an avatar: the epoch in its document, the command's hash and the chain after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) epoch: Epoch,
    pub(crate) command: ChainHash,
    pub(crate) chain: ChainHash,
    /// Its rule was broken, and nothing else came of it.
    pub(crate) failed: bool,
}

/// Documents that are durable, and what the checkers need to know of how they came to be.
#[derive(Default)]
pub(crate) struct SimStore {
    pub(crate) documents: Memory,
    /// For every durable command that was committed.
    pub(crate) history: BTreeMap<(EntityId, u64), Committed>,
    /// Commands that were committed a second time.
    pub(crate) doubled: Vec<(EntityId, u64)>,
    /// Documents that are written once, and were to be changed.
    pub(crate) rewritten: Vec<Key>,
    /// Everything that was ever said.
    pub(crate) said: Said,
}

impl SimStore {
    /// Makes a transaction durable, if it may be.
    pub(crate) fn apply(&mut self, transaction: Transaction) -> CommitOutcome {
        if !transaction.keeps_history() {
            let keys = transaction.writes.iter().map(|write| &write.key);
            self.rewritten.extend(keys.filter(|key| key.is_append_only()).cloned());
        }
        let avatars: Vec<(EntityId, Document)> = transaction
            .writes
            .iter()
            .filter_map(|write| Some((write.key.as_avatar()?, self.documents.get(&write.key))))
            .collect();
        let spoken: Vec<Key> = transaction
            .writes
            .iter()
            .map(|write| write.key.clone())
            .filter(|key| matches!(key.kind(), "room" | "mailbox"))
            .collect();
        let outcome = self.documents.apply(transaction);
        if outcome == CommitOutcome::Committed {
            for key in spoken {
                let (document, documents) = (self.documents.get(&key), &self.documents);
                let avatar = |line: &Line| documents.get(&Key::avatar(line.avatar));
                self.said.written(&key, &document, avatar);
            }
            for (avatar, before) in avatars {
                self.remember(avatar, &before);
            }
        }
        outcome
    }

    fn remember(&mut self, id: EntityId, before: &Document) {
        let old = read::<AvatarDocument>(before).ok().flatten().map_or(0, |old| old.sequence.0);
        let Ok(Some(avatar)) = read::<AvatarDocument>(&self.documents.get(&Key::avatar(id))) else {
            return;
        };
        for outcome in &avatar.outcomes {
            if outcome.sequence.0 > old {
                let committed = Committed {
                    epoch: avatar.epoch,
                    command: outcome.command,
                    chain: outcome.chain,
                    failed: outcome.failed,
                };
                if self.history.insert((id, outcome.sequence.0), committed).is_some() {
                    self.doubled.push((id, outcome.sequence.0));
                }
            }
        }
    }
}
