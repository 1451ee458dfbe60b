//! Pelago as a library: `pelago::run(MyGame)` is a whole server with its command line.
#![allow(clippy::disallowed_methods, reason = "the shell owns the clocks")]

mod certificate;
mod cli;
mod clock;
mod cluster;
mod config;
mod http;
mod http_client;
mod measured_store;
mod metrics;
mod shell;
mod sink;
mod world;

pub use cli::run;
