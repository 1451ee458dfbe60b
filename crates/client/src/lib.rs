//! The Rust SDK.
//!
//! [`core::Client`] decides everything that a client of a world decides, without a socket and without a clock.
//! [`Session`] is that core on tokio, with real connections. A [`View`] is what an avatar sees; [`tiles`] reads the land.

pub mod core;
pub mod driver;
pub mod tiles;
pub mod view;

pub use core::{Client, ClientSabotage, Event, Identity, Loss, RequestError, Settings, Unanswered};
pub use driver::{ConnectError, Session, Transport};
pub use view::{Change, Seen, View};
