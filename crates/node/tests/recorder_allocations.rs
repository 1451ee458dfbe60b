//! What recording allocates: nothing, once its buffers have been used. One test only: others in this process would be
//! counted, too.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "players/inputs.rs"]
mod inputs;

use pelago_cluster::Directory;
use pelago_model::WorldTime;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn recording_what_a_lane_is_usually_told_allocates_nothing() {
    let mut recorder = inputs::recorder();
    let (directory, usual) = (Directory::default(), inputs::usual());
    let mut allocations = Vec::new();
    // The ring is filled, and then more than once more.
    for round in 0..40 {
        let region = Region::new(ALLOCATOR);
        for number in 0..5000i64 {
            let now = WorldTime(1_000_000 + round * 1000 + number / 10);
            recorder.record(now, &directory, &usual[number as usize % usual.len()]);
        }
        let change = region.change();
        allocations.push(change.allocations + change.reallocations);
    }
    assert!(!recorder.is_whole(), "the ring was filled");
    // In the second round the ring is full for the first time, and the directory is put aside. In a round or two the thread
    // that waits for this test may allocate; what is recorded would do so in each.
    let rounds = allocations[2..].iter().filter(|count| **count > 0).count();
    assert!(rounds <= 2, "{allocations:?}");
}
