//! Clients that have no lane yet, and the way to those that have one.

use super::{ClientState, Control, send};
use crate::effect::{Effect, Message};
use crate::lane::LaneInput;
use crate::login::LoginInput;
use crate::rate_limits::{ProtocolViolation, kibibytes, not_understood, slow_down};
use bytes::Bytes;
use pelago_game::{Arrival, ContentHash, Refusal};
use pelago_model::{Limit, Secret, WorldTime};
use pelago_wire::client::{self, ClientMessage, client_message, server_message};
use pelago_wire::message::{Kind, decode_control};
use pelago_wire::{PROTOCOL_NEWEST, PROTOCOL_OLDEST, negotiate};
use pelago_world::ClientId;
use std::collections::BTreeMap;

impl Control {
    pub(super) fn received(
        &mut self,
        now: WorldTime,
        client: ClientId,
        kind: u8,
        payload: Bytes,
        effects: &mut Vec<Effect>,
    ) {
        match self.clients.get(&client) {
            Some(ClientState::On(lane)) => {
                let input = LaneInput::Received { client, kind, payload };
                effects.push(Effect::To(Message::Lane(*lane, input)));
            }
            Some(ClientState::New { .. }) => {
                self.introduced(now, client, kind, &payload, effects);
            }
            // What comes between hello and welcome was sent too early.
            Some(ClientState::Arriving) => {
                self.malformed += 1;
                let refusal = Refusal::new("malformed", "That comes after the welcome.");
                self.refuse_arriving(client, &refusal, effects);
            }
            None => {}
        }
    }

    /// The connection of a client is no stream of messages, or too much of one.
    pub(super) fn violated(
        &mut self,
        client: ClientId,
        violation: ProtocolViolation,
        effects: &mut Vec<Effect>,
    ) {
        match violation {
            ProtocolViolation::Flood => self.limits.note(Limit::Messages),
            ProtocolViolation::Malformed => self.malformed += 1,
            // Counted where they were met.
            ProtocolViolation::EmptyFrames
            | ProtocolViolation::Stalled
            | ProtocolViolation::TooLong => {}
        }
        match self.clients.get(&client) {
            Some(ClientState::On(lane)) => {
                let input = LaneInput::Violated { client, violation };
                effects.push(Effect::To(Message::Lane(*lane, input)));
            }
            Some(ClientState::New { .. }) => self.refuse(client, &violation.refusal(), effects),
            Some(ClientState::Arriving) => {
                self.refuse_arriving(client, &violation.refusal(), effects);
            }
            None => {}
        }
    }

    fn refuse_arriving(&mut self, client: ClientId, refusal: &Refusal, effects: &mut Vec<Effect>) {
        self.refuse(client, refusal, effects);
        effects.push(Effect::To(Message::Login(LoginInput::Gone { client })));
    }

    /// Content, if what the client may have of it is not used up.
    fn fetch(&mut self, now: WorldTime, client: ClientId, hash: Bytes, effects: &mut Vec<Effect>) {
        let Some(ClientState::New { fetches, .. }) = self.clients.get_mut(&client) else { return };
        let found = content(&self.config.content, hash);
        let cost = kibibytes(found.data.len());
        let answer = if fetches.take(now, self.config.limits.fetches, cost) {
            found
        } else {
            self.limits.note(Limit::Fetches);
            too_much_content(found.hash)
        };
        effects.push(send(client, server_message::Body::Content(answer)));
    }

    pub(super) fn introduced(
        &mut self,
        now: WorldTime,
        client: ClientId,
        kind: u8,
        payload: &Bytes,
        effects: &mut Vec<Effect>,
    ) {
        let message = (kind == Kind::Control as u8)
            .then(|| decode_control::<ClientMessage>(payload).ok())
            .flatten();
        match message.and_then(|message| message.body) {
            Some(client_message::Body::Hello(hello)) => self.hello(client, hello, effects),
            Some(client_message::Body::Fetch(fetch)) => {
                self.fetch(now, client, fetch.hash, effects);
            }
            Some(client_message::Body::Bye(_)) => self.forget(client, effects),
            _ => {
                self.malformed += 1;
                self.refuse(client, &not_understood(), effects);
            }
        }
    }

    pub(super) fn hello(
        &mut self,
        client: ClientId,
        hello: client::Hello,
        effects: &mut Vec<Effect>,
    ) {
        let versions = (hello.oldest_version, hello.newest_version);
        if negotiate(versions, (PROTOCOL_OLDEST, PROTOCOL_NEWEST)).is_none() {
            let refusal = Refusal::new("version", "This client is too old or too new.");
            return self.refuse(client, &refusal, effects);
        }
        self.clients.insert(client, ClientState::Arriving);
        let arrival = match hello.arrival() {
            client::Arrival::Home => Arrival::Home,
            client::Arrival::Anywhere => Arrival::Anywhere,
        };
        let token = Secret::new(hello.token);
        let input = LoginInput::Hello { client, name: hello.name, token, arrival };
        effects.push(Effect::To(Message::Login(input)));
    }

    pub(super) fn refuse(
        &mut self,
        client: ClientId,
        refusal: &Refusal,
        effects: &mut Vec<Effect>,
    ) {
        let refused = client::Refused {
            code: refusal.code.to_string(),
            sentence: refusal.sentence.to_string(),
            trace: client.0,
        };
        effects.push(send(client, server_message::Body::Refused(refused)));
        self.forget(client, effects);
    }

    pub(super) fn forget(&mut self, client: ClientId, effects: &mut Vec<Effect>) {
        self.clients.remove(&client);
        effects.push(Effect::CloseClient { client });
    }

    pub(super) fn disconnected(&mut self, client: ClientId, effects: &mut Vec<Effect>) {
        match self.clients.remove(&client) {
            Some(ClientState::On(lane)) => {
                effects.push(Effect::To(Message::Lane(lane, LaneInput::Gone { client })));
            }
            Some(ClientState::Arriving) => {
                effects.push(Effect::To(Message::Login(LoginInput::Gone { client })));
            }
            Some(ClientState::New { .. }) | None => {}
        }
    }

    pub(super) fn placed(&mut self, client: ClientId, lane: u8, effects: &mut Vec<Effect>) {
        if let Some(state) = self.clients.get_mut(&client) {
            *state = ClientState::On(lane);
        } else {
            // It went while it was let in: the lane hears of it after its arrival.
            effects.push(Effect::To(Message::Lane(lane, LaneInput::Gone { client })));
        }
    }

    pub(super) fn on_lane(&self, client: ClientId, input: LaneInput, effects: &mut Vec<Effect>) {
        if let Some(ClientState::On(lane)) = self.clients.get(&client) {
            effects.push(Effect::To(Message::Lane(*lane, input)));
        }
    }
}

/// The answer to who asks for content.
pub(crate) fn content(known: &BTreeMap<ContentHash, Bytes>, hash: Bytes) -> client::Content {
    let found = hash.as_ref().try_into().map(ContentHash).ok();
    let data = found.and_then(|hash| known.get(&hash).cloned()).unwrap_or_default();
    client::Content { hash, data, code: String::new() }
}

/// The answer to who asks for more content than it may have now.
pub(crate) fn too_much_content(hash: Bytes) -> client::Content {
    client::Content { hash, data: Bytes::new(), code: slow_down().code.into_owned() }
}
