//! A document that everybody changes: as many turns share a commit as may.

use crate::harness::{ISLAND, NOW, Stewards, command, with_wood};
use pelago_frontier::Frontier;
use pelago_frontier::terrain::home;
use pelago_game::{Game, IslandSpec, Land, Total, json};
use pelago_model::{CommitOutcome, EntityId, Epoch, IslandTime, Key, Sequence};
use pelago_node::documents::avatar::Place;
use pelago_node::steward::{MAX_BATCH_TURNS, StewardSabotage, kind};
use pelago_node::{DurableResult, StewardCall};
use serde_json::Value;
use std::collections::BTreeMap;

const PEOPLE: u64 = 200;
const FEED: &str = r#"{"feed":{}}"#;

/// Everybody around the fire feeds it at once; the sizes of the commits, and what there is afterwards.
fn feed(batch_turns: usize) -> (Vec<usize>, BTreeMap<String, Total>) {
    let spec = IslandSpec { id: ISLAND, seed: 7, size: 3, generator: 1 };
    let position = home(&spec);
    let kind = kind(batch_turns, StewardSabotage::default());
    let mut stewards = Stewards::new(Land::new(&Frontier, spec), 1, &kind);
    let fire = Key::parse(&format!("campfire/{ISLAND}")).unwrap();
    let mut effects = Vec::new();
    for number in 1..=PEOPLE {
        let avatar = EntityId(number);
        let place = Place { island: ISLAND, position, at: IslandTime(NOW.0) };
        stewards.write_avatar(avatar, place, with_wood(1));
        let actor = (avatar, Epoch(1), Sequence(1));
        let command = command(fire.clone(), actor, position, FEED);
        effects.extend(stewards.call(0, StewardCall::Command(command)));
    }
    assert_eq!(stewards.counter(0, "backlog"), PEOPLE);
    stewards.finish(0, effects);
    assert_eq!(stewards.answers.len() as u64, PEOPLE);
    for (_, result) in &stewards.answers {
        assert!(matches!(result, DurableResult::Done { .. }), "{result:?}");
    }
    let commits: Vec<usize> = stewards.commits.iter().map(|(writes, _)| *writes).collect();
    let committed = |(_, outcome): &(usize, _)| *outcome == CommitOutcome::Committed;
    assert!(stewards.commits.iter().all(committed));
    assert_eq!(stewards.counter(0, "commits"), commits.len() as u64);
    assert_eq!(stewards.counter(0, "turns"), PEOPLE);
    stewards.check_at_rest();
    let mut totals = BTreeMap::new();
    let value: Value = json::decode(&stewards.store.get(&fire).value.unwrap()).unwrap();
    Frontier.count(&fire, &value, &mut totals);
    for number in 1..=PEOPLE {
        let avatar = EntityId(number);
        Frontier.count(&Key::avatar(avatar), &stewards.avatar(avatar).game, &mut totals);
    }
    (commits, totals)
}

#[test]
fn as_many_turns_share_a_commit_as_may() {
    let (commits, totals) = feed(MAX_BATCH_TURNS);
    // The first was alone when it came. Each writes its avatar and its audit, all of them the fire.
    let mut expected = vec![3];
    expected.extend([63; 6]);
    expected.push(2 * 13 + 1);
    assert_eq!(commits, expected);
    let wood = totals["wood"];
    assert_eq!((wood.held, wood.lying, wood.gathered, wood.consumed), (0, 200, 200, 0));
}

#[test]
fn a_lower_limit_makes_more_commits_of_the_same() {
    let together = feed(MAX_BATCH_TURNS).1;
    for (batch_turns, commits) in [(1, 200), (10, 21)] {
        let (sizes, totals) = feed(batch_turns);
        assert_eq!(sizes.len(), commits);
        assert_eq!(totals, together);
    }
}
