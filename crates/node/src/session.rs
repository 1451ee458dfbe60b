//! A session as it is handed to a lane: an avatar that is played from now on, under an epoch.

use crate::documents::avatar::Place;
use bytes::Bytes;
use pelago_model::{EntityId, Epoch, Revision, Sequence};
use pelago_world::ClientId;
use std::sync::Arc;

/// An avatar under its new epoch, and the connection that it is played through.
#[derive(Clone, Debug, PartialEq)]
pub struct NewSession {
    /// The connection.
    pub client: ClientId,
    /// The avatar.
    pub avatar: EntityId,
    /// The epoch of this session.
    pub epoch: Epoch,
    /// The avatar's name.
    pub name: Arc<str>,
    /// The number of its last durable command.
    pub sequence: Sequence,
    /// The hash chain after it.
    pub chain: [u8; 32],
    /// What the player is told about its avatar (JSON).
    pub state: Bytes,
    /// Where it is.
    pub place: Place,
    /// The revision of its place document.
    pub place_revision: Revision,
    /// For how long the avatar is known to have done nothing, in ms: what it may do has come together meanwhile.
    pub quiet_ms: i64,
}
