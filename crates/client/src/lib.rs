//! The Rust SDK: a [`Session`] talks to a node, a [`View`] is what its avatar sees. [`bots`] are built on it.
#![allow(clippy::disallowed_methods, reason = "clients live in real time")]

pub mod bots;
pub mod rude;
pub mod session;
pub mod tiles;
pub mod view;

pub use session::{ConnectError, Session, Transport};
pub use view::{Change, Seen, View};
