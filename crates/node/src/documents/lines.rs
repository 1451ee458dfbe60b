//! Lines that were said, and a bounded memory of the last number of each speaker: what rooms and mailboxes have in
//! common.

use pelago_model::{EntityId, Epoch, IslandTime, WorldTime};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Speakers that one document remembers at once; more are refused as `busy` until the oldest may be forgotten.
pub const MAX_SPEAKERS: usize = 128;
/// How long a call may be on its way, in ms: an older one is `stale`.
pub const MAX_CALL_AGE_MS: i64 = 10_000;
/// How long a speaker is remembered, in ms. It is longer than [`MAX_CALL_AGE_MS`] by more than the clocks of two nodes may
/// differ, so that a call that is not stale yet is remembered if it was carried out.
pub const SPEAKER_MEMORY_MS: i64 = 15_000;

/// Something that was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its number: one more than that of the line before.
    pub number: u64,
    /// The avatar that said it.
    pub avatar: EntityId,
    /// The name of that avatar.
    pub name: String,
    /// What.
    pub text: String,
    /// When.
    pub at: IslandTime,
}

/// Adds a line (a name and a text) behind those of a document, under the next number. A line of a node whose clock is
/// behind is not older than the one before it.
pub(super) fn append(
    (next, lines): (&mut u64, &mut VecDeque<Line>),
    avatar: EntityId,
    (name, text): (String, String),
    at: IslandTime,
) {
    let at = lines.back().map_or(at, |last| last.at.max(at));
    lines.push_back(Line { number: *next, avatar, name, text, at });
    *next += 1;
}

/// The speaker and number of a line, stamped by the lane: together with the document they identify the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speaker {
    /// The avatar.
    pub avatar: EntityId,
    /// The epoch of its session.
    pub epoch: Epoch,
    /// The number of the line; it counts up in a session.
    pub number: u64,
    /// When it was first asked for.
    pub asked: WorldTime,
}

/// The last line of a speaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastSaid {
    /// The epoch of the speaker's session.
    pub epoch: Epoch,
    /// The speaker's number of the line.
    pub number: u64,
    /// When it may be forgotten.
    pub until: WorldTime,
}

/// How a line relates to what the document remembers of its speaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpeechCheck {
    /// It is new.
    New,
    /// It stands there already.
    Known,
    /// It is too old, or something newer of the same speaker stands there.
    Stale,
    /// Too many speak at once.
    Busy,
}

/// The avatars that spoke lately.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Speakers(BTreeMap<EntityId, LastSaid>);

impl Speakers {
    /// Whether a line is new.
    pub fn check(&self, speaker: &Speaker, now: WorldTime) -> SpeechCheck {
        let (this, said) = ((speaker.epoch, speaker.number), self.0.get(&speaker.avatar));
        match said.map(|said| (said.epoch, said.number)) {
            Some(last) if last == this => SpeechCheck::Known,
            Some(last) if last > this => SpeechCheck::Stale,
            _ if now.since(speaker.asked) > MAX_CALL_AGE_MS => SpeechCheck::Stale,
            Some(_) => SpeechCheck::New,
            None => {
                let remembered = self.0.values().filter(|said| said.until > now).count();
                if remembered < MAX_SPEAKERS { SpeechCheck::New } else { SpeechCheck::Busy }
            }
        }
    }

    /// Remembers a new line, and forgets those who may be forgotten.
    pub fn remember(&mut self, speaker: &Speaker, now: WorldTime) {
        self.0.retain(|_, said| said.until > now);
        let Speaker { avatar, epoch, number, .. } = *speaker;
        let until = now.max(speaker.asked).plus(SPEAKER_MEMORY_MS);
        self.0.insert(avatar, LastSaid { epoch, number, until });
    }

    /// The last line of a speaker, if it is remembered.
    pub fn last_of(&self, avatar: EntityId) -> Option<&LastSaid> {
        self.0.get(&avatar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WorldTime = WorldTime(1_000_000);

    fn speaker(avatar: u64, epoch: u64, number: u64) -> Speaker {
        Speaker { avatar: EntityId(avatar), epoch: Epoch(epoch), number, asked: NOW }
    }

    #[test]
    fn a_repeated_line_is_known_and_an_older_one_is_stale() {
        let mut speakers = Speakers::default();
        assert_eq!(speakers.check(&speaker(1, 1, 5), NOW), SpeechCheck::New);
        speakers.remember(&speaker(1, 1, 5), NOW);
        assert_eq!(speakers.check(&speaker(1, 1, 5), NOW), SpeechCheck::Known);
        assert_eq!(speakers.check(&speaker(1, 1, 4), NOW), SpeechCheck::Stale);
        assert_eq!(speakers.check(&speaker(1, 1, 6), NOW), SpeechCheck::New);
        // A new session counts from its beginning.
        assert_eq!(speakers.check(&speaker(1, 2, 1), NOW), SpeechCheck::New);
        assert_eq!(speakers.check(&speaker(2, 1, 5), NOW), SpeechCheck::New);
    }

    #[test]
    fn a_call_is_remembered_until_it_is_stale() {
        let mut speakers = Speakers::default();
        speakers.remember(&speaker(1, 1, 5), NOW);
        for later in 0..30 {
            let now = NOW.plus(later * 1000);
            // Somebody else speaks, and speakers that may be forgotten are.
            speakers.remember(&Speaker { asked: now, ..speaker(2, 1, 1 + later as u64) }, now);
            let check = speakers.check(&speaker(1, 1, 5), now);
            assert!(matches!(check, SpeechCheck::Known | SpeechCheck::Stale), "{later} s");
            assert_eq!(speakers.last_of(EntityId(1)).is_some(), later < 15, "{later} s");
        }
    }

    #[test]
    fn too_many_speakers_are_refused_until_the_oldest_is_forgotten() {
        let mut speakers = Speakers::default();
        for avatar in 0..MAX_SPEAKERS as u64 {
            assert_eq!(speakers.check(&speaker(avatar, 1, 1), NOW), SpeechCheck::New);
            speakers.remember(&speaker(avatar, 1, 1), NOW);
        }
        assert_eq!(speakers.check(&speaker(1000, 1, 1), NOW), SpeechCheck::Busy);
        assert_eq!(speakers.check(&speaker(7, 1, 2), NOW), SpeechCheck::New);
        let later = NOW.plus(SPEAKER_MEMORY_MS);
        let late = Speaker { asked: later, ..speaker(1000, 1, 1) };
        assert_eq!(speakers.check(&late, later), SpeechCheck::New);
    }
}
