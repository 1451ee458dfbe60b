//! What lanes ask of the chat, and what it answers.

use crate::call::CallResult;
use crate::documents::lines::{Line, Speaker};
use crate::turn::unavailable;
use bytes::Bytes;
use pelago_game::Refusal;
use pelago_model::limits::{MAX_NAME_BYTES, MAX_SAY_BYTES};
use pelago_model::{EntityId, Epoch, IslandId, IslandTime, Key, WorldTime};
use pelago_wire::message::{decode_body, encode_body};
use pelago_wire::peer::{self, ChatAnswer, SayCall, TakenCall, WhisperCall, chat_call};

/// What the chat is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatCall {
    /// To say something to everybody on an island.
    Say {
        /// The speaker and the number of the line.
        speaker: Speaker,
        /// The island.
        island: IslandId,
        /// What is said, as its player wrote it.
        text: String,
    },
    /// To say something to one avatar, which may be away.
    Whisper {
        /// The speaker and the number of the line.
        speaker: Speaker,
        /// The name of the avatar.
        name: String,
        /// What is said, as its player wrote it.
        text: String,
    },
    /// To forget the whispers that a player has been shown.
    Taken {
        /// The avatar whose mailbox it is.
        avatar: EntityId,
        /// The epoch of the session that was shown them.
        epoch: Epoch,
        /// The number of the last one.
        number: u64,
        /// The name of the avatar.
        name: String,
    },
}

impl ChatCall {
    /// The key of the call. All that is done to one mailbox has the key of its avatar's name, so that it meets in one place.
    pub fn key(&self) -> Key {
        match self {
            Self::Say { island, .. } => Key::room(*island),
            Self::Whisper { name, .. } | Self::Taken { name, .. } => Key::name(name),
        }
    }

    /// The avatar whose session asks, and its epoch.
    pub fn session(&self) -> (EntityId, Epoch) {
        match self {
            Self::Say { speaker, .. } | Self::Whisper { speaker, .. } => {
                (speaker.avatar, speaker.epoch)
            }
            Self::Taken { avatar, epoch, .. } => (*avatar, *epoch),
        }
    }

    /// Its form between nodes.
    pub fn encode(self) -> Bytes {
        let speaker = |speaker: Speaker| {
            Some(peer::Speaker {
                avatar: speaker.avatar.0,
                epoch: speaker.epoch.0,
                number: speaker.number,
                asked_ms: speaker.asked.0,
            })
        };
        let body = match self {
            Self::Say { speaker: who, island, text } => {
                chat_call::Body::Say(SayCall { speaker: speaker(who), island: island.0, text })
            }
            Self::Whisper { speaker: who, name, text } => {
                chat_call::Body::Whisper(WhisperCall { speaker: speaker(who), name, text })
            }
            Self::Taken { avatar, epoch, number, name } => {
                chat_call::Body::Taken(TakenCall { avatar: avatar.0, epoch: epoch.0, number, name })
            }
        };
        encode_body(&peer::ChatCall { body: Some(body) })
    }

    /// Reads a call for a key; `None` if it is not understood, of another key, or beyond its limits.
    pub fn decode(key: &Key, body: &Bytes) -> Option<Self> {
        let call = match decode_body::<peer::ChatCall>(body).ok()?.body? {
            chat_call::Body::Say(SayCall { speaker: who, island, text }) => {
                Self::Say { speaker: speaker(who?), island: IslandId(island), text: spoken(text)? }
            }
            chat_call::Body::Whisper(WhisperCall { speaker: who, name, text }) => {
                Self::Whisper { speaker: speaker(who?), name, text: spoken(text)? }
            }
            chat_call::Body::Taken(TakenCall { avatar, epoch, number, name }) => {
                Self::Taken { avatar: EntityId(avatar), epoch: Epoch(epoch), number, name }
            }
        };
        let has_name = match &call {
            Self::Say { .. } => true,
            // A longer name has the key of its beginning, which is somebody else's.
            Self::Whisper { name, .. } | Self::Taken { name, .. } => name.len() <= MAX_NAME_BYTES,
        };
        (has_name && call.key() == *key).then_some(call)
    }
}

fn speaker(speaker: peer::Speaker) -> Speaker {
    Speaker {
        avatar: EntityId(speaker.avatar),
        epoch: Epoch(speaker.epoch),
        number: speaker.number,
        asked: WorldTime(speaker.asked_ms),
    }
}

/// A text as it is said to an island or whispered: without control characters; `None` if it is too long, or nothing.
pub fn spoken(text: String) -> Option<String> {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    (text.len() <= MAX_SAY_BYTES && !text.trim().is_empty()).then_some(text)
}

/// The answer to a call: it is on disk, or why nothing happened.
pub fn chat_answer(result: Result<(), Refusal>) -> Bytes {
    let (code, sentence) = match result {
        Ok(()) => (String::new(), String::new()),
        Err(refusal) => (refusal.code.into_owned(), refusal.sentence.into_owned()),
    };
    encode_body(&ChatAnswer { code, sentence })
}

/// How a call ended.
///
/// # Errors
/// The refusal. After `unavailable` nobody knows what became of it.
pub fn chat_result(result: CallResult) -> Result<(), Refusal> {
    let body = result.map_err(|_| unavailable())?;
    let answer = decode_body::<ChatAnswer>(&body).map_err(|_| Refusal::internal())?;
    match answer.code.is_empty() {
        true => Ok(()),
        false => Err(Refusal { code: answer.code.into(), sentence: answer.sentence.into() }),
    }
}

/// A line as it travels.
pub(crate) fn put_line(line: Line) -> peer::Line {
    let Line { number, avatar, name, text, at } = line;
    peer::Line { number, avatar: avatar.0, name, text, at_ms: at.0 }
}

/// A line as it arrives.
pub(crate) fn line(line: peer::Line) -> Line {
    let peer::Line { number, avatar, name, text, at_ms } = line;
    Line { number, avatar: EntityId(avatar), name, text, at: IslandTime(at_ms) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::CallError;

    const SPEAKER: Speaker =
        Speaker { avatar: EntityId(7), epoch: Epoch(2), number: 9, asked: WorldTime(5) };

    #[test]
    fn calls_are_read_as_they_were_written() {
        let calls = [
            ChatCall::Say { speaker: SPEAKER, island: IslandId(3), text: "ahoy".into() },
            ChatCall::Whisper { speaker: SPEAKER, name: "Åsa".into(), text: "psst".into() },
            ChatCall::Taken {
                avatar: EntityId(7), epoch: Epoch(2), number: 3, name: "Åsa".into()
            },
        ];
        for call in calls {
            let (key, body) = (call.key(), call.clone().encode());
            assert_eq!(ChatCall::decode(&key, &body), Some(call));
            assert_eq!(ChatCall::decode(&Key::world(), &body), None);
        }
        assert_eq!(ChatCall::decode(&Key::world(), &Bytes::from_static(&[0xff; 3])), None);
    }

    #[test]
    fn what_is_too_long_or_nothing_is_not_said() {
        let call = |text: String| {
            let call = ChatCall::Say { speaker: SPEAKER, island: IslandId(3), text };
            ChatCall::decode(&call.key(), &call.encode())
        };
        for text in ["", "  ", "\u{7}", &"x".repeat(MAX_SAY_BYTES + 1)] {
            assert_eq!(call(text.into()), None, "{text:?}");
        }
        assert!(call("x".repeat(MAX_SAY_BYTES)).is_some());
        let name = "x".repeat(MAX_NAME_BYTES + 1);
        let call = ChatCall::Whisper { speaker: SPEAKER, name, text: "psst".into() };
        assert_eq!(ChatCall::decode(&call.key(), &call.encode()), None);
    }

    #[test]
    fn the_end_of_a_call_is_told_as_it_was() {
        let refusal = Refusal::new("muted", "You may not speak.");
        for result in [Ok(()), Err(refusal)] {
            assert_eq!(chat_result(Ok(chat_answer(result.clone()))), result);
        }
        assert_eq!(chat_result(Err(CallError::LinkLost)), Err(unavailable()));
    }
}
