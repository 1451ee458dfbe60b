//! Shrinking: from a bad day to the faults without which nobody would object.

use crate::schedule::Strike;
use crate::simulation::{Objection, Setup, Simulation};
use std::fmt;

/// The shortest day: it has to be calm for a while in the end.
const LEAST_SECONDS: u32 = 20;

/// A day on which nothing goes wrong without which nobody would object.
#[derive(Clone, Debug)]
pub struct Minimal {
    /// With fewer players and seconds than before, if that was enough.
    pub setup: Setup,
    /// The strikes that matter.
    pub strikes: Vec<Strike>,
    /// To the same promise as before.
    pub objection: Objection,
    /// How many days were simulated to find it.
    pub days: u32,
}

impl fmt::Display for Minimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let setup = &self.setup;
        writeln!(f, "{}", self.objection)?;
        writeln!(f, "shrunk in {} days to {} strikes:", self.days, self.strikes.len())?;
        for strike in &self.strikes {
            writeln!(f, "{strike}")?;
        }
        let numbers: Vec<String> = self.strikes.iter().map(|it| it.number.to_string()).collect();
        // Also if nothing has to go wrong.
        let only = if numbers.is_empty() { "none".to_owned() } else { numbers.join(",") };
        write!(
            f,
            "again: cargo xtask sim --seed {} --seconds {} --players {} --only {only}",
            setup.seed, setup.seconds, setup.players
        )
    }
}

/// Takes away strikes, players and time for as long as the same promise is broken, in so many days at most.
pub fn shrink(setup: Setup, strikes: Vec<Strike>, objection: Objection, most_days: u32) -> Minimal {
    let mut shrinking =
        Shrinking { best: Minimal { setup, strikes, objection, days: 0 }, most_days };
    // What is after the objection did not matter, unless it was only found in the end.
    let until = shrinking.best.objection.at_ms;
    let before = |strike: &&Strike| i64::from(strike.at_ms) <= until;
    let strikes = shrinking.best.strikes.iter().filter(before).copied().collect();
    shrinking.try_day(setup, strikes);
    shrinking.strikes();
    shrinking.players();
    shrinking.seconds();
    shrinking.strikes();
    shrinking.best
}

struct Shrinking {
    best: Minimal,
    most_days: u32,
}

impl Shrinking {
    /// Simulates a smaller day; takes it if the same promise is broken.
    fn try_day(&mut self, setup: Setup, strikes: Vec<Strike>) -> bool {
        if self.best.days >= self.most_days {
            return false;
        }
        self.best.days += 1;
        match Simulation::with_strikes(setup, &strikes).run() {
            Err(objection) if objection.promise == self.best.objection.promise => {
                self.best = Minimal { setup, strikes, objection, days: self.best.days };
                true
            }
            _ => false,
        }
    }

    /// Delta debugging (Zeller and Hildebrandt 2002): takes away ever smaller parts.
    fn strikes(&mut self) {
        let mut part = self.best.strikes.len();
        while part > 0 {
            let mut begin = 0;
            while begin < self.best.strikes.len() {
                let mut fewer = self.best.strikes.clone();
                fewer.drain(begin..(begin + part).min(fewer.len()));
                if !self.try_day(self.best.setup, fewer) {
                    begin += part;
                }
            }
            part = if part == 1 { 0 } else { part.div_ceil(2) };
        }
    }

    fn players(&mut self) {
        for players in 1..self.best.setup.players {
            let setup = Setup { players, ..self.best.setup };
            if self.try_day(setup, self.best.strikes.clone()) {
                return;
            }
        }
    }

    fn seconds(&mut self) {
        let mut step = self.best.setup.seconds / 2;
        while step > 0 {
            let seconds = self.best.setup.seconds - step;
            let setup = Setup { seconds, ..self.best.setup };
            if seconds < LEAST_SECONDS || !self.try_day(setup, self.best.strikes.clone()) {
                step /= 2;
            }
        }
    }
}
