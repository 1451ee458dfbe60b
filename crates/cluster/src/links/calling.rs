//! Calls, from both sides.

use super::{Links, LinksEffect};
use crate::calls::{ATTEMPT_MS, CallError, CallTarget, IncomingCall, MAX_INCOMING};
use crate::link::{HangupReason, LinkId};
use pelago_model::{NodeId, WorldTime};
use pelago_wire::peer::{Answer, Call, Rejected, answer, peer_message};

impl Links {
    /// Sends a call to the next node that has not been tried, or ends it.
    pub(super) fn attempt(&mut self, now: WorldTime, id: u64, effects: &mut Vec<LinksEffect>) {
        let Some(call) = self.calls.get(&id) else { return };
        let begun = call.at.is_some();
        let error = if call.deadline <= now {
            Some(CallError::DeadlineExceeded)
        } else if begun && !call.repeatable {
            Some(CallError::LinkLost)
        } else {
            None
        };
        if let Some(error) = error {
            return self.end(id, Err(error), effects);
        }
        let candidates = match &call.target {
            CallTarget::Node(node) => vec![*node],
            CallTarget::Steward(key) => self.stewards(key),
        };
        let reachable = |node: &NodeId| *node == self.config.node || self.peers.contains_key(node);
        let next = candidates.iter().find(|node| !call.tried.contains(node) && reachable(node));
        let Some(node) = next.copied() else {
            if begun && candidates.len() > 1 {
                // Everybody was asked: from the front again, a little later.
                if let Some(call) = self.calls.get_mut(&id) {
                    call.tried.clear();
                    call.at = None;
                    call.attempt_until = now.plus(ATTEMPT_MS / 4);
                }
                return;
            }
            return self.end(id, Err(CallError::Unreachable), effects);
        };
        if begun {
            self.counters.retried += 1;
        }
        let link = self.peers.get(&node).copied();
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.tried.insert(node);
        call.attempt_until = now.plus(ATTEMPT_MS).min(call.deadline);
        if node == self.config.node {
            call.at = Some((node, None));
            call.attempt_until = call.deadline;
            let incoming = IncomingCall { link: None, number: id };
            let (body, trace) = (call.body.clone(), call.trace);
            effects.push(LinksEffect::Incoming { call: incoming, body, trace });
        } else if let Some(link) = link.and_then(|link| self.links.get_mut(&link)) {
            call.at = Some((node, Some(link.id)));
            let deadline_ms = u32::try_from(call.deadline.since(now)).unwrap_or(0);
            link.control(peer_message::Body::Call(Call {
                number: id,
                deadline_ms,
                repeatable: call.repeatable,
                trace: call.trace,
                body: Some(call.body.clone()),
            }));
        }
    }

    pub(super) fn end(
        &mut self,
        id: u64,
        result: Result<answer::Body, CallError>,
        effects: &mut Vec<LinksEffect>,
    ) {
        if let Some(call) = self.calls.remove(&id) {
            effects.push(LinksEffect::Ended { number: call.number, result });
        } else {
            self.counters.late_answers += 1;
        }
    }

    pub(super) fn incoming(
        &mut self,
        id: LinkId,
        call: Call,
        effects: &mut Vec<LinksEffect>,
    ) -> Result<(), HangupReason> {
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        let incoming = IncomingCall { link: Some(id), number: call.number };
        let code = match &call.body {
            None => "unknown",
            Some(_) if link.incoming.len() >= MAX_INCOMING => "busy",
            Some(_) => "",
        };
        if let Some(body) = call.body.filter(|_| code.is_empty()) {
            link.incoming.insert(call.number);
            effects.push(LinksEffect::Incoming { call: incoming, body, trace: call.trace });
        } else {
            let body = answer::Body::Rejected(Rejected { code: code.into() });
            let answer = Answer { number: call.number, body: Some(body) };
            link.control(peer_message::Body::Answer(answer));
        }
        Ok(())
    }

    pub(super) fn answered(
        &mut self,
        node: NodeId,
        answer: Answer,
        effects: &mut Vec<LinksEffect>,
    ) {
        let Some(call) = self.calls.get_mut(&answer.number) else {
            self.counters.late_answers += 1;
            return;
        };
        match answer.body {
            // Of a node that was given up meanwhile, a rejection says nothing.
            Some(answer::Body::Rejected(_)) if call.at.is_none_or(|(at, _)| at != node) => {}
            Some(answer::Body::Rejected(rejected)) => {
                if call.repeatable && matches!(call.target, CallTarget::Steward(_)) {
                    call.attempt_until = WorldTime(0);
                    self.next_wake = WorldTime(0);
                } else {
                    let result = Err(CallError::Rejected(rejected.code));
                    self.end(answer.number, result, effects);
                }
            }
            // An answer of a node that was given up is as good.
            Some(body) => self.end(answer.number, Ok(body), effects),
            None => {}
        }
    }

    pub(super) fn reply(
        &mut self,
        call: IncomingCall,
        body: answer::Body,
        effects: &mut Vec<LinksEffect>,
    ) {
        match call.link {
            None => self.end(call.number, Ok(body), effects),
            Some(id) => {
                if let Some(link) = self.links.get_mut(&id) {
                    link.incoming.remove(&call.number);
                    let answer = Answer { number: call.number, body: Some(body) };
                    link.control(peer_message::Body::Answer(answer));
                }
            }
        }
    }
}
