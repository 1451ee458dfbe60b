//! A document that everybody changes: as many turns share a commit as may.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use pelago_frontier::Frontier;
use pelago_frontier::terrain::home;
use pelago_game::{Actor, Game, IslandSpec, Land, Total, json};
use pelago_model::{
    CommitOutcome, EntityId, Epoch, Incarnation, IslandClock, IslandId, IslandTime, Key, Machine,
    NodeId, PublisherId, Revision, Sequence, Transaction, WorldTime, Write,
};
use pelago_node::avatar::{AVATAR_SCHEMA, AvatarDocument, Place, read};
use pelago_node::{
    Caller, DurableCommand, DurableResult, Effect, LaneInput, MAX_BATCH_TURNS, Message, Steward,
    StewardConfig, StewardInput, StewardSabotage,
};
use pelago_store::Memory;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

const ISLAND: IslandId = IslandId(1);
const NOW: WorldTime = WorldTime(1_000_000);
const PEOPLE: u64 = 200;
const FEED: Bytes = Bytes::from_static(br#"{"feed":{}}"#);

/// Everybody around the fire feeds it at once; the sizes of the commits, and what there is afterwards.
fn feed(batch_turns: usize) -> (Vec<usize>, BTreeMap<String, Total>) {
    let spec = IslandSpec { id: ISLAND, seed: 7, size: 3, generator: 1 };
    let position = home(&spec);
    let land = Arc::new(Land::new(&Frontier, spec));
    let store = Memory::default();
    let mut steward = Steward::new(StewardConfig {
        publisher: PublisherId::new(NodeId(1), PublisherId::STEWARD, Incarnation(1)),
        game: Arc::new(Frontier),
        lands: BTreeMap::from([(ISLAND, land)]),
        clock: IslandClock::IDENTITY,
        secret: [7; 32],
        batch_turns,
        sabotage: StewardSabotage::default(),
    });
    let fire = Key::parse(&format!("campfire/{ISLAND}")).unwrap();
    let mut effects = Vec::new();
    for number in 1..=PEOPLE {
        let avatar = EntityId(number);
        let place = Place { island: ISLAND, position, at: IslandTime(NOW.0) };
        let mut game = Frontier.new_avatar("Anna");
        game["held"]["wood"] = 1.into();
        game["granted"] = serde_json::json!({"wood": 1});
        let document = AvatarDocument::new("Anna".into(), place, game);
        let document = AvatarDocument { epoch: Epoch(1), ..document };
        let value = Some(json::encode(&document).unwrap());
        let key = Key::avatar(avatar);
        let write = Write { key, expected: Revision(0), schema: AVATAR_SCHEMA, value };
        store.apply(Transaction { checks: Vec::new(), writes: vec![write] });
        let actor = Actor {
            avatar,
            epoch: Epoch(1),
            sequence: Sequence(1),
            island: ISLAND,
            position,
            received: IslandTime(NOW.0),
        };
        let command = DurableCommand { key: fire.clone(), actor, payload: FEED, trace: number };
        let caller = Caller::Lane { lane: 0, number };
        steward.handle(NOW, StewardInput::Command { caller, command }, &mut effects);
    }
    let (mut queue, mut commits, mut done) = (VecDeque::from(effects), Vec::new(), 0);
    while let Some(effect) = queue.pop_front() {
        let input = match effect {
            Effect::Load { request_id, keys, .. } => {
                let documents = Some(keys.iter().map(|key| store.get(key)).collect());
                StewardInput::Loaded { request_id, documents }
            }
            Effect::Commit { request_id, transaction, .. } => {
                commits.push(transaction.writes.len());
                let outcome = store.apply(transaction);
                assert_eq!(outcome, CommitOutcome::Committed);
                StewardInput::Committed { request_id, outcome }
            }
            Effect::To(Message::Lane(_, LaneInput::DurableEnded { result, .. })) => {
                assert!(matches!(result, DurableResult::Done { .. }), "{result:?}");
                done += 1;
                continue;
            }
            other => panic!("{other:?}"),
        };
        let mut effects = Vec::new();
        steward.handle(NOW, input, &mut effects);
        queue.extend(effects);
    }
    assert_eq!(done, PEOPLE);
    let counters = steward.counters();
    assert_eq!((counters.commits, counters.turns), (commits.len() as u64, PEOPLE));
    let mut totals = BTreeMap::new();
    let value: Value = json::decode(&store.get(&fire).value.unwrap()).unwrap();
    Frontier.count(&fire, &value, &mut totals);
    for number in 1..=PEOPLE {
        let key = Key::avatar(EntityId(number));
        let avatar: AvatarDocument = read(&store.get(&key)).unwrap().unwrap();
        Frontier.count(&key, &avatar.game, &mut totals);
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
