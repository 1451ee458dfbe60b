//! Grants and audits at stewards over a store in memory, which may lie about the end of a commit.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use pelago_frontier::Frontier;
use pelago_game::{Actor, Game, IslandSpec, Land, Total, json};
use pelago_model::{
    ChunkId, CommitOutcome, Document, EntityId, Epoch, GrantKey, Incarnation, IslandClock,
    IslandId, IslandTime, Key, Machine, NodeId, Position, PublisherId, Revision, Sequence,
    Transaction, WorldTime, Write,
};
use pelago_node::audit::{AUDIT_SCHEMA, AuditDocument, Cause};
use pelago_node::avatar::{AVATAR_SCHEMA, AvatarDocument, ChainHash, Place, read};
use pelago_node::{
    Caller, ControlInput, DurableCommand, DurableResult, Effect, Grant, MAX_BATCH_TURNS, Message,
    Steward, StewardConfig, StewardInput, StewardSabotage,
};
use pelago_store::Memory;
use std::collections::BTreeMap;
use std::sync::Arc;

const ISLAND: IslandId = IslandId(1);
const ANNA: EntityId = EntityId(1);
const OWNER: NodeId = NodeId(3);
const NOW: WorldTime = WorldTime(1_000_000);
const BERRIES: &str = r#"{"items":{"berry":3}}"#;

struct World {
    store: Memory,
    land: Arc<Land>,
    stewards: Vec<Steward>,
    /// How the next commits end, the first last, and whether they happen.
    faults: Vec<(CommitOutcome, bool)>,
    requests: u64,
    /// What sessions were to be told.
    told: Vec<(NodeId, EntityId, Epoch, Bytes)>,
    log: Vec<String>,
}

impl World {
    fn new() -> Self {
        let spec = IslandSpec { id: ISLAND, seed: 7, size: 5, generator: 1 };
        let land = Arc::new(Land::new(&Frontier, spec));
        let steward = |node| {
            Steward::new(StewardConfig {
                publisher: PublisherId::new(NodeId(node), PublisherId::STEWARD, Incarnation(1)),
                game: Arc::new(Frontier),
                lands: BTreeMap::from([(ISLAND, land.clone())]),
                clock: IslandClock::IDENTITY,
                secret: [7; 32],
                batch_turns: MAX_BATCH_TURNS,
                sabotage: StewardSabotage::default(),
            })
        };
        let place = Place { island: ISLAND, position: Position::new(1, 2), at: IslandTime(5) };
        let avatar = AvatarDocument {
            epoch: Epoch(4),
            owner: OWNER,
            ..AvatarDocument::new("Anna".into(), place, Frontier.new_avatar("Anna"))
        };
        let stewards = vec![steward(1), steward(2)];
        let store = Memory::default();
        let (faults, told, log) = (Vec::new(), Vec::new(), Vec::new());
        let mut world = Self { store, land, stewards, faults, requests: 0, told, log };
        world.write(Key::avatar(ANNA), AVATAR_SCHEMA, json::encode(&avatar).unwrap());
        world
    }

    fn write(&mut self, key: Key, schema: u16, value: Bytes) {
        let expected = self.store.get(&key).revision;
        let write = Write { key, expected, schema, value: Some(value) };
        let outcome = self.store.apply(Transaction { checks: Vec::new(), writes: vec![write] });
        assert_eq!(outcome, CommitOutcome::Committed);
    }

    /// Hands an input to a steward; what it wants of the store comes back undone.
    fn tell(&mut self, at: usize, input: StewardInput) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.stewards[at].handle(NOW, input, &mut effects);
        effects
    }

    /// Carries out everything that follows; the answers by request.
    fn finish(&mut self, at: usize, effects: Vec<Effect>) -> Vec<(u64, Result<Bytes, String>)> {
        let (mut queue, mut answers) = (std::collections::VecDeque::from(effects), Vec::new());
        while let Some(effect) = queue.pop_front() {
            let input = match effect {
                Effect::Load { request_id, keys, .. } => {
                    let documents = keys.iter().map(|key| self.store.get(key)).collect();
                    StewardInput::Loaded { request_id, documents: Some(documents) }
                }
                Effect::Commit { request_id, transaction, .. } => {
                    assert!(transaction.keeps_history());
                    let outcome = match self.faults.pop() {
                        Some((outcome, happens)) => {
                            if happens {
                                self.store.apply(transaction);
                            }
                            outcome
                        }
                        None => self.store.apply(transaction),
                    };
                    StewardInput::Committed { request_id, outcome }
                }
                Effect::GrantEnded { number, result } => {
                    answers.push((
                        number,
                        match result {
                            DurableResult::Done { effects, .. } => Ok(effects),
                            DurableResult::Refused(refusal) => Err(refusal.code.into_owned()),
                        },
                    ));
                    continue;
                }
                Effect::To(Message::Control(ControlInput::Notify {
                    node,
                    avatar,
                    epoch,
                    payload,
                })) => {
                    self.told.push((node, avatar, epoch, payload));
                    continue;
                }
                Effect::Log { text, .. } => {
                    self.log.push(text);
                    continue;
                }
                _ => continue,
            };
            let effects = self.tell(at, input);
            queue.extend(effects);
        }
        answers
    }

    fn begin(&mut self, at: usize, grant: Grant) -> Vec<Effect> {
        self.requests += 1;
        let caller = Caller::Operator { number: self.requests };
        self.tell(at, StewardInput::Grant { caller, grant })
    }

    fn grant(&mut self, at: usize, grant: Grant) -> Result<Bytes, String> {
        let effects = self.begin(at, grant);
        let answers = self.finish(at, effects);
        assert_eq!(answers.len(), 1);
        answers.into_iter().next().unwrap().1
    }

    fn avatar(&self) -> AvatarDocument {
        read(&self.store.get(&Key::avatar(ANNA))).unwrap().unwrap()
    }

    fn berries(&self) -> i64 {
        self.avatar().game["held"]["berry"].as_i64().unwrap_or(0)
    }

    fn audit(&self, key: &Key) -> Option<AuditDocument> {
        read(&self.store.get(key)).unwrap()
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
    let before = world.avatar();
    let answer = world.grant(0, berries("mail/1")).unwrap();
    assert_eq!(answer, BERRIES);
    for at in [0, 1, 0, 1] {
        assert_eq!(world.grant(at, berries("mail/1")), Ok(answer.clone()));
    }
    assert_eq!(world.berries(), 3);
    world.grant(1, berries("mail/2")).unwrap();
    assert_eq!(world.berries(), 6);
    // It has neither taken the avatar from anybody nor counted as a command.
    let after = world.avatar();
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
    let mut pending = world.begin(0, berries("mail/1"));
    let Some(Effect::Load { request_id, keys, .. }) = pending.pop() else { panic!("no load") };
    let documents = Some(keys.iter().map(|key| world.store.get(key)).collect());
    let commit = world.tell(0, StewardInput::Loaded { request_id, documents });
    assert!(matches!(commit[..], [Effect::Commit { .. }]));
    let answer = world.grant(1, berries("mail/1"));
    let late = world.finish(0, commit);
    assert_eq!(late, [(1, answer)]);
    assert_eq!(world.berries(), 3);
}

#[test]
fn many_who_ask_at_once_get_one_answer() {
    let mut world = World::new();
    let mut effects = Vec::new();
    for _ in 0..50 {
        effects.extend(world.begin(0, berries("mail/1")));
    }
    let answers = world.finish(0, effects);
    assert_eq!(answers.len(), 50);
    assert!(answers.iter().all(|(_, answer)| *answer == Ok(Bytes::from(BERRIES))));
    assert_eq!(world.berries(), 3);
}

#[test]
fn whoever_plays_the_avatar_is_told_at_the_node_that_owns_it() {
    let mut world = World::new();
    world.grant(0, berries("mail/1")).unwrap();
    world.grant(0, berries("mail/1")).unwrap();
    let [(node, avatar, epoch, payload)] = &world.told[..] else { panic!("{:?}", world.told) };
    assert_eq!((*node, *avatar, *epoch), (OWNER, ANNA, Epoch(4)));
    let told: serde_json::Value = serde_json::from_slice(payload).unwrap();
    let expected = serde_json::json!({
        "granted": {"items": {"berry": 3}},
        "sequence": 0,
        "state": {"held": {"berry": 3}},
    });
    assert_eq!(told, expected);
}

fn command(world: &World, sequence: u64, payload: &str, position: Position) -> StewardInput {
    let command = DurableCommand {
        key: Key::avatar(ANNA),
        actor: Actor {
            avatar: ANNA,
            epoch: world.avatar().epoch,
            sequence: Sequence(sequence),
            island: ISLAND,
            position,
            received: IslandTime(NOW.0 + sequence as i64),
        },
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        trace: 9,
    };
    StewardInput::Command { caller: Caller::Operator { number: 900 + sequence }, command }
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
        let input = command(&world, sequence, payload, place);
        let effects = world.tell(0, input);
        world.finish(0, effects);
    }
    let avatar = world.avatar();
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
        let effects = match kind {
            "chunk" => {
                let gather =
                    format!(r#"{{"gather":{{"x":{},"y":{},"slot":0}}}}"#, chunk.x, chunk.y);
                let input = command(&world, 1, &gather, place);
                world.tell(0, input)
            }
            _ => world.begin(0, berries("mail/9")),
        };
        let answers = world.finish(0, effects);
        assert_eq!(answers[0].1, Err("internal".into()), "{kind}");
        assert_eq!(world.store.snapshot(), before, "{kind}");
        let text = world.log.pop().unwrap();
        let expected = format!("{kind} documents are read up to schema 1, this one has 2");
        assert!(text.contains(&expected), "{text}");
    }
}
