//! The cluster in a box: the machines of `pelago-node`, with a network, a store, a clock and players of our own,
//! everything decided by a seed.
//!
//! Safety is checked after every event; after the faults have stopped, ghosts must equal reals.

mod checks;
mod faults;
mod network;
mod player;
mod simulation;
mod store;

pub use faults::{FaultCounts, Faults};
pub use simulation::{Objection, Outcome, Setup, Simulation, Trace};
