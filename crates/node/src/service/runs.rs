//! The runs of rules that a host has handed out, and when the first of them has taken too long.
//!
//! Runs of a host come to their turn one after the other, so that only the first can be under way. Its time begins when it
//! was handed out, or when the one before it ended, and anew with each of its steps: many turns that take their time are no
//! turn that never ends.

use crate::rule_run::RunProgress;
use crate::store_request::RequestId;
use pelago_model::WorldTime;
use std::collections::VecDeque;

/// How long a step of a run of rules may take once its turn has come, in ms. Then it is abandoned.
pub const RUN_LIMIT_MS: i64 = 100;
/// A wake-up that is later than this, in ms, says that this node did not run itself: the rule's time begins anew.
const MAX_LATENESS_MS: i64 = RUN_LIMIT_MS / 2;

/// What is out, in the order in which it was handed out.
#[derive(Debug, Default)]
pub(super) struct Runs {
    out: VecDeque<(RequestId, RunProgress)>,
    /// The step that the first was at when it was looked at.
    step: u32,
    /// When the first has taken too long.
    deadline: Option<WorldTime>,
}

impl Runs {
    pub(super) fn handed_out(&mut self, now: WorldTime, request: RequestId, progress: RunProgress) {
        self.out.push_back((request, progress));
        self.deadline.get_or_insert(now.plus(RUN_LIMIT_MS));
    }

    /// A run has ended, or was abandoned.
    pub(super) fn ended(&mut self, now: WorldTime, request: RequestId) {
        let Some(place) = self.out.iter().position(|(other, _)| *other == request) else { return };
        self.out.remove(place);
        if place == 0 {
            self.deadline = self.out.front().map(|_| now.plus(RUN_LIMIT_MS));
            self.step = 0;
        }
    }

    /// The run that has taken too long, if one has. Whoever runs it may know better: it is asked again after a while.
    pub(super) fn overdue(&mut self, now: WorldTime) -> Option<RequestId> {
        let deadline = self.deadline.filter(|deadline| *deadline <= now)?;
        self.deadline = Some(now.plus(RUN_LIMIT_MS));
        let (first, progress) = self.out.front()?;
        let is_at = progress.step();
        if std::mem::replace(&mut self.step, is_at) != is_at {
            return None;
        }
        (now.since(deadline) <= MAX_LATENESS_MS).then_some(*first)
    }

    pub(super) fn deadline(&self) -> Option<WorldTime> {
        self.deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WorldTime = WorldTime(1000);
    const FIRST: RequestId = RequestId(1);
    const SECOND: RequestId = RequestId(2);

    #[test]
    fn the_time_of_a_run_begins_when_the_one_before_it_has_ended() {
        let mut runs = Runs::default();
        runs.handed_out(NOW, FIRST, RunProgress::default());
        runs.handed_out(NOW, SECOND, RunProgress::default());
        assert_eq!(runs.overdue(NOW.plus(RUN_LIMIT_MS - 1)), None);
        runs.ended(NOW.plus(80), FIRST);
        assert_eq!(runs.overdue(NOW.plus(80 + RUN_LIMIT_MS - 1)), None);
        assert_eq!(runs.overdue(NOW.plus(80 + RUN_LIMIT_MS)), Some(SECOND));
        assert_eq!(runs.overdue(NOW.plus(80 + RUN_LIMIT_MS)), None, "it is asked again later");
        assert_eq!(runs.deadline(), Some(NOW.plus(80 + 2 * RUN_LIMIT_MS)));
        runs.ended(NOW.plus(200), SECOND);
        assert_eq!((runs.deadline(), runs.overdue(NOW.plus(9999))), (None, None));
    }

    #[test]
    fn a_run_of_many_steps_is_none_that_does_not_return() {
        let (mut runs, progress) = (Runs::default(), RunProgress::default());
        runs.handed_out(NOW, FIRST, progress.clone());
        for step in 1..30 {
            progress.begin(step);
            assert_eq!(runs.overdue(NOW.plus(step as i64 * RUN_LIMIT_MS)), None);
        }
        assert_eq!(runs.overdue(NOW.plus(30 * RUN_LIMIT_MS)), Some(FIRST));
    }

    #[test]
    fn a_node_that_did_not_run_itself_blames_no_rule() {
        let mut runs = Runs::default();
        runs.handed_out(NOW, FIRST, RunProgress::default());
        let awake = NOW.plus(150_000);
        assert_eq!(runs.overdue(awake), None);
        assert_eq!(runs.overdue(awake.plus(RUN_LIMIT_MS)), Some(FIRST));
    }
}
