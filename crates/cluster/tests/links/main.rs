//! Machines of links among themselves: what holds whatever happens to the links between them.
#![allow(clippy::unwrap_used, reason = "tests")]

mod calls;
mod harness;
mod peers;
mod streams;
