//! The core of the client against a node that is made by hand.
#![allow(clippy::unwrap_used, reason = "tests")]

mod commands;
mod connecting;
mod garbage;
mod node;
mod playing;
