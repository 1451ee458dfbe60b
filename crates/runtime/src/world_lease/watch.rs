//! Watching somebody else's lease: is it renewed, or has its holder fallen silent?

use pelago_model::Revision;
use std::time::Duration;

/// A holder that was not seen to renew its lease for this long has fallen silent.
pub const LEASE_TIME: Duration = Duration::from_secs(10);
/// Between two looks that are further apart nobody knows whether the holder could have renewed: the store may have been
/// gone, or the observer may have stood still. That time does not count.
const LONGEST_LOOK: Duration = Duration::from_secs(2);

/// What has been seen of a lease that somebody else holds. Times are the observer's own, and monotonic: clocks of two
/// processes are never compared.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: Option<Revision>,
    looked: Duration,
    silent: Duration,
}

/// What follows from what was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nobody can say yet.
    Wait,
    /// The holder lives. Before it renewed it was seen to be silent for this long.
    Renewed { after: Duration },
    /// The holder has been silent for this long.
    Silent { time: Duration },
}

impl Watch {
    /// The lease has this revision at the observer's time `now`.
    pub(super) fn look(&mut self, now: Duration, revision: Revision) -> Verdict {
        let gap = now.saturating_sub(std::mem::replace(&mut self.looked, now));
        match self.seen.replace(revision) {
            None => Verdict::Wait,
            Some(seen) if seen != revision => {
                Verdict::Renewed { after: std::mem::take(&mut self.silent) }
            }
            Some(_) => {
                if gap <= LONGEST_LOOK {
                    self.silent += gap;
                }
                match self.silent >= LEASE_TIME {
                    true => Verdict::Silent { time: self.silent },
                    false => Verdict::Wait,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(watch: &mut Watch, at_ms: u64, revision: u64) -> Verdict {
        watch.look(Duration::from_millis(at_ms), Revision(revision))
    }

    #[test]
    fn a_lease_that_is_renewed_is_held() {
        let mut watch = Watch::default();
        for at_ms in [0, 1000, 2000] {
            assert_eq!(look(&mut watch, at_ms, 7), Verdict::Wait);
        }
        let after = Duration::from_secs(2);
        assert_eq!(look(&mut watch, 3000, 8), Verdict::Renewed { after });
    }

    #[test]
    fn a_lease_that_is_not_renewed_is_free_in_the_end() {
        let mut watch = Watch::default();
        let verdicts: Vec<Verdict> = (0..=10).map(|at| look(&mut watch, at * 1000, 7)).collect();
        assert_eq!(verdicts[..10], [Verdict::Wait; 10]);
        assert_eq!(verdicts[10], Verdict::Silent { time: LEASE_TIME });
    }

    #[test]
    fn time_in_which_nobody_looked_does_not_count() {
        let mut watch = Watch::default();
        assert_eq!(look(&mut watch, 0, 7), Verdict::Wait);
        // The store was gone, or the observer stood still.
        assert_eq!(look(&mut watch, 3_600_000, 7), Verdict::Wait);
        for second in 1..10 {
            assert_eq!(look(&mut watch, 3_600_000 + second * 1000, 7), Verdict::Wait);
        }
        assert_eq!(look(&mut watch, 3_610_000, 7), Verdict::Silent { time: LEASE_TIME });
    }
}
