//! Which faults happen, in which order: a function of the seed.

use crate::fault::Fault;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::time::Duration;

/// Where the world under torture is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Engine {
    /// In a directory on a disk of its own.
    Embedded,
    /// In a PostgreSQL of its own.
    Postgres,
}

impl Engine {
    pub(crate) const ALL: [Self; 2] = [Self::Embedded, Self::Postgres];
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// In peace before it.
    pub(crate) calm: Duration,
    pub(crate) fault: Fault,
    /// Whether the documents are compared before a world that has ended is started again.
    pub(crate) compare: bool,
}

/// Faults without end. Every kind happens once before any happens again.
pub(crate) struct Schedule {
    rng: ChaCha8Rng,
    engine: Engine,
    round: Vec<fn(&mut ChaCha8Rng) -> Fault>,
}

fn between(rng: &mut ChaCha8Rng, from_ms: u64, to_ms: u64) -> Duration {
    Duration::from_millis(from_ms + rng.next_u64() % (to_ms - from_ms))
}

/// The kinds that an engine can meet.
fn kinds(engine: Engine) -> Vec<fn(&mut ChaCha8Rng) -> Fault> {
    let mut kinds: Vec<fn(&mut ChaCha8Rng) -> Fault> = vec![
        |_| Fault::Kill,
        |_| Fault::Kill,
        |_| Fault::Terminate,
        |rng| Fault::Stop(between(rng, 200, 9000)),
        |rng| {
            let steps = [3600, 86_400, -60, -86_400];
            let step = steps[rng.next_u64() as usize % steps.len()];
            Fault::StepClock(step, between(rng, 1000, 5000))
        },
        |_| Fault::Cut,
        |rng| Fault::Stall(between(rng, 200, 6000)),
        |rng| Fault::Vanish(between(rng, 200, 6000)),
    ];
    match engine {
        Engine::Embedded => kinds.extend([
            (|_| Fault::PowerCut) as fn(&mut ChaCha8Rng) -> Fault,
            |rng| Fault::Freeze(between(rng, 200, 6000)),
            |rng| Fault::Fill(between(rng, 500, 4000)),
        ]),
        Engine::Postgres => kinds.extend([
            (|rng| Fault::SilenceDatabase(between(rng, 200, 12_000)))
                as fn(&mut ChaCha8Rng) -> Fault,
            |_| Fault::KillDatabase,
        ]),
    }
    kinds
}

impl Schedule {
    pub(crate) fn new(seed: u64, engine: Engine) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed.wrapping_mul(2).wrapping_add(engine as u64));
        Self { rng, engine, round: Vec::new() }
    }
}

impl Iterator for Schedule {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.round.is_empty() {
            self.round = kinds(self.engine);
        }
        let place = self.rng.next_u64() as usize % self.round.len();
        let fault = self.round.swap_remove(place)(&mut self.rng);
        // Sometimes while players still come back from the fault before.
        let calm = between(&mut self.rng, 100, 4000);
        Some(Step { calm, fault, compare: self.rng.next_u64().is_multiple_of(2) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_is_a_schedule_and_another_is_another() {
        let steps = |seed| Schedule::new(seed, Engine::Embedded).take(50).collect::<Vec<_>>();
        assert_eq!(steps(3), steps(3));
        assert_ne!(steps(3), steps(4));
    }

    #[test]
    fn every_kind_happens_in_every_round() {
        for engine in Engine::ALL {
            let round = kinds(engine).len();
            let kinds = |skip| {
                let steps = Schedule::new(9, engine).skip(skip).take(round);
                steps.map(|step| step.fault.kind()).collect::<BTreeSet<_>>()
            };
            assert_eq!(kinds(0), kinds(round));
            // Kills come twice.
            assert_eq!(kinds(0).len(), round - 1);
        }
    }
}
