//! The clients: their cores, what one of them says besides, and that both can read what they are told.

use super::World;
use crate::input::Input;
use bytes::Bytes;
use pelago_client::core::{self, ConnectionNumber, LocalTime};
use pelago_client::{Client, Event, Identity, Loss, Settings};
use pelago_model::{Origin, Secret, WorldTime};
use pelago_net::Deframer;
use pelago_node::ClientEvent;
use pelago_wire::client::{
    self, Act, Arrival, ClientMessage, ServerMessage, client_message, server_message,
};
use pelago_wire::client_stream::is_frames;
use pelago_wire::message::{Kind, decode_control};
use pelago_world::ClientId;
use prost::Message as _;

/// As large as what a node sends at once may be.
const LIMIT: usize = 1 << 20;

/// What happens on a client's connection to its node.
pub(super) type Said = (ClientId, ClientEvent);

/// A client.
pub(super) struct Player {
    name: &'static str,
    core: Client,
    connection: Option<ClientId>,
    /// What the core calls its connection.
    number: ConnectionNumber,
    /// The core waits for a connection.
    pub(super) dials: bool,
    /// The number of its avatar's last durable command, of all its sessions.
    sequence: u64,
}

impl Player {
    pub(super) fn new(name: &'static str) -> Self {
        let (token, arrival) = (Secret::new(&[7; 32][..]), Arrival::Home);
        let identity = Identity { name: name.to_owned(), token, arrival };
        Self {
            name,
            core: Client::new(Settings::new(identity, vec!["the node".to_owned()], 7)),
            connection: None,
            number: ConnectionNumber::default(),
            dials: false,
            sequence: 0,
        }
    }

    /// When its core wants to be woken.
    pub(super) fn next_wake(&self) -> Option<WorldTime> {
        self.core.next_wake().map(|at| WorldTime(at.0))
    }

    /// Gives its core an input; returns what it tells its node.
    pub(super) fn input(&mut self, now: WorldTime, input: core::Input) -> Vec<Said> {
        let mut effects = Vec::new();
        self.core.handle(LocalTime(now.0), input, &mut effects);
        let mut messages = Vec::new();
        for effect in effects {
            match effect {
                core::Effect::Dial { connection, .. } => {
                    (self.number, self.dials) = (connection, true);
                }
                core::Effect::Send { bytes, .. } => {
                    let Some(client) = self.connection else { continue };
                    let received = cut(&bytes)
                        .into_iter()
                        .map(|(kind, payload)| (client, ClientEvent::Received { kind, payload }));
                    messages.extend(received);
                }
                core::Effect::Hangup { .. } => {
                    self.dials = false;
                    let client = self.connection.take();
                    messages.extend(client.map(|client| (client, ClientEvent::Disconnected)));
                }
                core::Effect::Event(Event::Disconnected(Loss::Malformed(malformed))) => {
                    panic!("{} cannot read what it is told: {malformed}", self.name);
                }
                core::Effect::Event(_) => {}
            }
        }
        messages
    }

    /// All that a node tells its clients can be read. Returns what is said to it in return.
    pub(super) fn hears(&mut self, now: WorldTime, client: ClientId, bytes: &Bytes) -> Vec<Said> {
        let mut said = Vec::new();
        for (kind, payload) in cut(bytes) {
            if self.connection != Some(client) {
                break;
            }
            let known = Kind::from_number(kind).is_some() || is_frames(kind);
            assert!(known, "a kind that the protocol has not");
            if kind == Kind::Control as u8 {
                self.note_sequence(&payload);
            }
            let connection = self.number;
            said.extend(self.input(now, core::Input::Received { connection, kind, payload }));
        }
        said
    }

    fn note_sequence(&mut self, payload: &Bytes) {
        let message: ServerMessage = decode_control(payload).expect("a control message");
        match message.body.expect("a body that the protocol has") {
            server_message::Body::Welcome(welcome) => self.sequence = welcome.sequence,
            server_message::Body::Outcome(outcome) if outcome.code.is_empty() => {
                self.sequence = self.sequence.max(outcome.sequence);
            }
            _ => {}
        }
    }

    pub(super) fn ended(&mut self, now: WorldTime, client: ClientId) -> Vec<Said> {
        if self.connection != Some(client) {
            return Vec::new();
        }
        self.connection = None;
        let (connection, reason) = (self.number, String::new());
        self.input(now, core::Input::Closed { connection, reason })
    }
}

/// Cuts bytes into messages.
fn cut(bytes: &Bytes) -> Vec<(u8, Bytes)> {
    let mut deframer = Deframer::new(LIMIT);
    deframer.buffer().extend_from_slice(bytes);
    let mut messages = Vec::new();
    while let Some(message) = deframer.next_message().expect("whole messages") {
        messages.push(message);
    }
    assert!(deframer.buffer().is_empty(), "half a message");
    messages
}

impl World {
    /// A client starts, for the first time or again: as far as its node knows, its connections before stand.
    pub(super) fn start(&mut self, player: usize) {
        let name = self.players[player].name;
        self.players[player] = Player::new(name);
        let said = self.players[player].input(self.now, core::Input::Start);
        self.tell_all(said);
        self.connect(player);
    }

    /// A client that waits for a connection gets one, and introduces itself.
    pub(super) fn connect(&mut self, player: usize) {
        if !std::mem::take(&mut self.players[player].dials) {
            return;
        }
        let client = ClientId(self.next_connection);
        self.next_connection += 1;
        self.players[player].connection = Some(client);
        self.of_client(client, ClientEvent::Connected { origin: Origin::LOOPBACK });
        let connection = self.players[player].number;
        let said = self.players[player].input(self.now, core::Input::Opened { connection });
        self.tell_all(said);
    }

    /// A core is woken.
    pub(super) fn wake_player(&mut self, player: usize) {
        let said = self.players[player].input(self.now, core::Input::Wake);
        self.tell_all(said);
        self.connect(player);
    }

    fn tell_all(&mut self, said: Vec<Said>) {
        said.into_iter().for_each(|(client, event)| self.of_client(client, event));
    }

    fn say(&mut self, player: usize, body: client_message::Body) {
        let message = ClientMessage { body: Some(body) };
        self.send(player, Kind::Control as u8, message.encode_to_vec().into());
    }

    fn send(&mut self, player: usize, kind: u8, payload: Bytes) {
        let Some(client) = self.players[player].connection else { return };
        self.of_client(client, ClientEvent::Received { kind, payload });
    }

    /// Any bytes, usually as a control message.
    pub(super) fn client_says(&mut self, input: &mut Input<'_>) {
        let kind = input.u8();
        let payload = Bytes::copy_from_slice(input.piece());
        self.send(0, kind, payload);
    }

    /// A walk through a few points near where the client began.
    pub(super) fn client_moves(&mut self, input: &mut Input<'_>) {
        let at_ms = self.now.plus(i64::from(input.u16() as i16)).0;
        let (number, speed) = (input.u8().into(), input.u16().into());
        let core = &self.players[0].core;
        let from = core.path().position_at(pelago_model::IslandTime(at_ms));
        let mut waypoints = Vec::new();
        for _ in 0..input.u8() % 10 {
            waypoints.push(from.x.wrapping_add(i32::from(input.u16() as i16)));
            waypoints.push(from.y.wrapping_add(i32::from(input.u16() as i16)));
        }
        self.say(0, client_message::Body::Move(client::Move { number, at_ms, speed, waypoints }));
    }

    /// A command: live, the next durable one, or one near it.
    pub(super) fn client_acts(&mut self, input: &mut Input<'_>) {
        let ahead = input.u8();
        let sequence = match ahead {
            0 => 0,
            _ => self.players[0].sequence.wrapping_add(u64::from(ahead)),
        };
        let payload = Bytes::copy_from_slice(input.piece());
        self.say(0, client_message::Body::Act(Act { sequence, payload, number: 1 }));
    }

    /// A connection takes no more bytes, or takes them again.
    pub(super) fn client_is_slow(&mut self, input: &mut Input<'_>) {
        let choice = input.u8();
        let Some(client) = self.players[usize::from(choice & 1)].connection else { return };
        self.of_client(
            client,
            if choice & 2 == 0 { ClientEvent::Blocked } else { ClientEvent::Writable },
        );
    }

    /// A connection ends and the client comes back, or the same avatar comes by a second connection.
    pub(super) fn client_returns(&mut self, input: &mut Input<'_>) {
        let choice = input.u8();
        let player = usize::from(choice & 1);
        match self.players[player].connection.filter(|_| choice & 2 == 0) {
            Some(client) => {
                let said = self.players[player].ended(self.now, client);
                self.of_client(client, ClientEvent::Disconnected);
                self.tell_all(said);
            }
            None => self.start(player),
        }
    }
}
