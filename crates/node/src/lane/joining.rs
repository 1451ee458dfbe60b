//! Coming and going: sessions begin on this lane, and end.

use super::chat::Talk;
use super::connection::Connection;
use super::near::NearSpeech;
use super::real::Real;
use super::session::{Checkpoint, Session};
use super::{CHECKPOINT_MS, Lane, LaneEffect};
use crate::session::NewSession;
use bytes::Bytes;
use pelago_model::{EntityId, Limit, Tick, Trajectory, WorldTime};
use pelago_wire::client::{self, server_message};
use pelago_world::{ClientId, Shown};

impl Lane {
    /// A session begins here: its avatar becomes real, and its client is welcomed.
    pub(super) fn join(
        &mut self,
        now: WorldTime,
        session: &NewSession,
        effects: &mut Vec<LaneEffect>,
    ) {
        let (client, avatar, epoch) = (session.client, session.avatar, session.epoch);
        if let Some(old) = self.client_of(avatar) {
            self.supersede(old, effects);
        }
        let tick = Tick::at(now);
        let trajectory = Trajectory::still(self.config.clock.at(now), session.place.position);
        let island = session.place.island;
        let shown = Shown {
            id: avatar,
            epoch,
            kind: 0,
            stance: 0,
            name: session.name.clone(),
            trajectory: trajectory.clone(),
            island,
        };
        let Some(slot) = self.publisher.enter(shown, tick) else {
            return self.refuse_as_full(tick, client, effects);
        };
        self.reals.insert(Real::new(avatar, slot, island));
        let checkpoint = Checkpoint {
            revision: session.place_revision,
            // Spread over the interval, so that a crowd that came at once does not write at once.
            due: now.plus(CHECKPOINT_MS + (client.0 as i64 % 50) * super::CHECKPOINT_SPREAD_MS),
            under_way: false,
            last: trajectory.clone(),
            is_written: true,
        };
        let (talk, near) = (Talk::default(), NearSpeech::default());
        let played = Session { epoch, client, pending: None, checkpoint, talk, near };
        self.sessions.insert(avatar, played);
        let connection = Connection::new(avatar, &self.config.limits, now, session.quiet_ms);
        self.connections.insert(client, connection);
        self.delivery.join(client, tick);
        self.welcome(now, session, &trajectory, effects);
        self.listen(now, avatar, island, effects);
        self.look_around(now, client, effects);
        self.plan(client);
    }

    fn refuse_as_full(&mut self, tick: Tick, client: ClientId, effects: &mut Vec<LaneEffect>) {
        self.counters.limits.note(Limit::Slots);
        let refused = client::Refused {
            code: "full".into(),
            sentence: "This lane is full. Try again.".into(),
            trace: client.0,
        };
        self.delivery.join(client, tick);
        self.send(client, server_message::Body::Refused(refused), effects);
        self.delivery.leave(client);
        effects.push(LaneEffect::Close { client });
    }

    fn welcome(
        &mut self,
        now: WorldTime,
        session: &NewSession,
        trajectory: &Trajectory,
        effects: &mut Vec<LaneEffect>,
    ) {
        let land = self.config.lands.get(&session.place.island);
        let content = pelago_game::ContentHash::of(&self.config.game.content());
        let welcome = client::Welcome {
            version: pelago_wire::PROTOCOL_NEWEST,
            avatar: session.avatar.0,
            epoch: session.epoch.0,
            island: session.place.island.0,
            tick: Tick::at(now).0,
            world_time_ms: now.0,
            clock: Some((&self.config.clock).into()),
            content: Bytes::copy_from_slice(&content.0),
            manifest: land
                .map(|land| Bytes::copy_from_slice(&land.manifest().0))
                .unwrap_or_default(),
            sequence: session.sequence.0,
            chain: Bytes::copy_from_slice(&session.chain),
            state: session.state.clone(),
            path: Some(trajectory.into()),
            node: self.config.node.0.into(),
            max_speed: self.config.game.max_speed().into(),
        };
        self.send(session.client, server_message::Body::Welcome(welcome), effects);
    }

    /// The client of an avatar that is played on this lane.
    pub fn client_of(&self, avatar: EntityId) -> Option<ClientId> {
        self.sessions.get(&avatar).map(|session| session.client)
    }

    /// Takes a client out of the lane, with its session and its real.
    pub(super) fn remove(&mut self, client: ClientId, effects: &mut Vec<LaneEffect>) {
        let Some(Connection { avatar, .. }) = self.connections.remove(&client) else { return };
        self.calls.retain(|_, call| call.client != client);
        if self.client_of(avatar) == Some(client) {
            self.sessions.remove(&avatar);
            if let Some(real) = self.reals.remove(avatar) {
                self.publisher.leave(real.slot, Tick::at(self.next_publish));
                self.stop_listening(real.island);
            }
        }
        for channel in self.delivery.leave(client) {
            self.let_go(channel, effects);
        }
    }

    /// A client has left by itself: the place of its avatar is kept.
    pub(super) fn remove_with_checkpoint(
        &mut self,
        now: WorldTime,
        client: ClientId,
        effects: &mut Vec<LaneEffect>,
    ) {
        self.leave_place(now, client, effects);
        self.remove(client, effects);
    }

    /// Ends a connection from our side; the place of the avatar is kept.
    pub(super) fn close_with_checkpoint(
        &mut self,
        now: WorldTime,
        client: ClientId,
        code: &str,
        sentence: &str,
        effects: &mut Vec<LaneEffect>,
    ) {
        if self.connections.contains_key(&client) {
            self.leave_place(now, client, effects);
            self.close(client, code, sentence, effects);
        }
    }

    /// Closes a client that has said nothing, or read nothing, for too long; `true` if it is gone.
    pub(super) fn close_if_overdue(
        &mut self,
        now: WorldTime,
        client: ClientId,
        effects: &mut Vec<LaneEffect>,
    ) -> bool {
        let Some(connection) = self.connections.get(&client) else { return true };
        let Some(limit) = connection.overdue(now, &self.config.limits) else { return false };
        self.counters.limits.note(limit);
        if limit == Limit::BlockedTime {
            self.leave_place(now, client, effects);
            self.close_slow(client, effects);
        } else {
            let sentence = "Nothing was heard of you for too long.";
            self.close_with_checkpoint(now, client, "idle", sentence, effects);
        }
        true
    }

    /// A client takes no more bytes for now.
    pub(super) fn blocked(&mut self, now: WorldTime, client: ClientId) {
        self.delivery.block(client);
        if let Some(connection) = self.connections.get_mut(&client) {
            connection.blocked.get_or_insert(now);
            self.plan(client);
        }
    }

    /// A client takes bytes again.
    pub(super) fn writable(&mut self, now: WorldTime, client: ClientId) {
        self.delivery.unblock(client);
        if let Some(connection) = self.connections.get_mut(&client) {
            connection.blocked = None;
            // What it said meanwhile may not have been read.
            connection.heard = now;
        }
    }
}
