//! Where to connect next, and when.

use super::effects::LocalTime;
use pelago_model::{Backoff, Retry};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The pause after the first failure, in ms, without its jitter. It doubles with every further one.
pub const FIRST_PAUSE_MS: i64 = 300;
/// The longest pause, in ms, without its jitter.
pub const LAST_PAUSE_MS: i64 = 5_000;
/// A client tries for as long as its application lets it.
const REDIAL: Backoff =
    Backoff { first_ms: FIRST_PAUSE_MS, longest_ms: LAST_PAUSE_MS, attempts: Backoff::ENDLESS };

/// The pauses between attempts to connect, or to have a command done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause(Retry);

impl Pause {
    pub(super) const FIRST: Self = Self(Retry::new(REDIAL));

    /// The end of a pause that begins now.
    pub(super) fn end(&mut self, now: LocalTime, rng: &mut ChaCha8Rng) -> LocalTime {
        let chance = u64::from(rng.next_u32()) << 32 | u64::from(rng.next_u32());
        now.plus(self.0.failed(chance).unwrap_or(LAST_PAUSE_MS))
    }
}

/// The addresses, which of them is next, and the pause before it.
#[derive(Clone, Debug)]
pub(super) struct Dialing {
    addresses: Vec<String>,
    next: usize,
    pause: Pause,
    pub(super) rng: ChaCha8Rng,
}

impl Dialing {
    pub(super) fn new(addresses: Vec<String>, seed: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self { addresses, next: 0, pause: Pause::FIRST, rng }
    }

    /// The address to be tried now, if there is any.
    pub(super) fn address(&self) -> Option<&str> {
        self.addresses.get(self.next).map(String::as_str)
    }

    /// An attempt came to nothing, or what it led to has ended: the next one goes elsewhere, after a pause.
    pub(super) fn failed(&mut self, now: LocalTime) -> LocalTime {
        self.next = (self.next + 1) % self.addresses.len().max(1);
        self.pause.end(now, &mut self.rng)
    }

    /// A connection has proved itself: the next failure is a first one again.
    pub(super) fn proved(&mut self) {
        self.pause = Pause::FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_tried_in_turn() {
        let mut dialing = Dialing::new(vec!["a".into(), "b".into(), "c".into()], 1);
        let mut tried = Vec::new();
        for _ in 0..5 {
            tried.push(dialing.address().unwrap().to_owned());
            dialing.failed(LocalTime(0));
        }
        assert_eq!(tried, ["a", "b", "c", "a", "b"]);
        assert_eq!(Dialing::new(Vec::new(), 1).address(), None);
    }

    #[test]
    fn a_connection_that_has_proved_itself_is_missed_for_the_first_time_again() {
        let mut dialing = Dialing::new(vec!["a".into()], 1);
        for _ in 0..9 {
            dialing.failed(LocalTime(0));
        }
        assert!(dialing.failed(LocalTime(0)).0 >= LAST_PAUSE_MS / 2);
        dialing.proved();
        assert!(dialing.failed(LocalTime(0)).0 <= FIRST_PAUSE_MS * 3 / 2);
    }
}
