//! The simulator must find bugs that are planted, and nothing where there are none.

use pelago_cluster::LinksSabotage;
use pelago_node::StewardSabotage;
use pelago_node::node::Sabotage;
use pelago_sim::{Faults, Objection, Setup, Simulation};

/// The first objection among many seeds.
fn objection(sabotage: Sabotage) -> Option<Objection> {
    (1..=40).find_map(|seed| {
        let setup = Setup { sabotage, ..Setup::usual(seed, 40) };
        Simulation::new(setup).run().err()
    })
}

fn check(sabotage: Sabotage, expected: &str) {
    match objection(sabotage) {
        Some(objection) => assert!(objection.text.contains(expected), "{objection}"),
        None => panic!("nobody objected, expected: {expected}"),
    }
}

#[test]
fn an_acknowledgement_before_the_commit_is_found() {
    let steward = StewardSabotage { acknowledge_before_commit: true, ..StewardSabotage::default() };
    check(Sabotage { steward, ..Sabotage::default() }, "acknowledged and not durable");
}

#[test]
fn an_unchecked_epoch_is_found() {
    let steward = StewardSabotage { ignore_epoch: true, ..StewardSabotage::default() };
    check(Sabotage { steward, ..Sabotage::default() }, "a session of epoch");
}

#[test]
fn a_lost_subscription_is_found() {
    let links = LinksSabotage { forget_subscriptions: true, ..LinksSabotage::default() };
    check(Sabotage { links, ..Sabotage::default() }, "shows");
}

#[test]
fn a_snapshot_that_is_off_by_one_is_found() {
    let links = LinksSabotage { snapshot_off_by_one: true, ..LinksSabotage::default() };
    check(Sabotage { links, ..Sabotage::default() }, "shows");
}

#[test]
fn without_planted_bugs_nobody_objects() {
    assert_eq!(objection(Sabotage::default()), None);
}

#[test]
fn the_same_script_ends_the_same_with_one_two_and_four_lanes() {
    let trace = |lanes| {
        let setup = Setup { lanes, faults: Faults::NONE, steady: true, ..Setup::usual(5, 30) };
        let mut simulation = Simulation::new(setup);
        let outcome = simulation.run().expect("no objection");
        assert!(outcome.acknowledged > 20, "{outcome:?}");
        simulation.trace()
    };
    let one = trace(1);
    assert_eq!(one.paths.len(), 8);
    assert_eq!(one, trace(2));
    assert_eq!(one, trace(4));
}

#[test]
fn the_same_seed_is_the_same_day() {
    let run = || Simulation::new(Setup::usual(11, 30)).run();
    assert_eq!(run(), run());
}
