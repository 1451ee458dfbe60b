//! Shrinking: from a bad day to the faults without which nobody would object.

use crate::schedule::PlannedFault;
use crate::simulation::{Setup, Simulation};
use crate::violation::Violation;
use std::fmt;

/// The shortest day: it has to be calm for a while in the end.
const LEAST_SECONDS: u32 = 20;

/// A day on which nothing goes wrong without which nobody would object.
#[derive(Clone, Debug)]
pub struct Minimal {
    /// With fewer players and seconds than before, if that was enough.
    pub setup: Setup,
    /// The planned faults that matter.
    pub planned_faults: Vec<PlannedFault>,
    /// To the same invariant as before.
    pub violation: Violation,
    /// How many days were simulated to find it.
    pub days: u32,
}

impl fmt::Display for Minimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let setup = &self.setup;
        writeln!(f, "{}", self.violation)?;
        writeln!(f, "shrunk in {} days to {} faults:", self.days, self.planned_faults.len())?;
        for planned_fault in &self.planned_faults {
            writeln!(f, "{planned_fault}")?;
        }
        let numbers: Vec<String> =
            self.planned_faults.iter().map(|it| it.number.to_string()).collect();
        // Also if nothing has to go wrong.
        let only = if numbers.is_empty() { "none".to_owned() } else { numbers.join(",") };
        write!(
            f,
            "again: cargo xtask sim --seed {} --seconds {} --players {} --only {only}",
            setup.seed, setup.seconds, setup.players
        )
    }
}

/// Takes away faults, players and time for as long as the same invariant is broken, in so many days at most.
pub fn shrink(
    setup: Setup,
    planned_faults: Vec<PlannedFault>,
    violation: Violation,
    most_days: u32,
) -> Minimal {
    let mut shrinking =
        Shrinking { best: Minimal { setup, planned_faults, violation, days: 0 }, most_days };
    // What is after the violation did not matter, unless it was only found in the end.
    let until = shrinking.best.violation.at_ms;
    let before = |planned_fault: &&PlannedFault| i64::from(planned_fault.at_ms) <= until;
    let planned_faults = shrinking.best.planned_faults.iter().filter(before).copied().collect();
    shrinking.try_day(setup, planned_faults);
    shrinking.planned_faults();
    shrinking.players();
    shrinking.seconds();
    shrinking.planned_faults();
    shrinking.best
}

struct Shrinking {
    best: Minimal,
    most_days: u32,
}

impl Shrinking {
    /// Simulates a smaller day; takes it if the same invariant is broken.
    fn try_day(&mut self, setup: Setup, planned_faults: Vec<PlannedFault>) -> bool {
        if self.best.days >= self.most_days {
            return false;
        }
        self.best.days += 1;
        match Simulation::with_planned_faults(setup, &planned_faults).run() {
            Err(violation) if violation.invariant == self.best.violation.invariant => {
                self.best = Minimal { setup, planned_faults, violation, days: self.best.days };
                true
            }
            _ => false,
        }
    }

    /// Delta debugging (Zeller and Hildebrandt 2002): takes away ever smaller groups.
    fn planned_faults(&mut self) {
        let mut size = self.best.planned_faults.len();
        while size > 0 {
            let mut begin = 0;
            while begin < self.best.planned_faults.len() {
                let mut fewer = self.best.planned_faults.clone();
                fewer.drain(begin..(begin + size).min(fewer.len()));
                if !self.try_day(self.best.setup, fewer) {
                    begin += size;
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
    }

    fn players(&mut self) {
        for players in 1..self.best.setup.players {
            let setup = Setup { players, ..self.best.setup };
            if self.try_day(setup, self.best.planned_faults.clone()) {
                return;
            }
        }
    }

    fn seconds(&mut self) {
        let mut step = self.best.setup.seconds / 2;
        while step > 0 {
            let seconds = self.best.setup.seconds - step;
            let setup = Setup { seconds, ..self.best.setup };
            if seconds < LEAST_SECONDS || !self.try_day(setup, self.best.planned_faults.clone()) {
                step /= 2;
            }
        }
    }
}
