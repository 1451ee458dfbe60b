//! A node as a library: tasks, sockets and a clock around the machines of `pelago-node`.
//!
//! ```no_run
//! # async fn start(game: std::sync::Arc<dyn pelago_game::Game>) -> Result<(), Box<dyn std::error::Error>> {
//! use pelago_runtime::Node;
//!
//! let node = Node::builder().game(game).store(pelago_store::open("memory:")?).start().await?;
//! println!("clients connect to {}", node.addresses().tcp);
//! node.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! Nodes of one cluster share an [`AddressBook`]. Those who operate nodes ask them by [`AdminCalls`].
#![allow(clippy::disallowed_methods, reason = "the runtime owns the clocks")]

pub mod address_book;
pub mod admin_calls;
pub mod bootstrap;
mod client_threads;
mod clock;
mod door;
mod flight;
mod limits;
mod mailbox;
mod probe_clock;
mod readiness;
mod rule_watch;
mod running;
pub mod service;
mod status;
mod stopwatch;
mod store_probe;
mod supervisor;
mod task_meter;
mod tasks;
mod watch;
pub mod world_lease;

pub use address_book::{AddressBook, InProcessBook};
pub use admin_calls::{AdminCalls, NodeHandle, ProcessCalls};
pub use bootstrap::{NewWorld, World};
pub use client_threads::client_threads;
pub use clock::{ClockAnswer, unix_ms};
pub use door::Door;
pub use limits::{ConnectionLimits, NodeLimits};
pub use readiness::{Alarm, Readiness, Reason, ReasonCode};
pub use running::{Addresses, Listeners, Node, NodeBuilder, StartError};
pub use task_meter::TaskReport;
pub use world_lease::WorldLease;
