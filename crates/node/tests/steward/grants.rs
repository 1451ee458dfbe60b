//! Grants and audits at stewards over a store in memory, which may lie about the end of a commit.

use crate::harness::{ISLAND, NOW, Stewards, command, effects_or_code};
use bytes::Bytes;
use pelago_frontier::Frontier;
use pelago_game::{Game, IslandSpec, Land, Total, json};
use pelago_model::{
    ChunkId, CommitOutcome, Document, EntityId, Epoch, GrantKey, IslandTime, Key, NodeId, Position,
    Revision, Sequence,
};
use pelago_node::documents::audit::{AUDIT_SCHEMA, AuditDocument, Cause};
use pelago_node::documents::avatar::{AVATAR_SCHEMA, AvatarDocument, ChainHash, Place, read};
use pelago_node::service::ServiceEffect;
use pelago_node::{Grant, StewardCall};
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

const ANNA: EntityId = EntityId(1);
const OWNER: NodeId = NodeId(3);
const BERRIES: &str = r#"{"items":{"berry":3}}"#;

/// Two stewards, and Anna who is played on the node of neither.
struct World(Stewards);

impl Deref for World {
    type Target = Stewards;

    fn deref(&self) -> &Stewards {
        &self.0
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Stewards {
        &mut self.0
    }
}

impl World {
    fn new() -> Self {
        let spec = IslandSpec { id: ISLAND, seed: 7, size: 5, generator: 1 };
        let mut stewards = Stewards::new(Land::new(&Frontier, spec), 2, &Stewards::kind());
        let place = Place { island: ISLAND, position: Position::new(1, 2), at: IslandTime(5) };
        let avatar = AvatarDocument {
            epoch: Epoch(4),
            owner: OWNER,
            ..AvatarDocument::new("Anna".into(), place, Frontier.new_avatar("Anna"))
        };
        stewards.write(Key::avatar(ANNA), AVATAR_SCHEMA, json::encode(&avatar).unwrap());
        Self(stewards)
    }

    fn begin(&mut self, at: usize, grant: Grant) -> Vec<ServiceEffect> {
        self.call(at, StewardCall::Grant(grant))
    }

    fn grant(&mut self, at: usize, grant: Grant) -> Result<Bytes, String> {
        self.ask(at, StewardCall::Grant(grant))
    }

    fn anna(&self) -> AvatarDocument {
        self.avatar(ANNA)
    }

    fn berries(&self) -> i64 {
        self.anna().game["held"]["berry"].as_i64().unwrap_or(0)
    }

    fn audit(&self, key: &Key) -> Option<AuditDocument> {
        read(&self.store.get(key)).unwrap()
    }

    /// A command of Anna's present session.
    fn command(&self, sequence: u64, payload: &str, position: Position) -> StewardCall {
        let actor = (ANNA, self.anna().epoch, Sequence(sequence));
        StewardCall::Command(command(Key::avatar(ANNA), actor, position, payload.to_owned()))
    }
}

fn key(text: &str) -> GrantKey {
    GrantKey::parse(text).unwrap()
}

fn berries(text: &str) -> Grant {
    let (what, reason) = (BERRIES.to_owned(), "a welcome".to_owned());
    let received = IslandTime(NOW.0);
    Grant { key: key(text), avatar: ANNA, what, reason, received, trace: 1 }
}

#[test]
fn a_grant_asked_for_again_anywhere_is_carried_out_once_and_answered_alike() {
    let mut world = World::new();
    let before = world.anna();
    let answer = world.grant(0, berries("mail/1")).unwrap();
    assert_eq!(answer, BERRIES);
    for at in [0, 1, 0, 1] {
        assert_eq!(world.grant(at, berries("mail/1")), Ok(answer.clone()));
    }
    assert_eq!(world.berries(), 3);
    world.grant(1, berries("mail/2")).unwrap();
    assert_eq!(world.berries(), 6);
    // It has neither taken the avatar from anybody nor counted as a command.
    let after = world.anna();
    assert_eq!(AvatarDocument { game: before.game.clone(), ..after }, before);
}

#[test]
fn the_audit_of_a_grant_says_what_why_and_what_became_of_it() {
    let mut world = World::new();
    world.grant(0, berries("mail/1")).unwrap();
    let audit = world.audit(&Key::grant(ANNA, &key("mail/1"))).unwrap();
    assert_eq!((audit.avatar, audit.epoch, audit.at), (ANNA, Epoch(4), IslandTime(NOW.0)));
    let Cause::Grant { what, reason, effects, .. } = audit.cause else { panic!("not a grant") };
    assert_eq!((&*what, &*reason, &*effects), (BERRIES, "a welcome", BERRIES));
    let change = Total { held: 3, gathered: 3, ..Total::default() };
    assert_eq!(audit.changes.0[&Key::avatar(ANNA)]["berry"], change);
}

#[test]
fn a_key_is_used_for_one_grant_only() {
    let mut world = World::new();
    world.grant(0, berries("mail/1")).unwrap();
    let more = r#"{"items":{"berry":4}}"#.to_owned();
    let other = Grant { what: more, ..berries("mail/1") };
    assert_eq!(world.grant(0, other), Err("key_used".into()));
    let other = Grant { reason: "a bribe".into(), ..berries("mail/1") };
    assert_eq!(world.grant(1, other), Err("key_used".into()));
    assert_eq!(world.berries(), 3);
}

#[test]
fn a_refused_grant_leaves_nothing_and_its_key_is_free() {
    let mut world = World::new();
    let before = world.store.snapshot();
    let crown = Grant { what: r#"{"items":{"crown":1}}"#.into(), ..berries("mail/1") };
    assert_eq!(world.grant(0, crown), Err("no_such_item".into()));
    let nobody = Grant { avatar: EntityId(99), ..berries("mail/1") };
    assert_eq!(world.grant(0, nobody), Err("no_such_avatar".into()));
    assert_eq!(world.store.snapshot(), before);
    assert!(world.grant(0, berries("mail/1")).is_ok());
}

#[test]
fn a_commit_whose_end_nobody_knows_is_found_or_made_good() {
    for happens in [true, false] {
        let mut world = World::new();
        world.faults.push((CommitOutcome::Unknown, happens));
        assert_eq!(world.grant(0, berries("mail/1")).unwrap(), BERRIES);
        assert_eq!(world.berries(), 3, "it happened: {happens}");
        assert_eq!(world.told.len(), 1, "whoever plays is told all the same");
    }
}

#[test]
fn a_store_that_fails_leaves_the_grant_to_be_asked_for_again() {
    let mut world = World::new();
    world.faults.push((CommitOutcome::Failed, false));
    assert_eq!(world.grant(0, berries("mail/1")), Err("unavailable".into()));
    assert_eq!(world.berries(), 0);
    world.grant(0, berries("mail/1")).unwrap();
    assert_eq!(world.berries(), 3);
}

#[test]
fn of_two_stewards_at_the_same_grant_one_carries_it_out() {
    let mut world = World::new();
    // The first has read everything and is about to commit when the second does it all.
    let mut effects = world.begin(0, berries("mail/1"));
    while !matches!(effects[..], [ServiceEffect::Commit { .. }]) {
        let effect = effects.pop().unwrap();
        assert!(effects.is_empty());
        effects = world.carry_out(0, effect);
    }
    let answer = world.grant(1, berries("mail/1"));
    world.finish(0, effects);
    let (number, late) = world.answers.pop().unwrap();
    assert_eq!((number, effects_or_code(late)), (1, answer));
    assert_eq!(world.berries(), 3);
}

#[test]
fn many_who_ask_at_once_get_one_answer() {
    let mut world = World::new();
    let mut effects = Vec::new();
    for _ in 0..50 {
        effects.extend(world.begin(0, berries("mail/1")));
    }
    world.finish(0, effects);
    let answers = std::mem::take(&mut world.answers);
    assert_eq!(answers.len(), 50);
    let mut answers = answers.into_iter().map(|(_, answer)| effects_or_code(answer));
    assert!(answers.all(|answer| answer == Ok(Bytes::from(BERRIES))));
    assert_eq!(world.berries(), 3);
}

#[test]
fn whoever_plays_the_avatar_is_told_at_the_node_that_owns_it() {
    let mut world = World::new();
    world.grant(0, berries("mail/1")).unwrap();
    world.grant(0, berries("mail/1")).unwrap();
    let told = &world.told;
    let [(node, avatar, epoch, payload)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((*node, *avatar, *epoch), (OWNER, ANNA, Epoch(4)));
    let told: serde_json::Value = serde_json::from_slice(payload).unwrap();
    let expected = serde_json::json!({
        "granted": {"items": {"berry": 3}},
        "sequence": 0,
        "state": {"held": {"berry": 3}},
    });
    assert_eq!(told, expected);
}

#[test]
fn commands_that_touch_the_economy_are_audited_by_their_number_and_others_are_not() {
    let mut world = World::new();
    let chunks = (0..5).flat_map(|x| (0..5).map(move |y| ChunkId::new(x, y)));
    let (chunk, place) =
        chunks.filter_map(|chunk| Some((chunk, world.land.natural(chunk, 0)?.1))).next().unwrap();
    let gather = format!(r#"{{"gather":{{"x":{},"y":{},"slot":0}}}}"#, chunk.x, chunk.y);
    let eat_nothing = r#"{"eat":{"item":"crown"}}"#;
    for (sequence, payload) in [(1, &*gather), (2, eat_nothing), (2, &*gather)] {
        let command = world.command(sequence, payload, place);
        let answer = world.ask(0, command);
        assert_eq!(answer.is_ok(), payload == gather, "{answer:?}");
    }
    let avatar = world.anna();
    assert_eq!(avatar.sequence, Sequence(2));
    for sequence in [1, 2] {
        let key = Key::audit(ANNA, Sequence(sequence));
        let audit = world.audit(&key).unwrap();
        assert_eq!(world.store.get(&key).revision, Revision(1));
        assert_eq!(world.store.get(&key).schema, AUDIT_SCHEMA);
        let command = ChainHash::of(gather.as_bytes());
        assert_eq!(audit.cause, Cause::Command { sequence: Sequence(sequence), command });
        assert_eq!(audit.at, IslandTime(NOW.0 + sequence as i64));
        let held: i64 = audit.changes.0[&Key::avatar(ANNA)].values().map(|it| it.held).sum();
        let made: i64 =
            audit.changes.0[&Key::chunk(ISLAND, chunk)].values().map(|it| it.gathered).sum();
        assert_eq!((held, made), (1, 1));
    }
    assert_eq!(world.audit(&Key::audit(ANNA, Sequence(3))), None);
}

#[test]
fn a_document_of_a_newer_build_is_refused_and_stays_as_it_is() {
    let mut world = World::new();
    let chunk = (0..5).flat_map(|x| (0..5).map(move |y| ChunkId::new(x, y)));
    let chunk = chunk.into_iter().find(|chunk| world.land.natural(*chunk, 0).is_some()).unwrap();
    let (_, place) = world.land.natural(chunk, 0).unwrap();
    let chunk_key = Key::chunk(ISLAND, chunk);
    let known = Key::grant(ANNA, &key("mail/9"));
    world.grant(0, berries("mail/1")).unwrap();
    for (kind, written) in [("chunk", chunk_key), ("audit", known), ("avatar", Key::avatar(ANNA))] {
        let value = world.store.get(&written).value.unwrap_or(Bytes::from_static(b"{}"));
        world.write(written, 2, value);
        let before: BTreeMap<Key, Document> = world.store.snapshot();
        let call = match kind {
            "chunk" => {
                let gather =
                    format!(r#"{{"gather":{{"x":{},"y":{},"slot":0}}}}"#, chunk.x, chunk.y);
                world.command(1, &gather, place)
            }
            _ => StewardCall::Grant(berries("mail/9")),
        };
        assert_eq!(world.ask(0, call), Err("internal".into()), "{kind}");
        assert_eq!(world.store.snapshot(), before, "{kind}");
        let text = world.log.pop().unwrap();
        let expected = format!("{kind} documents are read up to schema 1, this one has 2");
        assert!(text.contains(&expected), "{text}");
    }
}
