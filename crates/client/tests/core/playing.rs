//! Moves, live commands, content and time.

use crate::node::{OFFSET_MS, World};
use bytes::Bytes;
use pelago_client::core::{Input, MAX_FETCHES, MAX_LIVE};
use pelago_client::{Event, RequestError};
use pelago_model::{IslandTime, Position, Trajectory};
use pelago_wire::client::{
    ChatChannel, ChatLine, Content, MoveRefused, Notice, Outcome, Whisper, client_message,
    server_message,
};

fn walk(world: &mut World, x: i32) -> Result<u32, RequestError> {
    let there = Position::new(x, 640);
    world.ask(|client, now, effects| client.walk(now, 64, &[there], effects)).map(|it| it.number)
}

#[test]
fn a_walk_is_predicted_at_once_and_corrected_when_it_is_refused() {
    let mut world = World::playing();
    assert_eq!(walk(&mut world, 1280), Ok(1));
    let begun = world.client.island_time(world.now);
    assert_eq!(begun, IslandTime(world.now.0 + OFFSET_MS));
    assert_eq!(world.client.path().destination(), Position::new(1280, 640));
    assert_eq!(world.client.path().position_at(begun.plus(5_000)), Position::new(960, 640));
    let truth = Trajectory::still(IslandTime(3), Position::new(5, 6));
    world.say(server_message::Body::MoveRefused(MoveRefused {
        number: 1,
        code: "blocked".into(),
        path: Some((&truth).into()),
    }));
    assert_eq!(world.client.path(), &truth);
    assert_eq!(world.events, [Event::MoveRefused { number: 1, code: "blocked".into() }]);
    // The next one leaves from there, and not before the true path begins.
    assert_eq!(walk(&mut world, 1280), Ok(2));
    assert_eq!(world.client.path().start(), Position::new(5, 6));
}

#[test]
fn a_walk_that_nobody_could_walk_is_not_sent() {
    let mut world = World::playing();
    let too_many = [Position::new(0, 0); 9];
    let asked = world.ask(|client, now, effects| client.walk(now, 64, &too_many, effects));
    assert!(matches!(asked, Err(RequestError::Path(_))), "{asked:?}");
    assert!(world.to_node.is_empty());
    world.cut();
    assert_eq!(walk(&mut world, 9), Err(RequestError::Away));
}

#[test]
fn a_connection_that_takes_no_bytes_gets_the_last_move_only() {
    let mut world = World::playing();
    let connection = world.open.unwrap();
    world.input(Input::Blocked { connection });
    for x in [700, 800, 900] {
        walk(&mut world, x).unwrap();
    }
    world.act_for("a");
    let live = world.ask(|client, _, effects| client.act_live("b".into(), effects));
    let said = world.ask(|client, _, effects| client.say("hello", effects));
    assert_eq!((live, said), (Err(RequestError::Busy), Err(RequestError::Busy)));
    assert!(world.to_node.is_empty());
    world.input(Input::Writable { connection });
    world.settle();
    assert_eq!((world.moves.as_slice(), world.outcomes()), (&[3][..], vec![(1, "")]));
}

#[test]
fn live_commands_that_the_end_of_a_connection_leaves_unanswered_are_unavailable() {
    let mut world = World::playing();
    let act = |client: &mut pelago_client::Client, _, effects: &mut Vec<_>| {
        client.act_live("wave".into(), effects)
    };
    assert_eq!(world.ask(act), Ok(1));
    world.settle();
    assert_eq!(world.ask(act), Ok(2));
    assert_eq!(world.ask(act), Ok(3));
    world.cut();
    let answers: Vec<(u64, String)> = world
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Outcome(outcome) => Some((outcome.number, outcome.code.clone())),
            _ => None,
        })
        .collect();
    let unavailable = "unavailable".to_owned();
    assert_eq!(answers, [(1, String::new()), (2, unavailable.clone()), (3, unavailable)]);
    world.pass(1_000);
    // They are not repeated.
    assert!(!world.to_node.iter().any(|(_, it)| matches!(it, client_message::Body::Act(_))));
    for _ in 0..MAX_LIVE {
        world.ask(act).unwrap();
    }
    assert_eq!(world.ask(act), Err(RequestError::Busy));
}

#[test]
fn content_is_asked_for_once_and_again_by_the_next_connection() {
    let mut world = World::playing();
    let hash = Bytes::from_static(&[7; 32]);
    for _ in 0..2 {
        world.ask(|client, _, effects| client.fetch(hash.clone(), effects)).unwrap();
    }
    let fetches = |world: &World| {
        let is_fetch = |(_, body): &&(_, _)| matches!(body, client_message::Body::Fetch(_));
        world.to_node.iter().filter(is_fetch).count()
    };
    assert_eq!(fetches(&world), 1);
    world.cut();
    world.to_node.clear();
    world.now = world.client.next_wake().unwrap();
    world.input(Input::Wake);
    world.connect();
    world.node_hears();
    world.client_hears();
    assert_eq!(fetches(&world), 1);
    let content =
        Content { hash: hash.clone(), data: Bytes::from_static(b"land"), code: String::new() };
    world.say(server_message::Body::Content(content.clone()));
    assert_eq!(world.events.last(), Some(&Event::Content(content)));
    for number in 0..MAX_FETCHES {
        let hash = Bytes::from(number.to_string());
        world.ask(|client, _, effects| client.fetch(hash, effects)).unwrap();
    }
    let asked = world.ask(|client, _, effects| client.fetch(hash, effects));
    assert_eq!(asked, Err(RequestError::Busy));
}

#[test]
fn notices_and_what_is_said_of_speech_reach_the_application() {
    let mut world = World::playing();
    world.say(server_message::Body::Notice(Notice { payload: "{}".into() }));
    let outcome = Outcome { code: "slow_down".into(), ..Outcome::default() };
    world.say(server_message::Body::Outcome(outcome.clone()));
    assert_eq!(world.events, [Event::Notice("{}".into()), Event::Outcome(outcome)]);
}

#[test]
fn world_time_is_what_the_node_says() {
    let mut world = World::playing();
    world.ask(|client, now, effects| client.ping(now, effects)).unwrap();
    world.node_hears();
    world.client_hears();
    let world_time = pelago_model::WorldTime(world.now.0 + OFFSET_MS);
    let pong = Event::Pong { world_time, round_trip_ms: 0 };
    assert_eq!(world.events, [pong]);
    assert_eq!(world.client.world_time(world.now).0, world.now.0 + OFFSET_MS);
}

fn line(channel: ChatChannel, number: u64, text: &str) -> server_message::Body {
    server_message::Body::ChatLine(ChatLine {
        channel: channel.into(),
        number,
        avatar: 7,
        name: "Bert".into(),
        text: text.into(),
        at_ms: 5,
    })
}

/// The texts of the lines that the application was told since this was asked last.
fn told(world: &mut World) -> Vec<String> {
    let lines = world.events.extract_if(.., |event| matches!(event, Event::Line(_)));
    lines
        .map(|event| match event {
            Event::Line(line) => line.text,
            other => panic!("{other:?}"),
        })
        .collect()
}

/// The whispers that the node was told to have been shown.
fn heard(world: &mut World) -> Vec<u64> {
    let sent = world.to_node.drain(..).filter_map(|(_, body)| match body {
        client_message::Body::Heard(heard) => Some(heard.number),
        _ => None,
    });
    sent.collect()
}

#[test]
fn a_line_is_told_once_however_often_connections_bring_it() {
    let mut world = World::playing();
    world.say(line(ChatChannel::ChatIsland, 7, "seven"));
    world.say(line(ChatChannel::ChatIsland, 8, "eight"));
    world.say(line(ChatChannel::ChatIsland, 7, "seven"));
    world.say(line(ChatChannel::ChatWhisper, 1, "psst"));
    assert_eq!(told(&mut world), ["seven", "eight", "psst"]);
    world.cut();
    world.pass(1_000);
    world.events.clear();
    world.to_node.clear();
    world.say(line(ChatChannel::ChatIsland, 8, "eight"));
    world.say(line(ChatChannel::ChatIsland, 9, "nine"));
    world.say(line(ChatChannel::ChatWhisper, 1, "psst"));
    assert_eq!(told(&mut world), ["nine"]);
    // The node that brings a whisper again has not heard that it was shown.
    assert_eq!(heard(&mut world), [1]);
}

#[test]
fn that_a_whisper_was_shown_waits_until_the_connection_takes_bytes() {
    let mut world = World::playing();
    let connection = world.open.unwrap();
    world.input(Input::Blocked { connection });
    world.say(line(ChatChannel::ChatWhisper, 1, "one"));
    world.say(line(ChatChannel::ChatWhisper, 2, "two"));
    assert_eq!(told(&mut world), ["one", "two"]);
    assert!(heard(&mut world).is_empty());
    world.input(Input::Writable { connection });
    assert_eq!(heard(&mut world), [2]);
}

#[test]
fn lines_to_the_island_and_whispers_are_said_one_after_the_other() {
    let mut world = World::playing();
    let said = world.ask(|client, _, effects| client.say_island("ahoy", effects));
    assert_eq!(said, Ok(1));
    let busy = world.ask(|client, _, effects| client.whisper("Bert", "psst", effects));
    assert_eq!(busy, Err(RequestError::Busy));
    world.say(server_message::Body::Outcome(Outcome { number: 1, ..Outcome::default() }));
    let whispered = world.ask(|client, _, effects| client.whisper("Bert", "psst", effects));
    assert_eq!(whispered, Ok(2));
    let sent: Vec<client_message::Body> = world.to_node.drain(..).map(|(_, body)| body).collect();
    let whisper = Whisper { number: 2, name: "Bert".into(), text: "psst".into() };
    assert_eq!(sent.last(), Some(&client_message::Body::Whisper(whisper)));
    // A lost connection answers what it was asked, and the next line may be said.
    world.events.clear();
    world.cut();
    let outcome = |event: &Event| match event {
        Event::Outcome(outcome) => Some((outcome.number, outcome.code.clone())),
        _ => None,
    };
    let outcomes: Vec<(u64, String)> = world.events.iter().filter_map(outcome).collect();
    assert_eq!(outcomes, [(2, "unavailable".to_owned())]);
    world.pass(1_000);
    let said = world.ask(|client, _, effects| client.say_island("again", effects));
    assert_eq!(said, Ok(3));
}
