//! A node as a library: tasks, sockets and a clock around the machines of `pelago-node`.
#![allow(clippy::disallowed_methods, reason = "the runtime owns the clocks")]

pub mod bootstrap;
mod clock;
mod limits;
pub mod process;
pub mod tasks;

pub use clock::{WorldClock, unix_ms};
pub use limits::{ConnectionLimits, NodeLimits};
