//! The cluster in a box: the machines of `pelago-node`, with a network, a store, clocks and players of our own,
//! everything decided by a seed.
//!
//! Everything that goes wrong is planned before it happens, as a schedule of planned_faults. Safety is checked after every
//! event; after the faults have stopped, ghosts must equal reals, and everything must be as small as it has to be. An
//! violation is shrunk to the planned_faults without which nobody would object.

mod checks;
mod faults;
mod network;
mod player;
mod schedule;
mod shrink;
mod simulation;
mod sizes;
mod store;

pub use checks::Invariant;
pub use faults::{FaultCounts, Faults, Kind};
pub use schedule::{Fault, PlannedFault, schedule};
pub use shrink::{Minimal, shrink};
pub use simulation::{Lanes, Outcome, Setup, Simulation, Trace, Violation};
