//! Calls, from both sides.

use super::{Links, LinksEffect, LinksInput};
use crate::calls::{
    ATTEMPT_MS, CallError, CallTarget, IncomingCall, MAX_INCOMING, MAX_OUTGOING, Outgoing,
    ROUND_MS, Rejection,
};
use crate::link::LinkId;
use bytes::Bytes;
use pelago_model::{Limit, NodeId, Role, WorldTime};
use pelago_wire::peer::{Answer, Call, Rejected, answer, peer_message};
use std::collections::BTreeSet;

impl Links {
    pub(super) fn call(
        &mut self,
        now: WorldTime,
        input: LinksInput,
        effects: &mut Vec<LinksEffect>,
    ) {
        let LinksInput::Call { number, target, role, key, body, deadline_ms, repeatable, trace } =
            input
        else {
            return;
        };
        if self.calls.len() >= MAX_OUTGOING {
            self.counters.limits.note(Limit::OutgoingCalls);
            let result = Err(CallError::Rejected("busy".into()));
            return effects.push(LinksEffect::Ended { number, result });
        }
        self.next_call += 1;
        let call = Outgoing {
            number,
            target,
            role,
            key,
            body,
            deadline: now.plus(deadline_ms.into()),
            repeatable,
            trace,
            at: None,
            tried: BTreeSet::new(),
            asked: BTreeSet::new(),
            maybe_begun: false,
            rejected: None,
            look: now,
        };
        self.calls.insert(self.next_call, call);
        self.look_after(now, self.next_call, effects);
    }

    /// Sends a call to the next node that has not been asked, lets it wait, or ends it.
    pub(super) fn look_after(&mut self, now: WorldTime, id: u64, effects: &mut Vec<LinksEffect>) {
        let Some(call) = self.calls.get(&id) else { return };
        if call.deadline <= now {
            let error = call.overdue();
            return self.end(id, Err(error), effects);
        }
        if call.at.is_none() && call.maybe_begun && !call.repeatable {
            return self.end(id, Err(CallError::LinkLost), effects);
        }
        let next =
            if call.at.is_some() && !call.repeatable { None } else { self.next_to_ask(call) };
        let Some(call) = self.calls.get_mut(&id) else { return };
        match next {
            Some(node) => {
                if !call.asked.is_empty() {
                    self.counters.retried += 1;
                }
                call.maybe_begun |= call.at.is_some();
                self.ask(now, id, node, effects);
            }
            None if call.at.is_some() => {
                // The call is with the last node that could be asked: that node may take until the deadline.
                call.look = now.plus(ATTEMPT_MS).min(call.deadline);
            }
            None if call.asked.is_empty() => self.end(id, Err(CallError::Unreachable), effects),
            None => {
                call.tried.clear();
                call.look = now.plus(ROUND_MS).min(call.deadline);
            }
        }
    }

    /// The first node in order that is within reach and was not asked in this round.
    fn next_to_ask(&self, call: &Outgoing) -> Option<NodeId> {
        let candidates = match &call.target {
            CallTarget::Node(node) => vec![*node],
            CallTarget::Preferred(key) => self.directory.preferred(call.role, key),
        };
        let reachable = |node: &NodeId| *node == self.config.node || self.peers.contains_key(node);
        candidates.into_iter().find(|node| !call.tried.contains(node) && reachable(node))
    }

    fn ask(&mut self, now: WorldTime, id: u64, node: NodeId, effects: &mut Vec<LinksEffect>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.tried.insert(node);
        call.asked.insert(node);
        if node == self.config.node {
            call.at = Some((node, None));
            call.look = call.deadline;
            let incoming = IncomingCall { link: None, number: id };
            effects.push(LinksEffect::Incoming {
                call: incoming,
                role: call.role,
                key: call.key.clone(),
                body: call.body.clone(),
                trace: call.trace,
            });
            return;
        }
        let link = self.peers.get(&node).and_then(|link| self.links.get_mut(link));
        let Some(link) = link else { return };
        call.at = Some((node, Some(link.id)));
        call.look = now.plus(ATTEMPT_MS).min(call.deadline);
        link.control(peer_message::Body::Call(Call {
            number: id,
            deadline_ms: u32::try_from(call.deadline.since(now)).unwrap_or(u32::MAX),
            repeatable: call.repeatable,
            trace: call.trace,
            role: call.role.to_string(),
            key: call.key.clone(),
            body: call.body.clone(),
        }));
    }

    fn end(&mut self, id: u64, result: Result<Bytes, CallError>, effects: &mut Vec<LinksEffect>) {
        if let Some(call) = self.calls.remove(&id) {
            effects.push(LinksEffect::Ended { number: call.number, result });
        }
    }

    /// A call of another node.
    pub(super) fn incoming(
        &mut self,
        now: WorldTime,
        id: LinkId,
        call: Call,
        effects: &mut Vec<LinksEffect>,
    ) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.incoming.contains_key(&call.number) {
            // Asked again while it is worked on: the answer will do for both.
            return;
        }
        let code = match Role::parse(&call.role) {
            Ok(role) if link.incoming.len() < MAX_INCOMING => {
                link.incoming.insert(call.number, now.plus(call.deadline_ms.into()));
                let incoming = IncomingCall { link: Some(id), number: call.number };
                let Call { key, body, trace, .. } = call;
                return effects.push(LinksEffect::Incoming {
                    call: incoming,
                    role,
                    key,
                    body,
                    trace,
                });
            }
            Ok(_) => {
                self.counters.limits.note(Limit::IncomingCalls);
                "busy"
            }
            Err(_) => "role",
        };
        let rejected = answer::Answer::Rejected(Rejected { code: code.into() });
        let answer = Answer { number: call.number, answer: Some(rejected) };
        link.control(peer_message::Body::Answer(answer));
    }

    /// An answer from another node, or from this one.
    pub(super) fn answered(
        &mut self,
        now: WorldTime,
        node: NodeId,
        answer: Answer,
        effects: &mut Vec<LinksEffect>,
    ) {
        let call = self.calls.get_mut(&answer.number).filter(|call| call.asked.contains(&node));
        let Some(call) = call else {
            self.counters.late_answers += 1;
            return;
        };
        match answer.answer {
            Some(answer::Answer::Rejected(rejected)) => {
                if call.at.is_none_or(|(at, _)| at != node) {
                    // Of a node that was given up meanwhile, it says nothing.
                } else if call.repeatable && matches!(call.target, CallTarget::Preferred(_)) {
                    call.at = None;
                    call.rejected = Some(rejected.code);
                    self.look_after(now, answer.number, effects);
                } else {
                    let result = Err(CallError::Rejected(rejected.code));
                    self.end(answer.number, result, effects);
                }
            }
            // An answer of a node that was given up is as good.
            Some(answer::Answer::Body(body)) => self.end(answer.number, Ok(body), effects),
            // Of a kind that a newer version has: as if it had not come.
            None => {}
        }
    }

    /// A part of this node has decided a call that came.
    pub(super) fn reply(
        &mut self,
        now: WorldTime,
        call: IncomingCall,
        reply: Result<Bytes, Rejection>,
        effects: &mut Vec<LinksEffect>,
    ) {
        let said = match reply {
            Ok(body) => answer::Answer::Body(body),
            Err(Rejection(code)) => answer::Answer::Rejected(Rejected { code }),
        };
        let answer = Answer { number: call.number, answer: Some(said) };
        match call.link {
            None => self.answered(now, self.config.node, answer, effects),
            Some(id) => {
                let link = self.links.get_mut(&id);
                match link.filter(|link| link.incoming.contains_key(&call.number)) {
                    Some(link) => {
                        if self.config.sabotage.keep_calls {
                            link.incoming.insert(call.number, WorldTime(i64::MAX));
                        } else {
                            link.incoming.remove(&call.number);
                        }
                        link.control(peer_message::Body::Answer(answer));
                    }
                    None => self.counters.late_answers += 1,
                }
            }
        }
    }
}
