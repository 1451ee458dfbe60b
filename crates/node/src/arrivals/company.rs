//! What the arrivals know of where people are, so that newcomers are not alone.

use super::interface::ArrivalsEffect;
use super::{Arrivals, Asked};
use crate::call::{CallResult, CallTarget, OutgoingCall};
use crate::lane_call::{LaneCall, crowds_told};
use crate::placement::company::{Crowd, place_of_newcomer};
use crate::store_request::RequestId;
use pelago_game::Land;
use pelago_model::{Position, WorldTime};
use std::collections::BTreeMap;

/// How often the lanes are asked at most, in ms: whoever comes meanwhile is placed by what is known.
const ASK_EVERY_MS: i64 = 1000;
/// How long an answer counts, in ms.
const KNOWN_MS: i64 = 10_000;
/// How long lanes may take to answer, in ms.
const DEADLINE_MS: u32 = 1000;

/// What the lanes of this node have told.
#[derive(Debug, Default)]
pub(super) struct Company {
    asked: Option<WorldTime>,
    /// The questions of that time.
    calls: Vec<RequestId>,
    /// What each lane sees, and when it said so.
    crowds: BTreeMap<u8, (WorldTime, Vec<Crowd>)>,
}

impl Company {
    /// A lane has answered.
    pub(super) fn told(&mut self, now: WorldTime, lane: u8, result: &CallResult) {
        self.crowds.insert(lane, (now, crowds_told(result)));
    }

    /// Where a newcomer appears whom the game would put at `usual`. Those who come next see this one, too.
    pub(super) fn place(
        &mut self,
        now: WorldTime,
        land: &Land,
        usual: Position,
        seed: u64,
    ) -> Position {
        self.crowds.retain(|_, (told, _)| now.since(*told) <= KNOWN_MS);
        let known: Vec<Crowd> = self.crowds.values().flat_map(|(_, it)| it).copied().collect();
        let place = place_of_newcomer(land, usual, &known, seed);
        let island = land.spec().id;
        let is_here =
            |crowd: &&mut Crowd| crowd.island == island && crowd.somebody.chunk() == place.chunk();
        let crowds = self.crowds.values_mut().flat_map(|(_, crowds)| crowds);
        crowds.filter(is_here).for_each(|crowd| crowd.people += 1);
        place
    }
}

impl Arrivals {
    /// Asks the lanes of this node where people are, unless they were asked a moment ago. They answer while the documents
    /// of whoever comes are read.
    pub(super) fn ask_for_company(&mut self, now: WorldTime, effects: &mut Vec<ArrivalsEffect>) {
        let node = self.config.node;
        if self.company.asked.is_some_and(|asked| now.since(asked).abs() < ASK_EVERY_MS) {
            return;
        }
        self.company.asked = Some(now);
        // A lane that has not answered the last time is not waited for.
        for call in self.company.calls.drain(..) {
            self.calls.end(call);
        }
        for lane in 0..self.config.lanes {
            let call = OutgoingCall {
                target: CallTarget::Lane { node, lane },
                body: LaneCall::Crowds.encode(),
                deadline_ms: DEADLINE_MS,
                repeatable: false,
                trace: 0,
            };
            let asked = self.calls.begin(Asked::Crowds(lane));
            self.company.calls.push(asked);
            effects.push(ArrivalsEffect::Call { number: asked.0, call });
        }
    }
}
