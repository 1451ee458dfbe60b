//! Clients that have no lane: what they may do, and what they cost.

use crate::gate::{ANNAS, ForLanes, Gate, OTHER, config};
use bytes::Bytes;
use pelago_model::{Limit, Machine};
use pelago_node::arrivals::LOGIN_TIME_MS;
use pelago_node::{ArrivalsConfig, ArrivalsInput, ClientEvent, ProtocolViolation};
use pelago_wire::client::{Bye, FetchContent, Hello, Ping, client_message, server_message};
use pelago_world::ClientId;
use proptest::prelude::*;

fn fetch() -> client_message::Body {
    client_message::Body::Fetch(FetchContent { hash: Bytes::from_static(b"unknown") })
}

fn ping() -> client_message::Body {
    client_message::Body::Ping(Ping { client_ms: 1 })
}

#[test]
fn a_client_that_says_no_hello_within_its_time_is_refused_as_idle() {
    let mut gate = Gate::new(config());
    let silent = gate.client();
    gate.pass(5000);
    let fetching = gate.client();
    gate.pass(4999);
    assert_eq!(gate.refusal(silent), None);
    gate.pass(1);
    assert_eq!(gate.refusal(silent), Some("idle"));
    // Content does not stand in for a hello.
    gate.say(fetching, fetch());
    gate.pass(5000);
    assert_eq!((gate.refusal(fetching), gate.met(Limit::HelloTime)), (Some("idle"), 2));
    assert_eq!((gate.arrivals.next_wake(), gate.arrivals.connections()), (None, 0));
}

#[test]
fn the_time_in_which_the_node_did_not_run_is_nobodys_silence() {
    let mut gate = Gate::new(config());
    let (silent, slow) = (gate.client(), gate.client());
    gate.pass(4000);
    // The process is stopped for 150 s.
    gate.now += 150_000;
    gate.say_hello(slow, "Anna", ANNAS);
    gate.settle();
    assert!(gate.answer(slow).unwrap().is_ok(), "it waited for us");
    gate.pass(5000);
    assert_eq!(gate.refusal(silent), None);
    gate.pass(1500);
    assert_eq!(gate.refusal(silent), Some("idle"));
}

#[test]
fn a_client_that_said_hello_has_more_time_than_one_that_did_not() {
    let mut gate = Gate::new(config());
    let client = gate.client();
    gate.say_hello(client, "Anna", ANNAS);
    gate.pass(LOGIN_TIME_MS - 1);
    gate.settle();
    assert!(gate.answer(client).unwrap().is_ok());
}

#[test]
fn clients_on_lanes_count_until_they_leave() {
    let mut gate = Gate::new(ArrivalsConfig { max_clients: 2, ..config() });
    let (anna, bert) = (gate.client(), gate.client());
    gate.say_hello(anna, "Anna", ANNAS);
    gate.settle();
    assert!(gate.answer(anna).unwrap().is_ok());
    let third = gate.client();
    assert_eq!((gate.refusal(third), gate.met(Limit::Clients)), (Some("full"), 1));
    // Whatever one does that is not let in says nothing to anybody.
    gate.say(third, fetch());
    gate.happens(third, ClientEvent::Disconnected);
    assert_eq!(gate.arrivals.connections(), 2);
    gate.tell(ArrivalsInput::Left { client: anna });
    gate.tell(ArrivalsInput::Left { client: anna });
    let fourth = gate.client();
    assert_eq!(gate.refusal(fourth), None);
    gate.happens(bert, ClientEvent::Disconnected);
    assert_eq!(gate.arrivals.connections(), 1);
}

#[test]
fn what_a_client_says_out_of_place_ends_its_connection() {
    let mut gate = Gate::new(config());
    let client = gate.client();
    gate.say(client, ping());
    assert_eq!(gate.refusal(client), Some("malformed"));
    for (kind, payload) in [(1, &[0xff_u8][..]), (2, &[]), (77, &[])] {
        let client = gate.client();
        let payload = Bytes::copy_from_slice(payload);
        gate.happens(client, ClientEvent::Received { kind, payload });
        assert_eq!(gate.refusal(client), Some("malformed"));
    }
    // Between hello and welcome, whatever it is.
    for body in [ping(), fetch(), client_message::Body::Hello(Hello::default())] {
        let client = gate.client();
        gate.say_hello(client, "Anna", ANNAS);
        gate.say(client, body);
        assert_eq!(gate.refusal(client), Some("malformed"));
        gate.settle();
        assert!(matches!(gate.answer(client), Some(Err(_))));
    }
    assert_eq!((gate.arrivals.malformed(), gate.arrivals.connections()), (7, 0));
}

#[test]
fn a_client_that_speaks_no_version_of_ours_is_refused() {
    let mut gate = Gate::new(config());
    let client = gate.client();
    let hello = Hello { oldest_version: 900, newest_version: 901, ..Hello::default() };
    gate.say(client, client_message::Body::Hello(hello));
    assert_eq!(gate.refusal(client), Some("version"));
}

#[test]
fn a_client_that_says_goodbye_is_let_go_without_a_word() {
    let mut gate = Gate::new(config());
    let client = gate.client();
    gate.say(client, client_message::Body::Bye(Bye::default()));
    assert_eq!((&gate.closed[..], gate.told.len()), (&[client][..], 0));
}

#[test]
fn a_connection_that_is_no_stream_of_messages_ends_with_its_code() {
    let cases = [
        (ProtocolViolation::Flood, "flood"),
        (ProtocolViolation::EmptyFrames, "flood"),
        (ProtocolViolation::Stalled, "stalled"),
        (ProtocolViolation::TooLong, "malformed"),
        (ProtocolViolation::Malformed, "malformed"),
    ];
    let mut gate = Gate::new(config());
    for (violation, code) in cases {
        let (new, arriving) = (gate.client(), gate.client());
        gate.say_hello(arriving, "Anna", ANNAS);
        for client in [new, arriving] {
            gate.happens(client, ClientEvent::Violated(violation));
            assert_eq!(gate.refusal(client), Some(code));
        }
    }
    gate.settle();
    assert_eq!((gate.met(Limit::Messages), gate.arrivals.malformed()), (2, 2));
    assert_eq!((gate.for_lanes.len(), gate.held("logins")), (0, 0));
}

#[test]
fn what_happens_before_the_connection_knows_its_lane_reaches_the_lane() {
    let mut gate = Gate::new(config());
    let client = gate.client();
    gate.happens(client, ClientEvent::Blocked);
    gate.say_hello(client, "Anna", ANNAS);
    gate.settle();
    let events = [
        ClientEvent::Writable,
        ClientEvent::Received { kind: 1, payload: Bytes::new() },
        ClientEvent::Disconnected,
    ];
    events.iter().for_each(|event| gate.happens(client, event.clone()));
    let [_, ForLanes::Placed(lane, ..), forwarded @ ..] = &gate.for_lanes[..] else {
        panic!("{:?}", gate.for_lanes)
    };
    let expected: Vec<_> = [ClientEvent::Blocked]
        .into_iter()
        .chain(events)
        .map(|event| ForLanes::Forwarded(*lane, client, event))
        .collect();
    assert_eq!(forwarded, expected);
    // It is gone, and nobody else has to say so.
    assert_eq!((gate.arrivals.connections(), gate.closed.len()), (0, 0));
}

#[derive(Clone, Debug)]
enum Step {
    Connect,
    Hello(usize, u8, bool),
    Fetch(usize),
    Garbage(usize, u8, Vec<u8>),
    Happens(usize, ClientEvent),
    Left(usize),
    Store(u8),
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0usize..8;
    let events = prop_oneof![
        Just(ClientEvent::Blocked),
        Just(ClientEvent::Writable),
        Just(ClientEvent::Disconnected),
        Just(ClientEvent::Violated(ProtocolViolation::Flood)),
    ];
    prop_oneof![
        4 => Just(Step::Connect),
        4 => (who.clone(), 0u8..3, any::<bool>()).prop_map(|(who, name, annas)| Step::Hello(who, name, annas)),
        3 => who.clone().prop_map(Step::Fetch),
        1 => (who.clone(), any::<u8>(), any::<Vec<u8>>()).prop_map(|(who, kind, bytes)| Step::Garbage(who, kind, bytes)),
        3 => (who.clone(), events).prop_map(|(who, event)| Step::Happens(who, event)),
        1 => who.prop_map(Step::Left),
        8 => (0u8..8).prop_map(Step::Store),
        2 => (0i64..6000).prop_map(Step::Pass),
    ]
}

fn take(gate: &mut Gate, clients: &mut Vec<ClientId>, step: Step) {
    let who = |which: usize| clients.iter().rev().nth(which).copied();
    match step {
        Step::Connect => clients.push(gate.client()),
        Step::Hello(which, name, annas) => {
            let token = if annas { ANNAS } else { OTHER };
            who(which).into_iter().for_each(|it| gate.say_hello(it, &name.to_string(), token));
        }
        Step::Fetch(which) => who(which).into_iter().for_each(|it| gate.say(it, fetch())),
        Step::Garbage(which, kind, payload) => {
            let payload = Bytes::from(payload);
            who(which).into_iter().for_each(|it| {
                gate.happens(it, ClientEvent::Received { kind, payload: payload.clone() })
            });
        }
        Step::Happens(which, event) => {
            who(which).into_iter().for_each(|it| gate.happens(it, event.clone()));
        }
        Step::Left(which) => {
            who(which).into_iter().for_each(|client| gate.tell(ArrivalsInput::Left { client }));
        }
        Step::Store(requests) => (0..requests).for_each(|_| {
            gate.answer_one();
        }),
        Step::Pass(ms) => gate.pass(ms),
    }
}

proptest! {
    #[test]
    fn whatever_clients_do_each_is_placed_or_sent_away_once_and_nothing_is_left(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut gate = Gate::new(ArrivalsConfig { max_clients: 5, ..config() });
        let mut clients = Vec::new();
        for step in steps {
            take(&mut gate, &mut clients, step);
            let sizes = gate.arrivals.sizes();
            prop_assert!(sizes.iter().all(|size| size.held <= size.limit), "{:?}", sizes);
        }
        gate.settle();
        gate.pass(60_000);
        for client in &clients {
            let placed = gate
                .for_lanes
                .iter()
                .filter(|told| matches!(told, ForLanes::Placed(_, it, ..) if it == client))
                .count();
            let closed = gate.closed.iter().filter(|it| *it == client).count();
            prop_assert!(placed + closed <= 1, "{} placed, {} closed", placed, closed);
            // What is said to it ends with the refusal.
            let told: Vec<_> = gate.told.iter().filter(|(to, _)| to == client).collect();
            let refused = told.iter().position(|(_, it)| matches!(it, server_message::Body::Refused(_)));
            prop_assert!(refused.is_none_or(|at| at + 1 == told.len()));
            gate.tell(ArrivalsInput::Left { client: *client });
        }
        let sizes = gate.arrivals.sizes();
        // What an address or an avatar has used up outlives its connections.
        let of_clients = |of: &str| !of.starts_with("addresses") && !of.starts_with("avatars");
        let mut left = sizes.iter().filter(|size| of_clients(size.of));
        prop_assert!(left.all(|size| size.held == 0), "{:?}", sizes);
        prop_assert_eq!(gate.arrivals.next_wake(), None);
    }
}
