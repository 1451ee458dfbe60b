//! What players ask for: moves, speech, live and durable commands.

use super::{Effect, Lane, LiveCaller, LiveCommand, PendingCall};
use crate::control::{ControlInput, content, too_much_content};
use crate::effect::{Level, Message};
use crate::rate_limits::{kibibytes, not_understood, slow_down};
use crate::steward::{DurableCommand, DurableResult};
use bytes::Bytes;
use pelago_game::{Actor, LiveContext, Refusal, Route};
use pelago_model::limits::{MAX_COMMAND_BYTES, MAX_SAY_BYTES, MAX_SPEED};
use pelago_model::{EntityId, Limit, Position, Sequence, WorldTime};
use pelago_wire::client::{self, ClientMessage, client_message, server_message};
use pelago_wire::message::{Kind, decode_control};
use pelago_world::{ClientId, MoveRefusal, MoveRequest, check_move};
use std::panic::{AssertUnwindSafe, catch_unwind};

impl Lane {
    pub(super) fn received(
        &mut self,
        now: WorldTime,
        client: ClientId,
        kind: u8,
        payload: &Bytes,
        effects: &mut Vec<Effect>,
    ) {
        let Some(player) = self.players.get_mut(&client) else { return };
        player.heard = now;
        let message = (kind == Kind::Control as u8)
            .then(|| decode_control::<ClientMessage>(payload).ok())
            .flatten();
        let Some(message) = message else {
            self.counters.malformed += 1;
            let Refusal { code, sentence } = not_understood();
            return self.close(client, &code, &sentence, effects);
        };
        // An empty body is a message of a newer client, which this server need not know.
        let Some(body) = message.body else { return };
        match body {
            client_message::Body::Move(request) => {
                self.asked_to_move(now, client, request, effects)
            }
            client_message::Body::Act(act) => self.act(now, client, act, effects),
            client_message::Body::Say(say) => self.say(now, client, &say.text, effects),
            client_message::Body::Ping(_) if !self.may(now, client, Limit::Pings, 1) => {}
            client_message::Body::Ping(ping) => {
                let pong = client::Pong { client_ms: ping.client_ms, world_time_ms: now.0 };
                self.send(client, server_message::Body::Pong(pong), effects);
            }
            client_message::Body::Fetch(fetch) => {
                let mut content = content(&self.config.content, fetch.hash);
                if !self.may(now, client, Limit::Fetches, kibibytes(content.data.len())) {
                    content = too_much_content(content.hash);
                }
                self.send(client, server_message::Body::Content(content), effects);
            }
            client_message::Body::Bye(_) => {
                self.remove_with_checkpoint(now, client, effects);
                effects.push(Effect::CloseClient { client });
            }
            client_message::Body::Hello(_) => {
                self.counters.malformed += 1;
                self.close(client, "malformed", "That comes before the welcome.", effects);
            }
        }
    }

    /// Whether a client may do something now. If not, that is counted.
    fn may(&mut self, now: WorldTime, client: ClientId, what: Limit, cost: u32) -> bool {
        let Some(player) = self.players.get_mut(&client) else { return false };
        let (limits, rate_limits) = (&self.config.limits, &mut player.rate_limits);
        let (bucket, allowance) = match what {
            Limit::Durable => (&mut rate_limits.durable, limits.durable),
            Limit::Live => (&mut rate_limits.live, limits.live),
            Limit::Speech => (&mut rate_limits.speech, limits.speech),
            Limit::Moves => (&mut rate_limits.moves, limits.moves),
            Limit::Pings => (&mut rate_limits.pings, limits.pings),
            Limit::Fetches => (&mut rate_limits.fetches, limits.fetches),
            _ => return true,
        };
        let may = bucket.take(now, allowance, cost);
        if !may {
            self.counters.limits.note(what);
        }
        may
    }

    /// Too many moves are one: the last of them, at the next tick.
    fn asked_to_move(
        &mut self,
        now: WorldTime,
        client: ClientId,
        request: client::Move,
        effects: &mut Vec<Effect>,
    ) {
        let may = self.may(now, client, Limit::Moves, 1);
        let Some(player) = self.players.get_mut(&client) else { return };
        if may {
            player.held_move = None;
            self.moved(now, client, &request, effects);
        } else {
            player.held_move = Some(Box::new((now, request)));
            self.plan(client);
        }
    }

    /// Looks at the move that was held until this tick.
    pub(super) fn release_move(
        &mut self,
        now: WorldTime,
        client: ClientId,
        effects: &mut Vec<Effect>,
    ) {
        let Some(player) = self.players.get_mut(&client) else { return };
        if player.held_move.is_some()
            && player.rate_limits.moves.take(now, self.config.limits.moves, 1)
            && let Some(held) = player.held_move.take()
        {
            let (received, request) = *held;
            self.moved(received, client, &request, effects);
        }
    }

    fn moved(
        &mut self,
        now: WorldTime,
        client: ClientId,
        message: &client::Move,
        effects: &mut Vec<Effect>,
    ) {
        match self.checked_move(now, client, message) {
            Ok(()) => self.counters.moves += 1,
            Err(refusal) => {
                self.counters.moves_refused += 1;
                let slot = self.players.get(&client).map(|player| player.slot);
                let Some(shown) = slot.and_then(|slot| self.publisher.shown(slot)) else { return };
                let refused = client::MoveRefused {
                    number: message.number,
                    code: refusal.code().into(),
                    path: Some((&shown.trajectory).into()),
                };
                self.send(client, server_message::Body::MoveRefused(refused), effects);
            }
        }
    }

    fn checked_move(
        &mut self,
        now: WorldTime,
        client: ClientId,
        message: &client::Move,
    ) -> Result<(), MoveRefusal> {
        let player = self.players.get(&client).ok_or(MoveRefusal::Malformed)?;
        if !message.waypoints.len().is_multiple_of(2) {
            return Err(MoveRefusal::Malformed);
        }
        let request = MoveRequest {
            at: WorldTime(message.at_ms),
            speed: u16::try_from(message.speed).unwrap_or(MAX_SPEED + 1),
            waypoints: message
                .waypoints
                .chunks_exact(2)
                .take(pelago_model::limits::MAX_WAYPOINTS + 1)
                .map(|point| Position::new(point[0], point[1]))
                .collect(),
        };
        let land = self.config.lands.get(&player.island).ok_or(MoveRefusal::Blocked)?;
        let shown = self.publisher.shown(player.slot).ok_or(MoveRefusal::Malformed)?;
        let max_speed = self.config.game.max_speed();
        let clock = &self.config.clock;
        let new = check_move(now, clock, land, max_speed, &shown.trajectory, &request)?;
        self.publisher.turn(player.slot, new, true);
        Ok(())
    }

    fn say(&mut self, now: WorldTime, client: ClientId, text: &str, effects: &mut Vec<Effect>) {
        if !self.may(now, client, Limit::Speech, 1) {
            return self.refuse(client, false, 0, slow_down(), effects);
        }
        let Some(player) = self.players.get(&client) else { return };
        if text.len() > MAX_SAY_BYTES {
            self.counters.limits.note(Limit::SpeechBytes);
        }
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        let mut end = text.len().min(MAX_SAY_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        if !text[..end].trim().is_empty() {
            self.publisher.say(player.slot, text[..end].into());
        }
    }

    fn act(
        &mut self,
        now: WorldTime,
        client: ClientId,
        act: client::Act,
        effects: &mut Vec<Effect>,
    ) {
        let durable = act.sequence > 0;
        let number = if durable { act.sequence } else { act.number };
        let Some(player) = self.players.get(&client) else { return };
        if durable && player.pending == Some((act.sequence, act.payload.clone())) {
            // Repeated while it is under way: its outcome answers both.
            return;
        }
        if !self.may(now, client, if durable { Limit::Durable } else { Limit::Live }, 1) {
            return self.refuse(client, durable, number, slow_down(), effects);
        }
        let Some(player) = self.players.get(&client) else { return };
        let (avatar, epoch, slot, island) =
            (player.avatar, player.epoch, player.slot, player.island);
        let received = self.config.clock.at(now);
        let Some(position) =
            self.publisher.shown(slot).map(|shown| shown.trajectory.position_at(received))
        else {
            return;
        };
        if durable && player.pending.is_some() {
            let refusal = Refusal::new("busy", "One thing after the other.");
            return self.refuse(client, durable, number, refusal, effects);
        }
        let sequence = Sequence(act.sequence);
        let actor = Actor { avatar, epoch, sequence, island, position, received };
        let route = if act.payload.len() > MAX_COMMAND_BYTES {
            self.counters.limits.note(Limit::CommandBytes);
            Err(Refusal::malformed())
        } else {
            self.config.game.route(&actor, &act.payload)
        };
        self.next_call += 1;
        let call = self.next_call;
        match route {
            Ok(Route::Durable { key }) if durable => {
                if let Some(player) = self.players.get_mut(&client) {
                    player.pending = Some((act.sequence, act.payload.clone()));
                }
                self.calls.insert(call, PendingCall { client, number, durable });
                let key = key.steward_key();
                let command = DurableCommand { key, actor, payload: act.payload, trace: call };
                let lane = self.config.lane;
                let input = ControlInput::CallDurable { lane, number: call, command };
                effects.push(Effect::To(Message::Control(input)));
            }
            Ok(Route::Live { target }) if !durable => {
                self.calls.insert(call, PendingCall { client, number, durable });
                let command = LiveCommand {
                    caller: LiveCaller::Lane { lane: self.config.lane, number: call },
                    actor: avatar,
                    actor_position: position,
                    target,
                    payload: act.payload,
                };
                self.send_live(now, call, command, effects);
            }
            Ok(_) => self.refuse(client, durable, number, Refusal::malformed(), effects),
            Err(refusal) => self.refuse(client, durable, number, refusal, effects),
        }
    }

    /// Reads go to the ghost, changes to the real, wherever it is.
    fn send_live(
        &mut self,
        now: WorldTime,
        number: u64,
        command: LiveCommand,
        effects: &mut Vec<Effect>,
    ) {
        if self.avatars.contains_key(&command.target) {
            return self.live_call(now, command, effects);
        }
        match self.ghosts.find(command.target).map(|(publisher, _)| publisher) {
            Some(publisher) => {
                let lane = self.config.lane;
                let input = ControlInput::CallLive { lane, number, publisher, command };
                effects.push(Effect::To(Message::Control(input)));
            }
            None => self.live_ended(number, Err(not_here()), effects),
        }
    }

    /// A live command for a real of this lane.
    pub(super) fn live_call(
        &mut self,
        now: WorldTime,
        command: LiveCommand,
        effects: &mut Vec<Effect>,
    ) {
        let result = self.run_live(now, &command, effects);
        match command.caller {
            LiveCaller::Lane { lane, number } if lane == self.config.lane => {
                self.live_ended(number, result, effects);
            }
            LiveCaller::Lane { lane, number } => {
                let input = super::LaneInput::LiveEnded { number, result };
                effects.push(Effect::To(Message::Lane(lane, input)));
            }
            LiveCaller::Call(call) => {
                let input = ControlInput::LiveEnded { call, result };
                effects.push(Effect::To(Message::Control(input)));
            }
        }
    }

    fn run_live(
        &mut self,
        now: WorldTime,
        command: &LiveCommand,
        effects: &mut Vec<Effect>,
    ) -> Result<Bytes, Refusal> {
        let client = *self.avatars.get(&command.target).ok_or_else(not_here)?;
        let player = self.players.get_mut(&client).ok_or_else(not_here)?;
        let shown = self.publisher.shown(player.slot).ok_or_else(not_here)?;
        let position = shown.trajectory.position_at(self.config.clock.at(now));
        let mut context = LiveContext::new(
            (command.actor, command.actor_position),
            (command.target, position),
            player.live,
        );
        let game = &self.config.game;
        // A broken rule costs its player an answer, not the lane its life.
        let result = catch_unwind(AssertUnwindSafe(|| game.live(&mut context, &command.payload)));
        let Ok(result) = result else {
            let text = "a live rule panicked".to_owned();
            effects.push(Effect::Log { level: Level::Error, trace: command.actor.0, text });
            return Err(Refusal::internal());
        };
        let answer = result?;
        let (state, stance_ms, gesture) = context.finish();
        player.live = state;
        player.stance_until = stance_ms.map(|ms| now.plus(ms));
        let slot = player.slot;
        self.publisher.stance(slot, state.stance);
        if let Some(gesture) = gesture {
            self.publisher.gesture(slot, gesture, Some(command.actor));
        }
        self.plan(client);
        Ok(answer)
    }

    /// Lets a player stand upright whose stance is over.
    pub(super) fn end_stance(&mut self, now: WorldTime, client: ClientId) {
        if let Some(player) = self.players.get_mut(&client)
            && player.stance_until.is_some_and(|until| until <= now)
        {
            player.stance_until = None;
            player.live.stance = 0;
            self.publisher.stance(player.slot, 0);
        }
    }

    pub(super) fn durable_ended(
        &mut self,
        number: u64,
        result: DurableResult,
        effects: &mut Vec<Effect>,
    ) {
        let Some(call) = self.calls.remove(&number) else { return };
        if let Some(player) = self.players.get_mut(&call.client) {
            player.pending = None;
        }
        match result {
            DurableResult::Done { effects: told, chain } => {
                self.counters.durable_acknowledged += 1;
                let outcome = client::Outcome {
                    sequence: call.number,
                    effects: told,
                    chain: Bytes::copy_from_slice(&chain),
                    trace: number,
                    ..client::Outcome::default()
                };
                self.send(call.client, server_message::Body::Outcome(outcome), effects);
            }
            DurableResult::Refused(refusal) if refusal.code == "superseded" => {
                self.supersede(call.client, effects);
            }
            DurableResult::Refused(refusal) => {
                self.refuse(call.client, true, call.number, refusal, effects);
            }
        }
    }

    pub(super) fn live_ended(
        &mut self,
        number: u64,
        result: Result<Bytes, Refusal>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(call) = self.calls.remove(&number) else { return };
        match result {
            Ok(told) => {
                let outcome = client::Outcome {
                    number: call.number,
                    effects: told,
                    trace: number,
                    ..client::Outcome::default()
                };
                self.send(call.client, server_message::Body::Outcome(outcome), effects);
            }
            Err(refusal) => self.refuse(call.client, call.durable, call.number, refusal, effects),
        }
    }

    fn refuse(
        &mut self,
        client: ClientId,
        durable: bool,
        number: u64,
        refusal: Refusal,
        effects: &mut Vec<Effect>,
    ) {
        self.counters.refused += 1;
        let outcome = client::Outcome {
            sequence: if durable { number } else { 0 },
            number: if durable { 0 } else { number },
            code: refusal.code.into_owned(),
            sentence: refusal.sentence.into_owned(),
            trace: self.next_call,
            ..client::Outcome::default()
        };
        self.send(client, server_message::Body::Outcome(outcome), effects);
    }

    /// The client of an avatar on this lane.
    pub fn client_of(&self, avatar: EntityId) -> Option<ClientId> {
        self.avatars.get(&avatar).copied()
    }
}

fn not_here() -> Refusal {
    Refusal::new("not_here", "Nobody like that is here.")
}
