//! How a machine notices that it did not run: what others owe it does not count for that time.

use crate::time::WorldTime;

/// A machine that is served this much later than it wanted did not run meanwhile, in ms: its process was stopped, its
/// host slept, or its thread was kept busy.
pub const PAUSE_MS: i64 = 1000;
/// A machine that gives others time wants to be woken this often at least, in ms, so that it notices a pause.
pub const ATTENDANCE_MS: i64 = 500;

/// When a machine was served last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attendance {
    last: WorldTime,
}

impl Attendance {
    /// The machine is served now; before, it wanted to be woken then. For how long it has not run, in ms; mostly 0.
    pub fn pause_ms(&mut self, now: WorldTime, wanted: Option<WorldTime>) -> i64 {
        let last = std::mem::replace(&mut self.last, now);
        let late = wanted.map_or(0, |wanted| now.since(wanted.max(last)));
        if late >= PAUSE_MS { late } else { 0 }
    }

    /// When a machine is to be woken that gives others time until then.
    pub fn wake_before(&self, until: WorldTime) -> WorldTime {
        until.min(self.last.plus(ATTENDANCE_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_machine_that_wanted_to_be_served_and_was_not_has_paused() {
        let mut attendance = Attendance::default();
        let at = |ms| Some(WorldTime(ms));
        assert_eq!(attendance.pause_ms(WorldTime(900_000), None), 0, "it had nothing to do");
        assert_eq!(attendance.wake_before(WorldTime(910_000)), WorldTime(900_500));
        assert_eq!(attendance.wake_before(WorldTime(900_100)), WorldTime(900_100));
        assert_eq!(attendance.pause_ms(WorldTime(900_510), at(900_500)), 0);
        assert_eq!(attendance.pause_ms(WorldTime(1_050_510), at(901_010)), 149_500);
        // The same pause does not count twice, though the machine has not been woken yet.
        assert_eq!(attendance.pause_ms(WorldTime(1_050_511), at(901_010)), 0);
    }
}
