//! The core of a client: a machine without socket, clock and randomness of its own.
//!
//! It keeps a session in spite of lost connections: it connects, says hello, and after a loss comes again, elsewhere if
//! it knows another address. **A durable command that was sent is repeated under its own number until it is answered**,
//! so that it happens once or not at all, whatever breaks meanwhile. It predicts the way of its own avatar, estimates
//! world time, and keeps what the avatar sees.
//!
//! The shell opens and closes connections and cuts bytes into messages; the simulator and the fuzzer are other shells of
//! the same core. Local time is in ms of the shell's monotonic clock.

mod chat;
mod commands;
mod dialing;
mod effects;
mod estimate;
mod hearing;
mod loss;
mod requests;
mod settings;

pub use commands::{MAX_FETCHES, MAX_LIVE};
pub use dialing::{FIRST_PAUSE_MS, LAST_PAUSE_MS};
pub use effects::{ConnectionNumber, Effect, Event, Input, LocalTime, RequestError};
pub use loss::Loss;
pub use requests::Walk;
pub use settings::{
    ClientSabotage, Identity, PING_EVERY_MS, PONG_TIMEOUT_MS, Settings, Unanswered,
};

use crate::view::View;
use bytes::{Bytes, BytesMut};
use chat::Chat;
use commands::Commands;
use dialing::Dialing;
use estimate::Estimate;
use pelago_model::{
    EntityId, IslandClock, IslandId, IslandTime, Position, Tick, Trajectory, WorldTime,
};
use pelago_wire::client::{self, ClientMessage, Hello, Outcome, Welcome, client_message};
use pelago_wire::message::put_control;
use pelago_wire::{PROTOCOL_NEWEST, PROTOCOL_OLDEST};

/// How long opening a connection may take, in ms.
pub const DIAL_TIMEOUT_MS: i64 = 10_000;
/// How long a node may take to answer a hello, in ms.
pub const WELCOME_TIMEOUT_MS: i64 = 20_000;
/// A client that is woken this much too late has slept itself, in ms: its node is given as long again to be heard.
const LATE_MS: i64 = 1_000;
/// A client that may have the time wrong pings this long after the last ping, in ms: nodes answer two in a second.
const PING_SOON_MS: i64 = 500;

/// How far a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nobody has started it.
    Idle,
    /// It tries again then.
    Pausing(LocalTime),
    /// A connection is being opened, until then at the latest.
    Dialing(LocalTime),
    /// It has said hello, and is answered by then at the latest.
    Greeting(LocalTime),
    /// Its avatar is in the world.
    Playing,
    /// It is over.
    Over,
}

/// The pings of a session.
#[derive(Clone, Copy, Debug)]
struct Pings {
    /// When the next one is due.
    next: LocalTime,
    /// When the first one was due that is not answered.
    unanswered: Option<LocalTime>,
    /// When the connection counts as lost if that stays so.
    deadline: LocalTime,
}

/// A client.
pub struct Client {
    settings: Settings,
    dialing: Dialing,
    phase: Phase,
    /// The last connection.
    connection: ConnectionNumber,
    /// It takes no bytes for now.
    blocked: bool,
    /// The last move that a connection without room for it has not taken. Only the last one counts.
    waiting_move: Option<client::Move>,
    commands: Commands,
    moves: u32,
    pings: Pings,
    /// When it said hello.
    greeted: LocalTime,
    estimate: Estimate,
    welcome: Welcome,
    clock: IslandClock,
    path: Trajectory,
    view: View,
    chat: Chat,
}

impl Client {
    /// A client that waits for its `Start`.
    pub fn new(mut settings: Settings) -> Self {
        let dialing = Dialing::new(std::mem::take(&mut settings.addresses), settings.seed);
        let commands = Commands::new(settings.unanswered.take());
        let begin = LocalTime::default();
        Self {
            settings,
            dialing,
            phase: Phase::Idle,
            connection: ConnectionNumber::default(),
            blocked: false,
            waiting_move: None,
            commands,
            moves: 0,
            pings: Pings { next: begin, unanswered: None, deadline: begin },
            greeted: begin,
            estimate: Estimate::begin(begin, begin, WorldTime(0)),
            welcome: Welcome::default(),
            clock: IslandClock::IDENTITY,
            path: Trajectory::still(IslandTime(0), Position::default()),
            view: View::new(IslandId(0), IslandClock::IDENTITY, Tick(0)),
            chat: Chat::default(),
        }
    }

    /// Takes one input at `now` and appends what is to be done. `now` never steps back.
    pub fn handle(&mut self, now: LocalTime, input: Input, effects: &mut Vec<Effect>) {
        self.forgive_lateness(now);
        match input {
            Input::Start => {
                if self.phase == Phase::Idle {
                    self.dial(now, effects);
                }
            }
            Input::Opened { connection } => {
                if connection == self.connection && matches!(self.phase, Phase::Dialing(_)) {
                    self.greet(now, effects);
                }
            }
            Input::Closed { connection, reason } => {
                if connection == self.connection && self.is_connected() {
                    let opening = matches!(self.phase, Phase::Dialing(_));
                    let loss =
                        if opening { Loss::Unreachable(reason) } else { Loss::Broken(reason) };
                    self.lost(now, loss, effects);
                }
            }
            Input::Received { connection, kind, payload } => {
                let is_open = matches!(self.phase, Phase::Greeting(_) | Phase::Playing);
                if connection == self.connection
                    && is_open
                    && let Err(malformed) = self.hear(now, kind, &payload, effects)
                {
                    self.hang_up(now, Loss::Malformed(malformed), effects);
                }
            }
            Input::Blocked { connection } => {
                self.blocked |= connection == self.connection && self.is_connected();
            }
            Input::Writable { connection } => {
                if connection == self.connection && self.blocked {
                    self.blocked = false;
                    self.send_what_waits(now, effects);
                }
            }
            Input::Wake => {}
        }
        self.run_timers(now, effects);
    }

    /// When it next wants to be woken, if ever.
    pub fn next_wake(&self) -> Option<LocalTime> {
        match self.phase {
            Phase::Idle | Phase::Over => None,
            Phase::Pausing(until) | Phase::Dialing(until) | Phase::Greeting(until) => Some(until),
            Phase::Playing => {
                let repeat_at = self.commands.durable.as_ref().and_then(|it| it.repeat_at);
                let deadline = self.pings.unanswered.map(|_| self.pings.deadline);
                [Some(self.pings.next), deadline, repeat_at].into_iter().flatten().min()
            }
        }
    }

    /// Whether the avatar is in the world, as far as the client knows.
    pub fn is_playing(&self) -> bool {
        self.phase == Phase::Playing
    }

    /// Whether the client has ended for good.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// The last connection.
    pub fn connection(&self) -> ConnectionNumber {
        self.connection
    }

    /// What the node said at the last welcome; empty before the first.
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// The avatar, once there has been a welcome.
    pub fn avatar(&self) -> EntityId {
        EntityId(self.welcome.avatar)
    }

    /// What the avatar sees, or saw last.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The avatar's own way, as predicted.
    pub fn path(&self) -> &Trajectory {
        &self.path
    }

    /// World time by the client's estimate.
    pub fn world_time(&self, now: LocalTime) -> WorldTime {
        self.estimate.at(now)
    }

    /// Island time by the client's estimate.
    pub fn island_time(&self, now: LocalTime) -> IslandTime {
        self.clock.at(self.world_time(now))
    }

    /// The number of the avatar's last durable command that is known to have happened.
    pub fn sequence(&self) -> u64 {
        self.commands.sequence
    }

    /// The durable command that has been sent and not answered, if there is one.
    pub fn unanswered(&self) -> Option<Unanswered> {
        self.commands.unanswered()
    }

    /// Whether a durable command is under way, sent or not.
    pub fn is_acting(&self) -> bool {
        self.commands.durable.is_some()
    }

    fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Dialing(_) | Phase::Greeting(_) | Phase::Playing)
    }

    fn dial(&mut self, now: LocalTime, effects: &mut Vec<Effect>) {
        let Some(address) = self.dialing.address().map(str::to_owned) else {
            return self.ended(Loss::NoAddress, effects);
        };
        self.connection.0 += 1;
        self.blocked = false;
        self.phase = Phase::Dialing(now.plus(DIAL_TIMEOUT_MS));
        effects.push(Effect::Dial { connection: self.connection, address });
    }

    fn greet(&mut self, now: LocalTime, effects: &mut Vec<Effect>) {
        self.phase = Phase::Greeting(now.plus(WELCOME_TIMEOUT_MS));
        self.greeted = now;
        let identity = &self.settings.identity;
        let hello = Hello {
            oldest_version: PROTOCOL_OLDEST,
            newest_version: PROTOCOL_NEWEST,
            name: identity.name.clone(),
            token: identity.token.reveal().clone(),
            arrival: identity.arrival.into(),
            client: self.settings.program.clone(),
        };
        self.send(client_message::Body::Hello(hello), effects);
    }

    /// Ends the connection from this side.
    fn hang_up(&mut self, now: LocalTime, loss: Loss, effects: &mut Vec<Effect>) {
        effects.push(Effect::Hangup { connection: self.connection });
        self.lost(now, loss, effects);
    }

    /// The connection is gone. What was asked of it alone is answered; what outlives it waits for the next one.
    fn lost(&mut self, now: LocalTime, loss: Loss, effects: &mut Vec<Effect>) {
        if loss.is_final() {
            return self.ended(loss, effects);
        }
        self.abandon(effects);
        self.phase = Phase::Pausing(self.dialing.failed(now));
        effects.push(Effect::Event(Event::Disconnected(loss)));
    }

    fn ended(&mut self, loss: Loss, effects: &mut Vec<Effect>) {
        self.abandon(effects);
        self.phase = Phase::Over;
        let unanswered = self.commands.unanswered();
        effects.push(Effect::Event(Event::Ended { loss, unanswered }));
    }

    /// Forgets what is worth nothing on another connection.
    fn abandon(&mut self, effects: &mut Vec<Effect>) {
        self.blocked = false;
        self.waiting_move = None;
        self.commands.line = None;
        for number in std::mem::take(&mut self.commands.live) {
            let (code, sentence) =
                ("unavailable".to_owned(), "The connection was lost.".to_owned());
            let outcome = Outcome { number, code, sentence, ..Outcome::default() };
            effects.push(Effect::Event(Event::Outcome(outcome)));
        }
    }

    /// A client that has slept itself has not read what came meanwhile: that its node was silent is not said yet.
    fn forgive_lateness(&mut self, now: LocalTime) {
        let wanted = self.next_wake();
        if self.phase == Phase::Playing && wanted.is_some_and(|wanted| now.since(wanted) > LATE_MS)
        {
            self.pings.deadline = self.pings.deadline.max(now.plus(LATE_MS));
        }
    }

    fn run_timers(&mut self, now: LocalTime, effects: &mut Vec<Effect>) {
        match self.phase {
            Phase::Idle | Phase::Over => {}
            Phase::Pausing(until) if until <= now => self.dial(now, effects),
            Phase::Dialing(until) if until <= now => {
                let reason = format!("not open after {DIAL_TIMEOUT_MS} ms");
                self.hang_up(now, Loss::Unreachable(reason), effects);
            }
            Phase::Greeting(until) if until <= now => self.hang_up(now, Loss::NoAnswer, effects),
            Phase::Pausing(_) | Phase::Dialing(_) | Phase::Greeting(_) => {}
            Phase::Playing => {
                if self.pings.unanswered.is_some() && self.pings.deadline <= now {
                    return self.hang_up(now, Loss::Silent, effects);
                }
                if self.pings.next <= now {
                    self.send_ping(now, effects);
                }
                let repeat_at = self.commands.durable.as_ref().and_then(|it| it.repeat_at);
                if repeat_at.is_some_and(|at| at <= now) {
                    self.send_durable(effects);
                }
            }
        }
    }

    fn send_ping(&mut self, now: LocalTime, effects: &mut Vec<Effect>) {
        self.pings.next = now.plus(self.settings.ping_every_ms.max(1));
        if self.pings.unanswered.is_none() {
            self.pings.unanswered = Some(now);
            self.pings.deadline = now.plus(self.settings.pong_timeout_ms);
        }
        // A connection that takes no bytes is given as long as one that does not answer.
        if !self.blocked {
            self.send(client_message::Body::Ping(client::Ping { client_ms: now.0 }), effects);
        }
    }

    /// The node has said that the estimate of its time is wrong: the next pong tells how.
    fn ping_soon(&mut self, now: LocalTime) {
        let last = self.pings.next.plus(-self.settings.ping_every_ms.max(1));
        self.pings.next = self.pings.next.min(last.plus(PING_SOON_MS)).max(now);
    }

    fn send_durable(&mut self, effects: &mut Vec<Effect>) {
        let may_send = self.phase == Phase::Playing && !self.blocked;
        let Some(durable) = &mut self.commands.durable else { return };
        (durable.waits, durable.repeat_at) = (!may_send, None);
        if !may_send {
            return;
        }
        durable.sent = true;
        let (sequence, payload) = (durable.sequence, durable.payload.clone());
        self.send(client_message::Body::Act(client::Act { sequence, payload, number: 0 }), effects);
    }

    /// Asks for the content that the connection before this one has not brought.
    fn fetch_again(&mut self, effects: &mut Vec<Effect>) {
        self.commands.fetches_wait = self.blocked;
        if self.blocked {
            return;
        }
        for hash in self.commands.fetches.clone() {
            self.send_fetch(hash, effects);
        }
    }

    fn send_fetch(&mut self, hash: Bytes, effects: &mut Vec<Effect>) {
        self.send(client_message::Body::Fetch(client::FetchContent { hash }), effects);
    }

    /// What could not be sent while the connection took nothing.
    fn send_what_waits(&mut self, now: LocalTime, effects: &mut Vec<Effect>) {
        if self.phase != Phase::Playing {
            return;
        }
        if self.pings.unanswered.is_some() {
            self.send_ping(now, effects);
        }
        if let Some(request) = self.waiting_move.take() {
            self.send(client_message::Body::Move(request), effects);
        }
        if self.commands.durable.as_ref().is_some_and(|it| it.waits) {
            self.send_durable(effects);
        }
        self.send_heard_that_waits(effects);
        if self.commands.fetches_wait {
            self.fetch_again(effects);
        }
    }

    fn send(&self, body: client_message::Body, effects: &mut Vec<Effect>) {
        let mut bytes = BytesMut::new();
        put_control(&mut bytes, &ClientMessage { body: Some(body) });
        effects.push(Effect::Send { connection: self.connection, bytes: bytes.freeze() });
    }
}
