//! The core on tokio: real connections, a real clock, and nothing that the protocol says.
#![allow(clippy::disallowed_methods, reason = "a driver lives in real time")]

mod dial;

pub use dial::{Transport, connect};

use crate::core::{
    Client, ConnectionNumber, Effect, Event, Identity, Input, LocalTime, Loss, RequestError,
    Settings, Unanswered, Walk,
};
use crate::view::View;
use bytes::Bytes;
use pelago_model::{EntityId, IslandTime, Position, Trajectory, WorldTime};
use pelago_net::{Connection, Event as Arrived, ReceiveError, SendOutcome};
use pelago_wire::client::Welcome;
use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::time::{Sleep, sleep_until};

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The node refused.
    #[error("refused: {code}: {sentence}")]
    Refused {
        /// The public code.
        code: String,
        /// For the player.
        sentence: String,
    },
    /// The node did not answer the hello, or ended the connection before it did.
    #[error("the node gave no answer")]
    NoAnswer,
    /// Anything else.
    #[error("{0}")]
    Lost(Loss),
}

impl From<Loss> for ConnectError {
    fn from(loss: Loss) -> Self {
        match loss {
            Loss::Refused { code, sentence } => Self::Refused { code, sentence },
            Loss::NoAnswer | Loss::Broken(_) => Self::NoAnswer,
            loss => Self::Lost(loss),
        }
    }
}

type Dialed = Pin<Box<dyn Future<Output = Result<Connection, ReceiveError>> + Send>>;

/// What there is of the connection that the core wants.
enum Socket {
    None,
    Dialing(Dialed),
    Open(Box<Connection>),
}

/// What a socket brings.
enum News {
    Opened(Box<Connection>),
    Message(u8, Bytes),
    Writable,
    Closed(String),
}

impl Socket {
    /// What comes next. Safe to cancel; pending for ever if there is nothing.
    async fn next(&mut self) -> News {
        match self {
            Self::None => std::future::pending().await,
            Self::Dialing(dialed) => match dialed.await {
                Ok(connection) => News::Opened(Box::new(connection)),
                Err(error) => News::Closed(error.to_string()),
            },
            Self::Open(connection) => match connection.next().await {
                Ok(Some(Arrived::Message(kind, payload))) => News::Message(kind, payload),
                Ok(Some(Arrived::Writable)) => News::Writable,
                Ok(None) => News::Closed("the node hung up".to_owned()),
                Err(error) => News::Closed(error.to_string()),
            },
        }
    }
}

/// An avatar that is played over real connections.
///
/// Somebody has to call [`Session::next`] again and again: nothing is read, repeated or reconnected meanwhile.
pub struct Session {
    client: Client,
    transport: Transport,
    source: Option<IpAddr>,
    began: Instant,
    number: ConnectionNumber,
    socket: Socket,
    /// Rings when the core wants to be woken. It is kept: it changes less often than messages come.
    alarm: Pin<Box<Sleep>>,
    alarm_at: Option<LocalTime>,
    effects: Vec<Effect>,
    /// What is to be sent by the present connection: little, since the core sends nothing while that is blocked.
    outgoing: VecDeque<Bytes>,
    /// What the application has not been told; every input makes a few at most.
    events: VecDeque<Event>,
    /// Bytes that earlier connections brought.
    received: u64,
}

impl Session {
    /// Connects, from address `source` of this machine if one is given, and says hello: one attempt. Once there has been
    /// a welcome, the session reconnects by itself.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn open(
        address: &str,
        transport: &Transport,
        source: Option<IpAddr>,
        identity: &Identity,
    ) -> Result<Self, ConnectError> {
        let settings = Settings::new(identity.clone(), vec![address.to_owned()], random_seed());
        let mut session = Self::start(settings, transport.clone(), source);
        loop {
            match session.next().await {
                Some(Event::Welcomed) => return Ok(session),
                Some(Event::Disconnected(loss) | Event::Ended { loss, .. }) => {
                    return Err(loss.into());
                }
                Some(_) => {}
                None => return Err(ConnectError::NoAnswer),
            }
        }
    }

    /// Begins to connect; [`Session::next`] goes on.
    pub fn start(settings: Settings, transport: Transport, source: Option<IpAddr>) -> Self {
        let began = Instant::now();
        let mut session = Self {
            client: Client::new(settings),
            transport,
            source,
            began,
            number: ConnectionNumber::default(),
            socket: Socket::None,
            alarm: Box::pin(sleep_until(began.into())),
            alarm_at: None,
            effects: Vec::new(),
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
            received: 0,
        };
        session.handle(Input::Start);
        session
    }

    /// The next thing that the application is told; `None` once the session is over. Safe to cancel.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            self.flush().await;
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if self.client.is_over() {
                return None;
            }
            let wake = self.client.next_wake();
            if let Some(at) = wake
                && wake != self.alarm_at
            {
                let at = self.instant(at).into();
                self.alarm.as_mut().reset(at);
                self.alarm_at = wake;
            }
            tokio::select! {
                news = self.socket.next() => self.take_in(news),
                () = self.alarm.as_mut(), if wake.is_some() => {
                    self.alarm_at = None;
                    self.handle(Input::Wake);
                }
            }
        }
    }

    /// The avatar.
    pub fn avatar(&self) -> EntityId {
        self.client.avatar()
    }

    /// What the node said at the last welcome.
    pub fn welcome(&self) -> &Welcome {
        self.client.welcome()
    }

    /// What the avatar sees.
    pub fn view(&self) -> &View {
        self.client.view()
    }

    /// The avatar's own way, as predicted.
    pub fn path(&self) -> &Trajectory {
        self.client.path()
    }

    /// Whether the avatar is in the world, as far as the client knows.
    pub fn is_playing(&self) -> bool {
        self.client.is_playing()
    }

    /// World time by the client's estimate.
    pub fn now(&self) -> WorldTime {
        self.client.world_time(self.local_time())
    }

    /// Island time by the client's estimate.
    pub fn island_now(&self) -> IslandTime {
        self.client.island_time(self.local_time())
    }

    /// The number of the avatar's last durable command that is known to have happened.
    pub fn sequence(&self) -> u64 {
        self.client.sequence()
    }

    /// The durable command that has been sent and not answered, if there is one.
    pub fn unanswered(&self) -> Option<Unanswered> {
        self.client.unanswered()
    }

    /// Whether a durable command is under way.
    pub fn is_acting(&self) -> bool {
        self.client.is_acting()
    }

    /// Bytes received so far, by all connections.
    pub fn received(&self) -> u64 {
        match &self.socket {
            Socket::Open(connection) => self.received + connection.received(),
            Socket::None | Socket::Dialing(_) => self.received,
        }
    }

    /// See [`Client::walk`].
    ///
    /// # Errors
    /// [`RequestError`]: nothing was sent.
    pub async fn walk(&mut self, speed: u16, points: &[Position]) -> Result<Walk, RequestError> {
        let now = self.local_time();
        let asked = self.client.walk(now, speed, points, &mut self.effects);
        self.perform().await;
        asked
    }

    /// See [`Client::act`].
    ///
    /// # Errors
    /// [`RequestError`]: another command is under way, or the session is over.
    pub async fn act(&mut self, payload: Bytes) -> Result<(), RequestError> {
        let asked = self.client.act(payload, &mut self.effects);
        self.perform().await;
        asked
    }

    /// See [`Client::act_live`].
    ///
    /// # Errors
    /// [`RequestError`]: nothing was sent.
    pub async fn act_live(&mut self, payload: Bytes) -> Result<u64, RequestError> {
        let asked = self.client.act_live(payload, &mut self.effects);
        self.perform().await;
        asked
    }

    /// Speaks.
    ///
    /// # Errors
    /// [`RequestError`]: nothing was sent.
    pub async fn say(&mut self, text: &str) -> Result<(), RequestError> {
        let asked = self.client.say(text, &mut self.effects);
        self.perform().await;
        asked
    }

    /// See [`Client::say_island`].
    ///
    /// # Errors
    /// [`RequestError`]: nothing was sent.
    pub async fn say_island(&mut self, text: &str) -> Result<u64, RequestError> {
        let asked = self.client.say_island(text, &mut self.effects);
        self.perform().await;
        asked
    }

    /// See [`Client::whisper`].
    ///
    /// # Errors
    /// [`RequestError`]: nothing was sent.
    pub async fn whisper(&mut self, name: &str, text: &str) -> Result<u64, RequestError> {
        let asked = self.client.whisper(name, text, &mut self.effects);
        self.perform().await;
        asked
    }

    /// Asks for the time.
    ///
    /// # Errors
    /// [`RequestError`]: nothing was sent.
    pub async fn ping(&mut self) -> Result<(), RequestError> {
        let now = self.local_time();
        let asked = self.client.ping(now, &mut self.effects);
        self.perform().await;
        asked
    }

    /// Asks for content by its hash.
    ///
    /// # Errors
    /// [`RequestError`]: nothing was sent.
    pub async fn fetch(&mut self, hash: Bytes) -> Result<(), RequestError> {
        let asked = self.client.fetch(hash, &mut self.effects);
        self.perform().await;
        asked
    }

    /// Drops the connection without a word, as if it had been lost. The session goes on with another one.
    pub fn cut(&mut self) {
        self.drop_socket();
        let reason = "cut by the application".to_owned();
        self.handle(Input::Closed { connection: self.number, reason });
    }

    /// Leaves.
    pub async fn bye(mut self) {
        self.client.bye(&mut self.effects);
        let effects = std::mem::take(&mut self.effects);
        for effect in effects {
            if let Effect::Send { bytes, .. } = effect {
                self.outgoing.push_back(bytes);
            }
        }
        self.flush().await;
        if let Socket::Open(connection) = self.socket {
            connection.finish().await;
        }
    }

    fn local_time(&self) -> LocalTime {
        LocalTime(i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    fn instant(&self, at: LocalTime) -> Instant {
        self.began + Duration::from_millis(at.0.max(0).unsigned_abs())
    }

    fn take_in(&mut self, news: News) {
        let connection = self.number;
        match news {
            News::Opened(open) => {
                self.socket = Socket::Open(open);
                self.handle(Input::Opened { connection });
            }
            News::Message(kind, payload) => {
                self.handle(Input::Received { connection, kind, payload });
            }
            News::Writable => self.handle(Input::Writable { connection }),
            News::Closed(reason) => {
                self.drop_socket();
                self.handle(Input::Closed { connection, reason });
            }
        }
    }

    fn drop_socket(&mut self) {
        self.received = self.received();
        self.socket = Socket::None;
        self.outgoing.clear();
    }

    fn handle(&mut self, input: Input) {
        let now = self.local_time();
        self.client.handle(now, input, &mut self.effects);
        self.sort_effects();
    }

    /// Carries out what can be carried out at once, and puts the rest where it waits.
    fn sort_effects(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Dial { connection, address } => {
                    self.drop_socket();
                    self.number = connection;
                    let (transport, source) = (self.transport.clone(), self.source);
                    let dialed = async move { connect(&address, &transport, source).await };
                    self.socket = Socket::Dialing(Box::pin(dialed));
                }
                Effect::Send { bytes, .. } => self.outgoing.push_back(bytes),
                Effect::Hangup { .. } => self.drop_socket(),
                Effect::Event(event) => self.events.push_back(event),
            }
        }
        self.effects = effects;
    }

    /// Carries out what a request has led to.
    async fn perform(&mut self) {
        self.sort_effects();
        self.flush().await;
    }

    /// Sends what is to be sent. A message is taken out of the queue when the connection has it, whole.
    async fn flush(&mut self) {
        while let Some(bytes) = self.outgoing.front() {
            let Socket::Open(connection) = &mut self.socket else {
                self.outgoing.clear();
                return;
            };
            let sent = connection.feed(bytes).await;
            self.outgoing.pop_front();
            let connection = self.number;
            match sent {
                Ok(SendOutcome::Written) => {}
                Ok(SendOutcome::Blocked) => self.handle(Input::Blocked { connection }),
                Ok(SendOutcome::Refused | SendOutcome::Closed) => {
                    self.take_in(News::Closed("the connection is gone".to_owned()));
                }
                Err(error) => self.take_in(News::Closed(error.to_string())),
            }
        }
        if let Socket::Open(connection) = &mut self.socket
            && let Err(error) = connection.flush().await
        {
            self.take_in(News::Closed(error.to_string()));
        }
    }
}

/// A seed that no other process has, so that clients that lose their node together do not come back together.
pub fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
