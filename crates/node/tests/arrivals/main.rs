//! The machine of arrivals over a real store in memory.
#![allow(clippy::unwrap_used, reason = "tests")]

mod budgets;
mod clients;
mod gate;
mod login;
