//! What a lane shows its players of what is said to the island and whispered, and what it asks of the chat.
#![allow(clippy::unwrap_used, reason = "tests")]

mod players;

use pelago_frontier::Frontier;
use pelago_game::{Arrival, Game, Land, Refusal, json};
use pelago_model::limits::{MAX_CHAT_LINES, MAX_SAY_BYTES};
use pelago_model::time::DELIVERY_DELAY_MS;
use pelago_model::{
    Document, EntityId, Epoch, IslandTime, Key, Machine, Position, Revision, Role, Tick, WorldTime,
};
use pelago_node::call::CallError;
use pelago_node::chat_call::chat_answer;
use pelago_node::documents::avatar::{AVATAR_SCHEMA, AvatarDocument, Place};
use pelago_node::documents::lines::{Line, Speaker};
use pelago_node::documents::mailbox::{MAILBOX_SCHEMA, MailboxDocument};
use pelago_node::documents::room::{ROOM_SCHEMA, RoomDocument};
use pelago_node::lane::{MAILBOX_LOOK_MS, ROOM_LOOK_MS, SPEAKER_PATIENCE_MS};
use pelago_node::{
    CallTarget, Caller, ChatCall, Lane, LaneCall, LaneEffect, LaneInput, OutgoingCall, RequestId,
    StoreAnswer,
};
use pelago_wire::client::{
    ChatChannel, ChatLine, Heard, Outcome, Say, Whisper, client_message, server_message,
};
use pelago_wire::message::Kind;
use pelago_world::ClientId;
use players::{controls, home, join, lane, messages, says, spec};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is said near in these tests.
const NEAR: &[u8] = b"ahoy";

const NOW: WorldTime = WorldTime(1_000_050);

/// A lane, the documents that it reads, and what its players were told.
struct Stage {
    lane: Lane,
    land: Arc<Land>,
    now: WorldTime,
    room: RoomDocument,
    mailboxes: BTreeMap<u64, MailboxDocument>,
    /// The store does not answer.
    is_down: bool,
    /// What was read, and is not answered: as long as it is held.
    held: Option<Vec<(RequestId, Key)>>,
    reads: Vec<Key>,
    calls: Vec<(u64, OutgoingCall)>,
    told: Vec<(u64, server_message::Body)>,
    /// How often frames have said [`NEAR`] to anybody.
    said: usize,
    /// The players' documents say that they may not speak until then.
    muted_until: Option<i64>,
}

impl Stage {
    fn new() -> Self {
        let land = Arc::new(Land::new(&Frontier, spec(5)));
        Self {
            lane: lane(0, &land),
            land,
            now: NOW,
            room: RoomDocument::default(),
            mailboxes: BTreeMap::new(),
            is_down: false,
            held: None,
            reads: Vec::new(),
            calls: Vec::new(),
            told: Vec::new(),
            said: 0,
            muted_until: None,
        }
    }

    fn handle(&mut self, input: LaneInput) {
        let mut effects = Vec::new();
        self.lane.handle(self.now, input, &mut effects);
        for effect in effects {
            match effect {
                LaneEffect::Load { request, keys } if keys.len() == 1 => {
                    self.reads.push(keys[0].clone());
                    match &mut self.held {
                        Some(held) => held.push((request, keys[0].clone())),
                        None => self.answer_read(request, &keys[0]),
                    }
                }
                LaneEffect::Call { number, call } => self.calls.push((number, call)),
                LaneEffect::Send { client, bytes } => {
                    let frames = messages(&bytes).into_iter();
                    let frames = frames.filter(|(kind, _)| *kind != Kind::Control as u8);
                    let said =
                        |bytes: &[u8]| bytes.windows(NEAR.len()).filter(|it| *it == NEAR).count();
                    self.said += frames.map(|(_, bytes)| said(&bytes)).sum::<usize>();
                    self.told.extend(controls(bytes).into_iter().map(|body| (client.0, body)));
                }
                _ => {}
            }
        }
    }

    fn answer_read(&mut self, request: RequestId, key: &Key) {
        let document = |schema, value| Document { schema, revision: Revision(1), value };
        let document = match key.kind() {
            "room" => document(ROOM_SCHEMA, Some(json::encode(&self.room).unwrap())),
            "mailbox" => {
                let mailbox =
                    self.mailboxes.iter().find(|(it, _)| Key::mailbox(EntityId(**it)) == *key);
                let value = mailbox.map(|(_, mailbox)| json::encode(mailbox).unwrap());
                document(MAILBOX_SCHEMA, value)
            }
            "avatar" => {
                let place =
                    Place { island: home(), position: Position::default(), at: IslandTime(0) };
                let mut game = Frontier.new_avatar("Anna");
                game["muted_until"] = self.muted_until.into();
                let avatar = AvatarDocument::new("Anna".into(), place, game);
                document(AVATAR_SCHEMA, Some(json::encode(&avatar).unwrap()))
            }
            _ => Document::ABSENT,
        };
        let documents = (!self.is_down).then(|| vec![document]);
        self.handle(LaneInput::Stored { request, answer: StoreAnswer::Loaded(documents) });
    }

    /// What was held is answered now.
    fn release(&mut self) {
        for (request, key) in self.held.take().unwrap() {
            self.answer_read(request, &key);
        }
    }

    fn join(&mut self, player: u64) {
        let position = Frontier.spawn(&self.land, Arrival::Home, player);
        self.handle(join(player, position, self.now));
    }

    /// Somebody says something: the document of the room has it from now on.
    fn write(&mut self, text: &str) -> Line {
        let speaker = Speaker { avatar: EntityId(77), epoch: Epoch(1), number: 1, asked: self.now };
        let words = ("Bert".to_owned(), text.to_owned());
        self.room.say(&speaker, words, (self.now, IslandTime(self.now.0)));
        self.room.lines.back().unwrap().clone()
    }

    fn whisper_to(&mut self, player: u64, text: &str) {
        let speaker = Speaker { avatar: EntityId(77), epoch: Epoch(1), number: 1, asked: self.now };
        let words = ("Bert".to_owned(), text.to_owned());
        let mailbox = self.mailboxes.entry(player).or_default();
        mailbox.add(&speaker, words, (self.now, IslandTime(self.now.0)));
    }

    /// The lane is told of lines.
    fn nudge(&mut self, lines: Vec<Line>) {
        let call = LaneCall::Lines { island: home(), lines };
        self.handle(LaneInput::Call { caller: Caller::Nobody, call });
    }

    fn pass(&mut self, ms: i64) {
        let until = self.now.plus(ms);
        while self.now < until {
            self.now = Tick::at(self.now).next().starts();
            self.handle(LaneInput::Wake);
            self.now = self.now.plus(DELIVERY_DELAY_MS);
            self.handle(LaneInput::Wake);
            // Somebody who is silent for too long would be closed.
            for player in 1..=3 {
                let ping = client_message::Body::Ping(pelago_wire::client::Ping { client_ms: 0 });
                self.handle(says(player, ping));
            }
        }
    }

    /// The lines of a channel that a player was shown since this was asked last, with their numbers.
    fn shown(&mut self, player: u64, channel: ChatChannel) -> Vec<(u64, String)> {
        let is_it = |(client, body): &mut (u64, server_message::Body)| {
            *client == player
                && matches!(body, server_message::Body::ChatLine(line) if line.channel() == channel)
        };
        let lines = self.told.extract_if(.., is_it).map(|(_, body)| match body {
            server_message::Body::ChatLine(ChatLine { number, text, .. }) => (number, text),
            other => panic!("{other:?}"),
        });
        lines.collect()
    }

    fn outcomes(&mut self) -> Vec<Outcome> {
        let outcomes = self.told.drain(..).filter_map(|(_, body)| match body {
            server_message::Body::Outcome(outcome) => Some(outcome),
            _ => None,
        });
        outcomes.collect()
    }

    fn say(&mut self, player: u64, number: u64, text: &str) {
        let (text, channel) = (text.to_owned(), ChatChannel::ChatIsland.into());
        self.handle(says(player, client_message::Body::Say(Say { text, channel, number })));
    }

    /// The call that was made last.
    fn call(&mut self) -> (u64, ChatCall) {
        let (number, call) = self.calls.pop().unwrap();
        let CallTarget::Preferred { role, key } = &call.target else { panic!("{call:?}") };
        assert!(*role == Role::chat() && call.repeatable);
        (number, ChatCall::decode(key, &call.body).unwrap())
    }

    fn answer(&mut self, number: u64, result: Result<(), Refusal>) {
        self.handle(LaneInput::Answered { number, result: Ok(chat_answer(result)) });
    }
}

const ISLAND: ChatChannel = ChatChannel::ChatIsland;
const WHISPER: ChatChannel = ChatChannel::ChatWhisper;

fn line(number: u64, text: &str) -> (u64, String) {
    (number, text.to_owned())
}

#[test]
fn whoever_comes_is_shown_the_last_lines_and_everybody_the_next_ones() {
    let mut stage = Stage::new();
    for number in 1..=MAX_CHAT_LINES + 5 {
        stage.write(&format!("line {number}"));
    }
    stage.join(1);
    let shown = stage.shown(1, ISLAND);
    assert_eq!((shown.len(), &shown[0]), (MAX_CHAT_LINES, &line(6, "line 6")));
    // The second one is shown what the lane knows.
    let reads = stage.reads.iter().filter(|key| key.kind() == "room").count();
    stage.join(2);
    assert_eq!(stage.shown(2, ISLAND), shown);
    assert_eq!(stage.reads.iter().filter(|key| key.kind() == "room").count(), reads);
    let next = stage.write("ahoy");
    stage.nudge(vec![next.clone()]);
    // What is told again is not shown again.
    stage.nudge(vec![next]);
    for player in [1, 2] {
        assert_eq!(stage.shown(player, ISLAND), [line(56, "ahoy")]);
    }
}

#[test]
fn a_gap_is_filled_from_the_document_before_anything_later_is_shown() {
    let mut stage = Stage::new();
    stage.join(1);
    let lines: Vec<Line> = (1..=4).map(|number| stage.write(&format!("{number}"))).collect();
    stage.held = Some(Vec::new());
    // The first two get lost; while the document is read, the last one comes.
    stage.nudge(vec![lines[2].clone()]);
    assert_eq!(stage.shown(1, ISLAND), []);
    stage.nudge(vec![lines[3].clone()]);
    assert_eq!(stage.held.as_ref().unwrap().len(), 1, "one reading at a time");
    stage.release();
    let all = [line(1, "1"), line(2, "2"), line(3, "3"), line(4, "4")];
    assert_eq!(stage.shown(1, ISLAND), all);
}

#[test]
fn a_line_of_which_nobody_told_is_found_by_the_next_look() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.write("ahoy");
    stage.pass(ROOM_LOOK_MS - 2000);
    assert_eq!(stage.shown(1, ISLAND), []);
    stage.pass(4000);
    assert_eq!(stage.shown(1, ISLAND), [line(1, "ahoy")]);
}

#[test]
fn a_store_that_does_not_answer_is_asked_again() {
    let mut stage = Stage::new();
    stage.is_down = true;
    stage.write("ahoy");
    stage.whisper_to(1, "psst");
    stage.join(1);
    stage.pass(5000);
    assert!(stage.reads.len() < 20, "{} reads", stage.reads.len());
    stage.is_down = false;
    stage.pass(3000);
    assert_eq!(stage.shown(1, ISLAND), [line(1, "ahoy")]);
    assert_eq!(stage.shown(1, WHISPER), [line(1, "psst")]);
}

#[test]
fn a_room_is_forgotten_with_the_last_player_on_the_island() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.join(2);
    for player in [1, 2] {
        let event = pelago_node::ClientEvent::Disconnected;
        stage.handle(LaneInput::Client { client: ClientId(player), event });
    }
    stage.reads.clear();
    let next = stage.write("ahoy");
    stage.nudge(vec![next]);
    stage.pass(ROOM_LOOK_MS * 2);
    assert_eq!(stage.reads, []);
}

#[test]
fn a_line_is_a_call_and_its_end_is_told_under_its_number() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.say(1, 4, "ahoy\u{7}");
    let (call, asked) = stage.call();
    let speaker = Speaker { avatar: EntityId(1), epoch: Epoch(1), number: 4, asked: NOW };
    assert_eq!(asked, ChatCall::Say { speaker, island: home(), text: "ahoy".into() });
    // Repeated it is answered with the first; another one has to wait.
    stage.say(1, 4, "ahoy");
    stage.say(1, 5, "more");
    assert!(stage.calls.is_empty());
    stage.answer(call, Ok(()));
    let outcomes: Vec<(u64, String)> =
        stage.outcomes().into_iter().map(|it| (it.number, it.code)).collect();
    assert_eq!(outcomes, [line(5, "busy"), line(4, "")]);
    // Repeated later it is still the same line, and an older one is none.
    stage.now = stage.now.plus(3000);
    stage.say(1, 4, "ahoy");
    assert!(matches!(stage.call().1, ChatCall::Say { speaker: again, .. } if again == speaker));
    stage.handle(LaneInput::Answered { number: call + 1, result: Err(CallError::LinkLost) });
    stage.say(1, 3, "late");
    let codes: Vec<String> = stage.outcomes().into_iter().map(|it| it.code).collect();
    assert_eq!(codes, ["unavailable", "stale"]);
    stage.say(1, 4, "ahoy");
    assert!(matches!(stage.call().1, ChatCall::Say { speaker: again, .. } if again == speaker));
}

#[test]
fn what_cannot_be_said_is_refused_without_a_call() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.say(1, 0, "ahoy");
    stage.say(1, 1, " ");
    stage.say(1, 2, &"x".repeat(MAX_SAY_BYTES + 1));
    let whisper = |name: String| Whisper { number: 3, name, text: "psst".into() };
    for name in [String::new(), "x".repeat(49)] {
        stage.handle(says(1, client_message::Body::Whisper(whisper(name))));
    }
    stage.say(1, 4, "too many");
    let codes: Vec<String> = stage.outcomes().into_iter().map(|it| it.code).collect();
    let expected =
        ["malformed", "malformed", "malformed", "unknown_name", "unknown_name", "slow_down"];
    assert_eq!(codes, expected);
    assert!(stage.calls.is_empty());
}

#[test]
fn a_refusal_is_told_and_its_number_may_be_used_again() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.say(1, 1, "ahoy");
    let (call, _) = stage.call();
    stage.answer(call, Err(Refusal::new("muted", "You may not speak.")));
    assert_eq!(stage.outcomes()[0].code, "muted");
    stage.now = stage.now.plus(20_000);
    stage.say(1, 1, "ahoy");
    assert!(matches!(stage.call().1, ChatCall::Say { speaker, .. } if speaker.asked == stage.now));
}

#[test]
fn a_session_that_the_chat_does_not_know_any_more_is_superseded() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.say(1, 1, "ahoy");
    let (call, _) = stage.call();
    stage.answer(call, Err(Refusal::new("superseded", "You are playing from elsewhere.")));
    assert_eq!(stage.lane.population(), 0);
}

#[test]
fn whispers_are_shown_once_and_leave_the_mailbox_once_the_client_has_shown_them() {
    let mut stage = Stage::new();
    stage.whisper_to(1, "while you were away");
    stage.join(1);
    assert_eq!(stage.shown(1, WHISPER), [line(1, "while you were away")]);
    stage.whisper_to(1, "psst");
    let mail =
        || LaneInput::Call { caller: Caller::Nobody, call: LaneCall::Mail { avatar: EntityId(1) } };
    stage.handle(mail());
    stage.handle(mail());
    assert_eq!(stage.shown(1, WHISPER), [line(2, "psst")]);
    assert!(stage.calls.is_empty(), "nobody has said that they were shown");
    // A number that was never shown is not believed.
    stage.handle(says(1, client_message::Body::Heard(Heard { number: 99 })));
    let (call, asked) = stage.call();
    let taken = ChatCall::Taken {
        avatar: EntityId(1),
        epoch: Epoch(1),
        number: 2,
        name: "player-1".into(),
    };
    assert_eq!(asked, taken);
    stage.whisper_to(1, "again");
    stage.handle(mail());
    stage.handle(says(1, client_message::Body::Heard(Heard { number: 3 })));
    assert!(stage.calls.is_empty(), "one at a time");
    stage.answer(call, Ok(()));
    assert!(matches!(stage.call().1, ChatCall::Taken { number: 3, .. }));
}

#[test]
fn what_could_not_be_taken_out_is_tried_again_after_the_next_look() {
    let mut stage = Stage::new();
    stage.whisper_to(1, "psst");
    stage.join(1);
    stage.handle(says(1, client_message::Body::Heard(Heard { number: 1 })));
    let (number, _) = stage.call();
    stage.handle(LaneInput::Answered { number, result: Err(CallError::DeadlineExceeded) });
    assert!(stage.calls.is_empty());
    stage.pass(MAILBOX_LOOK_MS + 10_000);
    assert!(matches!(stage.call().1, ChatCall::Taken { number: 1, .. }));
}

#[test]
fn a_whisper_of_which_nobody_told_is_found_by_the_next_look() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.whisper_to(1, "psst");
    stage.pass(MAILBOX_LOOK_MS + 10_000);
    assert_eq!(stage.shown(1, WHISPER), [line(1, "psst")]);
}

/// What everybody on the lane is shown to be said near, in the next tick.
fn said_near(stage: &mut Stage) -> usize {
    let before = stage.said;
    stage.pass(200);
    stage.said - before
}

fn say_near(stage: &mut Stage, number: u64, text: &str) {
    let (text, channel) = (text.to_owned(), ChatChannel::ChatNear.into());
    stage.handle(says(1, client_message::Body::Say(Say { text, channel, number })));
}

#[test]
fn who_is_muted_by_the_game_says_nothing_to_those_who_are_near() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.pass(500);
    // Nothing forbids it: the document is read once, and known for a while.
    say_near(&mut stage, 1, "ahoy");
    say_near(&mut stage, 2, "ahoy");
    assert_eq!(said_near(&mut stage), 2);
    assert_eq!(stage.reads.iter().filter(|key| key.kind() == "avatar").count(), 1);
    // The game tells of something: the next line is decided anew.
    stage.muted_until = Some(stage.now.0 + 5000);
    let call =
        LaneCall::Notify { avatar: EntityId(1), epoch: Epoch(1), payload: Default::default() };
    stage.handle(LaneInput::Call { caller: Caller::Nobody, call });
    say_near(&mut stage, 3, "ahoy");
    assert_eq!(said_near(&mut stage), 0);
    let codes: Vec<(u64, String)> =
        stage.outcomes().into_iter().map(|it| (it.number, it.code)).collect();
    assert_eq!(codes, [line(1, ""), line(2, ""), line(3, "muted")]);
    stage.pass(6000);
    say_near(&mut stage, 4, "ahoy at last");
    assert_eq!(said_near(&mut stage), 1);
}

#[test]
fn a_store_that_does_not_answer_mutes_nobody_who_is_near() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.pass(500);
    stage.is_down = true;
    say_near(&mut stage, 1, "ahoy");
    assert_eq!(said_near(&mut stage), 1);
}

#[test]
fn lines_that_wait_for_the_document_are_said_in_order_once_it_is_read() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.pass(500);
    stage.held = Some(Vec::new());
    for number in 1..=3 {
        say_near(&mut stage, number, "ahoy");
    }
    assert_eq!(said_near(&mut stage), 0);
    stage.release();
    let numbers: Vec<u64> = stage.outcomes().into_iter().map(|it| it.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(said_near(&mut stage), 3);
}

#[test]
fn a_store_that_says_nothing_holds_up_no_speech_for_longer_than_stated() {
    let mut stage = Stage::new();
    stage.join(1);
    stage.pass(500);
    stage.held = Some(Vec::new());
    say_near(&mut stage, 1, "ahoy");
    assert_eq!(said_near(&mut stage), 0);
    stage.pass(SPEAKER_PATIENCE_MS);
    assert_eq!(stage.said, 1);
    // As long as the store says nothing, nobody waits again, and nothing more is asked of it.
    say_near(&mut stage, 2, "ahoy");
    assert_eq!(said_near(&mut stage), 1);
    assert_eq!(stage.held.as_ref().map(Vec::len), Some(1));
    stage.release();
    assert_eq!(said_near(&mut stage), 0, "said once");
}
