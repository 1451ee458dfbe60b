//! What is whispered.

use crate::harness::{Chats, OWNER, name};
use pelago_model::limits::MAX_CHAT_LINES;
use pelago_model::{EntityId, Epoch};
use pelago_node::LaneCall;
use pelago_node::chat_call::ChatCall;

fn taken(avatar: u64, number: u64) -> ChatCall {
    ChatCall::Taken { avatar: EntityId(avatar), epoch: Epoch(1), number, name: name(avatar) }
}

#[test]
fn a_whisper_waits_in_the_mailbox_and_the_node_of_its_reader_is_told() {
    let mut chats = Chats::new(1);
    chats.write_avatars(2);
    assert_eq!(chats.whisper(1, 1, 2), Ok(()));
    let mailbox = chats.mailbox(2);
    let line = &mailbox.lines[0];
    assert_eq!((line.number, line.avatar, line.name.as_str()), (1, EntityId(1), "player 1"));
    assert_eq!(chats.told, [(Some(OWNER), LaneCall::Mail { avatar: EntityId(2) })]);
    chats.check_at_rest();
}

#[test]
fn a_whisper_to_nobody_is_refused() {
    let mut chats = Chats::new(1);
    chats.write_avatars(1);
    assert_eq!(chats.whisper(1, 1, 7), Err("unknown_name".into()));
    assert_eq!(chats.commits, []);
    chats.check_at_rest();
}

#[test]
fn a_repeated_whisper_is_there_once() {
    let mut chats = Chats::new(2);
    chats.write_avatars(2);
    for at in [0, 1, 0] {
        let speaker = chats.speaker(1, 1);
        let call = ChatCall::Whisper { speaker, name: name(2), text: "psst".into() };
        let number = chats.begin(at, call);
        chats.settle();
        assert_eq!(chats.answers[&number], Ok(()));
    }
    assert_eq!(chats.mailbox(2).lines.len(), 1);
    // Also after it has been read.
    assert_eq!(chats.ask(taken(2, 1)), Ok(()));
    assert_eq!(chats.whisper(1, 1, 2), Ok(()));
    assert!(chats.mailbox(2).lines.is_empty());
}

#[test]
fn a_full_mailbox_takes_no_more_until_its_lines_were_shown() {
    let mut chats = Chats::new(1);
    chats.write_avatars(2);
    for number in 1..=MAX_CHAT_LINES as u64 {
        assert_eq!(chats.whisper(1, number, 2), Ok(()));
    }
    assert_eq!(chats.whisper(1, 51, 2), Err("mailbox_full".into()));
    assert_eq!(chats.mailbox(2).lines.len(), MAX_CHAT_LINES);
    assert_eq!(chats.hosts[0].limits().of(pelago_model::Limit::MailboxLines), 1);
    assert_eq!(chats.ask(taken(2, 3)), Ok(()));
    assert_eq!(chats.whisper(1, 51, 2), Ok(()));
    let mailbox = chats.mailbox(2);
    assert_eq!(mailbox.lines.front().map(|line| line.number), Some(4));
    assert_eq!(mailbox.lines.back().map(|line| line.number), Some(51));
}

#[test]
fn what_was_taken_is_taken_once_and_by_its_reader_only() {
    let mut chats = Chats::new(1);
    chats.write_avatars(2);
    assert_eq!(chats.whisper(1, 1, 2), Ok(()));
    // An old session, and somebody who names a mailbox that is not the one of the name.
    let old = ChatCall::Taken { avatar: EntityId(2), epoch: Epoch(0), number: 1, name: name(2) };
    assert_eq!(chats.ask(old), Err("superseded".into()));
    let strange =
        ChatCall::Taken { avatar: EntityId(1), epoch: Epoch(1), number: 1, name: name(2) };
    assert_eq!(chats.ask(strange), Err("malformed".into()));
    assert_eq!(chats.mailbox(2).lines.len(), 1);
    assert_eq!(chats.ask(taken(2, 1)), Ok(()));
    assert_eq!(chats.mailbox(2).lines.len(), 0);
    // There is nothing left to write.
    let commits = chats.commits.len();
    assert_eq!(chats.ask(taken(2, 1)), Ok(()));
    assert_eq!(chats.commits.len(), commits);
}

#[test]
fn one_may_whisper_to_oneself() {
    let mut chats = Chats::new(1);
    chats.write_avatars(1);
    assert_eq!(chats.whisper(1, 1, 1), Ok(()));
    assert_eq!(chats.mailbox(1).lines.len(), 1);
}
