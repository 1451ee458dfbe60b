//! Recorded machines are run again, and do what they did.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use pelago_frontier::Frontier;
use pelago_node::replay::config_of;
use pelago_node::{MachineId, Recording, Replay, ReplayParts};
use pelago_sim::{Lanes, Setup, Simulation};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The secret of all simulated worlds.
const SECRET: [u8; 32] = [7; 32];

fn parts() -> ReplayParts {
    ReplayParts { game: Arc::new(Frontier), more_services: Vec::new(), secret: SECRET }
}

/// The hash of everything that the machine does, as recorders compute it, and how much that is.
fn replayed(file: &Bytes) -> (blake3::Hash, u64, usize) {
    let recording = Recording::read(file).unwrap();
    assert!(recording.header().whole);
    let config = config_of(recording.header(), parts()).unwrap();
    let mut replay = Replay::new(&config, &recording);
    let (mut hasher, mut inputs, mut outputs) = (blake3::Hasher::new(), 0, 0);
    for entry in recording.entries() {
        let (now, entry) = entry.unwrap();
        let is_input = matches!(entry, pelago_node::recorder::Entry::Input(_));
        let mut out = Vec::new();
        replay.step(now, entry, &mut out);
        if is_input {
            hasher.update(format!("{out:?}").as_bytes());
            inputs += 1;
            outputs += out.len();
        }
    }
    assert_eq!(replay.missing_runs(), 0);
    assert_eq!(inputs, recording.header().inputs);
    (hasher.finalize(), inputs, outputs)
}

#[test]
fn every_machine_of_a_very_bad_day_does_again_what_it_did() {
    // Two lanes of three nodes that crash and come back, with players who lose their connections.
    let usual = Setup::usual(1, 40);
    let setup = Setup { recorded: true, lanes: Lanes::Each(2), overgrown: false, ..usual };
    let mut simulation = Simulation::new(setup);
    simulation.run().unwrap_or_else(|violation| panic!("{violation}"));
    let mut most: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
    let recorders = simulation.recorders();
    assert!(recorders.len() > 3 * 5, "some node has come back");
    for recorder in recorders {
        let recorder = recorder.lock().unwrap();
        let file = recorder.to_file();
        let machine = Recording::read(&file).unwrap().machine();
        let (hash, inputs, outputs) = replayed(&file);
        assert_eq!(Some(hash), recorder.outputs(), "{machine}: {inputs} inputs");
        let kind = match machine {
            MachineId::Links => "links",
            MachineId::Arrivals => "arrivals",
            MachineId::Lane(_) => "lane",
            MachineId::Service(_) => "service",
        };
        let seen = most.entry(kind).or_default();
        *seen = (seen.0.max(inputs), seen.1.max(outputs));
    }
    // A machine that had nothing to do proves nothing.
    for (kind, (inputs, outputs)) in &most {
        assert!(*inputs > 20 && *outputs > 20, "{kind}: {inputs} inputs, {outputs} outputs");
    }
    assert_eq!(most.len(), 4);
}
