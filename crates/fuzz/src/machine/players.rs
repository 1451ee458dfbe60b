//! The clients: what they say, and that they can read what they are told.

use super::World;
use crate::input::Input;
use bytes::Bytes;
use pelago_client::{Change, View};
use pelago_model::{IslandClock, IslandId, IslandTime, Position, Tick, Trajectory};
use pelago_net::Deframer;
use pelago_node::ClientEvent;
use pelago_wire::client::{
    self, Act, ClientMessage, Hello, ServerMessage, client_message, server_message,
};
use pelago_wire::client_stream::is_frames;
use pelago_wire::message::{Kind, decode_control};
use pelago_wire::{PROTOCOL_NEWEST, PROTOCOL_OLDEST};
use pelago_world::ClientId;
use prost::Message as _;

/// As large as what a node sends at once may be.
const LIMIT: usize = 1 << 20;

/// A client.
pub(super) struct Player {
    name: &'static str,
    connection: Option<ClientId>,
    welcome: Option<(View, Trajectory)>,
    /// The number of its last durable command.
    sequence: u64,
    changes: Vec<Change>,
}

impl Player {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, connection: None, welcome: None, sequence: 0, changes: Vec::new() }
    }

    /// All that a node tells its clients can be read.
    pub(super) fn hears(&mut self, client: ClientId, bytes: &Bytes) {
        if self.connection != Some(client) {
            return;
        }
        let mut deframer = Deframer::new(LIMIT);
        deframer.buffer().extend_from_slice(bytes);
        while let Some((kind, payload)) = deframer.next_message().expect("whole messages") {
            match (Kind::from_number(kind), &mut self.welcome) {
                (Some(Kind::Control), _) => self.told(&payload),
                (known, Some((view, _))) => {
                    assert!(known.is_some() || is_frames(kind), "a kind that the protocol has not");
                    self.changes.clear();
                    let read = view.receive(kind, &payload, &mut self.changes);
                    assert_eq!(read, Ok(()), "{} cannot read what it is shown", self.name);
                }
                (_, None) => panic!("{} is shown something before it is welcome", self.name),
            }
        }
        assert!(deframer.buffer().is_empty(), "half a message");
    }

    fn told(&mut self, payload: &Bytes) {
        let message: ServerMessage = decode_control(payload).expect("a control message");
        match message.body.expect("a body that the protocol has") {
            server_message::Body::Welcome(welcome) => {
                let clock = welcome.clock.as_ref().expect("a clock");
                let clock = IslandClock::try_from(clock).expect("a clock that runs");
                let path = welcome.path.as_ref().expect("a path");
                let path = Trajectory::try_from(path).expect("a path that can be walked");
                let view = View::new(IslandId(welcome.island), clock, Tick(welcome.tick));
                self.welcome = Some((view, path));
                self.sequence = welcome.sequence;
            }
            server_message::Body::Outcome(outcome) if outcome.code.is_empty() => {
                self.sequence = self.sequence.max(outcome.sequence);
            }
            server_message::Body::MoveRefused(refused) => {
                let path = refused.path.as_ref().expect("the true path");
                Trajectory::try_from(path).expect("a path that can be walked");
            }
            _ => {}
        }
    }

    pub(super) fn ended(&mut self, client: ClientId) {
        if self.connection == Some(client) {
            self.connection = None;
            self.welcome = None;
        }
    }
}

impl World {
    /// A client connects and introduces itself.
    pub(super) fn connect(&mut self, player: usize) {
        let client = ClientId(self.next_connection);
        self.next_connection += 1;
        self.players[player].connection = Some(client);
        self.players[player].welcome = None;
        self.of_client(client, ClientEvent::Connected);
        let hello = Hello {
            oldest_version: PROTOCOL_OLDEST,
            newest_version: PROTOCOL_NEWEST,
            name: self.players[player].name.into(),
            token: Bytes::from_static(&[7; 32]),
            arrival: client::Arrival::Home.into(),
            client: "fuzz".into(),
        };
        self.say(player, client_message::Body::Hello(hello));
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
        let path = self.players[0].welcome.as_ref().map(|(_, path)| path);
        let from = path.map_or(Position::new(0, 0), |path| path.position_at(IslandTime(at_ms)));
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

    /// A connection ends and another begins, or the same avatar comes by a second one.
    pub(super) fn client_returns(&mut self, input: &mut Input<'_>) {
        let choice = input.u8();
        let player = usize::from(choice & 1);
        if let Some(client) = self.players[player].connection.filter(|_| choice & 2 == 0) {
            self.players[player].ended(client);
            self.of_client(client, ClientEvent::Disconnected);
        }
        self.connect(player);
    }
}
