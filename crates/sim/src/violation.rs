//! Invariants, and reports of their violations.

use std::fmt;

/// An invariant: it holds whatever goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    /// One real per avatar and epoch.
    OneReal,
    /// No older revision after a newer one.
    NewestRevision,
    /// A command that is acknowledged is durable and happened once, under the right epoch.
    Acknowledged,
    /// A line is said once, under the right epoch, and shown once, in one order; an acknowledged line is not lost.
    Said,
    /// A command that is asked for once happens once.
    AskedOnce,
    /// What nodes say can be read.
    Protocol,
    /// Books balance.
    Books,
    /// Audits are never changed, and explain everything that there is.
    Audited,
    /// A grant happens once, and is answered alike whenever it is asked for.
    Granted,
    /// Ghosts equal reals in the end.
    Ghosts,
    /// Everybody gets an answer in the end.
    Answers,
    /// A session goes on where the one before it was.
    LivePlace,
    /// Time never steps back, and in the end everybody knows it.
    Time,
    /// Nobody is closed as idle who is not.
    Idle,
    /// Nothing is written to what takes no bytes.
    Backpressure,
    /// Nothing holds more than its limit.
    Limits,
    /// In the end everything is as small again as it has to be.
    Rest,
}

/// An invariant was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The seed.
    pub seed: u64,
    /// When, in ms from the beginning.
    pub at_ms: i64,
    /// The invariant.
    pub invariant: Invariant,
    /// The details.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} at {} ms: {}", self.seed, self.at_ms, self.text)
    }
}
