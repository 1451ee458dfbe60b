//! Whether a node can serve players, and what operators should look at although it can.
//!
//! Readiness is about the node itself: its lanes tick and its store answers. A member that is out of reach makes nobody
//! unready, or one dead node would take all others out of service; it is an alarm.

use crate::status::{LaneStatus, Status};
use pelago_model::WorldTime;
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering::Relaxed;

/// A lane that has not ticked for this long does not tick, in ms.
const LANE_SILENCE_MS: i64 = 1000;
/// A store of which nothing was heard for this long does not answer, in ms.
const STORE_SILENCE_MS: i64 = 3000;

/// What a node can do at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether every lane ticks.
    pub lanes_tick: bool,
    /// Whether the store answers.
    pub store_answers: bool,
}

impl Readiness {
    /// Whether players can be sent to the node.
    pub fn is_ready(self) -> bool {
        self.lanes_tick && self.store_answers
    }
}

/// What operators should look at. A node with an alarm may serve players all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alarm {
    /// Members of the cluster are out of reach.
    PeersUnreachable,
    /// The node is not registered in the address book: only nodes that know it already find it.
    Unregistered,
    /// The address book cannot be reached: members that have come or gone meanwhile are not known.
    BookStale,
    /// The clock of the host was set while the node ran, or is not the other nodes': it is followed slowly.
    ClockDisagrees,
    /// World time has run past what the store knows of it.
    TimeUnleased,
}

impl Alarm {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::PeersUnreachable,
        Self::Unregistered,
        Self::BookStale,
        Self::ClockDisagrees,
        Self::TimeUnleased,
    ];

    /// Whether it is about the time alone, and says nothing about the cluster.
    pub const fn is_of_the_clock(self) -> bool {
        matches!(self, Self::ClockDisagrees | Self::TimeUnleased)
    }

    /// As operators read it: lower case, words joined by `_`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PeersUnreachable => "peers_unreachable",
            Self::Unregistered => "unregistered",
            Self::BookStale => "book_stale",
            Self::ClockDisagrees => "clock_disagrees",
            Self::TimeUnleased => "time_unleased",
        }
    }
}

impl Status {
    pub(crate) fn readiness(&self, now: WorldTime) -> Readiness {
        let ticks = |lane: &LaneStatus| now.0 - lane.ticked.load(Relaxed) < LANE_SILENCE_MS;
        let store_answers = now.0 - self.store.answered().0 < STORE_SILENCE_MS;
        Readiness { lanes_tick: self.lanes.iter().all(ticks), store_answers }
    }

    pub(crate) fn alarms(&self) -> Vec<Alarm> {
        let raised = |alarm: &Alarm| match alarm {
            Alarm::PeersUnreachable => !self.linked.load(Relaxed),
            Alarm::Unregistered => !self.standing.registered.load(Relaxed),
            Alarm::BookStale => !self.standing.fresh.load(Relaxed),
            Alarm::ClockDisagrees => !self.clock.agrees.load(Relaxed),
            Alarm::TimeUnleased => !self.clock.leased.load(Relaxed),
        };
        Alarm::ALL.into_iter().filter(raised).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelago_net::OpenFiles;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn readiness_asks_for_lanes_and_store_and_for_nobody_else() {
        let status = Status::new(2, OpenFiles::new(None), Arc::default());
        let at = |lanes: [i64; 2], answered: i64| {
            for (lane, ticked) in status.lanes.iter().zip(lanes) {
                lane.ticked.store(ticked, Relaxed);
            }
            status.store.note_answer(WorldTime(answered));
            let Readiness { lanes_tick, store_answers } = status.readiness(WorldTime(100_000));
            (lanes_tick, store_answers)
        };
        assert!(!status.readiness(WorldTime(0)).store_answers, "it has never answered");
        assert_eq!(at([99_900, 99_001], 97_001), (true, true));
        assert_eq!(at([99_900, 99_000], 97_001), (false, true));
        assert_eq!(at([99_900, 99_900], 97_000), (true, false));
    }

    #[test]
    fn every_alarm_is_raised_by_its_own_cause() {
        let status = Status::new(1, OpenFiles::new(None), Arc::default());
        let causes: [&AtomicBool; 5] = [
            &status.linked,
            &status.standing.registered,
            &status.standing.fresh,
            &status.clock.agrees,
            &status.clock.leased,
        ];
        assert_eq!(status.alarms(), Alarm::ALL);
        causes.iter().for_each(|cause| cause.store(true, Relaxed));
        assert_eq!(status.alarms(), []);
        for (alarm, cause) in Alarm::ALL.into_iter().zip(causes) {
            cause.store(false, Relaxed);
            assert_eq!(status.alarms(), [alarm]);
            cause.store(true, Relaxed);
        }
    }
}
