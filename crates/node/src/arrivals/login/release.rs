//! The node that has had the avatar of a login is asked to let go of it, and to tell where it is.

use super::{Arrivals, RELEASE_MS, Step};
use crate::arrivals::Asked;
use crate::arrivals::interface::ArrivalsEffect;
use crate::arrivals::opening::Opening;
use crate::call::{CallTarget, OutgoingCall};
use crate::documents::avatar::Place;
use crate::lane_call::LaneCall;
use pelago_model::{Document, EntityId, Revision, WorldTime};
use pelago_world::ClientId;

impl Arrivals {
    pub(super) fn avatar_read(
        &mut self,
        now: WorldTime,
        client: ClientId,
        avatar: (EntityId, Option<Revision>),
        documents: &[Document],
        effects: &mut Vec<ArrivalsEffect>,
    ) {
        let Some(login) = self.logins.get_mut(&client) else { return };
        let Some((owner, epoch)) = documents.first().and_then(Opening::owner) else {
            return self.open(now, client, avatar, documents, effects);
        };
        let call = self.calls.begin(Asked::Release(client));
        let until = now.plus(RELEASE_MS);
        self.release_deadlines.insert((until, client));
        let (avatar, unbound) = avatar;
        let documents = documents.to_vec();
        login.step = Step::AwaitRelease { avatar, epoch, unbound, documents, call, until };
        let question = OutgoingCall {
            // The lanes of a node pass the question on until one of them has the avatar.
            target: CallTarget::Lane { node: owner, lane: 0 },
            body: LaneCall::Release { avatar, epoch }.encode(),
            deadline_ms: RELEASE_MS as u32,
            repeatable: false,
            trace: client.0,
        };
        effects.push(ArrivalsEffect::Call { number: call.0, call: question });
    }

    /// The node that has had the avatar of a login has let go of it and told where it is, or has said nothing in time.
    pub(in crate::arrivals) fn released(
        &mut self,
        now: WorldTime,
        client: ClientId,
        place: Option<Place>,
        effects: &mut Vec<ArrivalsEffect>,
    ) {
        let Some(login) = self.logins.get_mut(&client) else { return };
        let step = std::mem::replace(&mut login.step, Step::ReadName);
        let Step::AwaitRelease { avatar, epoch, unbound, documents, call, until } = step else {
            login.step = step;
            return;
        };
        self.calls.end(call);
        self.release_deadlines.remove(&(until, client));
        // What was told before counts if no other session has begun meanwhile.
        let told_before = login.released.filter(|(of, _)| *of == epoch);
        login.released = place.map(|place| (epoch, place)).or(told_before);
        self.open(now, client, (avatar, unbound), &documents, effects);
        // A client that has gone meanwhile takes the epoch all the same, and ends with that.
        if self.clients.contains_key(&client) {
            return;
        }
        match self.logins.get_mut(&client) {
            Some(login) if matches!(login.step, Step::Commit(_)) => login.step = Step::Abandoned,
            // The store takes nothing at present: nobody waits for that.
            Some(_) => drop(self.remove_login(client)),
            None => {}
        }
    }

    fn open(
        &mut self,
        now: WorldTime,
        client: ClientId,
        avatar: (EntityId, Option<Revision>),
        documents: &[Document],
        effects: &mut Vec<ArrivalsEffect>,
    ) {
        let Some(login) = self.logins.get(&client) else { return };
        let whose = (&login.applicant, login.released.map(|(_, place)| place));
        let opening = Opening::of_avatar(&self.config, now, whose, avatar, documents);
        if self.may_commit(now, client) {
            self.take_epoch(client, opening, effects);
        }
    }
}
