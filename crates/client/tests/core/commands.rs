//! Durable commands happen once or not at all, whatever breaks.

use crate::node::{Store, World, settings};
use bytes::Bytes;
use pelago_client::{Event, RequestError, Settings, Unanswered};
use pelago_wire::client::{Outcome, server_message};
use proptest::prelude::*;

/// A step of a command on its way there and back.
type Step = fn(&mut World) -> bool;

#[test]
fn a_connection_that_is_lost_at_any_step_of_a_command_loses_and_doubles_nothing() {
    let steps: [Step; 3] = [|_| true, World::node_hears, World::client_hears];
    for cut_after in 0..steps.len() {
        for late in [false, true] {
            let mut world = World::playing();
            world.act_for("a");
            for step in &steps[..=cut_after] {
                assert!(step(&mut world));
            }
            let was_answered = cut_after == 2;
            if !late {
                // What had not arrived is lost with the connection.
                world.to_node.clear();
            }
            world.cut();
            world.pass(1_000);
            assert!(world.client.is_playing());
            assert_eq!(world.done, ["a"], "cut after step {cut_after}");
            assert_eq!(world.outcomes(), [(1, "")], "cut after step {cut_after}");
            assert!(world.asked.iter().all(|(sequence, _)| *sequence == 1), "{:?}", world.asked);
            assert_eq!(
                world.asked.len(),
                1 + usize::from(!was_answered && (late || cut_after > 0))
            );
            // The next one has the next number.
            world.act_for("b");
            world.settle();
            assert_eq!(world.done, ["a", "b"]);
        }
    }
}

#[test]
fn a_command_is_repeated_through_as_many_losses_as_there_are() {
    let mut world = World::playing();
    world.act_for("a");
    for _ in 0..6 {
        world.to_node.clear();
        world.cut();
        let wake = world.client.next_wake().unwrap();
        world.now = wake;
        world.input(pelago_client::core::Input::Wake);
        world.connect();
    }
    world.settle();
    assert_eq!((world.done.clone(), world.outcomes()), (vec![Bytes::from("a")], vec![(1, "")]));
    // It has been elsewhere each time.
    assert_eq!(world.dialed, ["one", "two", "one", "two", "one", "two", "one"]);
}

#[test]
fn a_command_whose_end_the_node_does_not_know_is_asked_for_again_under_its_number() {
    for store in [Store::UnknownAndDone, Store::UnknownAndNotDone] {
        let mut world = World::playing();
        world.store = store;
        world.act_for("a");
        world.settle();
        assert!(matches!(world.events.as_slice(), [Event::Unsettled { sequence: 1 }]));
        assert!(world.client.is_acting());
        let busy = world.ask(|client, _, effects| client.act("b".into(), effects));
        assert_eq!(busy, Err(RequestError::Busy));
        world.pass(1_000);
        assert_eq!((world.done.clone(), world.outcomes()), (vec![Bytes::from("a")], vec![(1, "")]));
        assert!(world.asked.iter().all(|(sequence, _)| *sequence == 1));
    }
}

#[test]
fn a_command_that_never_left_takes_the_number_that_is_next_when_it_does() {
    let mut world = World::playing();
    world.cut();
    world.act_for("mine");
    // Somebody has played the avatar elsewhere meanwhile.
    world.done.extend(["x", "y", "z"].map(Bytes::from));
    world.pass(1_000);
    assert_eq!(world.outcomes(), [(4, "")]);
    assert_eq!(world.done.len(), 4);
}

#[test]
fn a_command_that_can_never_be_next_is_answered_and_not_sent() {
    let unanswered = Some(Unanswered { sequence: 9, payload: "late".into() });
    let mut world = World::new(Settings { unanswered, ..settings(&["one"]) });
    world.connect();
    world.settle();
    assert_eq!(world.outcomes(), [(9, "out_of_order")]);
    assert!(world.asked.is_empty() && !world.client.is_acting());
    world.act_for("a");
    world.settle();
    assert_eq!(world.done, ["a"]);
}

#[test]
fn what_an_earlier_client_left_unanswered_is_repeated_under_its_number() {
    let mut first = World::playing();
    first.act_for("a");
    first.node_hears();
    let unanswered = first.client.unanswered();
    assert_eq!(unanswered, Some(Unanswered { sequence: 1, payload: "a".into() }));
    let mut second = World::new(Settings { unanswered, ..settings(&["one"]) });
    second.done = first.done;
    second.connect();
    second.settle();
    assert_eq!(second.outcomes(), [(1, "")]);
    assert_eq!(second.done, ["a"]);
}

#[test]
fn an_avatar_that_has_gone_further_elsewhere_is_asked_how_far() {
    let mut world = World::playing();
    world.act_for("a");
    world.to_node.clear();
    let (sequence, code) = (1, "stale".to_owned());
    world.say(server_message::Body::Outcome(Outcome { sequence, code, ..Outcome::default() }));
    assert_eq!(world.losses(), [("out_of_step", false)]);
    world.done = vec![Bytes::from("x"); 20];
    world.pass(1_000);
    world.act_for("b");
    world.settle();
    assert_eq!(world.outcomes(), [(1, "stale"), (21, "")]);
}

#[test]
fn a_number_that_something_else_had_is_not_used_again() {
    let mut world = World::playing();
    world.done.push("of a session before".into());
    world.act_for("a");
    world.settle();
    assert_eq!(world.outcomes(), [(1, "repeated")]);
    world.act_for("a");
    world.settle();
    assert_eq!(world.outcomes()[1..], [(2, "")]);
}

#[test]
fn an_answer_that_nobody_waits_for_changes_nothing() {
    let mut world = World::playing();
    for sequence in [1, 2, u64::MAX] {
        let outcome = Outcome { sequence, ..Outcome::default() };
        world.say(server_message::Body::Outcome(outcome));
    }
    world.say(server_message::Body::Outcome(Outcome { number: 5, ..Outcome::default() }));
    assert!(world.events.is_empty(), "{:?}", world.events);
    assert_eq!(world.client.sequence(), 0);
}

/// What can happen at any time.
#[derive(Clone, Copy, Debug)]
enum Happens {
    Asks,
    NodeHears,
    ClientHears,
    Connects,
    Cut,
    LosesWhatIsOnItsWay,
    Blocked,
    Writable,
    StoreFails(Store),
    Passes(i64),
}

fn happenings() -> impl Strategy<Value = Happens> {
    prop_oneof![
        3 => Just(Happens::Asks),
        5 => Just(Happens::NodeHears),
        5 => Just(Happens::ClientHears),
        4 => Just(Happens::Connects),
        1 => Just(Happens::Cut),
        1 => Just(Happens::LosesWhatIsOnItsWay),
        1 => Just(Happens::Blocked),
        2 => Just(Happens::Writable),
        1 => Just(Happens::StoreFails(Store::UnknownAndDone)),
        1 => Just(Happens::StoreFails(Store::UnknownAndNotDone)),
        3 => (1i64..2_500).prop_map(Happens::Passes),
    ]
}

/// Lets everything happen and then come to rest; returns the world and what the application has asked for.
fn live(mut world: World, happenings: Vec<Happens>) -> (World, Vec<Bytes>) {
    use pelago_client::core::Input;
    let mut wanted = Vec::new();
    for happening in happenings {
        match happening {
            Happens::Asks => {
                let payload = Bytes::from(format!("command {}", wanted.len()));
                let asked = world.ask(|client, _, effects| client.act(payload.clone(), effects));
                wanted.extend(asked.is_ok().then_some(payload));
            }
            Happens::NodeHears => {
                world.node_hears();
            }
            Happens::ClientHears => {
                world.client_hears();
            }
            Happens::Connects => {
                world.connect();
            }
            Happens::Cut => {
                world.cut();
            }
            Happens::LosesWhatIsOnItsWay => {
                // Bytes are lost with their connection only.
                if world.cut() {
                    world.to_node.clear();
                }
            }
            Happens::Blocked => {
                if let Some(connection) = world.open {
                    world.input(Input::Blocked { connection });
                }
            }
            Happens::Writable => {
                if let Some(connection) = world.open {
                    world.input(Input::Writable { connection });
                }
            }
            Happens::StoreFails(store) => world.store = store,
            Happens::Passes(ms) => {
                world.now = world.now.plus(ms);
                world.input(Input::Wake);
            }
        }
    }
    if let Some(connection) = world.open {
        world.input(Input::Writable { connection });
    }
    for _ in 0..40 {
        world.connect();
        world.settle();
        world.pass(1_000);
    }
    (world, wanted)
}

proptest! {
    #[test]
    fn every_command_happens_exactly_once_in_order_and_is_answered_once(
        happenings in prop::collection::vec(happenings(), 0..120),
    ) {
        let (world, wanted) = live(World::new(settings(&["one", "two"])), happenings);
        prop_assert!(world.client.is_playing());
        prop_assert_eq!(&world.done, &wanted);
        let expected: Vec<(u64, &str)> = (1..=wanted.len() as u64).map(|it| (it, "")).collect();
        prop_assert_eq!(world.outcomes(), expected);
        for (sequence, payload) in &world.asked {
            prop_assert_eq!(&wanted[*sequence as usize - 1], payload, "under two numbers");
        }
    }
}

#[test]
fn the_planted_bug_does_a_command_twice() {
    let mut world = World::sabotaged();
    world.connect();
    world.settle();
    world.act_for("a");
    world.node_hears();
    world.cut();
    world.pass(1_000);
    assert_eq!(world.done, ["a", "a"]);
}

#[test]
fn a_command_whose_rule_is_broken_has_used_up_its_number_if_there_is_a_chain_after_it() {
    for (chain, next) in [(vec![7; 32], 2), (Vec::new(), 1)] {
        let mut world = World::playing();
        world.act_for("a");
        world.to_node.clear();
        let chain = Bytes::from(chain);
        if !chain.is_empty() {
            world.done.push("a".into());
        }
        let outcome = Outcome { sequence: 1, code: "internal".into(), chain, ..Outcome::default() };
        world.say(server_message::Body::Outcome(outcome));
        world.act_for("b");
        world.settle();
        assert_eq!(world.outcomes(), [(1, "internal"), (next, "")]);
    }
}
