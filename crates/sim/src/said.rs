//! What was said to islands and whispered, as the store had it: every line that ever stood in a room or a mailbox.

use pelago_model::{Document, Epoch, Key};
use pelago_node::documents::avatar::{AvatarDocument, read};
use pelago_node::documents::lines::{Line, Speakers};
use pelago_node::documents::mailbox::MailboxDocument;
use pelago_node::documents::room::RoomDocument;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Every line, and what must not have happened to one.
#[derive(Default)]
pub(crate) struct Said {
    /// By the document, and the number of the line.
    pub(crate) lines: BTreeMap<(Key, u64), Line>,
    texts: BTreeSet<(Key, String)>,
    /// The first thing that must not have happened.
    pub(crate) wrong: Option<String>,
}

impl Said {
    /// A room or a mailbox has been written. `avatar` reads the document of an avatar.
    pub(crate) fn written(
        &mut self,
        key: &Key,
        document: &Document,
        avatar: impl Fn(&Line) -> Document,
    ) {
        let (lines, speakers) = match key.kind() {
            "room" => match read::<RoomDocument>(document) {
                Ok(Some(room)) => (room.lines, room.speakers),
                _ => return,
            },
            "mailbox" => match read::<MailboxDocument>(document) {
                Ok(Some(mailbox)) => (mailbox.lines, mailbox.speakers),
                _ => return,
            },
            _ => return,
        };
        let wrong = self.note(key, lines, &speakers, avatar);
        self.wrong = self.wrong.take().or(wrong);
    }

    fn note(
        &mut self,
        key: &Key,
        lines: VecDeque<Line>,
        speakers: &Speakers,
        avatar: impl Fn(&Line) -> Document,
    ) -> Option<String> {
        for line in lines {
            let at = (key.clone(), line.number);
            if let Some(before) = self.lines.get(&at) {
                if *before != line {
                    return Some(format!("{key}: {before:?} has become {line:?}"));
                }
                continue;
            }
            // Texts of the simulation's players are different.
            if !self.texts.insert((key.clone(), line.text.clone())) {
                return Some(format!("{key}: {:?} was said twice", line.text));
            }
            let said = speakers.last_of(line.avatar).map_or(Epoch(0), |said| said.epoch);
            let played = read::<AvatarDocument>(&avatar(&line)).ok().flatten();
            let played = played.map_or(Epoch(0), |avatar| avatar.epoch);
            if said != played {
                return Some(format!(
                    "{key}: a session of epoch {said} said {:?} in epoch {played}",
                    line.text
                ));
            }
            self.lines.insert(at, line);
        }
        None
    }

    /// Whether a text was ever said there.
    pub(crate) fn has(&self, key: &Key, text: &str) -> bool {
        self.texts.contains(&(key.clone(), text.to_owned()))
    }

    /// The lines of a room or a mailbox.
    pub(crate) fn of(&self, key: &Key) -> impl DoubleEndedIterator<Item = &Line> + '_ {
        self.lines.range((key.clone(), 0)..=(key.clone(), u64::MAX)).map(|(_, line)| line)
    }
}
