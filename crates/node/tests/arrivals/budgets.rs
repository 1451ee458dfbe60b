//! Budgets of addresses and avatars, which outlive connections.

use crate::gate::{ANNAS, Gate, OTHER, config};
use pelago_game::json;
use pelago_model::{Allowance, ByOrigin, CommitOutcome, Key, Limit, Origin, Transaction, Write};
use pelago_node::documents::avatar::{PlaceDocument, read};
use pelago_node::{AddressLimits, ArrivalsConfig, ClientLimits};

const NEAR: Origin = Origin { number: 1, is_loopback: false };
const FAR: Origin = Origin { number: 2, is_loopback: false };

/// A gate with these limits for every address.
fn gate(of_address: AddressLimits) -> Gate {
    let of_address = ByOrigin { loopback: of_address, others: of_address };
    let limits = ClientLimits { of_address, ..ClientLimits::default() };
    Gate::new(ArrivalsConfig { limits, ..config() })
}

/// Somebody of an origin comes, asks to be let in and leaves again; the code of the refusal, or `in`.
fn comes(gate: &mut Gate, origin: Origin, name: &str, token: &'static [u8]) -> String {
    let client = gate.client_of(origin);
    gate.say_hello(client, name, token);
    gate.settle();
    let answer = gate.answer(client).map_or("nothing".to_owned(), |answer| match answer {
        Ok(_) => "in".to_owned(),
        Err(code) => code,
    });
    gate.happens(client, pelago_node::ClientEvent::Disconnected);
    answer
}

#[test]
fn an_address_makes_so_many_new_names_and_plays_old_ones_all_the_same() {
    let mut gate =
        gate(AddressLimits { names: Allowance::per_minute(2, 3), ..AddressLimits::OTHERS });
    let answers: Vec<_> =
        (0..5).map(|number| comes(&mut gate, NEAR, &format!("n{number}"), ANNAS)).collect();
    assert_eq!(answers, ["in", "in", "in", "new_names", "new_names"]);
    assert_eq!(gate.met(Limit::AddressNames), 2);
    assert_eq!(gate.store.get(&Key::name("n3")).value, None, "it is not kept");
    assert_eq!(comes(&mut gate, NEAR, "n1", ANNAS), "in");
    assert_eq!(comes(&mut gate, FAR, "n3", ANNAS), "in", "others make names");
    gate.pass(30_000);
    assert_eq!(comes(&mut gate, NEAR, "n5", ANNAS), "in");
    assert_eq!(comes(&mut gate, NEAR, "n6", ANNAS), "new_names");
}

#[test]
fn an_address_tries_so_many_wrong_tokens_and_the_store_is_asked_no_more() {
    let mut gate =
        gate(AddressLimits { wrong_tokens: Allowance::per_minute(1, 2), ..AddressLimits::OTHERS });
    assert_eq!(comes(&mut gate, FAR, "Anna", ANNAS), "in");
    assert_eq!([(); 2].map(|()| comes(&mut gate, NEAR, "Anna", OTHER)), ["token", "token"]);
    let client = gate.client_of(NEAR);
    gate.say_hello(client, "Anna", OTHER);
    assert!(gate.asked.is_empty(), "the store was asked");
    assert_eq!(gate.refusal(client), Some("slow_down"));
    assert_eq!(gate.met(Limit::AddressTokens), 1);
    assert_eq!(comes(&mut gate, FAR, "Anna", ANNAS), "in", "the owner plays");
    gate.pass(60_000);
    assert_eq!(comes(&mut gate, NEAR, "Anna", OTHER), "token");
}

#[test]
fn an_address_logs_in_so_often() {
    let mut gate = gate(AddressLimits { logins: Allowance::new(1, 2), ..AddressLimits::OTHERS });
    let answers = ["a", "b", "c"].map(|name| comes(&mut gate, NEAR, name, ANNAS));
    assert_eq!(answers, ["in", "in", "slow_down"]);
    assert_eq!(
        (comes(&mut gate, FAR, "c", ANNAS), gate.met(Limit::AddressLogins)),
        ("in".into(), 1)
    );
    gate.pass(1000);
    assert_eq!(comes(&mut gate, NEAR, "a", ANNAS), "in");
}

#[test]
fn an_avatar_is_logged_in_so_often_by_whoever_has_its_token() {
    let mut gate = gate(AddressLimits::OTHERS);
    assert_eq!(comes(&mut gate, NEAR, "Anna", ANNAS), "in");
    for _ in 0..10 {
        assert_eq!(comes(&mut gate, NEAR, "Anna", ANNAS), "in");
    }
    // Whoever has not its token takes nothing of its budget.
    assert_eq!(comes(&mut gate, NEAR, "Anna", ANNAS), "slow_down");
    gate.pass(1000);
    assert_eq!(comes(&mut gate, FAR, "Anna", OTHER), "token");
    assert_eq!(comes(&mut gate, NEAR, "Anna", ANNAS), "in");
    assert_eq!(gate.met(Limit::AccountLogins), 1);
}

#[test]
fn a_session_is_told_for_how_long_its_avatar_has_done_nothing() {
    let mut gate = Gate::new(config());
    let anna = gate.hello("Anna", ANNAS).unwrap();
    gate.hello("Anna", ANNAS).unwrap();
    // A newcomer has all; nobody knows what the session before has used up, for it has not said that it ended.
    assert_eq!(gate.quiet_ms, [i64::MAX, 0]);
    let key = Key::place(anna);
    let document = gate.store.get(&key);
    let place: PlaceDocument = read(&document).unwrap().unwrap();
    let value = json::encode(&PlaceDocument { has_left: true, ..place }).unwrap();
    let write =
        Write { key, expected: document.revision, schema: document.schema, value: Some(value) };
    let transaction = Transaction { checks: Vec::new(), writes: vec![write] };
    assert_eq!(gate.store.apply(transaction), CommitOutcome::Committed);
    gate.pass(700);
    gate.hello("Anna", ANNAS).unwrap();
    assert_eq!(gate.quiet_ms[2], 700);
    gate.hello("Anna", ANNAS).unwrap();
    assert_eq!(gate.quiet_ms[3], 0, "the session before has begun, and not ended");
}
