//! Two instances that both believe they are preferred, in every order in which their steps can happen.

use crate::harness::{Chats, ISLAND, name};
use pelago_model::limits::MAX_CHAT_LINES;
use pelago_model::{CommitOutcome, EntityId, Epoch};
use pelago_node::chat::ChatSabotage;
use pelago_node::chat_call::ChatCall;
use pelago_node::documents::lines::Line;
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};

const SPEAKERS: u64 = 3;
const READER: u64 = 4;

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Action {
    /// A speaker whose last line is answered says or whispers the next one, at one instance or, as after a lost link, at both.
    Speak { speaker: u64, whispers: bool, at: usize, twice: bool },
    /// The reader has been shown everything in its mailbox.
    Take { at: usize },
    /// One of the things that are pending happens.
    Step(usize),
    /// The end of the next commit is not known.
    Unknown { happens: bool },
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        3 => (1..=SPEAKERS, any::<bool>(), 0..2usize, any::<bool>()).prop_map(
            |(speaker, whispers, at, twice)| Action::Speak { speaker, whispers, at, twice }
        ),
        1 => (0..2usize).prop_map(|at| Action::Take { at }),
        12 => any::<usize>().prop_map(Action::Step),
        1 => any::<bool>().prop_map(|happens| Action::Unknown { happens }),
    ];
    prop::collection::vec(action, 50..400)
}

/// Two instances, and everything that ever stood in the room and the mailbox.
struct World {
    chats: Chats,
    /// The number of the last line of each speaker.
    last: BTreeMap<u64, u64>,
    /// The calls with it.
    open: BTreeMap<u64, Vec<u64>>,
    /// Lines that were asked for, with their calls: whether they are whispers, whose they are, their number.
    asked: BTreeMap<(bool, u64, u64), Vec<u64>>,
    said: BTreeMap<u64, Line>,
    whispered: BTreeMap<u64, Line>,
}

impl World {
    fn new(sabotage: ChatSabotage) -> Self {
        let mut chats = Chats::with(2, sabotage);
        chats.write_avatars(READER);
        Self {
            chats,
            last: BTreeMap::new(),
            open: BTreeMap::new(),
            asked: BTreeMap::new(),
            said: BTreeMap::new(),
            whispered: BTreeMap::new(),
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Speak { speaker, whispers, at, twice } => {
                let open = self.open.get(&speaker).into_iter().flatten();
                if open.clone().any(|call| !self.chats.answers.contains_key(call)) {
                    return;
                }
                let number = self.last.entry(speaker).or_default();
                *number += 1;
                let (number, text) = (*number, format!("{speaker}: {number}"));
                let who = self.chats.speaker(speaker, number);
                let call = match whispers {
                    false => ChatCall::Say { speaker: who, island: ISLAND, text },
                    true => ChatCall::Whisper { speaker: who, name: name(READER), text },
                };
                let instances = if twice { vec![at, 1 - at] } else { vec![at] };
                let calls: Vec<u64> =
                    instances.into_iter().map(|at| self.chats.begin(at, call.clone())).collect();
                self.open.insert(speaker, calls.clone());
                self.asked.insert((whispers, speaker, number), calls);
            }
            Action::Take { at } => {
                let Some(number) = self.whispered.keys().next_back().copied() else { return };
                let (avatar, epoch) = (EntityId(READER), Epoch(1));
                let call = ChatCall::Taken { avatar, epoch, number, name: name(READER) };
                self.chats.begin(at, call);
            }
            Action::Step(which) => {
                let count = self.chats.pending.len();
                if count > 0 {
                    self.chats.step(which % count);
                    self.look();
                }
            }
            Action::Unknown { happens } => {
                self.chats.faults = vec![(CommitOutcome::Unknown, happens)];
            }
        }
    }

    /// What stands there now stays what it is for ever.
    fn look(&mut self) {
        let room = self.chats.room();
        assert!(room.lines.len() <= MAX_CHAT_LINES);
        note(&mut self.said, &room.lines);
        let mailbox = self.chats.mailbox(READER);
        assert!(mailbox.lines.len() <= MAX_CHAT_LINES);
        note(&mut self.whispered, &mailbox.lines);
    }

    fn finish(&mut self) -> Result<(), String> {
        loop {
            while !self.chats.pending.is_empty() {
                self.chats.step(0);
                self.look();
            }
            if !self.chats.pass_a_pause() {
                break;
            }
        }
        self.chats.check_at_rest();
        for (lines, whispers) in [(&self.said, false), (&self.whispered, true)] {
            // Without a gap, from the first.
            assert!(lines.keys().copied().eq(1..=lines.len() as u64), "{lines:?}");
            for ((_, speaker, number), calls) in
                self.asked.iter().filter(|(key, _)| key.0 == whispers)
            {
                let text = format!("{speaker}: {number}");
                let count = lines.values().filter(|line| line.text == text).count();
                if count > 1 {
                    return Err(format!("{text:?} was said {count} times"));
                }
                let is_acknowledged = calls.iter().any(|call| self.chats.answers[call].is_ok());
                if is_acknowledged && count == 0 {
                    return Err(format!("{text:?} was acknowledged and is lost"));
                }
                let is_refused = calls.iter().all(|call| self.chats.answers[call].is_err());
                assert!(!is_refused || count == 0 || calls.len() > 1, "{text:?}");
            }
            // Each speaker's lines stand in the order in which they were said.
            for speaker in 1..=SPEAKERS {
                let own = lines.values().filter(|line| line.avatar == EntityId(speaker));
                let numbers =
                    own.map(|line| line.text.split(": ").nth(1).unwrap().parse::<u64>().unwrap());
                let numbers: Vec<u64> = numbers.collect();
                assert!(numbers.is_sorted(), "{numbers:?}");
            }
        }
        Ok(())
    }
}

fn note(seen: &mut BTreeMap<u64, Line>, lines: &VecDeque<Line>) {
    for line in lines {
        let before = seen.entry(line.number).or_insert_with(|| line.clone());
        assert_eq!(before, line, "a line has changed");
    }
}

proptest! {
    #[test]
    fn every_line_is_said_once_and_in_one_order(actions in actions()) {
        let mut world = World::new(ChatSabotage::default());
        for action in actions {
            world.act(action);
        }
        prop_assert_eq!(world.finish(), Ok(()));
    }
}

#[test]
fn a_chat_that_forgets_its_speakers_is_found_out() {
    let mut world = World::new(ChatSabotage { forget_speakers: true, ..ChatSabotage::default() });
    world.act(Action::Speak { speaker: 1, whispers: false, at: 0, twice: true });
    assert_eq!(world.finish(), Err("\"1: 1\" was said 2 times".into()));
}
