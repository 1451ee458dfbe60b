//! Stewards as instances of a service host over a store in memory, driven by hand.
#![allow(clippy::unwrap_used, reason = "tests")]

mod failing;
mod failures;
mod grants;
mod harness;
mod hot;
mod pages;
mod runs;
