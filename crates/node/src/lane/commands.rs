//! What clients ask for: messages, speech, commands; and how their durable commands end.

use super::real::Real;
use super::{CALL_DEADLINE_MS, CallKind, Lane, LaneEffect, PendingCall};
use crate::call::{CallError, CallResult, CallTarget, OutgoingCall};
use crate::chat_call::chat_result;
use crate::client_event::ClientEvent;
use crate::lane_call::{LiveCommand, live_result};
use crate::log::broken_for;
use crate::rate_limits::{ProtocolViolation, not_understood, slow_down};
use crate::turn::{DurableCommand, DurableResult, StewardCall, unavailable};
use bytes::Bytes;
use pelago_game::{Actor, Refusal, Route, asked};
use pelago_model::limits::MAX_COMMAND_BYTES;
use pelago_model::{Key, Limit, Role, Sequence, WorldTime};
use pelago_wire::client::{self, ChatChannel, ClientMessage, client_message, server_message};
use pelago_wire::message::{Kind, decode_control};
use pelago_world::ClientId;

impl Lane {
    /// Something happened on the connection of a client.
    pub(super) fn client_event(
        &mut self,
        now: WorldTime,
        client: ClientId,
        event: ClientEvent,
        effects: &mut Vec<LaneEffect>,
    ) {
        match event {
            // It was connected before it came to this lane.
            ClientEvent::Connected { .. } => {}
            ClientEvent::Received { kind, payload } => {
                self.received(now, client, kind, &payload, effects);
            }
            ClientEvent::Violated(violation) if self.connections.contains_key(&client) => {
                match violation {
                    ProtocolViolation::Flood => self.counters.limits.note(Limit::Messages),
                    ProtocolViolation::Malformed => self.counters.malformed += 1,
                    // Counted where they were met.
                    ProtocolViolation::EmptyFrames
                    | ProtocolViolation::Stalled
                    | ProtocolViolation::TooLong => {}
                }
                let Refusal { code, sentence } = violation.refusal();
                self.close_with_checkpoint(now, client, &code, &sentence, effects);
            }
            ClientEvent::Violated(_) => {}
            ClientEvent::Blocked => self.blocked(now, client),
            ClientEvent::Writable => self.writable(now, client),
            ClientEvent::Disconnected => self.remove_with_checkpoint(now, client, effects),
        }
    }

    fn received(
        &mut self,
        now: WorldTime,
        client: ClientId,
        kind: u8,
        payload: &Bytes,
        effects: &mut Vec<LaneEffect>,
    ) {
        let Some(connection) = self.connections.get_mut(&client) else { return };
        connection.heard = now;
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
            client_message::Body::Say(say) => match say.channel() {
                ChatChannel::ChatIsland => self.say_to_island(now, client, say, effects),
                _ => self.say(now, client, say, effects),
            },
            client_message::Body::Whisper(whisper) => self.whisper(now, client, whisper, effects),
            client_message::Body::Heard(heard) => self.heard(client, heard.number, effects),
            client_message::Body::Ping(_) if !self.may(now, client, Limit::Pings, 1) => {}
            client_message::Body::Ping(ping) => {
                let pong = client::Pong { client_ms: ping.client_ms, world_time_ms: now.0 };
                self.send(client, server_message::Body::Pong(pong), effects);
            }
            // The connection has answered that.
            client_message::Body::Fetch(_) => {}
            client_message::Body::Bye(_) => {
                self.remove_with_checkpoint(now, client, effects);
                effects.push(LaneEffect::Close { client });
            }
            client_message::Body::Hello(_) => self.close_as_out_of_order(client, effects),
        }
    }

    fn close_as_out_of_order(&mut self, client: ClientId, effects: &mut Vec<LaneEffect>) {
        self.counters.malformed += 1;
        self.close(client, "malformed", "That comes before the welcome.", effects);
    }

    /// Whether a client may do something now. If not, that is counted.
    pub(super) fn may(&mut self, now: WorldTime, client: ClientId, what: Limit, cost: u32) -> bool {
        let Some(connection) = self.connections.get_mut(&client) else { return false };
        let may = connection.may(now, &self.config.limits, what, cost);
        if !may {
            self.counters.limits.note(what);
        }
        may
    }

    /// The real that is played through a connection.
    pub(super) fn real_of(&self, client: ClientId) -> Option<&Real> {
        self.reals.of(self.connections.get(&client)?.avatar)
    }

    fn act(
        &mut self,
        now: WorldTime,
        client: ClientId,
        act: client::Act,
        effects: &mut Vec<LaneEffect>,
    ) {
        let durable = act.sequence > 0;
        let number = if durable { act.sequence } else { act.number };
        let Some(connection) = self.connections.get(&client) else { return };
        let avatar = connection.avatar;
        let Some(session) = self.sessions.get(&avatar) else { return };
        let (epoch, is_busy) = (session.epoch, session.pending.is_some());
        if durable && session.pending == Some((act.sequence, act.payload.clone())) {
            // Repeated while it is under way: its outcome answers both.
            return;
        }
        if !self.may(now, client, if durable { Limit::Durable } else { Limit::Live }, 1) {
            return self.refuse(client, durable, number, slow_down(), effects);
        }
        let received = self.config.clock.at(now);
        let Some(shown) = self.real_of(client).and_then(|real| self.publisher.shown(real.slot))
        else {
            return;
        };
        let (island, position) = (shown.island, shown.trajectory.position_at(received));
        if durable && is_busy {
            let refusal = Refusal::new("busy", "One thing after the other.");
            return self.refuse(client, durable, number, refusal, effects);
        }
        let sequence = Sequence(act.sequence);
        let actor = Actor { avatar, epoch, sequence, island, position, received };
        let route = if act.payload.len() > MAX_COMMAND_BYTES {
            self.counters.limits.note(Limit::CommandBytes);
            Err(Refusal::malformed())
        } else {
            let routed = asked(|| self.config.game.route(&actor, &act.payload));
            routed.unwrap_or_else(|problem| {
                let line = broken_for((avatar, &act.payload), self.next_call + 1, &problem);
                effects.push(LaneEffect::Log(line));
                Err(Refusal::internal())
            })
        };
        self.next_call += 1;
        match route {
            Ok(Route::Durable { key }) if durable => {
                self.call_steward(client, key.steward_key(), actor, act.payload, effects);
            }
            Ok(Route::Live { target }) if !durable => {
                let call = PendingCall { client, number, kind: CallKind::Live { target } };
                let command = LiveCommand {
                    trace: self.next_call,
                    actor: avatar,
                    actor_epoch: epoch,
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

    /// Asks the steward of a key to decide a durable command.
    fn call_steward(
        &mut self,
        client: ClientId,
        key: Key,
        actor: Actor,
        payload: Bytes,
        effects: &mut Vec<LaneEffect>,
    ) {
        let (number, sequence) = (self.next_call, actor.sequence.0);
        if let Some(session) = self.sessions.get_mut(&actor.avatar) {
            session.pending = Some((sequence, payload.clone()));
        }
        let kind = CallKind::Durable;
        self.calls.insert(number, PendingCall { client, number: sequence, kind });
        let command = DurableCommand { key: key.clone(), actor, payload, trace: number };
        let call = OutgoingCall {
            target: CallTarget::Preferred { role: Role::steward(), key },
            body: StewardCall::Command(command).encode(),
            deadline_ms: CALL_DEADLINE_MS,
            repeatable: true,
            trace: number,
        };
        effects.push(LaneEffect::Call { number, call });
    }

    /// A call of this lane has ended.
    pub(super) fn answered(
        &mut self,
        number: u64,
        result: CallResult,
        effects: &mut Vec<LaneEffect>,
    ) {
        let Some(call) = self.calls.remove(&number) else { return };
        // It was not begun: the player may try again at once.
        let busy = match &result {
            Err(CallError::Rejected(code)) if code == "busy" => {
                Some(Refusal { code: "busy".into(), ..unavailable() })
            }
            _ => None,
        };
        match call.kind {
            CallKind::Durable => {
                let result =
                    busy.map_or_else(|| DurableResult::of_call(result), DurableResult::Refused);
                self.durable_ended(number, &call, result, effects);
            }
            CallKind::Live { .. } => {
                let result = busy.map_or_else(|| live_result(result), Err);
                self.live_ended(number, &call, result, effects);
            }
            CallKind::Speech => {
                let result = busy.map_or_else(|| chat_result(result), Err);
                self.spoke(number, &call, result, effects);
            }
            CallKind::Taken => self.whispers_taken(&call, chat_result(result), effects),
        }
    }

    /// The next durable command of a client may be decided.
    fn durable_command_is_over(&mut self, client: ClientId) {
        if let Some(connection) = self.connections.get(&client)
            && let Some(session) = self.sessions.get_mut(&connection.avatar)
        {
            session.pending = None;
        }
    }

    fn durable_ended(
        &mut self,
        number: u64,
        call: &PendingCall,
        result: DurableResult,
        effects: &mut Vec<LaneEffect>,
    ) {
        self.durable_command_is_over(call.client);
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
            DurableResult::Failed { chain } => {
                self.counters.refused += 1;
                let Refusal { code, sentence } = Refusal::internal();
                let outcome = client::Outcome {
                    sequence: call.number,
                    code: code.into_owned(),
                    sentence: sentence.into_owned(),
                    chain: Bytes::copy_from_slice(&chain),
                    trace: number,
                    ..client::Outcome::default()
                };
                self.send(call.client, server_message::Body::Outcome(outcome), effects);
            }
        }
    }
}
