//! A store that takes nothing: how often the stewards ask it, and how those end who wait.

use crate::harness::{ISLAND, NOW, Stewards, command, effects_or_code, with_wood};
use pelago_frontier::Frontier;
use pelago_frontier::terrain::home;
use pelago_game::{IslandSpec, Land};
use pelago_model::{CommitOutcome, EntityId, Epoch, IslandTime, Key, Machine, Sequence};
use pelago_node::StewardCall;
use pelago_node::documents::avatar::Place;
use pelago_node::service::ServiceInput;
use pelago_node::steward::TURN_DEADLINE_MS;
use std::collections::VecDeque;

/// When commits were asked for on behalf of one command, while every one ends like this, and the code of its refusal.
fn commits_of_one_command(outcome: &CommitOutcome) -> (Vec<i64>, String) {
    let spec = IslandSpec { id: ISLAND, seed: 7, size: 3, generator: 1 };
    let position = home(&spec);
    let mut stewards = Stewards::new(Land::new(&Frontier, spec), 1, &Stewards::kind());
    let avatar = EntityId(1);
    let place = Place { island: ISLAND, position, at: IslandTime(NOW.0) };
    stewards.write_avatar(avatar, place, with_wood(1));
    stewards.faults = vec![(outcome.clone(), false); 1000];
    let fire = Key::parse(&format!("campfire/{ISLAND}")).unwrap();
    let actor = (avatar, Epoch(1), Sequence(1));
    let call = StewardCall::Command(command(fire, actor, position, r#"{"feed":{}}"#));
    let mut queue = VecDeque::from(stewards.call(0, call));
    let mut commits = Vec::new();
    loop {
        while let Some(effect) = queue.pop_front() {
            let before = stewards.commits.len();
            queue.extend(stewards.carry_out(0, effect));
            commits.extend((stewards.commits.len() > before).then_some(stewards.now.0));
        }
        let Some(wake) = stewards.hosts[0].next_wake() else { break };
        stewards.now = stewards.now.max(wake);
        queue.extend(stewards.tell(0, ServiceInput::Wake));
    }
    stewards.check_at_rest();
    let (_, result) = stewards.answers.pop().unwrap();
    (commits, effects_or_code(result).unwrap_err())
}

#[test]
fn a_command_costs_a_store_that_fails_one_commit() {
    let (commits, code) = commits_of_one_command(&CommitOutcome::Failed);
    assert_eq!((commits.len(), code.as_str()), (1, "unavailable"));
}

#[test]
fn a_command_that_meets_others_or_nobody_knows_what_is_tried_after_growing_pauses() {
    let fire = Key::parse(&format!("campfire/{ISLAND}")).unwrap();
    for outcome in [CommitOutcome::Unknown, CommitOutcome::Conflict { keys: vec![fire] }] {
        let (commits, code) = commits_of_one_command(&outcome);
        assert_eq!(code, "unavailable");
        assert!((2..=17).contains(&commits.len()), "{outcome:?}: {commits:?}");
        assert!(commits.is_sorted_by(|one, next| one < next), "a pause each: {commits:?}");
        let took = commits[commits.len() - 1] - commits[0];
        assert!((500..TURN_DEADLINE_MS).contains(&took), "{outcome:?}: {took} ms");
        let later = commits.iter().filter(|at| **at >= commits[0] + 1000);
        let seconds = (took - 1000).max(1) as usize / 1000 + 1;
        assert!(later.count() <= 8 * seconds, "a handful a second: {commits:?}");
    }
}
