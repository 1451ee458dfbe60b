//! What is said to an island and whispered: lanes ask the chat to write it, and show what is written, in order.
//!
//! A lane reads the document of a room while anybody is on the island, and that of a mailbox while its avatar is played. What
//! it is told by the chat saves reading; a gap in the numbers makes it read again, and so does time.

use super::CHECKPOINT_SPREAD_MS;
use super::{CALL_DEADLINE_MS, CallKind, Lane, LaneEffect, PendingCall, Request};
use crate::call::{CallTarget, OutgoingCall};
use crate::chat_call::{ChatCall, spoken};
use crate::documents::lines::{Line, Speaker};
use crate::documents::mailbox::MailboxDocument;
use crate::documents::room::RoomDocument;
use crate::documents::schema::{Stored, read};
use crate::log::{Level, LogLine};
use crate::rate_limits::slow_down;
use bytes::{Bytes, BytesMut};
use pelago_game::Refusal;
use pelago_model::limits::{MAX_CHAT_LINES, MAX_NAME_BYTES, MAX_SAY_BYTES};
use pelago_model::{Document, EntityId, Epoch, IslandId, Key, Limit, Name, Role, WorldTime};
use pelago_wire::client::{self, ChatChannel, ServerMessage, server_message};
use pelago_wire::message::put_control;
use pelago_world::ClientId;
use std::collections::VecDeque;

/// How often the document of a room is read whatever this lane was told, in ms.
pub const ROOM_LOOK_MS: i64 = 30_000;
/// How often a mailbox is read whatever this lane was told, in ms.
pub const MAILBOX_LOOK_MS: i64 = 60_000;
/// How long after the store could not read, it is asked again, in ms.
const RETRY_MS: i64 = 1000;

/// What this lane knows of the room of an island on which somebody is.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Sessions that are shown it.
    listeners: usize,
    /// The last lines, at most [`MAX_CHAT_LINES`]; the oldest makes room.
    lines: VecDeque<Line>,
    /// The number of the last of them.
    last: u64,
    /// The greatest number that this lane has heard of.
    known: u64,
    /// Whether the document is being read.
    reading: bool,
    /// When it is to be read.
    due: WorldTime,
}

impl Room {
    /// Takes in those lines that follow.
    fn take(&mut self, lines: impl IntoIterator<Item = Line>, may_skip: bool) {
        for line in lines {
            self.known = self.known.max(line.number);
            let follows = line.number == self.last + 1 || may_skip && line.number > self.last;
            if follows {
                self.last = line.number;
                if self.lines.len() >= MAX_CHAT_LINES {
                    self.lines.pop_front();
                }
                self.lines.push_back(line);
            }
        }
    }
}

/// What this lane knows of what a player says and is whispered.
#[derive(Debug, Default)]
pub(super) struct Talk {
    /// The last line that the player wanted to be said to the island or whispered: its number, when it was first asked for,
    /// and whether it is under way.
    line: Option<(u64, WorldTime, bool)>,
    /// The last line of the room that the player was shown.
    room: u64,
    /// The last whisper that the player was shown.
    shown: u64,
    /// The last whisper of which the client has said that the player was shown it.
    heard: u64,
    /// The last whisper that has left the mailbox.
    taken: u64,
    /// Whether the chat is asked to take whispers away.
    taking: bool,
    /// Whether the mailbox is being read.
    reading: bool,
    /// Whether there is news since that was begun.
    again: bool,
    /// When the mailbox is to be read.
    pub(super) due: WorldTime,
}

impl Lane {
    /// A session begins: it is shown the last lines of its island, and what waits for it.
    pub(super) fn listen(
        &mut self,
        now: WorldTime,
        avatar: EntityId,
        island: IslandId,
        effects: &mut Vec<LaneEffect>,
    ) {
        let room = self.rooms.entry(island).or_default();
        room.listeners += 1;
        if room.listeners == 1 {
            self.read_room(island, effects);
        }
        self.show_room(island, effects);
        if let Some(session) = self.sessions.get_mut(&avatar) {
            session.talk.due = now;
        }
        self.read_mailbox_if_due(now, avatar, effects);
    }

    /// A session is over.
    pub(super) fn stop_listening(&mut self, island: IslandId) {
        if let Some(room) = self.rooms.get_mut(&island) {
            room.listeners = room.listeners.saturating_sub(1);
            if room.listeners == 0 {
                self.rooms.remove(&island);
            }
        }
    }

    /// A client wants something to be said to the island.
    pub(super) fn say_to_island(
        &mut self,
        now: WorldTime,
        client: ClientId,
        say: client::Say,
        effects: &mut Vec<LaneEffect>,
    ) {
        let Some(island) = self.real_of(client).map(|real| real.island) else { return };
        let call = |speaker, text| Ok(ChatCall::Say { speaker, island, text });
        self.speak(now, client, (say.number, say.text), call, effects);
    }

    /// A client wants something to be whispered.
    pub(super) fn whisper(
        &mut self,
        now: WorldTime,
        client: ClientId,
        whisper: client::Whisper,
        effects: &mut Vec<LaneEffect>,
    ) {
        let client::Whisper { number, mut name, text } = whisper;
        // The canonical form may be shorter. Otherwise the chat finds it: an old name is none.
        if name.len() > MAX_NAME_BYTES
            && let Ok(canonical) = Name::parse(&name)
        {
            name = canonical.as_str().to_owned();
        }
        let call = |speaker, text| {
            if name.is_empty() || name.len() > MAX_NAME_BYTES {
                return Err(Refusal::new("unknown_name", "Nobody has that name."));
            }
            Ok(ChatCall::Whisper { speaker, name, text })
        };
        self.speak(now, client, (number, text), call, effects);
    }

    fn speak(
        &mut self,
        now: WorldTime,
        client: ClientId,
        (number, text): (u64, String),
        call: impl FnOnce(Speaker, String) -> Result<ChatCall, Refusal>,
        effects: &mut Vec<LaneEffect>,
    ) {
        let Some(connection) = self.connections.get(&client) else { return };
        let avatar = connection.avatar;
        let Some(session) = self.sessions.get(&avatar) else { return };
        let (epoch, last) = (session.epoch, session.talk.line);
        if last.is_some_and(|(last, _, is_under_way)| is_under_way && last == number) {
            // Repeated while it is under way: its end answers both.
            return;
        }
        if text.len() > MAX_SAY_BYTES {
            self.counters.limits.note(Limit::SpeechBytes);
        }
        let refused = if !self.may(now, client, Limit::Speech, 1) {
            Err(slow_down())
        } else if number == 0 {
            Err(Refusal::malformed())
        } else {
            match last {
                Some((_, _, true)) => Err(Refusal::new("busy", "One thing after the other.")),
                Some((last, ..)) if last > number => {
                    Err(Refusal::new("stale", "That was too long ago."))
                }
                // The same line is not said again, however late it is repeated.
                Some((last, asked, _)) if last == number => Ok(asked),
                _ => Ok(now),
            }
        };
        let call = refused.and_then(|asked| {
            let text = spoken(text).ok_or_else(Refusal::malformed)?;
            Ok((asked, call(Speaker { avatar, epoch, number, asked }, text)?))
        });
        let (asked, call) = match call {
            Ok(call) => call,
            Err(refusal) => return self.refuse(client, false, number, refusal, effects),
        };
        if let Some(session) = self.sessions.get_mut(&avatar) {
            session.talk.line = Some((number, asked, true));
        }
        self.ask_chat(PendingCall { client, number, kind: CallKind::Speech }, call, effects);
    }

    fn ask_chat(&mut self, pending: PendingCall, call: ChatCall, effects: &mut Vec<LaneEffect>) {
        self.next_call += 1;
        let number = self.next_call;
        self.calls.insert(number, pending);
        let call = OutgoingCall {
            target: CallTarget::Preferred { role: Role::chat(), key: call.key() },
            body: call.encode(),
            deadline_ms: CALL_DEADLINE_MS,
            repeatable: true,
            trace: number,
        };
        effects.push(LaneEffect::Call { number, call });
    }

    /// A line of a client has been written, or not.
    pub(super) fn spoke(
        &mut self,
        trace: u64,
        call: &PendingCall,
        result: Result<(), Refusal>,
        effects: &mut Vec<LaneEffect>,
    ) {
        let Some(connection) = self.connections.get(&call.client) else { return };
        if let Some(session) = self.sessions.get_mut(&connection.avatar) {
            let line = session.talk.line.take();
            // What was refused may be tried again under its number; what nobody knows is the same line.
            session.talk.line =
                line.map(|(number, asked, _)| (number, asked, false)).filter(|_| match &result {
                    Ok(()) => true,
                    Err(refusal) => refusal.code == "unavailable",
                });
        }
        match result {
            Ok(()) => {
                let outcome =
                    client::Outcome { number: call.number, trace, ..client::Outcome::default() };
                self.send(call.client, server_message::Body::Outcome(outcome), effects);
            }
            Err(refusal) if refusal.code == "superseded" => self.supersede(call.client, effects),
            Err(refusal) => self.refuse(call.client, false, call.number, refusal, effects),
        }
    }

    /// Something was said to an island, as far as the chat tells.
    pub(super) fn lines(
        &mut self,
        island: IslandId,
        lines: Vec<Line>,
        effects: &mut Vec<LaneEffect>,
    ) {
        let Some(room) = self.rooms.get_mut(&island) else { return };
        room.take(lines, false);
        let has_gap = room.known > room.last;
        self.show_room(island, effects);
        if has_gap {
            self.read_room(island, effects);
        }
    }

    fn read_room(&mut self, island: IslandId, effects: &mut Vec<LaneEffect>) {
        let Some(room) = self.rooms.get_mut(&island).filter(|room| !room.reading) else { return };
        room.reading = true;
        let request = self.requests.begin(Request::ReadRoom(island));
        effects.push(LaneEffect::Load { request, keys: vec![Key::room(island)] });
    }

    /// The document of a room has been read; `None` if the store could not.
    pub(super) fn room_read(
        &mut self,
        now: WorldTime,
        island: IslandId,
        document: Option<&Document>,
        effects: &mut Vec<LaneEffect>,
    ) {
        let document = stored::<RoomDocument>(document, effects);
        // Everybody left, and perhaps somebody has come since: then that one's own reading is under way.
        let Some(room) = self.rooms.get_mut(&island) else { return };
        room.reading = false;
        let before = room.last;
        room.due = now.plus(if document.is_some() { ROOM_LOOK_MS } else { RETRY_MS });
        room.take(document.map(|room| room.lines).unwrap_or_default(), true);
        let (has_news, has_gap) = (room.last > before, room.known > room.last);
        if has_gap {
            room.due = now.plus(RETRY_MS);
        }
        self.show_room(island, effects);
        if has_gap && has_news {
            self.read_room(island, effects);
        }
    }

    /// Shows everybody on an island those lines that they have not been shown.
    fn show_room(&mut self, island: IslandId, effects: &mut Vec<LaneEffect>) {
        let Some(room) = self.rooms.get(&island) else { return };
        let (last, mut told) = (room.last, Vec::new());
        for (avatar, session) in &mut self.sessions {
            let is_here = self.reals.of(*avatar).is_some_and(|real| real.island == island);
            if is_here && session.talk.room < last {
                told.push((session.client, session.talk.room));
                session.talk.room = last;
            }
        }
        // Those who were shown equally much are told the same bytes, made once.
        told.sort_unstable_by_key(|(_, shown)| *shown);
        let mut made: Option<(u64, Bytes)> = None;
        for (client, shown) in told {
            let bytes = match &made {
                Some((for_shown, bytes)) if *for_shown == shown => bytes.clone(),
                _ => {
                    let Some(room) = self.rooms.get(&island) else { return };
                    chat_lines(CHAT_ISLAND, room.lines.iter().filter(|it| it.number > shown))
                }
            };
            made = Some((shown, bytes.clone()));
            self.send_bytes(client, bytes, effects);
        }
    }

    /// Reads those rooms whose time has come.
    pub(super) fn look_at_rooms(&mut self, now: WorldTime, effects: &mut Vec<LaneEffect>) {
        let due = |room: &Room| room.due <= now && !room.reading;
        let due: Vec<IslandId> =
            self.rooms.iter().filter(|(_, room)| due(room)).map(|(island, _)| *island).collect();
        for island in due {
            self.read_room(island, effects);
        }
    }

    /// Something was whispered to an avatar, as far as the chat tells.
    pub(super) fn mail(&mut self, avatar: EntityId, effects: &mut Vec<LaneEffect>) {
        self.read_mailbox(avatar, effects);
    }

    /// Reads the mailbox of an avatar if its time has come.
    pub(super) fn read_mailbox_if_due(
        &mut self,
        now: WorldTime,
        avatar: EntityId,
        effects: &mut Vec<LaneEffect>,
    ) {
        let Some(session) = self.sessions.get_mut(&avatar) else { return };
        if session.talk.due > now {
            return;
        }
        // Spread, so that a crowd that came at once does not look at once.
        let spread = (session.client.0 as i64 % 50) * CHECKPOINT_SPREAD_MS;
        session.talk.due = now.plus(MAILBOX_LOOK_MS + spread);
        if !session.talk.reading {
            self.read_mailbox(avatar, effects);
        }
    }

    fn read_mailbox(&mut self, avatar: EntityId, effects: &mut Vec<LaneEffect>) {
        let Some(session) = self.sessions.get_mut(&avatar) else { return };
        if session.talk.reading {
            session.talk.again = true;
            return;
        }
        session.talk.reading = true;
        let request = self.requests.begin(Request::ReadMailbox { avatar, epoch: session.epoch });
        effects.push(LaneEffect::Load { request, keys: vec![Key::mailbox(avatar)] });
    }

    /// The mailbox of an avatar has been read; `None` if the store could not.
    pub(super) fn mailbox_read(
        &mut self,
        now: WorldTime,
        (avatar, epoch): (EntityId, Epoch),
        document: Option<&Document>,
        effects: &mut Vec<LaneEffect>,
    ) {
        let document = stored::<MailboxDocument>(document, effects);
        let Some(session) = self.sessions.get_mut(&avatar) else { return };
        if session.epoch != epoch {
            return;
        }
        let (client, talk) = (session.client, &mut session.talk);
        talk.reading = false;
        let again = std::mem::take(&mut talk.again);
        match document {
            Some(mailbox) => {
                let shown = talk.shown;
                talk.shown = mailbox.lines.back().map_or(shown, |last| last.number.max(shown));
                let new = mailbox.lines.iter().filter(|line| line.number > shown);
                let bytes = chat_lines(CHAT_WHISPER, new);
                if !bytes.is_empty() {
                    self.send_bytes(client, bytes, effects);
                }
            }
            None => talk.due = now.plus(RETRY_MS),
        }
        if again {
            self.read_mailbox(avatar, effects);
        }
        self.take_whispers(avatar, effects);
        self.plan(client);
    }

    /// A client says that its player has been shown the whispers up to a number.
    pub(super) fn heard(&mut self, client: ClientId, number: u64, effects: &mut Vec<LaneEffect>) {
        let Some(connection) = self.connections.get(&client) else { return };
        let avatar = connection.avatar;
        let Some(session) = self.sessions.get_mut(&avatar) else { return };
        let talk = &mut session.talk;
        talk.heard = talk.heard.max(number.min(talk.shown));
        self.take_whispers(avatar, effects);
    }

    /// Lets whispers that the player was shown be taken out of the mailbox, one call at a time.
    fn take_whispers(&mut self, avatar: EntityId, effects: &mut Vec<LaneEffect>) {
        let Some(session) = self.sessions.get_mut(&avatar) else { return };
        let (client, epoch, talk) = (session.client, session.epoch, &mut session.talk);
        if talk.taking || talk.heard <= talk.taken {
            return;
        }
        let number = talk.heard;
        let Some(real) = self.reals.of(avatar) else { return };
        let Some(shown) = self.publisher.shown(real.slot) else { return };
        talk.taking = true;
        let name = shown.name.to_string();
        let call = ChatCall::Taken { avatar, epoch, number, name };
        self.ask_chat(PendingCall { client, number, kind: CallKind::Taken }, call, effects);
    }

    /// Whispers have been taken out of a mailbox, or not: then it is tried again after the next look.
    pub(super) fn whispers_taken(
        &mut self,
        call: &PendingCall,
        result: Result<(), Refusal>,
        effects: &mut Vec<LaneEffect>,
    ) {
        let Some(connection) = self.connections.get(&call.client) else { return };
        let avatar = connection.avatar;
        let Some(session) = self.sessions.get_mut(&avatar) else { return };
        session.talk.taking = false;
        match result {
            Ok(()) => {
                session.talk.taken = session.talk.taken.max(call.number);
                self.take_whispers(avatar, effects);
            }
            Err(refusal) if refusal.code == "superseded" => self.supersede(call.client, effects),
            Err(_) => {}
        }
    }
}

const CHAT_ISLAND: ChatChannel = ChatChannel::ChatIsland;
const CHAT_WHISPER: ChatChannel = ChatChannel::ChatWhisper;

/// A document that was read, or what it is before it was first written; `None` if it could not be read.
fn stored<T: Stored + Default>(
    document: Option<&Document>,
    effects: &mut Vec<LaneEffect>,
) -> Option<T> {
    match read(document?) {
        Ok(document) => Some(document.unwrap_or_default()),
        Err(error) => {
            effects.push(LaneEffect::Log(LogLine::new(Level::Error, error.to_string())));
            None
        }
    }
}

/// Lines as clients are told them.
fn chat_lines<'a>(channel: ChatChannel, lines: impl Iterator<Item = &'a Line>) -> Bytes {
    let mut bytes = BytesMut::new();
    for line in lines {
        let line = client::ChatLine {
            channel: channel.into(),
            number: line.number,
            avatar: line.avatar.0,
            name: line.name.clone(),
            text: line.text.clone(),
            at_ms: line.at.0,
        };
        let body = Some(server_message::Body::ChatLine(line));
        put_control(&mut bytes, &ServerMessage { body });
    }
    bytes.freeze()
}
