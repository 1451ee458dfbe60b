//! Grants: mail, prizes and gifts, carried out once per avatar and key, however often and at whichever node they are
//! asked for.
//!
//! A grant is a durable turn without a session: any node may run it over the avatar's document, and revisions keep it
//! right. In one transaction it changes the avatar and inserts its audit, which is found when the same grant is asked
//! for again. It has no number among the avatar's commands, takes no epoch and ends no session; the player of the
//! avatar is told by a `Notice`.

use pelago_model::limits::{MAX_GRANT_BYTES, MAX_GRANT_REASON_BYTES};
use pelago_model::{EntityId, GrantKey, IslandTime};

/// Something to be granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its idempotency key: the same key is the same grant.
    pub key: GrantKey,
    /// The avatar that gets it.
    pub avatar: EntityId,
    /// What: the game's text, at most [`MAX_GRANT_BYTES`].
    pub what: String,
    /// Why, and by whom, for the audit: at most [`MAX_GRANT_REASON_BYTES`].
    pub reason: String,
    /// When it was asked for.
    pub received: IslandTime,
    /// To be found in the logs.
    pub trace: u64,
}

impl Grant {
    /// Whether it is within its limits.
    pub fn fits(&self) -> bool {
        self.what.len() <= MAX_GRANT_BYTES && self.reason.len() <= MAX_GRANT_REASON_BYTES
    }
}
