//! What is said to an island.

use crate::harness::{Chats, ISLAND, NOW, name, texts};
use pelago_frontier::Frontier;
use pelago_game::Game;
use pelago_model::attendance::ATTENDANCE_MS;
use pelago_model::limits::MAX_CHAT_LINES;
use pelago_model::{CommitOutcome, EntityId};
use pelago_node::chat::{CALL_TIME_MS, MAX_ATTEMPTS, MAX_WAITING};
use pelago_node::chat_call::ChatCall;
use pelago_node::documents::lines::{MAX_CALL_AGE_MS, Speaker};
use pelago_node::service::ServiceInput;
use pelago_node::{LaneCall, StoreAnswer};

#[test]
fn a_line_is_written_under_the_name_of_its_speaker_and_everybody_is_told() {
    let mut chats = Chats::new(1);
    chats.write_avatars(2);
    assert_eq!(chats.say(1, 1, "ahoy"), Ok(()));
    assert_eq!(chats.say(2, 1, "ahoy yourself"), Ok(()));
    let room = chats.room();
    assert_eq!(texts(&room.lines), ["ahoy", "ahoy yourself"]);
    let first = &room.lines[0];
    assert_eq!((first.number, first.avatar, &first.name), (1, EntityId(1), &name(1)));
    let told = [(1, 0), (2, 1)].map(|(_, place)| {
        (None, LaneCall::Lines { island: ISLAND, lines: vec![room.lines[place].clone()] })
    });
    assert_eq!(chats.told, told);
    chats.check_at_rest();
}

#[test]
fn lines_that_come_together_share_a_commit() {
    let mut chats = Chats::new(1);
    chats.write_avatars(9);
    for avatar in 1..=9 {
        let speaker = chats.speaker(avatar, 1);
        chats.begin(0, ChatCall::Say { speaker, island: ISLAND, text: format!("{avatar}") });
    }
    chats.settle();
    // The first one goes alone.
    assert_eq!(chats.commits.len(), 2);
    assert_eq!(texts(&chats.room().lines).concat(), "123456789");
    assert!(chats.answers.values().all(Result::is_ok));
    chats.check_at_rest();
}

#[test]
fn a_repeated_line_is_said_once_and_an_older_one_is_stale() {
    let mut chats = Chats::new(2);
    chats.write_avatars(1);
    for text in ["ahoy", "ahoy", "something else"] {
        assert_eq!(chats.say(1, 3, text), Ok(()));
    }
    assert_eq!(chats.say(1, 2, "late"), Err("stale".into()));
    assert_eq!(texts(&chats.room().lines), ["ahoy"]);
    assert_eq!(chats.say(1, 4, "more"), Ok(()));
    // A call that was on its way for too long is not carried out: nobody might remember it.
    let speaker = Speaker { asked: NOW.plus(-MAX_CALL_AGE_MS - 1), ..chats.speaker(1, 5) };
    let late = ChatCall::Say { speaker, island: ISLAND, text: "late".into() };
    assert_eq!(chats.ask(late), Err("stale".into()));
    assert_eq!(texts(&chats.room().lines), ["ahoy", "more"]);
}

#[test]
fn a_room_keeps_its_last_lines() {
    let mut chats = Chats::new(1);
    chats.write_avatars(1);
    for number in 1..=MAX_CHAT_LINES as u64 + 7 {
        assert_eq!(chats.say(1, number, &format!("line {number}")), Ok(()));
    }
    let room = chats.room();
    assert_eq!(room.lines.len(), MAX_CHAT_LINES);
    let numbers: Vec<u64> = room.lines.iter().map(|line| line.number).collect();
    assert_eq!(numbers, (8..=57).collect::<Vec<_>>());
}

#[test]
fn a_session_that_is_over_says_nothing_even_if_it_ends_before_the_commit() {
    let mut chats = Chats::new(1);
    chats.write_avatars(1);
    let speaker = chats.speaker(1, 1);
    let call = ChatCall::Say { speaker, island: ISLAND, text: "ahoy".into() };
    let number = chats.begin(0, call.clone());
    // Loaded and decided; then somebody logs in elsewhere.
    chats.step(0);
    chats.step(0);
    chats.write_avatar(1, 2, Frontier.new_avatar("Anna"));
    chats.settle();
    assert_eq!(chats.answers[&number], Err("superseded".into()));
    assert!(matches!(chats.commits[..], [CommitOutcome::Conflict { .. }]));
    assert_eq!(chats.ask(call), Err("superseded".into()));
    assert!(chats.room().lines.is_empty());
    chats.check_at_rest();
}

#[test]
fn who_is_muted_by_the_game_is_refused_until_the_time_is_over() {
    let mut chats = Chats::new(1);
    chats.write_avatars(2);
    let mut state = Frontier.new_avatar("Anna");
    state["muted_until"] = (NOW.0 + 60_000).into();
    chats.write_avatar(1, 1, state);
    assert_eq!(chats.say(1, 1, "ahoy"), Err("muted".into()));
    assert_eq!(chats.whisper(1, 2, 2), Err("muted".into()));
    assert_eq!(chats.say(2, 1, "ahoy"), Ok(()));
    chats.now = NOW.plus(60_000);
    assert_eq!(chats.say(1, 1, "at last"), Ok(()));
    assert_eq!(texts(&chats.room().lines), ["ahoy", "at last"]);
}

#[test]
fn a_line_whose_commit_nobody_knows_the_end_of_is_said_once() {
    for happens in [false, true] {
        let mut chats = Chats::new(1);
        chats.write_avatars(1);
        chats.faults = vec![(CommitOutcome::Unknown, happens)];
        assert_eq!(chats.say(1, 1, "ahoy"), Ok(()));
        assert_eq!(texts(&chats.room().lines), ["ahoy"]);
        // Lanes are told whichever of the two it was that wrote it.
        assert_eq!(chats.told.len(), 1);
        chats.check_at_rest();
    }
}

#[test]
fn who_meets_too_many_conflicts_or_no_store_is_told_that_nobody_knows() {
    let mut chats = Chats::new(1);
    chats.write_avatars(1);
    chats.faults = vec![(CommitOutcome::Unknown, false); MAX_ATTEMPTS as usize];
    assert_eq!(chats.say(1, 1, "ahoy"), Err("unavailable".into()));
    assert_eq!(chats.faults, []);
    chats.faults = vec![(CommitOutcome::Failed, false)];
    assert_eq!(chats.say(1, 1, "ahoy"), Err("unavailable".into()));
    let speaker = chats.speaker(1, 1);
    let call = ChatCall::Say { speaker, island: ISLAND, text: "ahoy".into() };
    let number = chats.begin(0, call);
    let Some((0, pelago_node::service::ServiceEffect::Load { request, .. })) = chats.pending.pop()
    else {
        panic!("nothing was loaded");
    };
    chats.tell(0, ServiceInput::Stored { request, answer: StoreAnswer::Loaded(None) });
    chats.settle();
    assert_eq!(chats.answers[&number], Err("unavailable".into()));
    chats.check_at_rest();
}

#[test]
fn what_the_store_answers_after_a_pause_comes_before_deadlines() {
    let mut chats = Chats::new(1);
    chats.write_avatars(1);
    let speaker = chats.speaker(1, 1);
    let number = chats.begin(0, ChatCall::Say { speaker, island: ISLAND, text: "ahoy".to_owned() });
    let load = chats.pending.pop().unwrap();
    // The process is stopped for eight seconds, in which the store cannot answer either.
    chats.now = NOW.plus(8000);
    chats.tell(0, ServiceInput::Wake);
    assert!(!chats.answers.contains_key(&number), "it is not the store that was slow");
    chats.pending.push(load);
    chats.settle();
    assert!(chats.answers[&number].is_ok(), "{:?}", chats.answers[&number]);
}

#[test]
fn a_store_that_takes_nothing_is_asked_seldom_on_behalf_of_a_line() {
    for outcome in [CommitOutcome::Failed, CommitOutcome::Unknown] {
        let mut chats = Chats::new(1);
        chats.write_avatars(1);
        chats.faults = vec![(outcome.clone(), false); 1000];
        let speaker = chats.speaker(1, 1);
        chats.begin(0, ChatCall::Say { speaker, island: ISLAND, text: "ahoy".into() });
        let mut commits = Vec::new();
        loop {
            while !chats.pending.is_empty() {
                let before = chats.commits.len();
                chats.step(0);
                commits.extend((chats.commits.len() > before).then_some(chats.now.0));
            }
            if !chats.pass_a_pause() {
                break;
            }
        }
        let expected = if outcome == CommitOutcome::Failed { 1 } else { MAX_ATTEMPTS as usize };
        assert_eq!(commits.len(), expected, "{outcome:?}");
        assert!(commits.is_sorted_by(|one, next| one < next), "a pause each: {commits:?}");
        assert_eq!(chats.answers[&1], Err("unavailable".into()));
        chats.check_at_rest();
    }
}

#[test]
fn who_waits_for_too_long_is_answered_and_what_was_under_way_goes_on() {
    let mut chats = Chats::new(1);
    chats.write_avatars(2);
    let calls = [1, 2].map(|avatar| {
        let speaker = chats.speaker(avatar, 1);
        chats.begin(0, ChatCall::Say { speaker, island: ISLAND, text: format!("{avatar}") })
    });
    assert_eq!(chats.pending.len(), 1);
    let load = chats.pending.pop().unwrap();
    while chats.now < NOW.plus(CALL_TIME_MS) {
        chats.now = chats.now.plus(ATTENDANCE_MS);
        chats.tell(0, ServiceInput::Wake);
    }
    chats.settle();
    for number in calls {
        assert_eq!(chats.answers[&number], Err("unavailable".into()));
    }
    chats.pending.push(load);
    chats.settle();
    // Who was in the batch has said it after all; the other never began.
    assert_eq!(texts(&chats.room().lines), ["1"]);
    chats.check_at_rest();
}

#[test]
fn more_lines_than_may_wait_are_refused() {
    let mut chats = Chats::new(1);
    chats.write_avatars(1);
    for number in 1..=MAX_WAITING as u64 + 3 {
        let speaker = chats.speaker(1, number);
        chats.begin(0, ChatCall::Say { speaker, island: ISLAND, text: "ahoy".into() });
    }
    chats.settle();
    let busy = chats.answers.values().filter(|answer| **answer == Err("busy".into())).count();
    assert_eq!(busy, 2, "one was under way");
    chats.check_at_rest();
}
