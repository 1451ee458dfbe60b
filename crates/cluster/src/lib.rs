//! Membership, and what nodes read from, publish to and ask of each other.
//!
//! One machine, [`Links`]: it knows no lanes, no documents and no sockets.

mod aliases;
pub mod book;
mod calls;
pub mod directory;
mod hangup;
mod link;
mod links;
pub mod rendezvous;
mod subjects;
mod subscriptions;
mod table;

pub use book::Member;
pub use calls::{CallError, CallTarget, IncomingCall, Rejection};
pub use directory::Directory;
pub use hangup::HangupReason;
pub use link::LinkId;
pub use links::{Links, LinksConfig, LinksCounters, LinksEffect, LinksInput, LinksSabotage};
pub use subjects::Subject;
