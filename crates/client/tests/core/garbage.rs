//! Bytes of a node never panic, and never leave the client stuck.

use crate::node::{World, payload, settings};
use bytes::Bytes;
use pelago_client::core::Input;
use pelago_wire::client::{IslandClock, MoveRefused, Outcome, Path, Pong, Welcome, server_message};
use proptest::prelude::*;

fn path() -> impl Strategy<Value = Option<Path>> {
    let waypoints = prop::collection::vec(any::<i32>(), 0..6);
    let path = (any::<i64>(), any::<[i32; 2]>(), 0u32..5_000, waypoints);
    prop::option::of(path.prop_map(|(start_ms, [x, y], speed, waypoints)| Path {
        start_ms,
        x,
        y,
        speed,
        waypoints,
    }))
}

/// Bodies with any numbers in them.
fn bodies() -> impl Strategy<Value = server_message::Body> {
    let codes = prop::sample::select(vec!["", "unavailable", "stale", "repeated", "out_of_order"]);
    let welcome = (any::<[u64; 4]>(), any::<[i64; 3]>(), path(), any::<u32>());
    prop_oneof![
        welcome.prop_map(|([avatar, island, tick, sequence], times, path, speed)| {
            let [world_time_ms, world_ms, island_ms] = times;
            let clock = Some(IslandClock { world_ms, island_ms, speed_permille: speed % 70_000 });
            let (epoch, version) = (1, 1);
            server_message::Body::Welcome(Welcome {
                version,
                avatar,
                epoch,
                island,
                tick,
                world_time_ms,
                clock,
                sequence,
                path,
                ..Welcome::default()
            })
        }),
        (any::<u64>(), 0u64..4, codes).prop_map(|(sequence, number, code)| {
            let sequence = if sequence % 2 == 0 { sequence % 5 } else { sequence };
            let code = code.to_owned();
            server_message::Body::Outcome(Outcome { sequence, number, code, ..Outcome::default() })
        }),
        any::<[i64; 2]>().prop_map(|[client_ms, world_time_ms]| {
            server_message::Body::Pong(Pong { client_ms, world_time_ms })
        }),
        (any::<u32>(), path()).prop_map(|(number, path)| {
            let code = "blocked".to_owned();
            server_message::Body::MoveRefused(MoveRefused { number, code, path })
        }),
    ]
}

fn messages() -> impl Strategy<Value = (u8, Bytes)> {
    let bytes = prop::collection::vec(any::<u8>(), 0..64);
    prop_oneof![
        (any::<u8>(), bytes.clone()).prop_map(|(kind, bytes)| (kind, Bytes::from(bytes))),
        bytes.prop_map(|bytes| (1, Bytes::from(bytes))),
        bodies().prop_map(|body| (1, payload(body))),
        bodies().prop_map(|body| (1, payload(body))),
    ]
}

#[test]
fn bytes_that_are_no_message_end_the_connection_and_another_follows() {
    let mut world = World::playing();
    let connection = world.open.unwrap();
    let payload = Bytes::from_static(&[0xff; 9]);
    world.input(Input::Received { connection, kind: 1, payload });
    assert_eq!((world.losses(), world.hangups), (vec![("malformed", false)], 1));
    world.pass(1_000);
    assert!(world.client.is_playing());
}

#[test]
fn what_is_shown_before_the_welcome_is_malformed() {
    let mut world = World::new(settings(&["one"]));
    world.connect();
    let connection = world.open.unwrap();
    world.input(Input::Received { connection, kind: 2, payload: Bytes::from_static(&[0]) });
    assert_eq!(world.losses(), [("malformed", false)]);
}

#[test]
fn a_node_that_welcomes_and_then_talks_nonsense_is_asked_less_and_less_often() {
    let mut world = World::playing();
    let mut pauses = Vec::new();
    for _ in 0..6 {
        let connection = world.open.unwrap();
        world.input(Input::Received { connection, kind: 1, payload: Bytes::from_static(&[0xff]) });
        let wake = world.client.next_wake().unwrap();
        pauses.push(wake.since(world.now));
        world.now = wake;
        world.input(Input::Wake);
        world.to_node.clear();
        world.connect();
        world.node_hears();
        world.client_hears();
        assert!(world.client.is_playing());
    }
    assert!(pauses[5] >= 2_500, "{pauses:?}");
}

proptest! {
    #[test]
    fn whatever_a_node_says_the_client_plays_again_when_it_speaks_the_protocol(
        said in prop::collection::vec((messages(), any::<bool>(), 0i64..4_000), 0..30),
    ) {
        let mut world = World::new(settings(&["one"]));
        for ((kind, payload), acts, ms) in said {
            world.connect();
            if let Some(connection) = world.open {
                world.input(Input::Received { connection, kind, payload });
            }
            if acts {
                // It may be busy.
                world.ask(|client, _, effects| client.act("x".into(), effects)).ok();
                let there = [pelago_model::Position::new(i32::MIN, i32::MAX)];
                world.ask(|client, now, effects| client.walk(now, 9, &there, effects)).ok();
            }
            world.now = world.now.plus(ms);
            world.input(Input::Wake);
            prop_assert!(world.client.next_wake().is_some() || world.client.is_over());
        }
        world.client.view();
        world.client.island_time(world.now);
        prop_assume!(!world.client.is_over());
        world.cut();
        world.pass(60_000);
        prop_assert!(world.client.is_playing());
    }
}
