//! A node made by hand, and the wire between it and a client, which can be cut at any message.

use bytes::{Bytes, BytesMut};
use pelago_client::core::{ConnectionNumber, Effect, Input, LocalTime};
use pelago_client::{Client, ClientSabotage, Event, Identity, Settings};
use pelago_model::{Position, Secret, Trajectory};
use pelago_net::Deframer;
use pelago_wire::client::{
    Act, Arrival, ClientMessage, Outcome, Pong, ServerMessage, Welcome, client_message,
    server_message,
};
use pelago_wire::message::{Kind, decode_control};
use prost::Message as _;
use std::collections::VecDeque;

/// World time minus the client's local time.
pub(crate) const OFFSET_MS: i64 = 1_000_000;

/// What a node does with the next durable command that it could do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// Commits it.
    Works,
    /// Cannot tell what became of it; it was committed.
    UnknownAndDone,
    /// Cannot tell what became of it; it was not.
    UnknownAndNotDone,
}

/// A client, its node, and what is on its way between them.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) now: LocalTime,
    /// Everything that the application was told.
    pub(crate) events: Vec<Event>,
    /// Addresses that were dialled.
    pub(crate) dialed: Vec<String>,
    /// What the avatar did, in order: the number of each is one more than its place.
    pub(crate) done: Vec<Bytes>,
    /// What the node was asked durably, with the numbers.
    pub(crate) asked: Vec<(u64, Bytes)>,
    pub(crate) store: Store,
    /// What connects just now.
    dialing: Option<ConnectionNumber>,
    pub(crate) open: Option<ConnectionNumber>,
    /// The connection whose session owns the avatar.
    owner: Option<ConnectionNumber>,
    pub(crate) to_node: VecDeque<(ConnectionNumber, client_message::Body)>,
    pub(crate) to_client: VecDeque<(ConnectionNumber, server_message::Body)>,
    pub(crate) hangups: usize,
    /// Pings are not answered.
    pub(crate) silent: bool,
    /// The number of every `Move` that the node got.
    pub(crate) moves: Vec<u32>,
}

pub(crate) fn settings(addresses: &[&str]) -> Settings {
    let identity =
        Identity { name: "Anna".into(), token: Secret::new(&[7; 16][..]), arrival: Arrival::Home };
    Settings::new(identity, addresses.iter().map(|it| (*it).to_owned()).collect(), 7)
}

impl World {
    pub(crate) fn new(settings: Settings) -> Self {
        let mut world = Self {
            client: Client::new(settings),
            now: LocalTime(5_000),
            events: Vec::new(),
            dialed: Vec::new(),
            done: Vec::new(),
            asked: Vec::new(),
            store: Store::Works,
            dialing: None,
            open: None,
            owner: None,
            to_node: VecDeque::new(),
            to_client: VecDeque::new(),
            hangups: 0,
            silent: false,
            moves: Vec::new(),
        };
        world.input(Input::Start);
        world
    }

    /// A client that plays.
    pub(crate) fn playing() -> Self {
        let mut world = Self::new(settings(&["one", "two"]));
        world.connect();
        world.settle();
        assert!(world.client.is_playing());
        world.events.clear();
        world
    }

    pub(crate) fn sabotaged() -> Self {
        let sabotage = ClientSabotage { repeat_under_new_number: true };
        Self::new(Settings { sabotage, ..settings(&["one"]) })
    }

    pub(crate) fn input(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.client.handle(self.now, input, &mut effects);
        self.perform(effects);
    }

    /// Lets the application ask for something.
    pub(crate) fn ask<T>(
        &mut self,
        ask: impl FnOnce(&mut Client, LocalTime, &mut Vec<Effect>) -> T,
    ) -> T {
        let mut effects = Vec::new();
        let asked = ask(&mut self.client, self.now, &mut effects);
        self.perform(effects);
        asked
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Dial { connection, address } => {
                    assert_eq!((self.dialing, self.open), (None, None), "two connections at once");
                    self.dialed.push(address);
                    self.dialing = Some(connection);
                }
                Effect::Send { connection, bytes } => {
                    assert_eq!(Some(connection), self.open, "sends on no connection");
                    let mut deframer = Deframer::new(1 << 20);
                    deframer.buffer().extend_from_slice(&bytes);
                    while let Some((kind, payload)) = deframer.next_message().unwrap() {
                        assert_eq!(kind, Kind::Control as u8);
                        let message: ClientMessage = decode_control(&payload).unwrap();
                        self.to_node.push_back((connection, message.body.unwrap()));
                    }
                    assert!(deframer.buffer().is_empty());
                }
                Effect::Hangup { connection } => {
                    assert!([self.dialing, self.open].contains(&Some(connection)));
                    self.hangups += 1;
                    (self.dialing, self.open) = (None, None);
                }
                Effect::Event(event) => self.events.push(event),
            }
        }
    }

    /// The connection that is being opened is open.
    pub(crate) fn connect(&mut self) -> bool {
        let Some(connection) = self.dialing.take() else { return false };
        self.open = Some(connection);
        self.input(Input::Opened { connection });
        true
    }

    /// The connection breaks, or cannot be opened. What is on its way to the node may still arrive.
    pub(crate) fn cut(&mut self) -> bool {
        let Some(connection) = self.open.take().or(self.dialing.take()) else { return false };
        self.to_client.clear();
        self.input(Input::Closed { connection, reason: "cut".into() });
        true
    }

    /// The node takes in the next message that is on its way to it.
    pub(crate) fn node_hears(&mut self) -> bool {
        let Some((connection, body)) = self.to_node.pop_front() else { return false };
        match body {
            client_message::Body::Hello(_) => {
                self.owner = Some(connection);
                let welcome = self.welcome();
                self.answer(connection, server_message::Body::Welcome(welcome));
            }
            // What an older session asks for is refused, and nobody reads that.
            _ if self.owner != Some(connection) => {}
            client_message::Body::Act(act) if act.sequence > 0 => {
                let outcome = self.act(act);
                self.answer(connection, server_message::Body::Outcome(outcome));
            }
            client_message::Body::Act(act) => {
                let outcome = Outcome { number: act.number, ..Outcome::default() };
                self.answer(connection, server_message::Body::Outcome(outcome));
            }
            client_message::Body::Ping(ping) if !self.silent => {
                let world_time_ms = self.now.0 + OFFSET_MS;
                let pong = Pong { client_ms: ping.client_ms, world_time_ms };
                self.answer(connection, server_message::Body::Pong(pong));
            }
            client_message::Body::Move(request) => self.moves.push(request.number),
            _ => {}
        }
        true
    }

    pub(crate) fn answer(&mut self, connection: ConnectionNumber, body: server_message::Body) {
        if self.open == Some(connection) {
            self.to_client.push_back((connection, body));
        }
    }

    pub(crate) fn welcome(&self) -> Welcome {
        let stands = Trajectory::still(pelago_model::IslandTime(0), Position::new(640, 640));
        Welcome {
            version: 1,
            avatar: 7,
            epoch: 1,
            island: 1,
            world_time_ms: self.now.0 + OFFSET_MS,
            sequence: self.done.len() as u64,
            path: Some((&stands).into()),
            max_speed: 320,
            ..Welcome::default()
        }
    }

    fn act(&mut self, act: Act) -> Outcome {
        let Act { sequence, payload, .. } = act;
        self.asked.push((sequence, payload.clone()));
        let last = self.done.len() as u64;
        let refused = |code: &str| Outcome { sequence, code: code.into(), ..Outcome::default() };
        if sequence > last + 1 {
            return refused("out_of_order");
        }
        if sequence <= last {
            let is_same = self.done[sequence as usize - 1] == payload;
            return if is_same { refused("") } else { refused("repeated") };
        }
        let store = std::mem::replace(&mut self.store, Store::Works);
        if store != Store::UnknownAndNotDone {
            self.done.push(payload);
        }
        if store == Store::Works { refused("") } else { refused("unavailable") }
    }

    /// The client takes in the next message that is on its way to it.
    pub(crate) fn client_hears(&mut self) -> bool {
        let Some((connection, body)) = self.to_client.pop_front() else { return false };
        let payload = ServerMessage { body: Some(body) }.encode_to_vec().into();
        self.input(Input::Received { connection, kind: Kind::Control as u8, payload });
        true
    }

    /// The node says something of its own.
    pub(crate) fn say(&mut self, body: server_message::Body) {
        let connection = self.open.unwrap();
        self.to_client.push_back((connection, body));
        while self.client_hears() {}
    }

    /// Everything on its way arrives.
    pub(crate) fn settle(&mut self) {
        while self.node_hears() || self.client_hears() {}
    }

    /// Time passes; the client is woken when it wants to be, and everything arrives at once.
    pub(crate) fn pass(&mut self, ms: i64) {
        let until = self.now.plus(ms);
        while let Some(wake) = self.client.next_wake().filter(|wake| *wake <= until) {
            self.now = wake.max(self.now);
            self.input(Input::Wake);
            self.connect();
            self.settle();
        }
        self.now = until;
    }

    pub(crate) fn act_for(&mut self, payload: &'static str) {
        let asked = self.ask(|client, _, effects| client.act(payload.into(), effects));
        asked.unwrap();
    }

    /// The outcomes of durable commands that the application was told.
    pub(crate) fn outcomes<'a>(&'a self) -> Vec<(u64, &'a str)> {
        let outcome = |event: &'a Event| match event {
            Event::Outcome(outcome) if outcome.sequence > 0 => {
                Some((outcome.sequence, outcome.code.as_str()))
            }
            _ => None,
        };
        self.events.iter().filter_map(outcome).collect()
    }

    /// The codes of the losses that the application was told, with whether they are the end.
    pub(crate) fn losses<'a>(&'a self) -> Vec<(&'a str, bool)> {
        let loss = |event: &'a Event| match event {
            Event::Disconnected(loss) => Some((loss.code(), false)),
            Event::Ended { loss, .. } => Some((loss.code(), true)),
            _ => None,
        };
        self.events.iter().filter_map(loss).collect()
    }
}

/// The bytes of a control message.
pub(crate) fn payload(body: server_message::Body) -> Bytes {
    let mut bytes = BytesMut::new();
    ServerMessage { body: Some(body) }.encode(&mut bytes).unwrap();
    bytes.freeze()
}
