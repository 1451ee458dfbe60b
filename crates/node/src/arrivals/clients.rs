//! Connections of clients that have no lane yet: how long they may say nothing, and their hello.

use super::Arrivals;
use super::interface::ArrivalsEffect;
use crate::client_event::ClientEvent;
use crate::rate_limits::{ProtocolViolation, not_understood};
use bytes::{Bytes, BytesMut};
use pelago_game::{Arrival, Refusal};
use pelago_model::{Limit, Origin, Secret, WorldTime};
use pelago_wire::client::{self, ClientMessage, ServerMessage, client_message, server_message};
use pelago_wire::message::{Kind, decode_control, put_control};
use pelago_wire::{PROTOCOL_NEWEST, PROTOCOL_OLDEST, negotiate};
use pelago_world::ClientId;

/// A client of the node.
pub(super) struct Client {
    pub(super) stage: Stage,
    /// Where it comes from.
    pub(super) origin: Origin,
    /// Whether it takes no bytes for now. Only known of one that has no lane.
    pub(super) is_blocked: bool,
}

/// How far a client has come.
pub(super) enum Stage {
    /// It has not said hello, and has to until then.
    New { until: WorldTime },
    /// It is logged in at present.
    Arriving,
    /// It has this lane, and is only counted here.
    Placed(u8),
}

impl Arrivals {
    pub(super) fn happened(
        &mut self,
        now: WorldTime,
        client: ClientId,
        event: ClientEvent,
        effects: &mut Vec<ArrivalsEffect>,
    ) {
        if let Some(&Client { stage: Stage::Placed(lane), .. }) = self.clients.get(&client) {
            if event == ClientEvent::Disconnected {
                self.left(client);
            }
            return effects.push(ArrivalsEffect::Forward { lane, client, event });
        }
        match event {
            ClientEvent::Connected { origin } => self.connected(now, client, origin, effects),
            ClientEvent::Received { kind, payload } => {
                self.received(now, client, kind, &payload, effects);
            }
            ClientEvent::Violated(violation) => self.violated(client, violation, effects),
            ClientEvent::Blocked => self.set_blocked(client, true),
            ClientEvent::Writable => self.set_blocked(client, false),
            ClientEvent::Disconnected => self.left(client),
        }
    }

    fn connected(
        &mut self,
        now: WorldTime,
        client: ClientId,
        origin: Origin,
        effects: &mut Vec<ArrivalsEffect>,
    ) {
        if self.clients.len() >= self.config.max_clients {
            self.limits.note(Limit::Clients);
            return self.refuse(client, &Refusal::new("full", "The server is full."), effects);
        }
        let until = now.plus(self.config.limits.hello_ms);
        let stage = Stage::New { until };
        self.clients.insert(client, Client { stage, origin, is_blocked: false });
        self.silent.insert((until, client));
    }

    fn set_blocked(&mut self, client: ClientId, is_blocked: bool) {
        if let Some(known) = self.clients.get_mut(&client) {
            known.is_blocked = is_blocked;
        }
    }

    fn received(
        &mut self,
        now: WorldTime,
        client: ClientId,
        kind: u8,
        payload: &Bytes,
        effects: &mut Vec<ArrivalsEffect>,
    ) {
        match self.clients.get(&client).map(|known| &known.stage) {
            Some(Stage::New { .. }) => self.received_of_new(now, client, kind, payload, effects),
            // A message between hello and welcome was sent too early.
            Some(Stage::Arriving) => {
                self.malformed += 1;
                let refusal = Refusal::new("malformed", "That comes after the welcome.");
                self.refuse(client, &refusal, effects);
            }
            Some(Stage::Placed(_)) | None => {}
        }
    }

    fn received_of_new(
        &mut self,
        now: WorldTime,
        client: ClientId,
        kind: u8,
        payload: &Bytes,
        effects: &mut Vec<ArrivalsEffect>,
    ) {
        let message = (kind == Kind::Control as u8)
            .then(|| decode_control::<ClientMessage>(payload).ok())
            .flatten();
        match message.and_then(|message| message.body) {
            Some(client_message::Body::Hello(hello)) => self.hello(now, client, hello, effects),
            // The connection has answered that.
            Some(client_message::Body::Fetch(_)) => {}
            Some(client_message::Body::Bye(_)) => self.close(client, effects),
            _ => {
                self.malformed += 1;
                self.refuse(client, &not_understood(), effects);
            }
        }
    }

    fn hello(
        &mut self,
        now: WorldTime,
        client: ClientId,
        hello: client::Hello,
        effects: &mut Vec<ArrivalsEffect>,
    ) {
        let versions = (hello.oldest_version, hello.newest_version);
        if negotiate(versions, (PROTOCOL_OLDEST, PROTOCOL_NEWEST)).is_none() {
            let refusal = Refusal::new("version", "This client is too old or too new.");
            return self.refuse(client, &refusal, effects);
        }
        self.no_longer_silent(client);
        let Some(known) = self.clients.get_mut(&client) else { return };
        known.stage = Stage::Arriving;
        let origin = known.origin;
        if let Err((limit, refusal)) = self.budgets.login(now, &self.config.limits, origin) {
            self.limits.note(limit);
            return self.refuse(client, &refusal, effects);
        }
        let arrival = match hello.arrival() {
            client::Arrival::Home => Arrival::Home,
            client::Arrival::Anywhere => Arrival::Anywhere,
        };
        if arrival == Arrival::Home {
            self.ask_for_company(now, effects);
        }
        self.begin_login(now, client, hello.name, &Secret::new(hello.token), arrival, effects);
    }

    /// The connection of a client is no stream of messages, or too much of one.
    fn violated(
        &mut self,
        client: ClientId,
        violation: ProtocolViolation,
        effects: &mut Vec<ArrivalsEffect>,
    ) {
        if !self.clients.contains_key(&client) {
            return;
        }
        match violation {
            ProtocolViolation::Flood => self.limits.note(Limit::Messages),
            ProtocolViolation::Malformed => self.malformed += 1,
            // Counted where they were met.
            ProtocolViolation::EmptyFrames
            | ProtocolViolation::Stalled
            | ProtocolViolation::TooLong => {}
        }
        self.refuse(client, &violation.refusal(), effects);
    }

    pub(super) fn refuse(
        &mut self,
        client: ClientId,
        refusal: &Refusal,
        effects: &mut Vec<ArrivalsEffect>,
    ) {
        let refused = client::Refused {
            code: refusal.code.to_string(),
            sentence: refusal.sentence.to_string(),
            trace: client.0,
        };
        effects.push(send(client, server_message::Body::Refused(refused)));
        self.close(client, effects);
    }

    fn close(&mut self, client: ClientId, effects: &mut Vec<ArrivalsEffect>) {
        self.left(client);
        effects.push(ArrivalsEffect::Close { client });
    }

    /// A client is gone or sent away, from here or from a lane.
    pub(super) fn left(&mut self, client: ClientId) {
        self.no_longer_silent(client);
        if let Some(Client { stage: Stage::Arriving, .. }) = self.clients.remove(&client) {
            self.abandon_login(client);
        }
    }

    fn no_longer_silent(&mut self, client: ClientId) {
        if let Some(Client { stage: Stage::New { until }, .. }) = self.clients.get(&client) {
            self.silent.remove(&(*until, client));
        }
    }

    /// The arrivals did not run for so long: whoever has not said hello, or waits to be let in, has that much longer.
    pub(super) fn forgive(&mut self, pause_ms: i64) {
        self.forgive_logins(pause_ms);
        for (until, client) in std::mem::take(&mut self.silent) {
            let later = until.plus(pause_ms);
            if let Some(Client { stage: Stage::New { until, .. }, .. }) =
                self.clients.get_mut(&client)
            {
                *until = later;
            }
            self.silent.insert((later, client));
        }
    }

    pub(super) fn wake(&mut self, now: WorldTime, effects: &mut Vec<ArrivalsEffect>) {
        while let Some((until, client)) = self.release_deadlines.first().copied()
            && until <= now
        {
            self.released(now, client, None, effects);
        }
        while let Some((until, client)) = self.silent.first().copied()
            && until <= now
        {
            self.silent.remove(&(until, client));
            self.limits.note(Limit::HelloTime);
            self.refuse(client, &Refusal::new("idle", "Nothing was said."), effects);
        }
        self.wake_logins(now, effects);
    }
}

fn send(client: ClientId, body: server_message::Body) -> ArrivalsEffect {
    let mut bytes = BytesMut::new();
    put_control(&mut bytes, &ServerMessage { body: Some(body) });
    ArrivalsEffect::Send { client, bytes: bytes.freeze() }
}
