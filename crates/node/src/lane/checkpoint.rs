//! Checkpoints: the place of an avatar is written now and then, in a document of its own.

use super::{CHECKPOINT_MS, Lane, LaneEffect, Request};
use crate::documents::avatar::{PLACE_SCHEMA, Place, PlaceDocument};
use crate::documents::schema;
use crate::log::{Level, LogLine};
use pelago_game::json;
use pelago_model::{CommitOutcome, Document, EntityId, Epoch, Key, Transaction, WorldTime, Write};
use pelago_world::ClientId;

/// The pause before the next checkpoint is tried if one was still under way, in ms.
const CHECKPOINT_RETRY_MS: i64 = 500;

impl Lane {
    /// Writes the place of a client's avatar if its time has come.
    pub(super) fn checkpoint_if_due(
        &mut self,
        now: WorldTime,
        client: ClientId,
        effects: &mut Vec<LaneEffect>,
    ) {
        let Some(connection) = self.connections.get(&client) else { return };
        let Some(session) = self.sessions.get_mut(&connection.avatar) else { return };
        let checkpoint = &mut session.checkpoint;
        if checkpoint.due > now {
            return;
        }
        if checkpoint.under_way {
            // The store is slow: soon again.
            checkpoint.due = now.plus(CHECKPOINT_RETRY_MS);
        } else {
            self.write_place(now, client, effects);
        }
    }

    /// Writes the place of a client's avatar, if it has moved since the last time.
    fn write_place(&mut self, now: WorldTime, client: ClientId, effects: &mut Vec<LaneEffect>) {
        self.write(now, client, false, effects);
    }

    fn write(
        &mut self,
        now: WorldTime,
        client: ClientId,
        has_left: bool,
        effects: &mut Vec<LaneEffect>,
    ) {
        let Some(connection) = self.connections.get(&client) else { return };
        let avatar = connection.avatar;
        let Some(session) = self.sessions.get_mut(&avatar) else { return };
        let Some(real) = self.reals.of(avatar) else { return };
        let Some(shown) = self.publisher.shown(real.slot) else { return };
        let (epoch, checkpoint) = (session.epoch, &mut session.checkpoint);
        checkpoint.due = now.plus(CHECKPOINT_MS);
        let island_now = self.config.clock.at(now);
        let unmoved = checkpoint.is_written
            && checkpoint.last == shown.trajectory
            && shown.trajectory.end_time().plus(CHECKPOINT_MS) <= island_now;
        if unmoved && !has_left || checkpoint.under_way {
            return;
        }
        let place = Place {
            island: shown.island,
            position: shown.trajectory.position_at(island_now),
            at: island_now,
        };
        let Ok(value) = json::encode(&PlaceDocument { epoch, place, has_left }) else { return };
        let write = Write {
            key: Key::place(avatar),
            expected: checkpoint.revision,
            schema: PLACE_SCHEMA,
            value: Some(value),
        };
        checkpoint.under_way = true;
        checkpoint.is_written = false;
        checkpoint.last = shown.trajectory.clone();
        let request = self.requests.begin(Request::WritePlace { avatar, epoch });
        let transaction = Transaction { checks: Vec::new(), writes: vec![write] };
        effects.push(LaneEffect::Commit { request, transaction });
    }

    /// Ends a session because a newer one begins: the newer one goes on where the avatar is now, and so does whoever comes
    /// after a login that did not come to its end.
    pub(super) fn release(
        &mut self,
        now: WorldTime,
        client: ClientId,
        effects: &mut Vec<LaneEffect>,
    ) -> Option<Place> {
        let place = self.place_of(now, client)?;
        self.write_place(now, client, effects);
        self.supersede(client, effects);
        Some(place)
    }

    /// Where the avatar of a client is.
    pub(super) fn place_of(&self, now: WorldTime, client: ClientId) -> Option<Place> {
        let shown = self.real_of(client).and_then(|real| self.publisher.shown(real.slot))?;
        let (island, at) = (shown.island, self.config.clock.at(now));
        Some(Place { island, position: shown.trajectory.position_at(at), at })
    }

    /// Remembers where the avatar of a client is that leaves, and writes it: the next session finds out from when on it has
    /// done nothing. If a checkpoint is still under way, or this one comes to nothing, that session has to begin with less.
    pub(super) fn leave_place(
        &mut self,
        now: WorldTime,
        client: ClientId,
        effects: &mut Vec<LaneEffect>,
    ) {
        let avatar = self.connections.get(&client).map(|connection| connection.avatar);
        let session = avatar.and_then(|avatar| Some((avatar, self.sessions.get(&avatar)?.epoch)));
        if let (Some((avatar, epoch)), Some(place)) = (session, self.place_of(now, client)) {
            self.left.note(now, avatar, epoch, place);
        }
        self.write(now, client, true, effects);
    }

    /// The place of an avatar has been written, or not.
    pub(super) fn place_written(
        &mut self,
        (avatar, epoch): (EntityId, Epoch),
        outcome: &CommitOutcome,
        effects: &mut Vec<LaneEffect>,
    ) {
        let Some(session) = self.sessions.get_mut(&avatar) else { return };
        if session.epoch != epoch {
            return;
        }
        let checkpoint = &mut session.checkpoint;
        match outcome {
            CommitOutcome::Committed => {
                checkpoint.under_way = false;
                checkpoint.is_written = true;
                checkpoint.revision = checkpoint.revision.next();
            }
            CommitOutcome::Failed => checkpoint.under_way = false,
            // Another session wrote it, or nobody knows: the document tells.
            CommitOutcome::Conflict { .. } | CommitOutcome::Unknown => {
                let keys = vec![Key::place(avatar)];
                let request = self.requests.begin(Request::ReadPlace { avatar, epoch });
                effects.push(LaneEffect::Load { request, keys });
            }
        }
    }

    /// The place document of an avatar has been read; `None` if the store could not: the next checkpoint finds out.
    pub(super) fn place_read(
        &mut self,
        (avatar, epoch): (EntityId, Epoch),
        document: Option<&Document>,
        effects: &mut Vec<LaneEffect>,
    ) {
        let Some(session) = self.sessions.get_mut(&avatar) else { return };
        if session.epoch != epoch {
            return;
        }
        let client = session.client;
        session.checkpoint.under_way = false;
        let Some(document) = document else { return };
        match schema::read::<PlaceDocument>(document) {
            Ok(Some(place)) if place.epoch == epoch => {
                session.checkpoint.revision = document.revision;
            }
            Ok(_) => self.supersede(client, effects),
            Err(error) => {
                let line = LogLine::traced(Level::Error, client.0, error.to_string());
                effects.push(LaneEffect::Log(line));
            }
        }
    }
}
