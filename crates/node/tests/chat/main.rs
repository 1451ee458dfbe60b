//! The chat, through its host: rooms, mailboxes, and what two instances make of them that both believe they are preferred.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;
mod interleaved;
mod mailboxes;
mod rooms;
