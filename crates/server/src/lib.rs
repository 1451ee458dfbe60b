//! Pelago as a library: `pelago::run(MyGame)` is a whole server with its command line.
#![allow(clippy::disallowed_methods, reason = "a command line owns its clocks")]

mod certificate;
mod cli;
mod config;

pub use cli::run;
