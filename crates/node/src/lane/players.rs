//! Players: sessions, sight, checkpoints of their places.

use super::{CHECKPOINT_MS, Effect, Lane, Request};
use crate::avatar::{PLACE_SCHEMA, Place, PlaceDocument};
use crate::control::ControlInput;
use crate::effect::Message;
use crate::rate_limits::RateLimits;
use bytes::Bytes;
use pelago_game::{LiveState, json};
use pelago_model::time::TICK_MS;
use pelago_model::{
    ChannelId, CommitOutcome, EntityId, Epoch, IslandId, Key, Limit, Revision, Sequence, Tick,
    Trajectory, Transaction, WorldTime, Write,
};
use pelago_wire::client::{self, server_message};
use pelago_wire::record::Slot;
use pelago_world::{ClientId, Shown, Sight};
use std::sync::Arc;

/// What the login hands to a lane.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
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
}

/// A player on a lane.
#[derive(Debug)]
pub(crate) struct Player {
    pub(crate) avatar: EntityId,
    pub(crate) epoch: Epoch,
    pub(crate) slot: Slot,
    pub(crate) island: IslandId,
    pub(crate) sight: Sight,
    /// The durable command under way: its number and payload.
    pub(crate) pending: Option<(u64, Bytes)>,
    pub(crate) live: LiveState,
    pub(crate) stance_until: Option<WorldTime>,
    pub(crate) place_revision: Revision,
    pub(crate) checkpoint_at: WorldTime,
    pub(crate) checkpointing: bool,
    /// Where and on what way it was at the last checkpoint, so that who stands still costs nothing.
    pub(crate) checkpointed: Option<Trajectory>,
    pub(crate) rate_limits: RateLimits,
    /// The last of the moves that were too many, and when it came: it counts at the next tick.
    pub(crate) held_move: Option<Box<(WorldTime, client::Move)>>,
    /// When it last said something.
    pub(crate) heard: WorldTime,
    /// Since when it takes no more bytes.
    pub(crate) blocked: Option<WorldTime>,
    /// When it is looked at next.
    pub(crate) planned: Option<Tick>,
}

impl Lane {
    pub(super) fn join(&mut self, now: WorldTime, session: Session, effects: &mut Vec<Effect>) {
        if let Some(old) = self.avatars.get(&session.avatar).copied() {
            self.supersede(old, effects);
        }
        let tick = Tick::at(now);
        let island_now = self.config.clock.at(now);
        let trajectory = Trajectory::still(island_now, session.place.position);
        let shown = Shown {
            id: session.avatar,
            epoch: session.epoch,
            kind: 0,
            stance: 0,
            name: session.name.clone(),
            trajectory: trajectory.clone(),
            island: session.place.island,
        };
        let client = session.client;
        let Some(slot) = self.publisher.enter(shown, tick) else {
            self.counters.limits.note(Limit::Slots);
            let refused = client::Refused {
                code: "full".into(),
                sentence: "This lane is full. Try again.".into(),
                trace: client.0,
            };
            self.delivery.join(client, tick);
            self.send(client, server_message::Body::Refused(refused), effects);
            self.delivery.part(client);
            return effects.push(Effect::CloseClient { client });
        };
        let player = Player {
            avatar: session.avatar,
            epoch: session.epoch,
            slot,
            island: session.place.island,
            sight: Sight::default(),
            pending: None,
            live: LiveState::default(),
            stance_until: None,
            place_revision: session.place_revision,
            // Spread over the interval, so that a crowd that came at once does not write at once.
            checkpoint_at: now.plus(CHECKPOINT_MS + (client.0 as i64 % 50) * TICK_SPREAD_MS),
            checkpointing: false,
            checkpointed: Some(trajectory.clone()),
            rate_limits: RateLimits::new(&self.config.limits, now),
            held_move: None,
            heard: now,
            blocked: None,
            planned: None,
        };
        self.players.insert(client, player);
        self.reals.insert(slot, client);
        self.avatars.insert(session.avatar, client);
        self.delivery.join(client, tick);
        self.welcome(now, &session, &trajectory, effects);
        self.look_around(now, client, effects);
        self.plan(client);
    }

    fn welcome(
        &mut self,
        now: WorldTime,
        session: &Session,
        trajectory: &Trajectory,
        effects: &mut Vec<Effect>,
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

    /// Notes when a player is to be looked at, whatever happens.
    pub(super) fn plan(&mut self, client: ClientId) {
        let Some(player) = self.players.get_mut(&client) else { return };
        let release = player.sight.next_release();
        let limits = &self.config.limits;
        let soonest = [
            Some(player.checkpoint_at),
            Some(player.heard.plus(limits.idle_ms)),
            player.blocked.map(|since| since.plus(limits.blocked_ms)),
            player.held_move.as_ref().map(|_| self.next_publish),
            player.stance_until,
            release,
        ];
        let Some(soonest) = soonest.into_iter().flatten().min() else { return };
        let tick = tick_from(soonest);
        if player.planned.is_none_or(|planned| planned > tick) {
            player.planned = Some(self.timer_wheel.put(tick, client));
        }
    }

    /// Takes no more bytes for now.
    pub(super) fn blocked(&mut self, now: WorldTime, client: ClientId) {
        self.delivery.block(client);
        if let Some(player) = self.players.get_mut(&client) {
            player.blocked.get_or_insert(now);
            self.plan(client);
        }
    }

    /// Takes bytes again.
    pub(super) fn writable(&mut self, client: ClientId) {
        self.delivery.unblock(client);
        if let Some(player) = self.players.get_mut(&client) {
            player.blocked = None;
        }
    }

    /// Closes who has said nothing, or read nothing, for too long.
    pub(super) fn close_if_overdue(
        &mut self,
        now: WorldTime,
        client: ClientId,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(player) = self.players.get(&client) else { return false };
        let limits = &self.config.limits;
        if player.blocked.is_some_and(|since| now.since(since) >= limits.blocked_ms) {
            self.counters.limits.note(Limit::BlockedTime);
            self.checkpoint(now, client, effects);
            self.close_slow(client, effects);
        } else if now.since(player.heard) >= limits.idle_ms {
            self.counters.limits.note(Limit::IdleTime);
            let sentence = "Nothing was heard of you for too long.";
            self.close_with_checkpoint(now, client, "idle", sentence, effects);
        } else {
            return false;
        }
        true
    }

    /// Ends a session from our side; the place is kept.
    pub(super) fn close_with_checkpoint(
        &mut self,
        now: WorldTime,
        client: ClientId,
        code: &str,
        sentence: &str,
        effects: &mut Vec<Effect>,
    ) {
        if self.players.contains_key(&client) {
            self.checkpoint(now, client, effects);
            self.close(client, code, sentence, effects);
        }
    }

    /// Lets a client hold the chunks around its avatar.
    pub(super) fn look_around(
        &mut self,
        now: WorldTime,
        client: ClientId,
        effects: &mut Vec<Effect>,
    ) {
        let Some(player) = self.players.get_mut(&client) else { return };
        let Some(position) = self.publisher.position(player.slot, Tick::at(now)) else { return };
        let change = player.sight.look(position.chunk(), now);
        let island = player.island;
        for chunk in change.entered {
            let channel = ChannelId::whole(island, chunk);
            let first = self.delivery.watch(client, channel, &self.ghosts, &self.objects);
            if first {
                self.objects.watch(channel);
                self.interest(channel, true, effects);
            }
        }
        for chunk in change.left {
            let channel = ChannelId::whole(island, chunk);
            if self.delivery.unwatch(client, channel) {
                self.let_go(channel, effects);
            }
        }
    }

    /// Nobody on this lane watches the channel any more.
    fn let_go(&mut self, channel: ChannelId, effects: &mut Vec<Effect>) {
        self.objects.unwatch(channel);
        for stream in self.ghosts.streams_of(channel).collect::<Vec<_>>() {
            self.ghosts.drop_stream(stream);
            self.delivery.stream_dropped(stream);
        }
        self.interest(channel, false, effects);
    }

    fn interest(&mut self, channel: ChannelId, wanted: bool, effects: &mut Vec<Effect>) {
        let input = ControlInput::Interest { lane: self.config.lane, channel, wanted };
        effects.push(Effect::To(Message::Control(input)));
    }

    /// Takes a player out of the lane.
    pub(super) fn remove(&mut self, client: ClientId, effects: &mut Vec<Effect>) {
        let Some(player) = self.players.remove(&client) else { return };
        self.reals.remove(&player.slot);
        if self.avatars.get(&player.avatar) == Some(&client) {
            self.avatars.remove(&player.avatar);
        }
        self.calls.retain(|_, call| call.client != client);
        self.publisher.leave(player.slot, Tick(self.next_publish.0 as u64 / 100));
        for channel in self.delivery.part(client) {
            self.let_go(channel, effects);
        }
        let left = ControlInput::Left { client };
        effects.push(Effect::To(Message::Control(left)));
    }

    /// A player has left by itself: its place is kept.
    pub(super) fn remove_with_checkpoint(
        &mut self,
        now: WorldTime,
        client: ClientId,
        effects: &mut Vec<Effect>,
    ) {
        self.checkpoint(now, client, effects);
        self.remove(client, effects);
    }

    /// The avatar is played from elsewhere.
    pub(super) fn supersede(&mut self, client: ClientId, effects: &mut Vec<Effect>) {
        self.counters.superseded += 1;
        self.close(client, "superseded", "You are playing from somewhere else.", effects);
    }

    pub(super) fn checkpoint_if_due(
        &mut self,
        now: WorldTime,
        client: ClientId,
        effects: &mut Vec<Effect>,
    ) {
        let Some(player) = self.players.get_mut(&client) else { return };
        // It is taken from the timer_wheel in that tick.
        player.planned = player.planned.filter(|tick| tick.starts() > now);
        if player.checkpoint_at > now {
            return;
        }
        if player.checkpointing {
            // The store is slow: soon again.
            player.checkpoint_at = now.plus(CHECKPOINT_RETRY_MS);
        } else {
            self.checkpoint(now, client, effects);
        }
    }

    /// Writes a player's place, if it has moved since the last time.
    pub(super) fn checkpoint(
        &mut self,
        now: WorldTime,
        client: ClientId,
        effects: &mut Vec<Effect>,
    ) {
        let Some(player) = self.players.get_mut(&client) else { return };
        let Some(shown) = self.publisher.shown(player.slot) else { return };
        player.checkpoint_at = now.plus(CHECKPOINT_MS);
        let island_now = self.config.clock.at(now);
        let unmoved = player.checkpointed.as_ref() == Some(&shown.trajectory)
            && shown.trajectory.end_time().plus(CHECKPOINT_MS) <= island_now;
        if unmoved || player.checkpointing {
            return;
        }
        let place = Place {
            island: shown.island,
            position: shown.trajectory.position_at(island_now),
            at: island_now,
        };
        let Ok(value) = json::encode(&PlaceDocument { epoch: player.epoch, place }) else { return };
        let write = Write {
            key: Key::place(player.avatar),
            expected: player.place_revision,
            schema: PLACE_SCHEMA,
            value: Some(value),
        };
        player.checkpointing = true;
        player.checkpointed = Some(shown.trajectory.clone());
        let request_id = self.request_id(Request::Checkpoint(client));
        let transaction = Transaction { checks: Vec::new(), writes: vec![write] };
        effects.push(Effect::Commit { part: self.part(), request_id, transaction });
    }

    pub(super) fn checkpointed(
        &mut self,
        client: ClientId,
        outcome: &CommitOutcome,
        effects: &mut Vec<Effect>,
    ) {
        let Some(player) = self.players.get_mut(&client) else { return };
        match outcome {
            CommitOutcome::Committed => {
                player.checkpointing = false;
                player.place_revision = player.place_revision.next();
            }
            CommitOutcome::Failed => player.checkpointing = false,
            // Another session wrote it, or nobody knows: the document tells.
            CommitOutcome::Conflict { .. } | CommitOutcome::Unknown => {
                let keys = vec![Key::place(player.avatar)];
                let request_id = self.request_id(Request::ReadPlace(client));
                effects.push(Effect::Load { part: self.part(), request_id, keys });
            }
        }
    }
}

/// How long after a checkpoint that was still under way the next is tried, in ms.
const CHECKPOINT_RETRY_MS: i64 = 500;

/// The first tick that begins at or after an instant.
fn tick_from(time: WorldTime) -> Tick {
    Tick::at(time.plus(TICK_MS - 1))
}

/// Checkpoints of those who came at once are spread over this many ms times 50.
const TICK_SPREAD_MS: i64 = 100;
