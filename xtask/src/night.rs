//! `cargo xtask night`: what takes too long for every day.

use crate::{sim, torture};
use anyhow::Result;

/// Minutes of faults against real processes.
const TORTURE_MINUTES: u64 = 10;

/// Faults against real processes, then new seeds of the simulator.
pub(crate) fn night() -> Result<()> {
    torture::for_minutes(TORTURE_MINUTES)?;
    sim::sim(&["--nightly".to_owned()])
}
