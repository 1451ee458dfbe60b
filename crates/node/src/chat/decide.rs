//! How the calls of a batch are decided, one after the other, over documents in memory.

use super::ChatConfig;
use crate::chat_call::ChatCall;
use crate::documents::avatar::AvatarDocument;
use crate::documents::lines::{Line, Speaker, Speakers, SpeechCheck};
use crate::documents::mailbox::{MAILBOX_SCHEMA, MailboxDocument};
use crate::documents::room::{ROOM_SCHEMA, RoomDocument};
use crate::documents::schema::{Stored, read};
use bytes::Bytes;
use pelago_game::{Refusal, Speech, asked, json};
use pelago_model::{
    Check, Document, EntityId, Epoch, IslandId, Key, NodeId, Transaction, WorldTime, Write,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the calls of a batch are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// The room of an island.
    Room(IslandId),
    /// The mailbox of an avatar.
    Mailbox(EntityId),
    /// Nobody bears the name.
    Nobody,
}

/// Calls to be decided, with all documents that they need.
pub(super) struct Question {
    pub(super) config: Arc<ChatConfig>,
    pub(super) now: WorldTime,
    pub(super) subject: Subject,
    pub(super) calls: Vec<Arc<ChatCall>>,
    pub(super) documents: BTreeMap<Key, Document>,
}

/// What was decided.
pub(super) struct Decided {
    /// By call.
    pub(super) answers: Vec<Result<(), Refusal>>,
    /// What has to be committed before anybody is answered.
    pub(super) transaction: Transaction,
    /// Whom to tell afterwards.
    pub(super) nudge: Option<Nudge>,
    /// What is broken, for the log.
    pub(super) broken: Option<String>,
}

/// Whom to tell that there is something new.
pub(super) enum Nudge {
    /// Everybody: these are the last lines of a room.
    Room(IslandId, Vec<Line>),
    /// The lanes of a node, where an avatar is played or was.
    Mailbox(NodeId, EntityId),
}

/// A room or a mailbox that is being written.
enum Book {
    Room(RoomDocument),
    Mailbox(MailboxDocument),
}

impl Book {
    fn speakers(&self) -> &Speakers {
        match self {
            Self::Room(room) => &room.speakers,
            Self::Mailbox(mailbox) => &mailbox.speakers,
        }
    }

    fn encode(&self) -> Result<(u16, Bytes), json::EncodeError> {
        Ok(match self {
            Self::Room(room) => (ROOM_SCHEMA, json::encode(room)?),
            Self::Mailbox(mailbox) => (MAILBOX_SCHEMA, json::encode(mailbox)?),
        })
    }
}

impl Subject {
    /// The key of its document.
    pub(super) fn key(&self) -> Option<Key> {
        match self {
            Self::Room(island) => Some(Key::room(*island)),
            Self::Mailbox(avatar) => Some(Key::mailbox(*avatar)),
            Self::Nobody => None,
        }
    }
}

impl Question {
    /// Decides all calls.
    pub(super) fn decide(self) -> Decided {
        let Some(key) = self.subject.key() else {
            let nobody = Refusal::new("unknown_name", "Nobody has that name.");
            return self.all(&nobody, None);
        };
        let document = self.documents.get(&key).cloned().unwrap_or(Document::ABSENT);
        let book = match self.subject {
            Subject::Room(_) => stored(&document).map(Book::Room),
            _ => stored(&document).map(Book::Mailbox),
        };
        let mut book = match book {
            Ok(book) => book,
            Err(error) => return self.all(&Refusal::internal(), Some(format!("{key}: {error}"))),
        };
        let mut checks: BTreeMap<Key, Check> = BTreeMap::new();
        let mut answers = Vec::new();
        let (mut has_changed, mut broken) = (false, None);
        for call in &self.calls {
            let answer = self.one(call, &mut book, &mut broken);
            if answer == Ok(true) {
                has_changed = true;
                let key = Key::avatar(call.session().0);
                if let Some(document) = self.documents.get(&key) {
                    let revision = document.revision;
                    checks.insert(key.clone(), Check { key, revision });
                }
            }
            answers.push(answer.map(|_| ()));
        }
        if self.config.sabotage.ignore_epoch {
            checks.clear();
        }
        let nudge = answers.iter().any(Result::is_ok).then(|| self.nudge(&book)).flatten();
        let mut transaction = Transaction::default();
        if has_changed {
            let (schema, value) = match book.encode() {
                Ok(encoded) => encoded,
                Err(error) => {
                    return self.all(&Refusal::internal(), Some(format!("{key}: {error}")));
                }
            };
            transaction.checks = checks.into_values().collect();
            let expected = document.revision;
            transaction.writes = vec![Write { key, expected, schema, value: Some(value) }];
        }
        Decided { answers, transaction, nudge, broken }
    }

    fn all(&self, refusal: &Refusal, broken: Option<String>) -> Decided {
        let answers = self.calls.iter().map(|_| Err(refusal.clone())).collect();
        Decided { answers, transaction: Transaction::default(), nudge: None, broken }
    }

    /// Decides one call; whether it changes the document.
    fn one(
        &self,
        call: &ChatCall,
        book: &mut Book,
        broken: &mut Option<String>,
    ) -> Result<bool, Refusal> {
        let (id, epoch) = call.session();
        let avatar = self.avatar(id, epoch)?;
        let (speaker, text, to) = match call {
            ChatCall::Say { speaker, text, .. } => (speaker, text, Speech::Island),
            ChatCall::Whisper { speaker, text, .. } => (speaker, text, Speech::Whisper),
            ChatCall::Taken { avatar, number, .. } => {
                return match book {
                    Book::Mailbox(mailbox) if self.subject == Subject::Mailbox(*avatar) => {
                        Ok(mailbox.take(*number))
                    }
                    _ => Err(Refusal::malformed()),
                };
            }
        };
        if !self.is_new(speaker, book)? {
            return Ok(false);
        }
        let at = self.config.clock.at(self.now);
        // A broken rule costs its player an answer.
        asked(|| self.config.game.speech(&avatar.game, to, text, at)).unwrap_or_else(
            |problem| {
                *broken = Some(format!("a line of avatar {id} for {:?}: {problem}", self.subject));
                Err(Refusal::internal())
            },
        )?;
        let (words, times) = ((avatar.name, text.clone()), (self.now, at));
        match book {
            Book::Room(room) => room.say(speaker, words, times),
            Book::Mailbox(mailbox) if mailbox.is_full() => {
                let sentence = "There is no room for more whispers until these are read.";
                return Err(Refusal::new("mailbox_full", sentence));
            }
            Book::Mailbox(mailbox) => mailbox.add(speaker, words, times),
        }
        Ok(true)
    }

    /// The avatar of a session, if the session is not over.
    fn avatar(&self, avatar: EntityId, epoch: Epoch) -> Result<AvatarDocument, Refusal> {
        let superseded = Refusal::new("superseded", "You are playing from somewhere else.");
        let document = self.documents.get(&Key::avatar(avatar)).unwrap_or(&Document::ABSENT);
        let document: Option<AvatarDocument> = read(document).map_err(|_| Refusal::internal())?;
        let is_current =
            |avatar: &AvatarDocument| avatar.epoch == epoch || self.config.sabotage.ignore_epoch;
        document.filter(is_current).ok_or(superseded)
    }

    /// Whether a line has not been said yet.
    fn is_new(&self, speaker: &Speaker, book: &Book) -> Result<bool, Refusal> {
        match book.speakers().check(speaker, self.now) {
            SpeechCheck::New => Ok(true),
            SpeechCheck::Known => Ok(self.config.sabotage.forget_speakers),
            SpeechCheck::Stale => Err(Refusal::new("stale", "That was too long ago.")),
            SpeechCheck::Busy => Err(Refusal::new("busy", "Too many speak at once.")),
        }
    }

    /// Whom to tell. What stood there before is told again, too: perhaps nobody was told when it was written.
    fn nudge(&self, book: &Book) -> Option<Nudge> {
        match (&self.subject, book) {
            (Subject::Room(island), Book::Room(room)) => {
                let skipped = room.lines.len().saturating_sub(self.calls.len());
                Some(Nudge::Room(*island, room.lines.iter().skip(skipped).cloned().collect()))
            }
            (Subject::Mailbox(avatar), Book::Mailbox(mailbox)) if !mailbox.lines.is_empty() => {
                let document = self.documents.get(&Key::avatar(*avatar))?;
                let owner = read::<AvatarDocument>(document).ok()??.owner;
                Some(Nudge::Mailbox(owner, *avatar))
            }
            _ => None,
        }
    }
}

/// A document, or what it is before it was first written.
fn stored<T: Stored + Default>(document: &Document) -> Result<T, String> {
    Ok(read(document)?.unwrap_or_default())
}
