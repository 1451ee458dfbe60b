//! Whether a node can serve players, and what operators should look at although it can.
//!
//! Readiness is about the node itself: its tasks answer, its lanes tick, its store commits, and its time goes on. A member
//! that is out of reach makes nobody unready, or one dead node would take all others out of service; it is an alarm.

use crate::status::Status;
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering::Relaxed;

/// A lane that has not ticked for this long does not tick, in ms.
const LANE_SILENCE_MS: i64 = 1000;
/// A task that has not answered for this long does not answer, in ms.
const TASK_SILENCE_MS: i64 = 1000;
/// A task that has not answered for this long will not do so any more, in ms: only a restart helps.
const TASK_DEATH_MS: i64 = 10_000;

/// What a node can do at present.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Why players cannot be sent to it; none if they can.
    pub reasons: Vec<Reason>,
}

/// Why players cannot be sent to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// What it is about.
    pub code: ReasonCode,
    /// In words.
    pub sentence: String,
}

/// What a reason is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonCode {
    /// A lane does not tick.
    Lane,
    /// The store does not commit.
    Store,
    /// A task does not answer.
    Task,
    /// A task has not answered for so long that only a restart helps.
    TaskDead,
    /// World time stands still.
    Time,
    /// The address book has not taken the node yet: another node may have its number.
    Unregistered,
    /// The node has ended.
    Ended,
}

impl ReasonCode {
    /// Whether only a restart helps.
    pub const fn is_death(self) -> bool {
        matches!(self, Self::TaskDead | Self::Ended)
    }
}

impl Readiness {
    /// Whether players can be sent to the node.
    pub fn is_ready(&self) -> bool {
        self.reasons.is_empty()
    }

    /// Whether the node may come to itself again without a restart.
    pub fn is_alive(&self) -> bool {
        !self.reasons.iter().any(|reason| reason.code.is_death())
    }

    pub(crate) fn because(&mut self, code: ReasonCode, sentence: impl Into<String>) {
        self.reasons.push(Reason { code, sentence: sentence.into() });
    }
}

/// What operators should look at. A node with an alarm may serve players all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alarm {
    /// Members of the cluster are out of reach.
    PeersUnreachable,
    /// The lease of the node in the address book is lost: only nodes that know it already find it.
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
    pub(crate) fn readiness(&self) -> Readiness {
        self.readiness_at(self.probe_clock.now_ms())
    }

    fn readiness_at(&self, now: i64) -> Readiness {
        let mut readiness = Readiness::default();
        for (number, lane) in self.lanes.iter().enumerate() {
            if now - lane.ticked.load(Relaxed) >= LANE_SILENCE_MS {
                readiness.because(ReasonCode::Lane, format!("lane {number} does not tick"));
            }
        }
        for meter in self.meters.get().into_iter().flatten() {
            let silence = meter.silence_ms();
            if silence >= TASK_SILENCE_MS {
                let code = match silence {
                    TASK_DEATH_MS.. => ReasonCode::TaskDead,
                    _ => ReasonCode::Task,
                };
                let seconds = silence / 1000;
                let name = meter.name();
                readiness.because(code, format!("{name} has not answered for {seconds} s"));
            }
        }
        if let Some(problem) = self.store.problem(now) {
            readiness.because(ReasonCode::Store, problem);
        }
        if !self.standing.has_entered() {
            let sentence = "the address book has not registered the node yet";
            readiness.because(ReasonCode::Unregistered, sentence);
        }
        if self.time_stands.load(Relaxed) {
            readiness.because(ReasonCode::Time, "world time stands still");
        }
        readiness
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
    use crate::task_meter::TaskMeter;
    use pelago_net::OpenFiles;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn every_reason_has_its_own_cause_and_nobody_else_is_asked() {
        let status = Status::new(2, OpenFiles::new(None), Arc::default());
        let codes = |now| -> Vec<ReasonCode> {
            status.readiness_at(now).reasons.iter().map(|reason| reason.code).collect()
        };
        let lanes = |ticked: [i64; 2]| {
            for (lane, ticked) in status.lanes.iter().zip(ticked) {
                lane.ticked.store(ticked, Relaxed);
            }
        };
        let all = [ReasonCode::Lane, ReasonCode::Lane, ReasonCode::Store, ReasonCode::Unregistered];
        assert_eq!(codes(0), all);
        status.standing.note_lease();
        status.standing.registered.store(false, Relaxed);
        let lost = [ReasonCode::Lane, ReasonCode::Lane, ReasonCode::Store];
        assert_eq!(codes(0), lost, "a lease that was lost is an alarm, no more");
        lanes([99_900, 99_001]);
        status.store.note(95_001, Ok(()));
        assert_eq!(codes(100_000), []);
        lanes([99_900, 99_000]);
        assert_eq!(codes(100_000), [ReasonCode::Lane]);
        lanes([99_900, 99_900]);
        assert_eq!(codes(100_001), [ReasonCode::Store]);
        status.store.note(100_000, Ok(()));
        status.time_stands.store(true, Relaxed);
        assert_eq!(codes(100_001), [ReasonCode::Time]);
        status.time_stands.store(false, Relaxed);
        let meter = Arc::new(TaskMeter::new("lane 0".to_owned()));
        status.meters.set(vec![meter.clone()]).unwrap();
        assert_eq!(codes(100_001), [], "a task that nobody asks");
        meter.note_turn_ago(std::time::Duration::from_millis(1500));
        assert_eq!(codes(100_001), [ReasonCode::Task]);
        assert!(status.readiness_at(100_001).is_alive());
        meter.note_turn_ago(std::time::Duration::from_secs(11));
        assert_eq!(codes(100_001), [ReasonCode::TaskDead]);
        assert!(!status.readiness_at(100_001).is_alive());
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
