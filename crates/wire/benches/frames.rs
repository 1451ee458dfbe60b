//! Frames of turns, encoded and decoded, beside a copy of the same bytes.
//!
//! `cargo xtask bench micro` runs it and divides by the elements: turns.
#![allow(missing_docs, reason = "made by a macro")]
#![allow(clippy::unwrap_used, reason = "a bench ends at the first problem")]

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pelago_model::{IslandTime, Position, Trajectory, WorldNumber};
use pelago_wire::record::{Base, Record, Turn, decode_records};
use std::hint::black_box;

/// Turns in a frame: those of a crowded chunk in one tick.
const TURNS: u16 = 50;

fn turns() -> Vec<Record> {
    let turn = |slot: u16| {
        let start = Position::new(i32::from(slot) * 31 % 1920, i32::from(slot) * 17 % 1920);
        let to = Position::new(start.x + 700 - i32::from(slot) * 13, start.y - 500);
        let at = IslandTime(100_000 - i64::from(slot % 100));
        let path = Trajectory::new(at, start, 256, &[to]).unwrap();
        Record::Turn(Turn::from_trajectory(slot, &path, 256, false))
    };
    (0..TURNS).map(turn).collect()
}

fn frames(criterion: &mut Criterion) {
    let world = WorldNumber::new(1).unwrap();
    let base = Base { t0: IslandTime(100_000), corner: Position::new(0, 0), world };
    let records = turns();
    let mut out = BytesMut::with_capacity(4096);
    records.iter().for_each(|record| record.put(&base, &mut out));
    let bytes = out.clone().freeze();

    let mut group = criterion.benchmark_group("frames_ns_per_turn");
    group.throughput(Throughput::Elements(TURNS.into()));
    group.bench_function("baseline: copy of the same bytes", |bencher| {
        bencher.iter(|| {
            out.clear();
            out.extend_from_slice(black_box(&bytes));
        });
    });
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            out.clear();
            black_box(&records).iter().for_each(|record| record.put(&base, &mut out));
        });
    });
    group.bench_function("decode and validate", |bencher| {
        bencher.iter(|| {
            decode_records(black_box(&bytes), base).filter(|record| record.is_ok()).count()
        });
    });
    group.finish();
}

criterion_group!(benches, frames);
criterion_main!(benches);
