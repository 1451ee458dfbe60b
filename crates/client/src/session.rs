//! A session: a connection on which an avatar has been welcomed.

use crate::view::{Change, View};
use bytes::{Bytes, BytesMut};
use pelago_model::limits::MAX_MESSAGE_BYTES;
use pelago_model::{
    EntityId, IslandClock, IslandId, IslandTime, Secret, Tick, Trajectory, WorldTime,
};
use pelago_net::{Connection, ReceiveError, Trust};
use pelago_wire::client::{
    self, Arrival, AuditReport, ClientMessage, Hello, ServerMessage, Welcome, client_message,
    server_message,
};
use pelago_wire::message::{Kind, decode_control, put_control};
use pelago_wire::{Malformed, PROTOCOL_NEWEST, PROTOCOL_OLDEST};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long a node may take to answer a hello.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(20);

/// What bytes travel in.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Plain TCP to `host:port`.
    Tcp,
    /// WebSocket to `host:port` or `ws://host:port`.
    WebSocket,
    /// TLS over TCP to `host:port`, if it is somebody who is trusted.
    Tls(Trust),
    /// WebSocket within TLS to `host:port` or `wss://host:port`.
    WebSocketTls(Trust),
}

/// Who says hello.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Of the avatar, at most 48 bytes.
    pub name: String,
    /// Proves that the name is its own: 16 to 64 random bytes. The first login of a name binds it.
    pub token: Secret,
    /// Where an avatar that is new appears.
    pub arrival: Arrival,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The node cannot be reached, or broke off.
    #[error(transparent)]
    Connection(#[from] ReceiveError),
    /// The node refused.
    #[error("refused: {code}: {sentence}")]
    Refused {
        /// The public code.
        code: String,
        /// For the player.
        sentence: String,
    },
    /// The node's bytes are not the protocol.
    #[error("the node does not speak the protocol: {0}")]
    Malformed(#[from] Malformed),
    /// The node ended the connection, or took too long.
    #[error("the node gave no answer")]
    NoAnswer,
}

/// What a session brings.
#[derive(Debug)]
pub enum Incoming {
    /// What is seen has changed; the changes are in the vector given.
    Changes,
    /// A control message.
    Control(Box<server_message::Body>),
}

/// An avatar that has been welcomed.
pub struct Session {
    connection: Connection,
    /// What the node said first.
    pub welcome: Welcome,
    /// The avatar.
    pub avatar: EntityId,
    /// What it sees.
    pub view: View,
    /// Its own trajectory, as far as the client knows.
    pub path: Trajectory,
    clock: IslandClock,
    /// World time minus time since `began`, by the fastest round trip so far.
    offset_ms: i64,
    best_round_trip: Duration,
    began: Instant,
    moves: u32,
}

/// Connects without a hello, from address `source` of this machine if one is given.
///
/// # Errors
/// If nobody answers.
pub async fn connect(
    address: &str,
    transport: &Transport,
    source: Option<IpAddr>,
) -> Result<Connection, ReceiveError> {
    let limit = MAX_MESSAGE_BYTES;
    match transport {
        Transport::Tcp => Connection::connect_tcp(address, source, limit).await,
        Transport::WebSocket if address.starts_with("ws://") => {
            Connection::connect_websocket(address, source, limit).await
        }
        Transport::WebSocket => {
            Connection::connect_websocket(&format!("ws://{address}/"), source, limit).await
        }
        Transport::Tls(trust) => Connection::connect_tls(address, source, limit, trust).await,
        Transport::WebSocketTls(trust) if address.starts_with("wss://") => {
            Connection::connect_secure_websocket(address, source, limit, trust).await
        }
        Transport::WebSocketTls(trust) => {
            let url = format!("wss://{address}/");
            Connection::connect_secure_websocket(&url, source, limit, trust).await
        }
    }
}

/// Asks a development node for its books: of an avatar, or with an empty name of the world.
///
/// # Errors
/// If it refuses.
pub async fn audit(connection: &mut Connection, name: &str) -> Result<AuditReport, ConnectError> {
    let audit = client_message::Body::Audit(client::Audit { name: name.to_owned() });
    connection.send(encode(audit)).await?;
    loop {
        let next = timeout(Duration::from_secs(120), connection.next_message()).await;
        let (kind, payload) =
            next.map_err(|_| ConnectError::NoAnswer)??.ok_or(ConnectError::NoAnswer)?;
        if kind != Kind::Control as u8 {
            continue;
        }
        match decode_control::<ServerMessage>(&payload)?.body {
            Some(server_message::Body::Audit(report)) => return Ok(report),
            Some(server_message::Body::Refused(refused)) => {
                let (code, sentence) = (refused.code, refused.sentence);
                return Err(ConnectError::Refused { code, sentence });
            }
            _ => {}
        }
    }
}

impl Session {
    /// Connects, from address `source` of this machine if one is given, and says hello.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn open(
        address: &str,
        transport: &Transport,
        source: Option<IpAddr>,
        identity: &Identity,
    ) -> Result<Self, ConnectError> {
        let mut connection = connect(address, transport, source).await?;
        let hello = Hello {
            oldest_version: PROTOCOL_OLDEST,
            newest_version: PROTOCOL_NEWEST,
            name: identity.name.clone(),
            token: identity.token.reveal().clone(),
            arrival: identity.arrival.into(),
            client: concat!("pelago-client ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let asked = Instant::now();
        connection.send(encode(client_message::Body::Hello(hello))).await?;
        let welcome = timeout(WELCOME_TIMEOUT, welcome(&mut connection))
            .await
            .map_err(|_| ConnectError::NoAnswer)??;
        let began = Instant::now();
        let clock = match &welcome.clock {
            Some(clock) => IslandClock::try_from(clock)?,
            None => IslandClock::IDENTITY,
        };
        let path = welcome.path.as_ref().ok_or(Malformed::Trajectory)?;
        Ok(Self {
            avatar: EntityId(welcome.avatar),
            view: View::new(IslandId(welcome.island), clock, Tick(welcome.tick)),
            path: Trajectory::try_from(path)?,
            clock,
            offset_ms: welcome.world_time_ms,
            best_round_trip: began - asked,
            began,
            moves: 0,
            connection,
            welcome,
        })
    }

    /// Bytes received so far.
    pub fn received(&self) -> u64 {
        self.connection.received()
    }

    /// The number of the last move.
    pub fn moves(&self) -> u32 {
        self.moves
    }

    /// World time by the client's estimate.
    pub fn now(&self) -> WorldTime {
        let since = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        WorldTime(self.offset_ms + since)
    }

    /// Island time by the client's estimate.
    pub fn island_now(&self) -> IslandTime {
        self.clock.at(self.now())
    }

    /// The next thing that comes; `None` at the end. Safe to cancel.
    ///
    /// # Errors
    /// If the connection or the protocol is broken.
    pub async fn next(
        &mut self,
        changes: &mut Vec<Change>,
    ) -> Result<Option<Incoming>, ConnectError> {
        let Some((kind, payload)) = self.connection.next_message().await? else {
            return Ok(None);
        };
        if kind != Kind::Control as u8 {
            self.view.receive(kind, &payload, changes)?;
            return Ok(Some(Incoming::Changes));
        }
        match decode_control::<ServerMessage>(&payload)?.body {
            Some(body) => {
                self.notice(&body);
                Ok(Some(Incoming::Control(Box::new(body))))
            }
            None => Ok(Some(Incoming::Changes)),
        }
    }

    fn notice(&mut self, body: &server_message::Body) {
        match body {
            server_message::Body::Pong(pong) => {
                let now = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
                let round_trip = Duration::from_millis(now.abs_diff(pong.client_ms));
                if round_trip <= self.best_round_trip {
                    self.best_round_trip = round_trip;
                    let half = (now - pong.client_ms) / 2;
                    self.offset_ms = pong.world_time_ms + half - now;
                }
            }
            server_message::Body::MoveRefused(refused) => {
                if let Some(Ok(path)) = refused.path.as_ref().map(Trajectory::try_from) {
                    self.path = path;
                }
            }
            _ => {}
        }
    }

    async fn send(&mut self, body: client_message::Body) -> Result<(), ConnectError> {
        Ok(self.connection.send(encode(body)).await?)
    }

    /// Leaves the present path for a straight or bent one, and returns the new one as predicted.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn walk(
        &mut self,
        speed: u16,
        points: &[pelago_model::Position],
    ) -> Result<IslandTime, ConnectError> {
        self.moves += 1;
        let at = self.now();
        let island_at = self.clock.at(at).max(self.path.start_time());
        if let Ok(path) = self.path.turned(island_at, speed, points) {
            self.path = path;
        }
        let request = client::Move {
            number: self.moves,
            at_ms: at.0,
            speed: speed.into(),
            waypoints: points.iter().flat_map(|point| [point.x, point.y]).collect(),
        };
        self.send(client_message::Body::Move(request)).await?;
        Ok(island_at)
    }

    /// Sends a durable command.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn act(&mut self, sequence: u64, payload: Bytes) -> Result<(), ConnectError> {
        self.send(client_message::Body::Act(client::Act { sequence, payload, number: 0 })).await
    }

    /// Sends a live command.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn act_live(&mut self, number: u64, payload: Bytes) -> Result<(), ConnectError> {
        self.send(client_message::Body::Act(client::Act { sequence: 0, payload, number })).await
    }

    /// Speaks.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn say(&mut self, text: &str) -> Result<(), ConnectError> {
        self.send(client_message::Body::Say(client::Say { text: text.to_owned() })).await
    }

    /// Asks for the time.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn ping(&mut self) -> Result<(), ConnectError> {
        let client_ms = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.send(client_message::Body::Ping(client::Ping { client_ms })).await
    }

    /// Asks for content by its hash.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn fetch(&mut self, hash: Bytes) -> Result<(), ConnectError> {
        self.send(client_message::Body::Fetch(client::FetchContent { hash })).await
    }

    /// Leaves.
    pub async fn bye(mut self) {
        // Who is gone already needs no goodbye.
        drop(self.send(client_message::Body::Bye(client::Bye {})).await);
        self.connection.finish().await;
    }
}

async fn welcome(connection: &mut Connection) -> Result<Welcome, ConnectError> {
    loop {
        let (kind, payload) = connection.next_message().await?.ok_or(ConnectError::NoAnswer)?;
        if kind != Kind::Control as u8 {
            continue;
        }
        match decode_control::<ServerMessage>(&payload)?.body {
            Some(server_message::Body::Welcome(welcome)) => return Ok(welcome),
            Some(server_message::Body::Refused(refused)) => {
                let (code, sentence) = (refused.code, refused.sentence);
                return Err(ConnectError::Refused { code, sentence });
            }
            _ => {}
        }
    }
}

fn encode(body: client_message::Body) -> Bytes {
    let mut bytes = BytesMut::new();
    put_control(&mut bytes, &ClientMessage { body: Some(body) });
    bytes.freeze()
}
