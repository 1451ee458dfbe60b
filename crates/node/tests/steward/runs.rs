//! Rules that are handed out: what a steward does while they run, and what becomes of their end.

use crate::harness::{ISLAND, NOW, Stewards, command, effects_or_code, with_wood};
use bytes::Bytes;
use pelago_frontier::Frontier;
use pelago_frontier::terrain::home;
use pelago_game::{Game, IslandSpec, Land, json};
use pelago_model::attendance::ATTENDANCE_MS;
use pelago_model::{CommitOutcome, EntityId, Epoch, IslandTime, Key, Limit, Position, Sequence};
use pelago_node::documents::avatar::{AVATAR_SCHEMA, AvatarDocument, Place};
use pelago_node::service::{ServiceEffect, ServiceInput, ServiceKind};
use pelago_node::steward::{MAX_BATCH_TURNS, StewardSabotage, TURN_DEADLINE_MS, kind};
use pelago_node::{DurableResult, RuleRun, StewardCall, StoreAnswer};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const ANNA: EntityId = EntityId(1);
const WOOD: u64 = 4;
const FEED: &str = r#"{"feed":{}}"#;

/// Avatars with wood around a fire.
struct Fire {
    stewards: Stewards,
    position: Position,
    key: Key,
}

impl Fire {
    fn new(people: u64, instances: u16, kind: &ServiceKind) -> Self {
        let spec = IslandSpec { id: ISLAND, seed: 7, size: 3, generator: 1 };
        let position = home(&spec);
        let mut stewards = Stewards::new(Land::new(&Frontier, spec), instances, kind);
        let place = Place { island: ISLAND, position, at: IslandTime(NOW.0) };
        for number in 1..=people {
            stewards.write_avatar(EntityId(number), place, with_wood(WOOD));
        }
        let key = Key::parse(&format!("campfire/{ISLAND}")).unwrap();
        Self { stewards, position, key }
    }

    fn with(sabotage: StewardSabotage) -> Self {
        Self::new(1, 1, &kind(MAX_BATCH_TURNS, sabotage))
    }

    /// An avatar feeds the fire, as its session of an epoch asks for under a number.
    fn feeds(&self, avatar: EntityId, epoch: u64, sequence: u64) -> StewardCall {
        let actor = (avatar, Epoch(epoch), Sequence(sequence));
        StewardCall::Command(command(self.key.clone(), actor, self.position, FEED))
    }

    fn feed(&mut self, at: usize, avatar: EntityId, sequence: u64) -> Vec<ServiceEffect> {
        let call = self.feeds(avatar, 1, sequence);
        self.stewards.call(at, call)
    }

    /// Anna feeds the fire for the first time, up to the moment at which the rules are handed out.
    fn up_to_the_run(&mut self) -> ServiceEffect {
        let load = only(self.feed(0, ANNA, 1));
        // The documents that no rule has asked for yet come with the first miss.
        let run = only(self.stewards.carry_out(0, load));
        assert!(matches!(run, ServiceEffect::Run { .. }), "{run:?}");
        run
    }

    /// Time passes, and the stewards are woken if they want to be: all they do is answer.
    fn wait(&mut self, ms: i64) {
        let end = self.stewards.now.plus(ms);
        while self.stewards.now < end {
            let effects = self.pass(ATTENDANCE_MS.min(end.since(self.stewards.now)));
            let is_reply = |effect: &ServiceEffect| matches!(effect, ServiceEffect::Reply { .. });
            assert!(effects.iter().all(|(_, effect)| is_reply(effect)), "{effects:?}");
            effects.into_iter().for_each(|(at, effect)| self.stewards.finish(at, vec![effect]));
        }
    }

    /// Time passes, and the stewards are woken: what they want, those whose pauses are over included. Runs that take long
    /// are not given up here: every one of them ends.
    fn pass(&mut self, ms: i64) -> Vec<(usize, ServiceEffect)> {
        self.stewards.now = self.stewards.now.plus(ms);
        let hosts = 0..self.stewards.hosts.len();
        let woken = hosts.map(|at| (at, self.stewards.tell(at, ServiceInput::Wake)));
        let effects = woken.flat_map(|(at, effects)| effects.into_iter().map(move |it| (at, it)));
        effects.filter(|(_, effect)| !matches!(effect, ServiceEffect::Abandon { .. })).collect()
    }

    /// If the only thing left is that stewards pause, lets the time of one pass.
    fn pass_a_pause(&mut self) -> Vec<(usize, ServiceEffect)> {
        let mut paused = (0..self.stewards.hosts.len())
            .map(|at| (at, self.stewards.pass_a_pause(at).unwrap_or_default()));
        let first = paused.find(|(_, effects)| !effects.is_empty());
        first.into_iter().flat_map(|(at, it)| it.into_iter().map(move |it| (at, it))).collect()
    }

    fn take_answers(&mut self) -> Vec<(u64, Result<Bytes, String>)> {
        let answers = std::mem::take(&mut self.stewards.answers);
        answers.into_iter().map(|(number, result)| (number, effects_or_code(result))).collect()
    }

    /// Another session of Anna begins.
    fn next_epoch(&mut self) {
        let document = self.stewards.avatar(ANNA);
        let document = AvatarDocument { epoch: document.epoch.next(), ..document };
        self.stewards.write(Key::avatar(ANNA), AVATAR_SCHEMA, json::encode(&document).unwrap());
    }

    /// The wood in the fire and in the hands of all.
    fn wood(&self, people: u64) -> (i64, i64) {
        let mut totals = BTreeMap::new();
        let fire = self.stewards.store.get(&self.key).value;
        let value: Value = fire.map_or(Value::Null, |value| json::decode(&value).unwrap());
        if !value.is_null() {
            Frontier.count(&self.key, &value, &mut totals);
        }
        for number in 1..=people {
            let avatar = EntityId(number);
            Frontier.count(&Key::avatar(avatar), &self.stewards.avatar(avatar).game, &mut totals);
        }
        (totals["wood"].lying, totals["wood"].held)
    }
}

fn only(effects: Vec<ServiceEffect>) -> ServiceEffect {
    let [effect] = <[_; 1]>::try_from(effects).unwrap();
    effect
}

#[test]
fn a_run_that_is_out_at_the_deadline_answers_unavailable_and_its_turn_is_found_in_the_ring() {
    let mut fire = Fire::with(StewardSabotage::default());
    let run = fire.up_to_the_run();
    fire.wait(TURN_DEADLINE_MS - 1);
    assert_eq!(fire.take_answers(), []);
    fire.wait(1);
    assert_eq!(fire.take_answers(), [(1, Err("unavailable".into()))]);
    let limits = fire.stewards.hosts[0].limits();
    assert_eq!(limits.of(Limit::TurnTime), 1);
    // Nobody can take back what is out. Its end is committed, and told to nobody a second time.
    let effects = fire.stewards.carry_out(0, run);
    fire.stewards.finish(0, effects);
    assert_eq!(fire.take_answers(), []);
    let ring = fire.stewards.avatar(ANNA).outcomes;
    let [outcome] = &ring[..] else { panic!("{ring:?}") };
    assert_eq!(outcome.sequence, Sequence(1));
    assert_eq!(fire.wood(1), (1, WOOD as i64 - 1));
    // The same command under the same number gets its outcome, another one does not.
    let again = fire.feeds(ANNA, 1, 1);
    assert_eq!(fire.stewards.ask(0, again), Ok(outcome.effects.clone().into()));
    let StewardCall::Command(mut other) = fire.feeds(ANNA, 1, 1) else { panic!() };
    other.payload = Bytes::from_static(br#"{"eat":{"item":"berry"}}"#);
    let other = fire.stewards.ask(0, StewardCall::Command(other));
    assert_eq!(other, Err("repeated".into()));
    assert_eq!(fire.wood(1), (1, WOOD as i64 - 1));
    assert!(fire.stewards.counter(0, "longest_run_ms") >= TURN_DEADLINE_MS as u64);
    fire.stewards.check_at_rest();
}

#[test]
fn while_a_run_is_out_its_key_is_busy_and_other_keys_go_on() {
    let mut fire = Fire::new(3, 1, &Stewards::kind());
    let run = fire.up_to_the_run();
    assert!(fire.feed(0, EntityId(2), 1).is_empty());
    assert_eq!(fire.stewards.counter(0, "backlog"), 2);
    let StewardCall::Command(elsewhere) = fire.feeds(EntityId(3), 1, 1) else { panic!() };
    let key = Key::avatar(EntityId(3));
    let body = StewardCall::Command(elsewhere).encode();
    let effects = fire.stewards.call_with(0, key, body, 1);
    fire.stewards.finish(0, effects);
    let [(3, Ok(_))] = fire.take_answers()[..] else { panic!("the other key waits") };
    // The turn that waited is in a batch of its own afterwards. Both meet what was done at the other key.
    let effects = fire.stewards.carry_out(0, run);
    fire.stewards.finish(0, effects);
    let answers = fire.take_answers();
    assert!(matches!(answers[..], [(1, Ok(_)), (2, Ok(_))]), "{answers:?}");
    assert_eq!(fire.wood(3), (3, 3 * (WOOD as i64 - 1)));
    fire.stewards.check_at_rest();
}

#[test]
fn turns_that_only_wait_for_a_run_are_dropped_when_their_time_is_over() {
    let mut fire = Fire::new(2, 1, &Stewards::kind());
    let run = fire.up_to_the_run();
    fire.wait(1000);
    assert!(fire.feed(0, EntityId(2), 1).is_empty());
    fire.wait(TURN_DEADLINE_MS);
    let unavailable = || Err("unavailable".to_owned());
    assert_eq!(fire.take_answers(), [(1, unavailable()), (2, unavailable())]);
    let effects = fire.stewards.carry_out(0, run);
    fire.stewards.finish(0, effects);
    assert_eq!(fire.take_answers(), []);
    assert_eq!(fire.wood(2), (1, 2 * WOOD as i64 - 1));
    fire.stewards.check_at_rest();
}

#[test]
fn an_avatar_that_is_taken_over_while_its_rules_run_is_left_alone() {
    let mut fire = Fire::with(StewardSabotage::default());
    let run = fire.up_to_the_run();
    fire.next_epoch();
    let before = fire.stewards.store.snapshot();
    let effects = fire.stewards.carry_out(0, run);
    fire.stewards.finish(0, effects);
    assert_eq!(fire.take_answers(), [(1, Err("superseded".into()))]);
    assert_eq!(fire.stewards.store.snapshot(), before);
}

#[test]
fn an_end_that_is_not_of_what_was_handed_out_ends_the_batch_and_not_the_steward() {
    let mut fire = Fire::with(StewardSabotage::default());
    let ServiceEffect::Run { request, .. } = fire.up_to_the_run() else { panic!() };
    let end = RuleRun::new(|| "nothing of a steward's").run();
    let effects = fire.stewards.tell(0, ServiceInput::Ran { request, end });
    fire.stewards.finish(0, effects);
    assert_eq!(fire.take_answers(), [(1, Err("internal".into()))]);
    let load = only(fire.feed(0, ANNA, 1));
    let ServiceEffect::Load { request, .. } = load else { panic!("{load:?}") };
    let answer = StoreAnswer::Committed(CommitOutcome::Committed);
    let effects = fire.stewards.tell(0, ServiceInput::Stored { request, answer });
    fire.stewards.finish(0, effects);
    assert_eq!(fire.take_answers(), [(2, Err("internal".into()))]);
    assert_eq!(fire.stewards.log.len(), 2);
    // What is told twice, or late, is of no request any more.
    let answer = StoreAnswer::Loaded(Some(Vec::new()));
    assert!(fire.stewards.tell(0, ServiceInput::Stored { request, answer }).is_empty());
    let again = fire.feeds(ANNA, 1, 1);
    assert!(fire.stewards.ask(0, again).is_ok());
}

#[test]
fn a_call_that_is_not_understood_is_rejected() {
    let mut fire = Fire::with(StewardSabotage::default());
    let key = fire.key.clone();
    for body in [&b""[..], b"\xff", b"\x0a\x05ab"] {
        let effects = fire.stewards.call_with(0, key.clone(), Bytes::from_static(body), 1);
        fire.stewards.finish(0, effects);
    }
    assert_eq!(fire.stewards.rejected, ["malformed"; 3]);
    assert_eq!(fire.take_answers(), []);
    fire.stewards.check_at_rest();
}

/// What the sessions before and after a takeover are answered: the former repeats what the latter did under the same
/// number, then asks for something new.
fn takeover(sabotage: StewardSabotage) -> [Result<Bytes, String>; 2] {
    let mut fire = Fire::with(sabotage);
    fire.next_epoch();
    let call = fire.feeds(ANNA, 2, 1);
    assert!(fire.stewards.ask(0, call).is_ok());
    [1, 2].map(|sequence| {
        let call = fire.feeds(ANNA, 1, sequence);
        fire.stewards.ask(0, call)
    })
}

#[test]
fn a_session_that_was_taken_over_is_neither_answered_nor_obeyed_unless_a_bug_is_planted() {
    let superseded = || Err("superseded".to_owned());
    assert_eq!(takeover(StewardSabotage::default()), [superseded(), superseded()]);
    let sabotage = StewardSabotage { answer_old_epochs: true, ..StewardSabotage::default() };
    let [known, new] = takeover(sabotage);
    assert!(known.is_ok());
    assert_eq!(new, superseded());
    let sabotage = StewardSabotage { ignore_epoch: true, ..StewardSabotage::default() };
    assert!(takeover(sabotage).iter().all(Result::is_ok));
}

#[test]
fn an_answer_before_the_commit_is_a_planted_bug_only() {
    for planted in [false, true] {
        let sabotage =
            StewardSabotage { acknowledge_before_commit: planted, ..StewardSabotage::default() };
        let mut fire = Fire::with(sabotage);
        let mut effects = vec![fire.up_to_the_run()];
        while !effects.iter().any(|effect| matches!(effect, ServiceEffect::Commit { .. })) {
            let effect = only(effects);
            effects = fire.stewards.carry_out(0, effect);
        }
        let is_reply = |effect: &ServiceEffect| matches!(effect, ServiceEffect::Reply { .. });
        assert_eq!(effects.iter().any(is_reply), planted);
        fire.stewards.finish(0, effects);
        assert_eq!(fire.take_answers().len(), 1);
    }
}

#[test]
fn of_two_runs_over_the_same_documents_the_later_one_is_run_again() {
    let mut fire = Fire::new(2, 2, &Stewards::kind());
    // Both instances are asked for Anna's command, and the second for one of somebody else beside it.
    let mut pending: [Vec<ServiceEffect>; 2] = [0, 1].map(|at| fire.feed(at, ANNA, 1));
    assert!(fire.feed(1, EntityId(2), 1).is_empty());
    // Both have decided before either commits.
    let mut commits = Vec::new();
    while commits.len() < 2 {
        for (at, effects) in pending.iter_mut().enumerate() {
            let Some(effect) = effects.pop() else { continue };
            match effect {
                ServiceEffect::Commit { .. } => commits.push((at, effect)),
                effect => *effects = fire.stewards.carry_out(at, effect),
            }
        }
    }
    for (at, commit) in commits {
        let effects = fire.stewards.carry_out(at, commit);
        fire.stewards.finish(at, effects);
    }
    let commits = fire.stewards.commits.iter();
    let committed = commits.map(|(_, outcome)| *outcome == CommitOutcome::Committed);
    assert_eq!(committed.collect::<Vec<_>>(), [true, false, true]);
    // Anna's command met the other's and comes after the one that waited. It has one outcome.
    let answers = fire.take_answers();
    assert_eq!(answers.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 3, 2]);
    assert!(answers.iter().all(|(_, answer)| answer.is_ok()), "{answers:?}");
    assert_eq!(answers[0].1, answers[2].1);
    assert_eq!(fire.wood(2), (2, 2 * (WOOD as i64 - 1)));
    fire.stewards.check_at_rest();
}

const PEOPLE: u64 = 6;
/// Commands of each avatar, each of which is asked for at both instances.
const ROUNDS: u64 = 3;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Two instances that both believe they are preferred decide the same commands of the same avatars. Loads, runs and
    /// commits of both end in any order, some commits with an end that nobody knows, and some after the callers' time.
    #[test]
    fn two_instances_whose_runs_and_commits_interleave_stay_right(
        picks in prop::collection::vec(any::<u16>(), 64..400),
        unknown in prop::collection::vec(prop::option::weighted(0.3, any::<bool>()), 0..12),
        step_ms in prop::sample::select(vec![0, 100, 700]),
    ) {
        let mut fire = Fire::new(PEOPLE, 2, &kind(4, StewardSabotage::default()));
        let asked = (1..=ROUNDS).flat_map(|sequence| (1..=PEOPLE).map(move |who| (who, sequence)));
        let mut calls: VecDeque<(usize, u64, u64)> =
            asked.flat_map(|(who, sequence)| [(0, who, sequence), (1, who, sequence)]).collect();
        let mut numbers: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        let mut pending: Vec<(usize, ServiceEffect)> = Vec::new();
        let (mut picks, mut unknown) = (picks.into_iter().cycle(), unknown.into_iter());
        while !calls.is_empty() || !pending.is_empty() {
            let choices = pending.len() + usize::from(!calls.is_empty());
            let pick = usize::from(picks.next().unwrap()) % choices;
            let (at, effects) = if pick < pending.len() {
                let (at, effect) = pending.swap_remove(pick);
                if matches!(effect, ServiceEffect::Commit { .. })
                    && let Some(Some(happens)) = unknown.next()
                {
                    fire.stewards.faults.push((CommitOutcome::Unknown, happens));
                }
                (at, fire.stewards.carry_out(at, effect))
            } else {
                let (at, who, sequence) = calls.pop_front().unwrap();
                numbers.insert(numbers.len() as u64 + 1, (who, sequence));
                (at, fire.feed(at, EntityId(who), sequence))
            };
            pending.extend(effects.into_iter().map(|effect| (at, effect)));
            pending.extend(fire.pass(step_ms));
            if pending.is_empty() && calls.is_empty() {
                pending.extend(fire.pass_a_pause());
            }
        }
        // Every call has one answer. What is acknowledged is durable, whoever acknowledged it.
        let answers = std::mem::take(&mut fire.stewards.answers);
        let answered: BTreeSet<u64> = answers.iter().map(|(number, _)| *number).collect();
        prop_assert_eq!((answers.len(), answered.len()), (numbers.len(), numbers.len()));
        let mut acknowledged = BTreeSet::new();
        for (number, result) in answers {
            let (who, sequence) = numbers[&number];
            let ring = fire.stewards.avatar(EntityId(who)).outcomes;
            match result {
                DurableResult::Done { chain, .. } => {
                    let outcome = ring.iter().find(|it| it.sequence == Sequence(sequence));
                    prop_assert_eq!(outcome.map(|it| it.chain.0), Some(chain));
                    acknowledged.insert((who, sequence));
                }
                // A command may overtake the one before it at the other instance.
                DurableResult::Failed { .. } => prop_assert!(false, "no rule is broken"),
                DurableResult::Refused(refusal) => match &*refusal.code {
                    "out_of_order" => {}
                    "unavailable" => prop_assert!(step_ms > 0),
                    code => prop_assert!(false, "{}", code),
                },
            }
        }
        // Each command was carried out once: the fire got a piece of wood for each outcome in the rings.
        let outcomes = |who| fire.stewards.avatar(EntityId(who)).outcomes.len();
        let done: usize = (1..=PEOPLE).map(outcomes).sum();
        prop_assert!(acknowledged.len() == done || step_ms > 0 && acknowledged.len() < done);
        let (lying, held) = fire.wood(PEOPLE);
        prop_assert_eq!((lying, held), (done as i64, (PEOPLE * WOOD) as i64 - done as i64));
        prop_assert!(done >= PEOPLE as usize || step_ms > 0);
        fire.stewards.check_at_rest();
    }
}
