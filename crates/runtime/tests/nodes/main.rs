//! Ring 2: several nodes in one process, with real sockets and in real time, through the public API alone.
//!
//! Everything here has to happen at last; nothing depends on how long it takes.
#![allow(clippy::disallowed_methods, reason = "real sockets live in real time")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod faulty_store;
mod flight;
mod harness;
mod health;
mod hostile_network;
mod hostile_peers;
mod hot_paths;
mod membership;
mod operators;
#[path = "../../../server/tests/process/player.rs"]
#[allow(dead_code, reason = "shared with the tests of real processes")]
mod player;
#[path = "../../../server/tests/process/proxy.rs"]
mod proxy;
mod second_login;
mod services;
mod strangers;
mod supervision;
#[path = "../../../../examples/tally/src/tally.rs"]
#[allow(unreachable_pub, reason = "it is the module of a program")]
mod tally;
mod waves;
mod wild_rules;
