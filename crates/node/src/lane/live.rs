//! Live commands, and whatever else is asked of the reals and sessions of this lane.

use super::{CALL_DEADLINE_MS, CallKind, Lane, LaneEffect, PendingCall};
use crate::call::{CallTarget, Caller, OutgoingCall};
use crate::lane_call::{
    LaneCall, LiveCommand, LiveDone, crowds_answer, live_answer, released_answer,
};
use crate::log::broken_for;
use bytes::Bytes;
use pelago_game::{BrokenRule, LiveContext, Refusal, asked};
use pelago_model::limits::MAX_EFFECTS_BYTES;
use pelago_model::time::TICK_MS;
use pelago_model::{EntityId, Epoch, Tick, WorldTime};
use pelago_wire::client::{self, server_message};
use pelago_wire::record::Slot;

impl Lane {
    /// Sends a live command of a client. Reads go to the ghost, changes to the real, wherever it is.
    pub(super) fn send_live(
        &mut self,
        now: WorldTime,
        call: PendingCall,
        command: LiveCommand,
        effects: &mut Vec<LaneEffect>,
    ) {
        let number = self.next_call;
        if self.reals.of(command.target).is_some() {
            let result = self.run_live(now, &command, effects);
            return self.live_ended(number, &call, result, effects);
        }
        let ghost = self.ghosts.find(command.target);
        let lane = ghost.and_then(|(publisher, _)| Some((publisher.node(), publisher.as_lane()?)));
        let Some((node, lane)) = lane else {
            return self.live_ended(number, &call, Err(not_here()), effects);
        };
        self.calls.insert(number, call);
        let call = OutgoingCall {
            target: CallTarget::Lane { node, lane },
            body: LaneCall::Live(command).encode(),
            deadline_ms: CALL_DEADLINE_MS,
            // The game's live rules need not be harmless when they are carried out twice.
            repeatable: false,
            trace: number,
        };
        effects.push(LaneEffect::Call { number, call });
    }

    /// A live command of a client has ended.
    pub(super) fn live_ended(
        &mut self,
        number: u64,
        call: &PendingCall,
        result: Result<LiveDone, Refusal>,
        effects: &mut Vec<LaneEffect>,
    ) {
        match result {
            Ok(LiveDone { effects: told, gesture }) => {
                // The gesture is the actor's, so that the actor's own lane shows it, once it knows of it.
                let slot = self.real_of(call.client).map(|real| real.slot);
                if let (Some(gesture), Some(slot), CallKind::Live { target }) =
                    (gesture, slot, call.kind)
                {
                    self.publisher.gesture(slot, gesture, Some(target));
                }
                let outcome = client::Outcome {
                    number: call.number,
                    effects: told,
                    trace: number,
                    ..client::Outcome::default()
                };
                self.send(call.client, server_message::Body::Outcome(outcome), effects);
            }
            Err(refusal) => self.refuse(call.client, false, call.number, refusal, effects),
        }
    }

    /// Somebody asks something of a real or a session of this lane.
    pub(super) fn called(
        &mut self,
        now: WorldTime,
        caller: Caller,
        call: LaneCall,
        effects: &mut Vec<LaneEffect>,
    ) {
        let answer = match call {
            LaneCall::Live(command) => live_answer(self.run_live(now, &command, effects)),
            LaneCall::Superseded { avatar, epoch } => {
                self.superseded(avatar, epoch, effects);
                Bytes::new()
            }
            LaneCall::Release { avatar, epoch } => {
                let session = self.sessions.get(&avatar);
                let session = session.filter(|session| session.epoch <= epoch);
                match (session.map(|session| session.client), self.left.place(avatar, epoch)) {
                    (Some(client), _) => released_answer(self.release(now, client, effects)),
                    (None, Some(place)) => released_answer(Some(place)),
                    (None, None) => return effects.push(LaneEffect::PassOn { caller, call }),
                }
            }
            LaneCall::Crowds => crowds_answer(&self.crowds(now)),
            LaneCall::Notify { avatar, epoch, payload } => {
                self.notify(avatar, epoch, payload, effects);
                Bytes::new()
            }
            LaneCall::Lines { island, lines } => {
                self.lines(island, lines, effects);
                Bytes::new()
            }
            LaneCall::Mail { avatar } => {
                self.mail(avatar, effects);
                Bytes::new()
            }
        };
        if caller != Caller::Nobody {
            effects.push(LaneEffect::Reply { caller, reply: Ok(answer) });
        }
    }

    /// An avatar has a session under this epoch somewhere: an older one lets go.
    fn superseded(&mut self, avatar: EntityId, epoch: Epoch, effects: &mut Vec<LaneEffect>) {
        if let Some(session) = self.sessions.get(&avatar).filter(|session| session.epoch < epoch) {
            self.supersede(session.client, effects);
        }
    }

    /// Tells a session something, if it is the one that is meant.
    fn notify(
        &mut self,
        avatar: EntityId,
        epoch: Epoch,
        payload: Bytes,
        effects: &mut Vec<LaneEffect>,
    ) {
        let session = self.sessions.get_mut(&avatar);
        if let Some(session) = session.filter(|session| session.epoch == epoch) {
            session.near.forget_at_once();
            let client = session.client;
            let notice = client::Notice { payload };
            self.send(client, server_message::Body::Notice(notice), effects);
        }
    }

    fn run_live(
        &mut self,
        now: WorldTime,
        command: &LiveCommand,
        effects: &mut Vec<LaneEffect>,
    ) -> Result<LiveDone, Refusal> {
        let real = self.reals.of_mut(command.target).ok_or_else(not_here)?;
        let shown = self.publisher.shown(real.slot).ok_or_else(not_here)?;
        let position = shown.trajectory.position_at(self.config.clock.at(now));
        let mut context = LiveContext::new(
            (command.actor, command.actor_position),
            (command.target, position),
            real.live,
        );
        let game = &self.config.game;
        // A broken rule costs its player an answer, not the lane its life.
        let result = asked(|| game.live(&mut context, &command.payload)).and_then(|told| {
            let bytes = told.as_ref().map_or(0, Bytes::len);
            match bytes > MAX_EFFECTS_BYTES {
                true => Err(BrokenRule(format!("the rule tells its player {bytes} bytes"))),
                false => Ok(told),
            }
        });
        let told = result.unwrap_or_else(|problem| {
            let whose = (command.actor, &command.payload[..]);
            effects.push(LaneEffect::Log(broken_for(whose, command.trace, &problem)));
            Err(Refusal::internal())
        })?;
        let (state, stance_ms, gesture) = context.finish();
        real.live = state;
        real.stance_until = stance_ms.map(|ms| now.plus(ms));
        let slot = real.slot;
        self.publisher.stance(slot, state.stance);
        self.plan_stance(slot);
        Ok(LiveDone { effects: told, gesture })
    }

    /// Notes when the stance of a real is over, if it ends by itself.
    fn plan_stance(&mut self, slot: Slot) {
        let Some(real) = self.reals.get_mut(slot) else { return };
        let Some(until) = real.stance_until else { return };
        let tick = Tick::at(until.plus(TICK_MS - 1));
        if real.planned.is_none_or(|planned| planned > tick) {
            real.planned = Some(self.stance_timers.put(tick, slot));
        }
    }

    /// Lets those stand upright whose stance is over.
    pub(super) fn end_stances(&mut self, now: WorldTime, tick: Tick) {
        let mut due = std::mem::take(&mut self.due_stances);
        self.stance_timers.take(tick, &mut due);
        for slot in due.drain(..) {
            let Some(real) = self.reals.get_mut(slot) else { continue };
            real.planned = real.planned.filter(|planned| *planned > tick);
            if real.end_stance(now) {
                self.publisher.stance(slot, 0);
            }
            self.plan_stance(slot);
        }
        self.due_stances = due;
    }
}

fn not_here() -> Refusal {
    Refusal::new("not_here", "Nobody like that is here.")
}
