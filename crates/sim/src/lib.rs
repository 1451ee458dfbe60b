//! The cluster in a box: the machines of `pelago-node`, with a network, a store, clocks and players of our own,
//! everything decided by a seed.
//!
//! Everything that goes wrong is planned before it happens, as a schedule. Safety is checked after every
//! event; after the faults have stopped, ghosts must equal reals, and everything must be as small as it has to be. A
//! violation is shrunk to the faults without which it does not occur.

mod faults;
mod interleavings;
mod network;
mod player;
mod said;
mod schedule;
mod shrink;
mod simulation;
mod store;
mod violation;

pub use faults::{FaultCounts, Faults, Kind};
pub use interleavings::{INTERLEAVING_TURNS, Interleavings};
pub use schedule::{Fault, PlannedFault, schedule};
pub use shrink::{Minimal, shrink};
pub use simulation::{Lanes, Outcome, Setup, Simulation, Trace};
pub use violation::{Invariant, Violation};
