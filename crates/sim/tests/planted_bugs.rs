//! The simulator must find bugs that are planted, and nothing where there are none.

use pelago_client::ClientSabotage;
use pelago_cluster::LinksSabotage;
use pelago_node::ChatSabotage;
use pelago_node::Sabotage;
use pelago_node::StewardSabotage;
use pelago_sim::{
    Fault, Faults, Invariant, Lanes, PlannedFault, Setup, Simulation, Violation, shrink,
};

/// Days on which nothing may happen where no bug is planted.
const QUIET_DAYS: u64 = 40;
/// Days by which a planted bug must have been found; the rarest take a hundred.
const DAYS: u64 = 200;

/// The first day among so many on which an invariant is broken, with everything that was planned for it.
fn violation(days: u64, change: impl Fn(Setup) -> Setup) -> Option<(Setup, Violation)> {
    (1..=days).find_map(|seed| {
        let setup = change(Setup::usual(seed, 40));
        Some((setup, Simulation::new(setup).run().err()?))
    })
}

fn planted(sabotage: Sabotage) -> impl Fn(Setup) -> Setup {
    move |setup| Setup { sabotage, ..setup }
}

fn check(change: impl Fn(Setup) -> Setup, invariant: Invariant, expected: &str) {
    let (_, violation) = violation(DAYS, change).expect("no invariant was broken");
    assert_eq!(violation.invariant, invariant, "{violation}");
    assert!(violation.text.contains(expected), "{violation}");
}

#[test]
fn an_acknowledgement_before_the_commit_is_found() {
    let steward = StewardSabotage { acknowledge_before_commit: true, ..StewardSabotage::default() };
    let planted = planted(Sabotage { steward, ..Sabotage::default() });
    check(planted, Invariant::Acknowledged, "acknowledged and not durable");
}

#[test]
fn an_unchecked_epoch_is_found() {
    let steward = StewardSabotage { ignore_epoch: true, ..StewardSabotage::default() };
    let planted = planted(Sabotage { steward, ..Sabotage::default() });
    check(planted, Invariant::Acknowledged, "a session of epoch");
}

#[test]
fn a_grant_that_is_carried_out_again_is_found() {
    let steward = StewardSabotage { repeat_grants: true, ..StewardSabotage::default() };
    let planted = planted(Sabotage { steward, ..Sabotage::default() });
    check(planted, Invariant::Audited, "its audits say");
}

#[test]
fn a_chat_that_answers_under_an_old_epoch_is_found() {
    let chat = ChatSabotage { ignore_epoch: true, ..ChatSabotage::default() };
    let planted = planted(Sabotage { chat, ..Sabotage::default() });
    check(planted, Invariant::Said, "a session of epoch");
}

#[test]
fn a_chat_that_forgets_who_said_what_is_found() {
    let chat = ChatSabotage { forget_speakers: true, ..ChatSabotage::default() };
    let planted = planted(Sabotage { chat, ..Sabotage::default() });
    check(planted, Invariant::Said, "was said twice");
}

#[test]
fn a_lost_subscription_is_found() {
    let links = LinksSabotage { forget_subscriptions: true, ..LinksSabotage::default() };
    let planted = planted(Sabotage { links, ..Sabotage::default() });
    check(planted, Invariant::Ghosts, "shows");
}

#[test]
fn a_snapshot_that_is_off_by_one_is_found() {
    let links = LinksSabotage { snapshot_off_by_one: true, ..LinksSabotage::default() };
    let planted = planted(Sabotage { links, ..Sabotage::default() });
    check(planted, Invariant::Ghosts, "shows");
}

#[test]
fn without_planted_bugs_no_invariant_is_broken() {
    assert_eq!(violation(QUIET_DAYS, |setup| setup).map(|(_, violation)| violation), None);
}

#[test]
fn nodes_that_are_stopped_again_and_again_close_nobody_as_idle() {
    for seed in 0..30 {
        let faults = Faults { stop: 100, migration: 0, ..Faults::USUAL };
        let setup = Setup { faults, ..Setup::usual(seed, 60) };
        assert_eq!(Simulation::new(setup).run().err(), None);
    }
}

#[test]
fn calls_that_are_never_forgotten_are_found() {
    let links = LinksSabotage { keep_calls: true, ..LinksSabotage::default() };
    let planted = planted(Sabotage { links, ..Sabotage::default() });
    check(planted, Invariant::Rest, "calls of a link at rest");
}

#[test]
fn writes_to_a_link_that_takes_no_bytes_are_found() {
    let links = LinksSabotage { ignore_blocked: true, ..LinksSabotage::default() };
    let planted = planted(Sabotage { links, ..Sabotage::default() });
    check(planted, Invariant::Backpressure, "takes no bytes");
}

#[test]
fn a_resumed_client_that_repeats_a_command_under_a_new_number_is_found() {
    let client_sabotage = ClientSabotage { repeat_under_new_number: true };
    check(|setup| Setup { client_sabotage, ..setup }, Invariant::AskedOnce, "it was done as");
}

#[test]
fn a_mailbox_that_loses_its_oldest_when_full_is_found() {
    let planted = planted(Sabotage { forgetful_mailboxes: Some(4), ..Sabotage::default() });
    let (_, violation) = violation(DAYS, planted).expect("no invariant was broken");
    let expected = [Invariant::Ghosts, Invariant::Answers, Invariant::Rest, Invariant::OneReal];
    assert!(expected.contains(&violation.invariant), "{violation}");
}

#[test]
fn a_service_that_answers_under_an_old_epoch_is_found() {
    let steward = StewardSabotage { answer_old_epochs: true, ..StewardSabotage::default() };
    let planted = planted(Sabotage { steward, ..Sabotage::default() });
    check(planted, Invariant::Acknowledged, "a session of epoch");
}

#[test]
fn a_clock_that_steps_back_is_found() {
    check(|setup| Setup { raw_clocks: true, ..setup }, Invariant::Time, "steps back");
}

#[test]
fn a_bad_day_is_shrunk_to_the_fault_that_matters() {
    let (setup, violation) = violation(DAYS, |setup| Setup { raw_clocks: true, ..setup }).unwrap();
    let whole = setup.schedule();
    let minimal = shrink(setup, whole.clone(), violation, 500);
    // Time steps back when a clock is set back, or forward and then right: one fault is enough, and nobody need play.
    let is_clock = |planned_fault: &PlannedFault| {
        matches!(
            planned_fault.fault,
            Fault::SetClock { .. } | Fault::Drift { .. } | Fault::WrongClock { .. }
        )
    };
    assert!(
        minimal.planned_faults.len() == 1 && minimal.planned_faults.iter().all(is_clock),
        "{minimal}"
    );
    assert!(
        whole.len() > 50 && minimal.setup.players == 1 && minimal.setup.seconds < 40,
        "{minimal}"
    );
    // What is printed says how to see it again: the numbers mean the same faults of the shorter day.
    let numbers: Vec<u32> =
        minimal.planned_faults.iter().map(|planned_fault| planned_fault.number).collect();
    let mut again = minimal.setup.schedule();
    again.retain(|planned_fault| numbers.contains(&planned_fault.number));
    let replayed = Simulation::with_planned_faults(minimal.setup, &again).run();
    assert_eq!(replayed, Err(minimal.violation.clone()));
    let command = format!("--seconds {} --players 1 --only {}", minimal.setup.seconds, numbers[0]);
    assert!(minimal.to_string().ends_with(&command), "{minimal}");
}

#[test]
fn a_day_of_two_faults_is_shrunk_to_both() {
    let steward = StewardSabotage { ignore_epoch: true, ..StewardSabotage::default() };
    let (setup, violation) =
        violation(DAYS, planted(Sabotage { steward, ..Sabotage::default() })).unwrap();
    let minimal = shrink(setup, setup.schedule(), violation, 500);
    assert!(minimal.planned_faults.len() <= 4, "{minimal}");
    // Without any one of them nobody objects to the same.
    for left_out in 0..minimal.planned_faults.len() {
        let mut fewer = minimal.planned_faults.clone();
        fewer.remove(left_out);
        let again = Simulation::with_planned_faults(minimal.setup, &fewer).run();
        assert!(
            again.err().is_none_or(|it| it.invariant != minimal.violation.invariant),
            "{minimal}"
        );
    }
}

#[test]
fn the_same_script_ends_the_same_with_one_two_and_four_lanes() {
    let trace = |lanes| {
        let setup = Setup {
            lanes: Lanes::Each(lanes),
            faults: Faults::NONE,
            steady: true,
            ..Setup::usual(5, 30)
        };
        let mut simulation = Simulation::new(setup);
        let outcome = simulation.run().expect("no violation");
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
