//! Rules that harm whoever runs them: they reach for what is not theirs, panic, or do not return.

use crate::harness::{ISLAND, NOW, Stewards, command, with_wood};
use bytes::Bytes;
use pelago_frontier::Frontier;
use pelago_game::{IslandSpec, Land};
use pelago_model::{EntityId, Epoch, GrantKey, IslandTime, Key, Position, Sequence};
use pelago_node::documents::avatar::Place;
use pelago_node::service::{RUN_LIMIT_MS, ServiceEffect, ServiceInput};
use pelago_node::{Grant, RequestId, StewardCall};

const ANNA: EntityId = EntityId(1);
const BERT: EntityId = EntityId(2);
const CARL: EntityId = EntityId(3);

fn stewards(instances: u16) -> Stewards {
    let spec = IslandSpec { id: ISLAND, seed: 7, size: 3, generator: 1 };
    let mut stewards = Stewards::new(Land::new(&Frontier, spec), instances, &Stewards::kind());
    let place = Place { island: ISLAND, position: Position::new(0, 0), at: IslandTime(NOW.0) };
    for avatar in [ANNA, BERT, CARL] {
        stewards.write_avatar(avatar, place, with_wood(1));
    }
    stewards
}

/// A command of an avatar at a key that all share.
fn wild(avatar: EntityId, sequence: u64, payload: &str) -> StewardCall {
    let key = Key::parse("wild/1").unwrap();
    let actor = (avatar, Epoch(1), Sequence(sequence));
    let position = Position::new(0, 0);
    StewardCall::Command(command(key, actor, position, Bytes::copy_from_slice(payload.as_bytes())))
}

fn grant(number: u64, what: &str) -> StewardCall {
    StewardCall::Grant(Grant {
        key: GrantKey::parse(&format!("mail/{number}")).unwrap(),
        avatar: ANNA,
        what: what.into(),
        reason: "a test".into(),
        received: IslandTime(NOW.0),
        trace: 5,
    })
}

/// Carries out what an instance asks for until it hands out rules, which stay out.
fn up_to_the_run(stewards: &mut Stewards, mut effects: Vec<ServiceEffect>) -> RequestId {
    while let Some(effect) = effects.pop() {
        if let ServiceEffect::Run { request, .. } = effect {
            assert!(effects.is_empty(), "{effects:?}");
            return request;
        }
        effects.extend(stewards.carry_out(0, effect));
    }
    panic!("no rules are handed out");
}

/// Time passes, and the instance is woken.
fn wait(stewards: &mut Stewards, ms: i64) {
    stewards.now = stewards.now.plus(ms);
    let effects = stewards.tell(0, ServiceInput::Wake);
    stewards.finish(0, effects);
}

fn abandon(stewards: &mut Stewards, request: RequestId, step: u32) {
    let effects = stewards.tell(0, ServiceInput::Abandoned { request, step });
    stewards.finish(0, effects);
}

/// The codes of all answers so far.
fn codes(stewards: &mut Stewards) -> Vec<(u64, Result<Bytes, String>)> {
    let answers = std::mem::take(&mut stewards.answers);
    let code = crate::harness::effects_or_code;
    answers.into_iter().map(|(number, result)| (number, code(result))).collect()
}

#[test]
fn a_rule_that_reaches_for_a_document_of_the_platform_costs_its_own_command() {
    let mut stewards = stewards(1);
    let keys = [
        Key::avatar(BERT),
        Key::avatar(ANNA),
        Key::world(),
        Key::name("Anna"),
        Key::place(BERT),
        Key::mailbox(BERT),
        Key::serials(),
        Key::audit(ANNA, Sequence(1)),
    ];
    stewards.write(Key::world(), 1, Bytes::from_static(br#"{"secret":"very"}"#));
    let before = stewards.store.snapshot();
    for key in &keys {
        for verb in ["get", "put"] {
            let payload = format!("wild durable {verb} {key}");
            let answer = stewards.ask(0, wild(ANNA, 1, &payload));
            assert_eq!(answer, Err("internal".into()), "{payload}");
            let log = stewards.log.pop().unwrap();
            let what = format!("the command \"{:.32}", payload);
            let whose = format!("of avatar {ANNA}, number 1, at wild/1");
            assert!(log.starts_with(&what) && log.contains(&whose), "{log}");
            assert!(
                log.ends_with(&format!("{key}: {} documents are the platform's", key.kind())),
                "{log}"
            );
            let answer = stewards.ask(0, grant(1, &format!("wild grant {verb} {key}")));
            assert_eq!(answer, Err("internal".into()), "{payload}");
        }
    }
    assert_eq!(stewards.store.snapshot(), before);
    // What is the game's it may write, and nobody's command was harmed.
    assert!(stewards.ask(0, wild(ANNA, 1, "wild durable put wild/7")).is_ok());
    assert!(stewards.ask(0, wild(BERT, 1, "wild durable get wild/7")).is_ok());
}

#[test]
fn what_a_game_asks_for_beforehand_is_loaded_only_if_rules_may_see_it() {
    let mut stewards = stewards(1);
    let answer = stewards.ask(0, wild(ANNA, 1, "wild durable get world"));
    assert_eq!(answer, Err("internal".into()));
    assert!(!stewards.loaded.contains(&Key::world()), "{:?}", stewards.loaded);
}

#[test]
fn a_rule_that_panics_is_answered_once_and_not_run_again_by_anybody() {
    let mut stewards = stewards(2);
    let panics = || wild(ANNA, 1, "wild durable panic");
    assert_eq!(stewards.ask(0, panics()), Err("failed".into()));
    let log = stewards.log.pop().unwrap();
    let expected = format!(
        "the command \"wild durable panic\" of avatar {ANNA}, number 1, at wild/1: a rule panicked: a wild rule of durable"
    );
    assert_eq!(log, expected);
    let [outcome] = &stewards.avatar(ANNA).outcomes[..] else { panic!("no outcome") };
    assert!(outcome.failed && outcome.effects.is_empty());
    // Asked again, here and elsewhere, it is known.
    for at in [0, 1] {
        assert_eq!(stewards.ask(at, panics()), Err("failed".into()));
    }
    assert!(stewards.log.is_empty(), "{:?}", stewards.log);
    assert_eq!(stewards.ask(1, wild(ANNA, 1, "wild durable")), Err("repeated".into()));
    assert!(stewards.ask(1, wild(ANNA, 2, "wild durable")).is_ok());
    assert_eq!(stewards.avatar(ANNA).game, with_wood(1));
    stewards.check_at_rest();
}

#[test]
fn a_game_that_panics_when_it_is_asked_for_keys_is_run_all_the_same() {
    let mut stewards = stewards(1);
    assert!(stewards.ask(0, wild(ANNA, 1, "wild keys panic")).is_ok());
}

#[test]
fn a_rule_that_does_not_return_is_given_up_and_its_turn_fails_for_good() {
    let mut stewards = stewards(2);
    let hangs = || wild(ANNA, 1, "wild durable hang");
    let effects = stewards.call(0, hangs());
    let request = up_to_the_run(&mut stewards, effects);
    wait(&mut stewards, RUN_LIMIT_MS - 1);
    assert_eq!(stewards.abandoned, []);
    wait(&mut stewards, 1);
    assert_eq!(stewards.abandoned, [request]);
    assert_eq!(codes(&mut stewards), []);
    abandon(&mut stewards, request, 0);
    assert_eq!(codes(&mut stewards), [(1, Err("failed".into()))]);
    let [what] = &stewards.lost[..] else { panic!("{:?}", stewards.lost) };
    assert!(what.contains("\"wild durable hang\"") && what.contains(&ANNA.to_string()), "{what}");
    assert!(stewards.log[0].ends_with("the rule does not return, and its thread is lost"));
    // Its end, should it come, is nobody's.
    let end = pelago_node::RuleRun::new(|| ()).run();
    assert!(stewards.tell(0, ServiceInput::Ran { request, end }).is_empty());
    // No other node runs it again.
    assert_eq!(stewards.ask(1, hangs()), Err("failed".into()));
    assert!(stewards.avatar(ANNA).outcomes[0].failed);
    stewards.check_at_rest();
}

#[test]
fn of_a_batch_only_the_turn_that_does_not_return_fails() {
    let mut stewards = stewards(1);
    // The first is under way; the others share the batch after it.
    let effects = stewards.call(0, wild(CARL, 1, "wild durable"));
    let first = up_to_the_run(&mut stewards, effects);
    for (avatar, payload) in [(ANNA, "wild durable"), (BERT, "wild durable hang")] {
        assert!(stewards.call(0, wild(avatar, 1, payload)).is_empty());
    }
    abandon_nothing(&stewards);
    let end = pelago_node::RuleRun::new(|| ()).run();
    // The end of the first is of no use, so that it is answered and the next batch begins.
    let effects = stewards.tell(0, ServiceInput::Ran { request: first, end });
    let (load, rest): (Vec<_>, Vec<_>) =
        effects.into_iter().partition(|effect| matches!(effect, ServiceEffect::Load { .. }));
    stewards.finish(0, rest);
    let run = up_to_the_run(&mut stewards, load);
    wait(&mut stewards, RUN_LIMIT_MS);
    assert_eq!(stewards.abandoned, [run]);
    codes(&mut stewards);
    abandon(&mut stewards, run, 1);
    let answers = codes(&mut stewards);
    assert!(
        matches!(&answers[..], [(2, Ok(_)), (3, Err(code))] if code == "failed"),
        "{answers:?}"
    );
    assert!(!stewards.avatar(ANNA).outcomes[0].failed && stewards.avatar(BERT).outcomes[0].failed);
    stewards.check_at_rest();
}

fn abandon_nothing(stewards: &Stewards) {
    assert_eq!(stewards.abandoned, []);
}

#[test]
fn the_time_of_rules_that_wait_for_others_has_not_begun() {
    let mut stewards = stewards(1);
    let effects = stewards.call(0, wild(ANNA, 1, "wild durable hang"));
    let first = up_to_the_run(&mut stewards, effects);
    wait(&mut stewards, RUN_LIMIT_MS / 2);
    // Another key, which is free.
    let StewardCall::Command(other) = wild(BERT, 1, "wild durable") else { panic!() };
    let body = StewardCall::Command(other).encode();
    let effects = stewards.call_with(0, Key::avatar(BERT), body, 1);
    let second = up_to_the_run(&mut stewards, effects);
    wait(&mut stewards, RUN_LIMIT_MS / 2);
    abandon(&mut stewards, first, 0);
    wait(&mut stewards, RUN_LIMIT_MS - 1);
    assert_eq!(stewards.abandoned, [first]);
    wait(&mut stewards, 1);
    assert_eq!(stewards.abandoned, [first, second]);
}

#[test]
fn a_grant_whose_rule_is_broken_fails_once_and_gives_nothing() {
    let mut stewards = stewards(2);
    let before = stewards.avatar(ANNA);
    for at in [0, 1] {
        assert_eq!(stewards.ask(at, grant(1, "wild grant panic")), Err("failed".into()));
    }
    assert_eq!(stewards.log.len(), 1, "{:?}", stewards.log);
    let effects = stewards.call(0, grant(2, "wild grant hang"));
    let request = up_to_the_run(&mut stewards, effects);
    wait(&mut stewards, RUN_LIMIT_MS);
    abandon(&mut stewards, request, 0);
    assert_eq!(codes(&mut stewards), [(3, Err("failed".into()))]);
    assert_eq!(stewards.ask(1, grant(2, "wild grant hang")), Err("failed".into()));
    assert_eq!(stewards.ask(1, grant(2, "wild grant")), Err("key_used".into()));
    assert_eq!(stewards.avatar(ANNA), before);
    assert!(stewards.told.is_empty());
    stewards.check_at_rest();
}
