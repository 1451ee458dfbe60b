//! The schedule of a day: every fault that is planned, drawn from the seed before anything happens.
//!
//! A fault is plain data and draws nothing itself, so that a day with some of its faults taken out is the same day
//! otherwise. The schedule of a shorter day is the beginning of that of a longer one.

use crate::faults::Faults;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::fmt;

/// How often faults are drawn, in ms.
const STEP_MS: u32 = 100;
/// The farthest that the clock of a host is wrong, in ms, either way.
pub(crate) const MAX_SKEW_MS: i32 = 400;
/// The most players of a storm.
pub(crate) const MAX_STORM: u16 = 12;

/// A planned fault. Nodes and players are counted from 0, modulo those that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant says what its fields mean")]
pub enum Fault {
    /// A link of a node is cut.
    CutLink { node: u16 },
    /// Two nodes cannot hear each other for a while.
    Partition { one: u16, other: u16, for_ms: u32 },
    /// A node dies, and comes back.
    Crash { node: u16, back_ms: u32 },
    /// A node dies in its next write.
    CrashInWrite { node: u16, back_ms: u32 },
    /// A player comes a second time, at another node; its old node may not hear of it for a while.
    Takeover { player: u16, node: u16, hidden_ms: u32 },
    /// A player takes no bytes for a while.
    BlockPlayer { player: u16, for_ms: u32 },
    /// A link of a node takes no bytes for a while.
    BlockLink { node: u16, for_ms: u32 },
    /// The next message of a node is late.
    Late { node: u16, by_ms: u32 },
    /// The next commit of a node fails.
    FailCommit { node: u16 },
    /// Nobody knows how the next commit of a node ends.
    UnknownCommit { node: u16, done: bool },
    /// The next documents that a node asks for cannot be read.
    FailLoad { node: u16 },
    /// The store takes so many times as long, for a while.
    SlowStore { factor: u32, for_ms: u32 },
    /// The next commit of a node takes so many times as long.
    SlowCommit { node: u16, factor: u32 },
    /// The links of a node carry so much and so late, for a while.
    SlowLinks { node: u16, delay_ms: u32, bytes_per_s: u32, for_ms: u32 },
    /// The clock of a node's host is set, to so much more or less than the truth.
    SetClock { node: u16, skew_ms: i32 },
    /// The clock of a node's host runs too fast or too slow, for a while.
    Drift { node: u16, permille: i32, for_ms: u32 },
    /// The clock of a node's host is quite wrong for a while: somebody has set it a minute, an hour or a day ahead or back.
    WrongClock { node: u16, by_ms: i32, for_ms: u32 },
    /// A player is gone; its node notices it later.
    Vanish { player: u16, noticed_ms: u32, back_ms: u32 },
    /// So many come at once, and go after a while.
    Storm { players: u16, stay_ms: u32, goodbye: bool },
    /// The task of a machine is not woken for a while, whatever comes for it.
    Stall { node: u16, machine: u16, for_ms: u32 },
    /// A node is stopped as a whole, and goes on after a while.
    Stop { node: u16, for_ms: u32 },
    /// The mailboxes of a node have hardly any room for a while.
    Squeeze { node: u16, for_ms: u32 },
    /// A player logs in at another node, or at the same one and thus perhaps on another lane.
    Migrate { player: u16, node: u16, goodbye: bool },
    /// The next rules that a node runs never return, in one of their turns.
    Hang { node: u16, turn: u16 },
}

/// A fault, its number in the schedule and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedFault {
    /// To name it in `--only`.
    pub number: u32,
    /// When, in ms from the beginning.
    pub at_ms: u32,
    /// What.
    pub fault: Fault,
}

impl fmt::Display for PlannedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>4}  {:>6} ms  {:?}", self.number, self.at_ms, self.fault)
    }
}

/// Everything that is planned for a day of so many seconds.
pub fn schedule(seed: u64, seconds: u32, faults: &Faults) -> Vec<PlannedFault> {
    // Another stream of numbers than those of the players.
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(u64::MAX);
    let mut draw = Draw { rng };
    // And another one for kinds that came later, so that days stay what they were otherwise.
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(u64::MAX - 1);
    let mut later = Draw { rng };
    let mut planned_faults = Vec::new();
    for step in 10..seconds * 1000 / STEP_MS {
        for (rate, plan) in plans(faults) {
            if draw.below(1000 * 1000 / STEP_MS) < rate {
                let at_ms = step * STEP_MS + draw.below(STEP_MS);
                planned_faults.push(PlannedFault { number: 0, at_ms, fault: plan(&mut draw) });
            }
        }
        if later.below(1000 * 1000 / STEP_MS) < faults.hang {
            let at_ms = step * STEP_MS + later.below(STEP_MS);
            let fault = Fault::Hang { node: later.any(), turn: later.any() };
            planned_faults.push(PlannedFault { number: 0, at_ms, fault });
        }
    }
    planned_faults.sort_by_key(|planned_fault| planned_fault.at_ms);
    for (number, planned_fault) in (0..).zip(&mut planned_faults) {
        planned_fault.number = number;
    }
    planned_faults
}

struct Draw {
    rng: ChaCha8Rng,
}

impl Draw {
    fn below(&mut self, bound: u32) -> u32 {
        self.rng.next_u32() % bound.max(1)
    }

    fn between(&mut self, least: u32, most: u32) -> u32 {
        least + self.below(most - least + 1)
    }

    fn any(&mut self) -> u16 {
        self.rng.next_u32() as u16
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    fn factor(&mut self) -> u32 {
        if self.coin() { 10 } else { 100 }
    }

    fn signed(&mut self, most: i32) -> i32 {
        self.between(0, 2 * most.unsigned_abs()) as i32 - most
    }
}

type Plan = fn(&mut Draw) -> Fault;

/// Rate and maker of each kind.
fn plans(faults: &Faults) -> [(u32, Plan); 21] {
    [
        (faults.link_loss, |draw| Fault::CutLink { node: draw.any() }),
        (faults.partition, |draw| Fault::Partition {
            one: draw.any(),
            other: draw.any(),
            for_ms: draw.between(500, 6500),
        }),
        (faults.crash, |draw| {
            let (node, back_ms) = (draw.any(), draw.between(500, 4500));
            match draw.coin() {
                true => Fault::Crash { node, back_ms },
                false => Fault::CrashInWrite { node, back_ms },
            }
        }),
        (faults.takeover, |draw| {
            let hidden_ms = if draw.coin() { draw.between(500, 6500) } else { 0 };
            Fault::Takeover { player: draw.any(), node: draw.any(), hidden_ms }
        }),
        (faults.block, |draw| {
            let (which, for_ms) = (draw.any(), draw.between(100, 2100));
            match draw.below(3) {
                0 => Fault::BlockLink { node: which, for_ms },
                _ => Fault::BlockPlayer { player: which, for_ms },
            }
        }),
        (faults.late, |draw| Fault::Late { node: draw.any(), by_ms: draw.between(100, 1000) }),
        (faults.failed_commit, |draw| Fault::FailCommit { node: draw.any() }),
        (faults.unknown_commit, |draw| Fault::UnknownCommit {
            node: draw.any(),
            done: draw.coin(),
        }),
        (faults.failed_load, |draw| Fault::FailLoad { node: draw.any() }),
        (faults.slow_store, |draw| Fault::SlowStore {
            factor: draw.factor(),
            for_ms: draw.between(500, 5000),
        }),
        (faults.slow_commit, |draw| Fault::SlowCommit { node: draw.any(), factor: draw.factor() }),
        (faults.slow_link, |draw| Fault::SlowLinks {
            node: draw.any(),
            delay_ms: draw.between(0, 300),
            bytes_per_s: draw.between(500, 5000),
            for_ms: draw.between(500, 5000),
        }),
        (faults.clock_step, |draw| Fault::SetClock {
            node: draw.any(),
            skew_ms: draw.signed(MAX_SKEW_MS),
        }),
        (faults.clock_drift, |draw| Fault::Drift {
            node: draw.any(),
            permille: draw.signed(50),
            for_ms: draw.between(1000, 8000),
        }),
        (faults.wrong_clock, |draw| Fault::WrongClock {
            node: draw.any(),
            by_ms: [60_000, 3_600_000, 86_400_000][draw.below(3) as usize]
                * if draw.coin() { 1 } else { -1 },
            for_ms: draw.between(1000, 10_000),
        }),
        (faults.vanish, |draw| Fault::Vanish {
            player: draw.any(),
            noticed_ms: draw.between(0, 8000),
            back_ms: draw.between(100, 3000),
        }),
        (faults.storm, |draw| Fault::Storm {
            players: 3 + draw.any() % (MAX_STORM - 2),
            stay_ms: draw.between(200, 6000),
            goodbye: draw.coin(),
        }),
        (faults.stall, |draw| Fault::Stall {
            node: draw.any(),
            machine: draw.any(),
            for_ms: draw.between(1, 900),
        }),
        (faults.stop, |draw| Fault::Stop { node: draw.any(), for_ms: draw.between(1500, 20_000) }),
        (faults.squeeze, |draw| Fault::Squeeze {
            node: draw.any(),
            for_ms: draw.between(10, 1500),
        }),
        (faults.migration, |draw| Fault::Migrate {
            player: draw.any(),
            node: draw.any(),
            goodbye: draw.coin(),
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_day_begins_like_a_longer_one() {
        let (short, long) = (schedule(7, 40, &Faults::USUAL), schedule(7, 90, &Faults::USUAL));
        assert!(short.len() > 50);
        assert_eq!(short[..], long[..short.len()]);
        assert_ne!(short, schedule(8, 40, &Faults::USUAL));
    }

    #[test]
    fn nothing_is_planned_for_a_good_day() {
        assert_eq!(schedule(7, 90, &Faults::NONE), []);
    }
}
