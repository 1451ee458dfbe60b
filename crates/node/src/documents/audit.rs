//! The audit of the economy: what every durable command and every grant made, moved and destroyed.
//!
//! Each is a document of its own, written in the same transaction as its effects under the id of the command or the key of the grant,
//! and never changed: [`Transaction::keeps_history`](pelago_model::Transaction::keeps_history). The audit of a grant is also
//! the memory of it. A command that leaves the economy alone has none.

use crate::documents::avatar::ChainHash;
use pelago_game::{Changes, json};
use pelago_model::limits::MAX_DOCUMENT_BYTES;
use pelago_model::{EntityId, Epoch, GrantKey, IslandTime, Key, Revision, Sequence, Write};
use serde::{Deserialize, Serialize};

/// The schema version of audit documents.
pub const AUDIT_SCHEMA: u16 = 1;

/// What one turn did to the economy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditDocument {
    /// The avatar that acted, or that got the grant.
    pub avatar: EntityId,
    /// The epoch in the avatar's document at that time.
    pub epoch: Epoch,
    /// When it was asked for.
    pub at: IslandTime,
    /// The cause.
    pub cause: Cause,
    /// What it did, by document and item.
    pub changes: Changes,
}

/// Why the economy changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A durable command.
    Command {
        /// Its number.
        sequence: Sequence,
        /// blake3 of its payload, as in the avatar's ring of outcomes.
        command: ChainHash,
    },
    /// A grant.
    Grant {
        /// Its idempotency key.
        key: GrantKey,
        /// What was given: the game's text.
        what: String,
        /// Why, and by whom: the operator's words.
        reason: String,
        /// What was answered (JSON).
        effects: String,
        /// Whether the rule was broken: nothing was given, and nobody runs it for this key again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        failed: bool,
    },
}

impl AuditDocument {
    /// The key that it stands under.
    pub fn key(&self) -> Key {
        match &self.cause {
            Cause::Command { sequence, .. } => Key::audit(self.avatar, *sequence),
            Cause::Grant { key, .. } => Key::grant(self.avatar, key),
        }
    }

    /// The write that makes it.
    ///
    /// # Errors
    /// The text of why it cannot be stored, for the log: a turn that touches so much is wrong.
    pub fn write(&self) -> Result<Write, String> {
        let key = self.key();
        let value = json::encode(self).map_err(|error| format!("{key}: {error}"))?;
        if value.len() > MAX_DOCUMENT_BYTES {
            return Err(format!("{key}: the turn did too much to be audited"));
        }
        Ok(Write { key, expected: Revision(0), schema: AUDIT_SCHEMA, value: Some(value) })
    }
}
