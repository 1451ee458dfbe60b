//! Connections come and go; the client comes again unless that is pointless.

use crate::node::{World, settings};
use pelago_client::core::{
    DIAL_TIMEOUT_MS, Input, LAST_PAUSE_MS, LocalTime, PONG_TIMEOUT_MS, WELCOME_TIMEOUT_MS,
};
use pelago_client::{Event, Loss, RequestError};
use pelago_wire::client::{Closing, Refused, server_message};

fn closing(code: &str) -> server_message::Body {
    server_message::Body::Closing(Closing { code: code.into(), sentence: "Why.".into() })
}

fn refused(code: &str) -> server_message::Body {
    let (code, sentence) = (code.into(), "Why.".into());
    server_message::Body::Refused(Refused { code, sentence, trace: 1 })
}

#[test]
fn it_connects_says_hello_and_is_welcomed() {
    let mut world = World::new(settings(&["one"]));
    assert!(!world.client.is_playing());
    world.connect();
    world.settle();
    assert_eq!(world.events[0], Event::Welcomed);
    assert_eq!((world.client.avatar().0, world.dialed.as_slice()), (7, &["one".to_owned()][..]));
}

#[test]
fn attempts_that_fail_go_round_with_pauses_that_grow_to_a_bound() {
    let mut world = World::new(settings(&["one", "two"]));
    let mut pauses = Vec::new();
    for _ in 0..12 {
        assert!(world.cut());
        let wake = world.client.next_wake().unwrap();
        pauses.push(wake.since(world.now));
        world.now = wake;
        world.input(Input::Wake);
    }
    assert_eq!(world.dialed[..4], ["one", "two", "one", "two"]);
    assert!(pauses[0] <= 450, "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= LAST_PAUSE_MS * 3 / 2), "{pauses:?}");
    assert!(pauses[8..].iter().all(|pause| *pause >= LAST_PAUSE_MS / 2), "{pauses:?}");
    assert_eq!(world.losses(), [("unreachable", false); 12]);
    // Not all of them are the same.
    assert!(pauses[8..].iter().any(|pause| *pause != pauses[8]), "{pauses:?}");
}

#[test]
fn final_codes_end_it_and_others_do_not() {
    for (body, expected) in [
        (closing("superseded"), ("superseded", true)),
        (refused("token"), ("token", true)),
        (refused("name"), ("name", true)),
        (refused("version"), ("version", true)),
        (closing("shutdown"), ("shutdown", false)),
        (closing("slow"), ("slow", false)),
        (refused("busy"), ("busy", false)),
        (refused("full"), ("full", false)),
        (refused("unavailable"), ("unavailable", false)),
    ] {
        let mut world = World::playing();
        world.say(body);
        assert_eq!((world.losses(), world.hangups), (vec![expected], 1));
        assert_eq!(world.client.next_wake().is_none(), expected.1);
        let asked = world.ask(|client, _, effects| client.act("a".into(), effects));
        assert_eq!(asked, if expected.1 { Err(RequestError::Over) } else { Ok(()) });
        world.pass(60_000);
        assert_eq!(world.client.is_playing(), !expected.1);
    }
}

#[test]
fn a_client_that_is_superseded_says_what_it_left_unanswered() {
    let mut world = World::playing();
    world.act_for("a");
    world.say(closing("superseded"));
    let Some(Event::Ended { unanswered: Some(unanswered), .. }) = world.events.last() else {
        panic!("{:?}", world.events)
    };
    assert_eq!((unanswered.sequence, &unanswered.payload[..]), (1, &b"a"[..]));
}

#[test]
fn a_line_without_a_pong_is_given_up_and_one_with_pongs_is_not() {
    let mut world = World::playing();
    world.pass(60_000);
    assert_eq!((world.losses(), world.hangups), (vec![], 0));
    // The last pong comes, and then nothing more.
    world.now = world.client.next_wake().unwrap();
    world.input(Input::Wake);
    world.settle();
    world.silent = true;
    let last_pong = world.now;
    while world.hangups == 0 {
        world.now = world.client.next_wake().unwrap();
        world.input(Input::Wake);
        world.settle();
    }
    assert_eq!(world.losses(), [("silent", false)]);
    assert_eq!(world.now.since(last_pong), PONG_TIMEOUT_MS);
}

#[test]
fn a_client_that_has_slept_does_not_blame_its_node() {
    let mut world = World::playing();
    // The ping is sent, and then the whole machine sleeps for a minute.
    world.now = world.client.next_wake().unwrap();
    world.input(Input::Wake);
    world.now = world.now.plus(60_000);
    world.input(Input::Wake);
    assert_eq!(world.hangups, 0);
    world.settle();
    world.pass(10_000);
    assert_eq!((world.losses(), world.hangups), (vec![], 0));
}

#[test]
fn nobody_waits_for_ever_for_a_connection_or_a_welcome() {
    let mut world = World::new(settings(&["one"]));
    world.now = world.now.plus(DIAL_TIMEOUT_MS);
    world.input(Input::Wake);
    assert_eq!((world.losses(), world.hangups), (vec![("unreachable", false)], 1));
    world.now = world.client.next_wake().unwrap();
    world.input(Input::Wake);
    world.connect();
    world.to_node.clear();
    world.now = world.now.plus(WELCOME_TIMEOUT_MS);
    world.input(Input::Wake);
    assert_eq!((world.losses()[1], world.hangups), (("no_answer", false), 2));
}

#[test]
fn what_old_connections_say_is_too_late() {
    let mut world = World::playing();
    let old = world.open.unwrap();
    world.cut();
    world.pass(1_000);
    assert!(world.client.is_playing());
    world.events.clear();
    let payload = crate::node::payload(closing("superseded"));
    world.input(Input::Received { connection: old, kind: 1, payload });
    world.input(Input::Closed { connection: old, reason: "late".into() });
    world.input(Input::Blocked { connection: old });
    world.act_for("a");
    world.settle();
    assert_eq!(world.outcomes(), [(1, "")]);
    assert!(world.client.is_playing());
}

#[test]
fn a_goodbye_is_said_once_and_is_the_end() {
    let mut world = World::playing();
    world.ask(|client, _, effects| client.bye(effects));
    world.ask(|client, _, effects| client.bye(effects));
    assert_eq!((world.losses(), world.hangups, world.to_node.len()), (vec![("left", true)], 1, 1));
    assert_eq!(world.client.next_wake(), None);
}

#[test]
fn without_an_address_it_ends_at_once() {
    let world = World::new(settings(&[]));
    assert_eq!(world.events, [Event::Ended { loss: Loss::NoAddress, unanswered: None }]);
    assert_eq!(world.client.world_time(LocalTime(0)).0, 0);
}
