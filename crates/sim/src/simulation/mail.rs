//! An operator who grants things. Each grant is asked for until it is answered, often at several nodes at once, and now
//! and then once more afterwards.

use super::{Event, REST_MS, Simulation};
use crate::violation::{Invariant, Violation};
use bytes::Bytes;
use pelago_model::{EntityId, GrantKey, IslandTime, NodeId, Role};
use pelago_node::{CallResult, CallTarget, DurableResult, Grant, OutgoingCall, StewardCall};

/// How often something is granted, in ms.
const EVERY_MS: i64 = 700;
/// How long the operator waits for an answer at least, in ms: shorter than the cluster takes at its worst.
const PATIENCE_MS: i64 = 600;
/// How long at most.
const MOST_PATIENCE_MS: u64 = 6000;
/// How long a grant may take, in ms.
const GRANT_MS: u32 = 5000;

/// Something that the operator grants.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub(crate) avatar: EntityId,
    pub(crate) key: GrantKey,
    count: u64,
    /// The first answer, which is to be that of every repetition.
    pub(crate) answer: Option<Bytes>,
}

impl Simulation {
    /// Grants something to somebody who has ever been here, whether they play now or not.
    pub(super) fn write_mail(&mut self) {
        if self.now >= self.end.plus(-REST_MS) {
            return;
        }
        self.after(EVERY_MS, Event::WriteMail);
        let avatars: Vec<EntityId> = self.players.iter().filter_map(|it| it.avatar).collect();
        if avatars.is_empty() {
            return;
        }
        let number = self.mail.len();
        let avatar = avatars[self.hazard(1, avatars.len() as u64) as usize];
        let Ok(key) = GrantKey::parse(&format!("mail/{number}")) else { return };
        let count = 1 + self.hazard(2, 5);
        self.mail.push(Mail { avatar, key, count, answer: None });
        self.ask_for(number);
    }

    /// Asks one, two or all nodes, and again if that takes too long.
    pub(super) fn ask_for(&mut self, number: usize) {
        let Mail { avatar, key, count, answer } = self.mail[number].clone();
        // Every other grant that is answered is asked for once more.
        let rests = self.now >= self.end.plus(-REST_MS) || self.hazard(6, 2) == 0;
        if answer.is_some() && rests {
            return;
        }
        let alive = self.nodes.iter().filter(|(_, host)| host.node.is_some());
        let mut nodes: Vec<NodeId> = alive.map(|(node, _)| *node).collect();
        let spare = nodes.len().saturating_sub(1 + self.hazard(3, 3) as usize);
        for _ in 0..spare {
            nodes.remove(self.hazard(4, nodes.len() as u64) as usize);
        }
        for node in nodes {
            self.asked.push(number);
            let request = self.asked.len() as u64 - 1;
            let grant = Grant {
                key: key.clone(),
                avatar,
                what: format!(r#"{{"items":{{"berry":{count}}}}}"#),
                reason: "mail".into(),
                received: IslandTime(self.time_at(node).0),
                trace: request,
            };
            self.operator_call(node, request, StewardCall::Grant(grant));
        }
        let patience = PATIENCE_MS + self.hazard(5, MOST_PATIENCE_MS) as i64;
        self.after(patience, Event::AskFor(number));
    }

    fn operator_call(&mut self, id: NodeId, number: u64, call: StewardCall) {
        let (now, mut effects) = (self.time_at(id), Vec::new());
        let trace = call.trace();
        let target = CallTarget::Preferred { role: Role::steward(), key: call.key() };
        let (body, deadline_ms) = (call.encode(), GRANT_MS);
        let call = OutgoingCall { target, body, deadline_ms, repeatable: true, trace };
        if let Some(node) = self.nodes.get_mut(&id).and_then(|host| host.node.as_mut()) {
            node.operator_call(now, number, call, &mut effects);
        }
        self.perform(id, effects);
        self.serve(id);
    }

    /// A node has answered the operator.
    pub(super) fn granted(&mut self, request: u64, result: CallResult) {
        let checked = self.check_granted(request, DurableResult::of_call(result));
        if let Err(violation) = checked
            && self.found.is_none()
        {
            self.found = Some(violation);
        }
    }

    fn check_granted(&mut self, request: u64, result: DurableResult) -> Result<(), Violation> {
        let mail = self.mail[self.asked[request as usize]].clone();
        let what = format!("{} to {}", mail.key, mail.avatar);
        let effects = match result {
            DurableResult::Done { effects, .. } => effects,
            // Its rule did not return: that it gave nothing is remembered in the same way.
            DurableResult::Failed { .. } => Bytes::new(),
            // To be asked again, which is planned.
            DurableResult::Refused(refusal) if refusal.code == "unavailable" => return Ok(()),
            DurableResult::Refused(refusal) => {
                let text = format!("the grant of {what} is refused: {refusal}");
                return Err(self.violation(Invariant::Granted, text));
            }
        };
        if self.remembered_grant(&mail).as_ref() != Some(&effects) {
            let text = format!("the grant of {what} is acknowledged and not durable");
            return Err(self.violation(Invariant::Acknowledged, text));
        }
        if mail.answer.is_some_and(|answer| answer != effects) {
            let text = format!("the grant of {what} was answered in two ways");
            return Err(self.violation(Invariant::Granted, text));
        }
        let mail = &mut self.mail[self.asked[request as usize]];
        if mail.answer.replace(effects).is_none() {
            self.outcome.granted += 1;
        }
        Ok(())
    }
}
