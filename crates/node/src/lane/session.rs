//! Sessions: avatars that are played on this lane, each under its epoch.

use super::chat::Talk;
use super::near::NearSpeech;
use bytes::Bytes;
use pelago_model::{Epoch, Revision, Trajectory, WorldTime};
use pelago_world::ClientId;

/// An avatar that is played. Its real is found by the avatar's id.
#[derive(Debug)]
pub(super) struct Session {
    /// The fencing number of its ownership.
    pub(super) epoch: Epoch,
    /// The connection that it is played through.
    pub(super) client: ClientId,
    /// The durable command under way: its number and payload.
    pub(super) pending: Option<(u64, Bytes)>,
    pub(super) checkpoint: Checkpoint,
    pub(super) talk: Talk,
    pub(super) near: NearSpeech,
}

/// How far the place of an avatar is kept.
#[derive(Debug)]
pub(super) struct Checkpoint {
    /// The revision of its place document, as far as this lane knows.
    pub(super) revision: Revision,
    /// When the next is due.
    pub(super) due: WorldTime,
    /// Whether one is being written.
    pub(super) under_way: bool,
    /// Where and on what way it was at the last one, so that an avatar that stands still costs nothing.
    pub(super) last: Trajectory,
    /// Whether the store has taken the last one.
    pub(super) is_written: bool,
}
