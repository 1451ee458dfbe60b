//! Recording of what a lane is told most. `docs/operating/flight.md` tells the results.
#![allow(missing_docs, reason = "made by a macro")]
#![allow(clippy::unwrap_used, reason = "a bench ends at the first problem")]

#[path = "../tests/players/inputs.rs"]
mod inputs;

use criterion::{Criterion, criterion_group, criterion_main};
use pelago_cluster::Directory;
use pelago_model::WorldTime;
use std::hint::black_box;

fn record(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    let (usual, directory) = (inputs::usual(), Directory::default());
    for (name, input) in ["move", "frames_of_9_chunks", "wake"].iter().zip(&usual) {
        let mut recorder = inputs::recorder();
        let mut now = 1_000_000;
        group.bench_function(*name, |bencher| {
            bencher.iter(|| {
                now += 1;
                recorder.record(WorldTime(now), black_box(&directory), black_box(input));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, record);
criterion_main!(benches);
