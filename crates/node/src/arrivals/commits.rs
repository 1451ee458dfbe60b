//! When the arrivals may commit: pauses between the attempts of a login, and fewer commits while the store takes none.

use pelago_model::{Backoff, CommitOutcome, Retry, WorldTime};

/// A login, or a lease of serials, that met others or whose commit nobody knows the end of.
pub(super) const MET_OTHERS: Backoff = Backoff { first_ms: 20, longest_ms: 1000, attempts: 12 };
/// A store that takes nothing is asked by one commit after each of these pauses, whoever waits.
const REFUSED: Backoff = Backoff { first_ms: 300, longest_ms: 2000, attempts: Backoff::ENDLESS };

/// Whether the store takes commits, as the last ones have shown.
#[derive(Debug)]
pub(super) struct Commits {
    refused: Retry,
    /// While the store refuses: no commit before this.
    next: WorldTime,
}

impl Default for Commits {
    fn default() -> Self {
        Self { refused: Retry::new(REFUSED), next: WorldTime(i64::MIN) }
    }
}

impl Commits {
    /// Whether something may be committed now; otherwise when to ask again. While the store refuses, the one who may is
    /// the only one until the next pause is over.
    pub(super) fn begin(&mut self, now: WorldTime, chance: u64) -> Result<(), WorldTime> {
        if self.refused.failures() == 0 {
            return Ok(());
        }
        if now < self.next {
            return Err(self.next);
        }
        self.refuse_until_later(now, chance);
        Ok(())
    }

    /// A commit has ended.
    pub(super) fn ended(&mut self, now: WorldTime, outcome: &CommitOutcome, chance: u64) {
        match outcome {
            CommitOutcome::Committed | CommitOutcome::Conflict { .. } => self.refused.succeeded(),
            // Several that were under way together are one refusal.
            CommitOutcome::Failed if self.refused.failures() == 0 => {
                self.refuse_until_later(now, chance);
            }
            CommitOutcome::Failed | CommitOutcome::Unknown => {}
        }
    }

    fn refuse_until_later(&mut self, now: WorldTime, chance: u64) {
        self.next = now.plus(self.refused.failed(chance).unwrap_or(REFUSED.longest_ms));
    }
}
