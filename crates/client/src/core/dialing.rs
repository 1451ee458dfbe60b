//! Where to connect next, and when.

use super::effects::LocalTime;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The pause after the first failure, in ms, without its jitter. It doubles with every further one.
pub const FIRST_PAUSE_MS: i64 = 300;
/// The longest pause, in ms, without its jitter.
pub const LAST_PAUSE_MS: i64 = 5_000;

/// A pause that doubles up to a bound. Its jitter takes away or adds up to half.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    next_ms: i64,
}

impl Pause {
    pub(super) const FIRST: Self = Self { next_ms: FIRST_PAUSE_MS };

    /// The end of a pause that begins now.
    pub(super) fn end(&mut self, now: LocalTime, rng: &mut ChaCha8Rng) -> LocalTime {
        let whole_ms = self.next_ms;
        self.next_ms = (whole_ms * 2).min(LAST_PAUSE_MS);
        now.plus(whole_ms / 2 + i64::from(rng.next_u32()) % (whole_ms + 1))
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
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn pauses_double_up_to_a_bound_and_never_leave_their_jitter(seed: u64, failures in 1u32..40) {
            let mut dialing = Dialing::new(vec!["a".into()], seed);
            for failure in 0..failures {
                let whole = FIRST_PAUSE_MS.saturating_mul(1 << failure.min(20)).min(LAST_PAUSE_MS);
                let paused = dialing.failed(LocalTime(1000)).since(LocalTime(1000));
                prop_assert!((whole / 2..=whole / 2 + whole).contains(&paused), "{paused} of {whole}");
            }
            dialing.proved();
            prop_assert!(dialing.failed(LocalTime(0)).0 <= FIRST_PAUSE_MS * 3 / 2);
        }
    }
}
