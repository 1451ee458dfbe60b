//! Every target over its seeds, and over random changes of them: the same ones each time.

use pelago_fuzz::seeds::seeds;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::panic::catch_unwind;

/// Bytes of a changed input at most.
const MAX_BYTES: usize = 4096;

/// Runs a target over its seeds and `changes` inputs made from them.
fn smoke(name: &str, changes: usize) {
    let seeds = seeds(name).expect("seeds can be read");
    assert!(seeds.len() > 5, "{name} has hardly any seeds");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    seeds.iter().for_each(|seed| check(name, seed));
    for _ in 0..changes {
        let input = changed(&seeds, &mut rng);
        check(name, &input);
    }
}

fn check(name: &str, input: &[u8]) {
    if catch_unwind(|| pelago_fuzz::run(name, input)).is_err() {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!(
            "{name} breaks an invariant; keep this as crates/fuzz/regressions/{name}/NAME: {hex}"
        );
    }
}

/// A seed with a few changes, of the kinds that a coverage-guided fuzzer makes.
fn changed(seeds: &[Vec<u8>], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut below = |bound: usize| rng.next_u32() as usize % bound.max(1);
    let mut input = seeds[below(seeds.len())].clone();
    for _ in 0..=below(4) {
        let at = below(input.len());
        match below(7) {
            0 if !input.is_empty() => input[at] ^= 1 << below(8),
            1 if !input.is_empty() => input[at] = [0, 1, 0x7f, 0x80, 0xff][below(5)],
            2 if !input.is_empty() => input[at] = below(256) as u8,
            3 => input.insert(at, below(256) as u8),
            4 => drop(input.drain(at..(at + below(8)).min(input.len()))),
            5 => {
                let other = &seeds[below(seeds.len())];
                let from = below(other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => input.extend_from_slice(&seeds[below(seeds.len())]),
        }
    }
    input.truncate(MAX_BYTES);
    input
}

#[test]
fn nothing_that_clients_and_nodes_tell_each_other_panics() {
    smoke("client", 20_000);
}

#[test]
fn nothing_that_nodes_tell_each_other_panics() {
    smoke("peer", 20_000);
}

#[test]
fn messages_come_whole_from_any_bytes_however_they_are_cut() {
    smoke("framing", 20_000);
}

#[test]
fn no_document_panics_its_readers() {
    smoke("document", 10_000);
}

#[test]
fn no_client_and_no_peer_panics_a_node_or_spoils_what_others_see() {
    smoke("machine", 2_000);
}
