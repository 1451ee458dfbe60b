//! Calls between lanes, stewards and other nodes.

use super::{CALL_MS, Control, Waiting};
use crate::effect::{Effect, Message};
use crate::grant::Grant;
use crate::lane::{LaneInput, LiveCaller, LiveCommand};
use crate::steward::{Caller, DurableCommand, DurableResult, StewardInput};
use bytes::Bytes;
use pelago_cluster::{CallError, CallTarget, IncomingCall, LinksInput};
use pelago_game::{Actor, Refusal};
use pelago_model::{
    EntityId, Epoch, GrantKey, IslandId, IslandTime, Key, NodeId, Position, PublisherId, Sequence,
    WorldTime,
};
use pelago_wire::peer::{
    Done, DurableAnswer, DurableCall, GrantCall, LiveAnswer, LiveCall, Notify, Rejected,
    Superseded, answer, call,
};

impl Control {
    pub(super) fn call(
        &mut self,
        now: WorldTime,
        waiting: Waiting,
        (target, body, repeatable, trace): (CallTarget, call::Body, bool, u64),
        effects: &mut Vec<Effect>,
    ) {
        self.next_call += 1;
        let number = self.next_call;
        self.waiting.insert(number, waiting);
        let input =
            LinksInput::Call { number, target, body, deadline_ms: CALL_MS, repeatable, trace };
        self.link(now, input, effects);
    }

    pub(super) fn call_durable(
        &mut self,
        now: WorldTime,
        (lane, number): (u8, u64),
        command: DurableCommand,
        effects: &mut Vec<Effect>,
    ) {
        let stewards = self.links.stewards(&command.key);
        if stewards.first() == Some(&self.config.node) {
            // The usual way of a small cluster, without the detour over bytes.
            let caller = Caller::Lane { lane, number };
            let input = StewardInput::Command { caller, command };
            return effects.push(Effect::To(Message::Steward(input)));
        }
        let (actor, trace) = (command.actor, command.trace);
        let body = call::Body::Durable(DurableCall {
            key: command.key.to_string(),
            avatar: actor.avatar.0,
            epoch: actor.epoch.0,
            sequence: actor.sequence.0,
            payload: command.payload,
            island: actor.island.0,
            x: actor.position.x,
            y: actor.position.y,
            received_ms: actor.received.0,
        });
        let target = CallTarget::Steward(command.key);
        self.call(now, Waiting::Durable { lane, number }, (target, body, true, trace), effects);
    }

    pub(super) fn grant(
        &mut self,
        now: WorldTime,
        number: u64,
        grant: Grant,
        effects: &mut Vec<Effect>,
    ) {
        let key = Key::avatar(grant.avatar);
        if self.links.stewards(&key).first() == Some(&self.config.node) {
            let caller = Caller::Operator { number };
            let input = StewardInput::Grant { caller, grant };
            return effects.push(Effect::To(Message::Steward(input)));
        }
        let trace = grant.trace;
        let body = call::Body::Grant(GrantCall {
            key: grant.key.to_string(),
            avatar: grant.avatar.0,
            what: grant.what,
            reason: grant.reason,
            received_ms: grant.received.0,
        });
        let target = CallTarget::Steward(key);
        self.call(now, Waiting::Grant { number }, (target, body, true, trace), effects);
    }

    /// Nobody waits for it: who misses it sees what became of the avatar at its next arrival.
    pub(super) fn notify(
        &mut self,
        now: WorldTime,
        node: NodeId,
        (avatar, epoch): (EntityId, Epoch),
        payload: Bytes,
        effects: &mut Vec<Effect>,
    ) {
        if node == self.config.node {
            let input = || LaneInput::Notify { avatar, epoch, payload: payload.clone() };
            return self.to_lanes(effects, input);
        }
        let body = call::Body::Notify(Notify { avatar: avatar.0, epoch: epoch.0, payload });
        let target = CallTarget::Node(node);
        self.call(now, Waiting::Nobody, (target, body, false, 0), effects);
    }

    pub(super) fn call_live(
        &mut self,
        now: WorldTime,
        (lane, number): (u8, u64),
        publisher: PublisherId,
        command: LiveCommand,
        effects: &mut Vec<Effect>,
    ) {
        if publisher.node() == self.config.node {
            let input = LaneInput::LiveCall(command);
            return effects.push(Effect::To(Message::Lane(publisher.part(), input)));
        }
        let body = call::Body::Live(LiveCall {
            target: command.target.0,
            lane: publisher.part().into(),
            actor: command.actor.0,
            actor_epoch: 0,
            x: command.actor_position.x,
            y: command.actor_position.y,
            payload: command.payload,
        });
        let target = CallTarget::Node(publisher.node());
        self.call(now, Waiting::Live { lane, number }, (target, body, false, number), effects);
    }

    pub(super) fn superseded(
        &mut self,
        now: WorldTime,
        avatar: EntityId,
        epoch: Epoch,
        effects: &mut Vec<Effect>,
    ) {
        self.to_lanes(effects, || LaneInput::Superseded { avatar, epoch });
        for node in self.links.peers().collect::<Vec<_>>() {
            let body = call::Body::Superseded(Superseded { avatar: avatar.0, epoch: epoch.0 });
            let target = CallTarget::Node(node);
            self.call(now, Waiting::Nobody, (target, body, true, 0), effects);
        }
    }

    pub(super) fn incoming(
        &mut self,
        now: WorldTime,
        call: IncomingCall,
        body: call::Body,
        trace: u64,
        effects: &mut Vec<Effect>,
    ) {
        let answer = match body {
            call::Body::Durable(durable) => match durable_command(durable, trace) {
                Ok(command) => {
                    let caller = Caller::Call(call);
                    let input = StewardInput::Command { caller, command };
                    return effects.push(Effect::To(Message::Steward(input)));
                }
                Err(rejected) => rejected,
            },
            call::Body::Live(live) if live.lane < u32::from(self.config.lanes) => {
                let lane = live.lane as u8;
                let command = LiveCommand {
                    caller: LiveCaller::Call(call),
                    actor: EntityId(live.actor),
                    actor_position: Position::new(live.x, live.y),
                    target: EntityId(live.target),
                    payload: live.payload,
                };
                return effects.push(Effect::To(Message::Lane(lane, LaneInput::LiveCall(command))));
            }
            call::Body::Live(_) => answer::Body::Rejected(Rejected { code: "lane".into() }),
            call::Body::Grant(grant) => match asked_grant(grant, trace) {
                Some(grant) => {
                    let caller = Caller::Call(call);
                    let input = StewardInput::Grant { caller, grant };
                    return effects.push(Effect::To(Message::Steward(input)));
                }
                None => answer::Body::Rejected(Rejected { code: "grant".into() }),
            },
            call::Body::Notify(notify) => {
                let (avatar, epoch) = (EntityId(notify.avatar), Epoch(notify.epoch));
                let payload = notify.payload;
                let input = || LaneInput::Notify { avatar, epoch, payload: payload.clone() };
                self.to_lanes(effects, input);
                answer::Body::Done(Done {})
            }
            call::Body::Superseded(superseded) => {
                let (avatar, epoch) = (EntityId(superseded.avatar), Epoch(superseded.epoch));
                self.to_lanes(effects, || LaneInput::Superseded { avatar, epoch });
                answer::Body::Done(Done {})
            }
        };
        self.link(now, LinksInput::Reply { call, body: answer }, effects);
    }

    pub(super) fn ended(
        &mut self,
        number: u64,
        result: Result<answer::Body, CallError>,
        effects: &mut Vec<Effect>,
    ) {
        match self.waiting.remove(&number) {
            Some(Waiting::Durable { lane, number }) => {
                let input = LaneInput::DurableEnded { number, result: durable_result(result) };
                effects.push(Effect::To(Message::Lane(lane, input)));
            }
            Some(Waiting::Grant { number }) => {
                let result = durable_result(result);
                effects.push(Effect::GrantEnded { number, result });
            }
            Some(Waiting::Live { lane, number }) => {
                let result = match result {
                    Ok(answer::Body::Live(answer)) if answer.code.is_empty() => Ok(answer.effects),
                    Ok(answer::Body::Live(answer)) => Err(refusal(answer.code, answer.sentence)),
                    _ => Err(crate::steward::unavailable()),
                };
                let input = LaneInput::LiveEnded { number, result };
                effects.push(Effect::To(Message::Lane(lane, input)));
            }
            Some(Waiting::Nobody) | None => {}
        }
    }
}

fn refusal(code: String, sentence: String) -> Refusal {
    Refusal { code: code.into(), sentence: sentence.into() }
}

fn durable_result(result: Result<answer::Body, CallError>) -> DurableResult {
    match result {
        Ok(answer::Body::Durable(answer)) if answer.code.is_empty() => {
            match answer.chain.as_ref().try_into() {
                Ok(chain) => DurableResult::Done { effects: answer.effects, chain },
                Err(_) => DurableResult::Refused(Refusal::internal()),
            }
        }
        Ok(answer::Body::Durable(answer)) => {
            DurableResult::Refused(refusal(answer.code, answer.sentence))
        }
        _ => DurableResult::Refused(crate::steward::unavailable()),
    }
}

/// A grant of another node's operator; `None` if it is beyond its limits.
fn asked_grant(call: GrantCall, trace: u64) -> Option<Grant> {
    let GrantCall { key, avatar, what, reason, received_ms } = call;
    let grant = Grant {
        key: GrantKey::parse(&key).ok()?,
        avatar: EntityId(avatar),
        what,
        reason,
        received: IslandTime(received_ms),
        trace,
    };
    grant.fits().then_some(grant)
}

fn durable_command(call: DurableCall, trace: u64) -> Result<DurableCommand, answer::Body> {
    let rejected = |_| answer::Body::Rejected(Rejected { code: "key".into() });
    let key = Key::parse(&call.key).map_err(rejected)?;
    let actor = Actor {
        avatar: EntityId(call.avatar),
        epoch: Epoch(call.epoch),
        sequence: Sequence(call.sequence),
        island: IslandId(call.island),
        position: Position::new(call.x, call.y),
        received: IslandTime(call.received_ms),
    };
    Ok(DurableCommand { key, actor, payload: call.payload, trace })
}

pub(super) fn durable_answer(result: DurableResult) -> DurableAnswer {
    match result {
        DurableResult::Done { effects, chain } => DurableAnswer {
            effects,
            chain: Bytes::copy_from_slice(&chain),
            ..DurableAnswer::default()
        },
        DurableResult::Refused(refusal) => DurableAnswer {
            code: refusal.code.into_owned(),
            sentence: refusal.sentence.into_owned(),
            ..DurableAnswer::default()
        },
    }
}

pub(super) fn live_answer(result: Result<Bytes, Refusal>) -> LiveAnswer {
    match result {
        Ok(effects) => LiveAnswer { effects, ..LiveAnswer::default() },
        Err(refusal) => LiveAnswer {
            code: refusal.code.into_owned(),
            sentence: refusal.sentence.into_owned(),
            ..LiveAnswer::default()
        },
    }
}
