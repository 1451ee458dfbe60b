//! Pelago as a library: `pelago::run(MyGame)` is a whole server with its command line, and [`Server`] one with services of
//! the studio's own.
#![allow(clippy::disallowed_methods, reason = "a command line owns its clocks")]

mod certificate;
mod cli;
mod config;
mod data;
mod ending;
mod log_throttle;
mod output;

pub use cli::{Server, run};
