//! Players speak to the island and whisper, and are shown what others said.

use super::{HOME, Simulation};
use crate::violation::{Invariant, Violation};
use pelago_client::Client;
use pelago_client::core::LocalTime;
use pelago_model::limits::MAX_CHAT_LINES;
use pelago_model::{Key, WorldTime};
use pelago_node::documents::lines::Line;
use pelago_node::documents::mailbox::MailboxDocument;
use pelago_node::documents::schema::read;
use pelago_node::lane::ROOM_LOOK_MS;
use pelago_wire::client::{ChatChannel, ChatLine, Outcome};
use std::collections::BTreeSet;

/// What a lane may need beside the pause between two looks until it has shown a line, in ms.
const SHOWN_MS: i64 = 10_000;

/// What choices of what is said are for.
const TALK: u64 = 0x74_616c_6b00;

impl Simulation {
    /// A player speaks: to those who are near, to the island, or to somebody.
    pub(super) fn talk(&mut self, number: usize) -> Result<(), Violation> {
        self.outcome.spoken += 1;
        // Chosen by the time, so that what players do beside does not depend on it.
        let how = self.hazard(TALK ^ number as u64, 4);
        if how == 0 {
            return self
                .ask(number, |core, _, effects| core.say("hello", effects).is_ok())
                .map(drop);
        }
        let talk = &mut self.players[number].talk;
        talk.count += 1;
        let text = format!("{number}.{}", talk.count);
        let reader = self.hazard(TALK << 8 ^ number as u64, self.players.len() as u64) as usize;
        let reader = &self.players[reader];
        // Whoever has no avatar yet has a name that nobody bears, perhaps.
        let (name, mailbox) = (reader.name.clone(), reader.avatar.map(Key::mailbox));
        let (said, place) = (text.clone(), if how < 3 { Some(Key::room(HOME)) } else { mailbox });
        let speak = move |core: &mut Client, _: LocalTime, effects: &mut Vec<_>| match how {
            1 | 2 => core.say_island(&text, effects),
            _ => core.whisper(&name, &text, effects),
        };
        if let Ok(line) = self.ask(number, speak)? {
            self.players[number].talk.asked = Some((line, place, said));
        }
        Ok(())
    }

    /// The end of a live command, or of a line: what is acknowledged is durable.
    pub(super) fn line_ended(&mut self, number: usize, outcome: &Outcome) -> Result<(), Violation> {
        let asked = &mut self.players[number].talk.asked;
        let Some((_, place, text)) = asked.take_if(|asked| asked.0 == outcome.number) else {
            return Ok(());
        };
        if !outcome.code.is_empty() {
            return Ok(());
        }
        self.outcome.said += 1;
        let is_there = match &place {
            Some(key) => self.store.said.has(key, &text),
            // The reader has arrived between the question and the answer.
            None => true,
        };
        match is_there {
            true => Ok(()),
            false => {
                let text = format!("{text:?} is acknowledged and not in {place:?}");
                Err(self.violation(Invariant::Said, text))
            }
        }
    }

    /// A player is shown a line.
    pub(super) fn line_shown(&mut self, number: usize, line: &ChatLine) -> Result<(), Violation> {
        self.check_said()?;
        let player = &mut self.players[number];
        let is_room = line.channel() == ChatChannel::ChatIsland;
        let (key, last) = match is_room {
            true => (Key::room(HOME), &mut player.talk.room),
            false => (Key::mailbox(player.core.avatar()), &mut player.talk.whisper),
        };
        let before = std::mem::replace(last, line.number);
        let written = self.store.said.lines.get(&(key.clone(), line.number));
        let is_written = written
            .is_some_and(|written| (written.avatar.0, &written.text) == (line.avatar, &line.text));
        // Lines are left out only if there was no room for them any more.
        let next = self.store.said.of(&key).next_back().map_or(1, |last| last.number + 1);
        let is_gap = is_room
            && before > 0
            && line.number > before + 1
            && before + 1 + MAX_CHAT_LINES as u64 >= next;
        let name = &self.players[number].name;
        let text = if !is_written {
            format!("{name} is shown {line:?} of {key}, which is {written:?}")
        } else if line.number <= before {
            format!("{name} is shown line {} of {key} after {before}", line.number)
        } else if is_gap {
            format!("{name} is shown line {} of {key} instead of {}", line.number, before + 1)
        } else {
            if !is_room {
                self.heard.insert((key, line.number));
            }
            return Ok(());
        };
        Err(self.violation(Invariant::Said, text))
    }

    /// Nothing was said twice, changed, or said by a session that was over.
    pub(super) fn check_said(&self) -> Result<(), Violation> {
        match &self.store.said.wrong {
            Some(text) => Err(self.violation(Invariant::Said, text.clone())),
            None => Ok(()),
        }
    }

    /// After the faults: every whisper was shown or waits, and everybody has been shown what was said.
    pub(super) fn check_shown(&self) -> Result<(), Violation> {
        let object = |text| Err(self.violation(Invariant::Said, text));
        let mut waiting: BTreeSet<(Key, u64)> = BTreeSet::new();
        let written = &self.store.said.lines;
        for (key, _) in written.keys().filter(|(key, _)| key.kind() == "mailbox") {
            let mailbox: Option<MailboxDocument> =
                read(&self.store.documents.get(key)).ok().flatten();
            let lines = mailbox.map(|mailbox| mailbox.lines).unwrap_or_default();
            waiting.extend(lines.iter().map(|line| (key.clone(), line.number)));
        }
        let lost = written.iter().find(|(at, _)| {
            at.0.kind() == "mailbox" && !waiting.contains(at) && !self.heard.contains(at)
        });
        if let Some((_, line)) = lost {
            return object(format!("nobody was shown {line:?}, and it waits no more"));
        }
        let long_ago = WorldTime(self.now.0 - ROOM_LOOK_MS - SHOWN_MS);
        let room = Key::room(HOME);
        let is_old = |line: &&Line| line.at.0 < long_ago.0;
        let old = self.store.said.of(&room).rfind(is_old).map_or(0, |line| line.number);
        let late = self.players.iter().find(|player| {
            let is_there = !player.gone && player.core.is_playing();
            is_there && player.talk.room < old && player.began < long_ago
        });
        match late {
            Some(player) => {
                let shown = player.talk.room;
                object(format!("{} was shown line {shown} last, not {old}", player.name))
            }
            None => Ok(()),
        }
    }
}
