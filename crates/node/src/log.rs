//! Lines for the log of the program that runs a machine.

use pelago_game::{BrokenRule, command_kind};
use pelago_model::EntityId;

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Of use when looking for a cause.
    Debug,
    /// Worth a line.
    Info,
    /// Somebody should look at it.
    Warn,
    /// Our own bug, or lost hardware.
    Error,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How bad it is.
    pub level: Level,
    /// The trace that a player was told, or 0.
    pub trace: u64,
    /// What happened.
    pub text: String,
}

impl LogLine {
    /// A line without a trace.
    pub fn new(level: Level, text: impl Into<String>) -> Self {
        Self::traced(level, 0, text)
    }

    /// A line about what a player was told of by a trace.
    pub fn traced(level: Level, trace: u64, text: impl Into<String>) -> Self {
        Self { level, trace, text: text.into() }
    }
}

/// The line about a rule that panicked for a command on an avatar's lane.
pub(crate) fn broken_for(
    (avatar, payload): (EntityId, &[u8]),
    trace: u64,
    problem: &BrokenRule,
) -> LogLine {
    let kind = command_kind(payload);
    LogLine::traced(
        Level::Error,
        trace,
        format!("the command {kind:?} of avatar {avatar}: {problem}"),
    )
}
