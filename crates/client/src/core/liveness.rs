//! Whether the line to the node lives: pings and pongs.

use super::effects::LocalTime;

/// A client that is woken this much too late has slept itself, in ms: its node is given as long again to be heard.
pub(super) const LATE_MS: i64 = 1_000;
/// A client that may have the time wrong pings this long after the last ping, in ms: nodes answer two in a second.
const PING_SOON_MS: i64 = 500;
/// How many pings a line that brings nothing is given before it counts as lost.
const QUIET_PINGS: i64 = 3;

/// The pings of a session. A line counts as lost when it has brought no pong for `timeout_ms`, though it was pinged.
///
/// A line that brings other things is pinged every `ping_every_ms`. One that brings nothing at all is pinged more often
/// than that if need be, so that a silent line is told from one that merely has nothing to bring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Liveness {
    ping_every_ms: i64,
    timeout_ms: i64,
    /// When the session began, or the last pong came.
    proved: LocalTime,
    /// When something came last.
    heard: LocalTime,
    /// When the last ping was sent.
    pinged: LocalTime,
    /// The next ping is due then at the latest, because it was asked for.
    soon: Option<LocalTime>,
    /// When the first ping was sent since the last pong.
    unanswered: Option<LocalTime>,
    /// The line is not given up before that, because the client itself has slept.
    forgiven: LocalTime,
}

impl Liveness {
    /// A line that is pinged so often, and given up after so long.
    pub(super) fn new(ping_every_ms: i64, timeout_ms: i64) -> Self {
        let begin = LocalTime::default();
        Self {
            ping_every_ms: ping_every_ms.max(1),
            timeout_ms: timeout_ms.max(QUIET_PINGS),
            proved: begin,
            heard: begin,
            pinged: begin,
            soon: None,
            unanswered: None,
            forgiven: begin,
        }
    }

    /// A session begins.
    pub(super) fn begin(&mut self, now: LocalTime) {
        (self.proved, self.heard, self.pinged) = (now, now, now);
        (self.soon, self.unanswered) = (None, None);
    }

    /// Something came.
    pub(super) fn heard(&mut self, now: LocalTime) {
        self.heard = now;
    }

    /// A ping was sent, or would have been if the line took any bytes.
    pub(super) fn pinged(&mut self, now: LocalTime) {
        (self.pinged, self.soon) = (now, None);
        self.unanswered.get_or_insert(now);
    }

    /// The next ping is wanted as soon as the node is sure to answer it.
    pub(super) fn ping_soon(&mut self, now: LocalTime) {
        self.soon = Some(self.pinged.plus(PING_SOON_MS).max(now));
    }

    /// A pong came. Returns whether one was waited for.
    pub(super) fn answered(&mut self, now: LocalTime) -> bool {
        self.proved = now;
        self.unanswered.take().is_some()
    }

    /// The client has slept itself and has not read what came meanwhile: that its node was silent is not said yet.
    pub(super) fn forgive(&mut self, now: LocalTime) {
        self.forgiven = now.plus(LATE_MS);
    }

    /// Whether a ping waits for its pong.
    pub(super) fn is_unanswered(&self) -> bool {
        self.unanswered.is_some()
    }

    /// Whether the line counts as lost.
    pub(super) fn is_lost(&self, now: LocalTime) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Whether a ping is to be sent.
    pub(super) fn is_ping_due(&self, now: LocalTime) -> bool {
        self.next_ping() <= now
    }

    /// When the next ping is due, or the line is lost.
    pub(super) fn next_wake(&self) -> LocalTime {
        let ping = self.next_ping();
        self.deadline().map_or(ping, |deadline| deadline.min(ping))
    }

    /// When the line counts as lost if no pong comes: a timeout after the last one, unless it was hardly pinged since.
    fn deadline(&self) -> Option<LocalTime> {
        let unanswered = self.unanswered?;
        let patience_ms = self.timeout_ms - self.quiet_ms();
        let deadline = self.proved.plus(self.timeout_ms).max(unanswered.plus(patience_ms));
        Some(deadline.max(self.forgiven))
    }

    fn next_ping(&self) -> LocalTime {
        let quiet = self.pinged.max(self.heard).plus(self.quiet_ms());
        let next = self.pinged.plus(self.ping_every_ms).min(quiet);
        self.soon.map_or(next, |soon| soon.min(next))
    }

    /// After how long without anything a line is pinged.
    fn quiet_ms(&self) -> i64 {
        self.ping_every_ms.min(self.timeout_ms / QUIET_PINGS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pings a line that answers after `round_trip_ms`, until it dies at `dies`, and brings other things every
    /// `brings_every_ms` until then. Returns when it counts as lost, and how often it was pinged.
    fn live(line: Liveness, round_trip_ms: i64, brings_every_ms: i64, dies: i64) -> (i64, usize) {
        let mut line = line;
        let mut pings = vec![0];
        line.begin(LocalTime(0));
        line.pinged(LocalTime(0));
        for ms in 1.. {
            let now = LocalTime(ms);
            if ms < dies && pings.contains(&(ms - round_trip_ms)) {
                line.answered(now);
                line.heard(now);
            }
            if ms < dies && ms % brings_every_ms == 0 {
                line.heard(now);
            }
            if line.is_lost(now) {
                return (ms, pings.len());
            }
            if line.is_ping_due(now) {
                line.pinged(now);
                pings.push(ms);
            }
        }
        unreachable!()
    }

    #[test]
    fn a_line_that_dies_is_lost_within_three_seconds_however_rarely_it_is_pinged() {
        for ping_every_ms in [1_000, 2_000, 5_000, 60_000] {
            for dies in [10_000, 10_300, 10_999] {
                let line = Liveness::new(ping_every_ms, 3_000);
                let (lost, _) = live(line, 20, 100, dies);
                assert!(
                    (2_000..=3_001).contains(&(lost - dies)),
                    "{ping_every_ms}: {lost}, {dies}"
                );
            }
        }
    }

    #[test]
    fn a_slow_line_is_not_lost() {
        for round_trip_ms in [900, 1_500, 2_400] {
            let (lost, _) = live(Liveness::new(1_000, 3_000), round_trip_ms, 100, 60_000);
            assert!(lost >= 60_000, "{round_trip_ms}: lost after {lost}");
        }
    }

    #[test]
    fn a_line_that_brings_something_is_pinged_no_more_often_than_wanted() {
        let (_, pings) = live(Liveness::new(5_000, 3_000), 20, 100, 60_000);
        assert!((12..=16).contains(&pings), "{pings}");
        let (_, pings) = live(Liveness::new(5_000, 3_000), 20, 100_000, 60_000);
        assert!((56..=64).contains(&pings), "{pings}");
    }

    #[test]
    fn a_ping_that_is_wanted_comes_soon_and_once() {
        let mut line = Liveness::new(5_000, 3_000);
        line.begin(LocalTime(0));
        line.pinged(LocalTime(0));
        line.answered(LocalTime(10));
        line.ping_soon(LocalTime(100));
        assert_eq!(line.next_wake(), LocalTime(PING_SOON_MS));
        line.pinged(LocalTime(PING_SOON_MS));
        line.answered(LocalTime(510));
        assert_eq!(line.next_wake(), LocalTime(PING_SOON_MS + 1_000));
        line.ping_soon(LocalTime(1_200));
        assert_eq!(line.next_wake(), LocalTime(1_200));
    }

    #[test]
    fn no_setting_makes_it_stumble() {
        for (ping_every_ms, timeout_ms) in
            [(0, 0), (i64::MAX, i64::MAX), (-1, i64::MIN), (1, i64::MAX)]
        {
            let mut line = Liveness::new(ping_every_ms, timeout_ms);
            line.begin(LocalTime(i64::MAX));
            line.pinged(LocalTime(i64::MAX));
            line.next_wake();
            line.is_lost(LocalTime(i64::MIN));
        }
    }
}
