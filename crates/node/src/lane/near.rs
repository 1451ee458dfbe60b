//! What is said to those who are near: by a record of the lane's own frames, if the game allows it.
//!
//! The game decides by the avatar's document, which a lane does not keep. It is read when somebody begins to speak, and known
//! for a while. A store that does not answer within [`SPEAKER_PATIENCE_MS`] mutes nobody.

use super::{Lane, LaneEffect, Request};
use crate::documents::avatar::AvatarDocument;
use crate::documents::schema::read;
use crate::log::{Level, LogLine};
use crate::rate_limits::slow_down;
use pelago_game::{Refusal, Speech, asked};
use pelago_model::limits::MAX_SAY_BYTES;
use pelago_model::{Document, EntityId, Epoch, Key, Limit, WorldTime};
use pelago_wire::client::{self, server_message};
use pelago_world::ClientId;
use serde_json::Value;

/// For how long the document of somebody who speaks is taken as known, in ms.
pub const SPEAKER_KNOWN_MS: i64 = 10_000;
/// For how long a line waits for the document, in ms: then it is said without it.
pub const SPEAKER_PATIENCE_MS: i64 = 500;
/// Lines of one player that wait for the document; more are refused as `slow_down`.
const MAX_HELD_LINES: usize = 8;

/// What this lane knows of a player who speaks to those who are near.
#[derive(Debug, Default)]
pub(super) struct NearSpeech {
    /// The game's part of the avatar's document, and until when it is taken as known.
    known: Option<(Value, WorldTime)>,
    /// Since when it is being read.
    reading_since: Option<WorldTime>,
    /// What waits for it, with the client's numbers: at most [`MAX_HELD_LINES`].
    held: Vec<(String, u64)>,
}

impl NearSpeech {
    /// The document has changed, or was known for long enough.
    pub(super) fn forget(&mut self, now: WorldTime) {
        self.known.take_if(|(_, until)| *until <= now);
    }

    /// The game has something to tell about the avatar: perhaps that it may not speak.
    pub(super) fn forget_at_once(&mut self) {
        self.known = None;
    }
}

impl Lane {
    /// A client wants something to be said to those who are near.
    pub(super) fn say(
        &mut self,
        now: WorldTime,
        client: ClientId,
        client::Say { text, number, .. }: client::Say,
        effects: &mut Vec<LaneEffect>,
    ) {
        if !self.may(now, client, Limit::Speech, 1) {
            return self.refuse(client, false, number, slow_down(), effects);
        }
        if text.len() > MAX_SAY_BYTES {
            self.counters.limits.note(Limit::SpeechBytes);
        }
        let mut text: String = text.chars().filter(|c| !c.is_control()).collect();
        let mut end = text.len().min(MAX_SAY_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        if text.trim().is_empty() {
            // Nobody waits for an answer to what has no number.
            if number > 0 {
                self.refuse(client, false, number, Refusal::malformed(), effects);
            }
            return;
        }
        let Some(connection) = self.connections.get(&client) else { return };
        let avatar = connection.avatar;
        let Some(session) = self.sessions.get_mut(&avatar) else { return };
        session.near.forget(now);
        let reading_since = session.near.reading_since;
        let is_overdue = reading_since.is_some_and(|since| now.since(since) >= SPEAKER_PATIENCE_MS);
        if session.near.known.is_some() || is_overdue {
            return self.say_if_allowed(now, avatar, text, number, effects);
        }
        let epoch = session.epoch;
        if session.near.held.len() >= MAX_HELD_LINES {
            self.counters.limits.note(Limit::Speech);
            return self.refuse(client, false, number, slow_down(), effects);
        }
        session.near.held.push((text, number));
        if reading_since.is_none() {
            session.near.reading_since = Some(now);
            self.speakers.insert((now.plus(SPEAKER_PATIENCE_MS), avatar));
            let request = self.requests.begin(Request::ReadSpeaker { avatar, epoch });
            effects.push(LaneEffect::Load { request, keys: vec![Key::avatar(avatar)] });
        }
    }

    /// Says what has waited for a document for long enough.
    pub(super) fn say_overdue(&mut self, now: WorldTime, effects: &mut Vec<LaneEffect>) {
        while let Some((at, avatar)) = self.speakers.first().copied()
            && at <= now
        {
            self.speakers.pop_first();
            let Some(session) = self.sessions.get_mut(&avatar) else { continue };
            for (text, number) in std::mem::take(&mut session.near.held) {
                self.say_if_allowed(now, avatar, text, number, effects);
            }
        }
    }

    /// The document of somebody who speaks has been read; `None` if the store could not.
    pub(super) fn speaker_read(
        &mut self,
        now: WorldTime,
        (avatar, epoch): (EntityId, Epoch),
        document: Option<&Document>,
        effects: &mut Vec<LaneEffect>,
    ) {
        let document = match document.map(read::<AvatarDocument>).transpose() {
            Ok(document) => document.flatten(),
            Err(error) => {
                let line = LogLine::traced(Level::Error, avatar.0, error.to_string());
                effects.push(LaneEffect::Log(line));
                None
            }
        };
        let session = self.sessions.get_mut(&avatar);
        let Some(session) = session.filter(|session| session.epoch == epoch) else { return };
        session.near.reading_since = None;
        session.near.known = document.map(|it| (it.game, now.plus(SPEAKER_KNOWN_MS)));
        for (text, number) in std::mem::take(&mut session.near.held) {
            self.say_if_allowed(now, avatar, text, number, effects);
        }
    }

    fn say_if_allowed(
        &mut self,
        now: WorldTime,
        avatar: EntityId,
        text: String,
        number: u64,
        effects: &mut Vec<LaneEffect>,
    ) {
        let Some(session) = self.sessions.get(&avatar) else { return };
        let client = session.client;
        if let Some((state, _)) = &session.near.known {
            let (game, at) = (&self.config.game, self.config.clock.at(now));
            // A broken rule costs its player an answer, not the lane its life.
            let allowed = asked(|| game.speech(state, Speech::Near, &text, at));
            let allowed = allowed.unwrap_or_else(|problem| {
                let text = format!("a line of avatar {avatar} to those near: {problem}");
                effects.push(LaneEffect::Log(LogLine::new(Level::Error, text)));
                Err(Refusal::internal())
            });
            if let Err(refusal) = allowed {
                return self.refuse(client, false, number, refusal, effects);
            }
        }
        let Some(slot) = self.reals.of(avatar).map(|real| real.slot) else { return };
        self.publisher.say(slot, text.into());
        if number > 0 {
            let outcome = client::Outcome { number, ..client::Outcome::default() };
            self.send(client, server_message::Body::Outcome(outcome), effects);
        }
    }
}
