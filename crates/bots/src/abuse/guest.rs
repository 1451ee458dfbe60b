//! A guest: a connection that does not follow the rules of a session.

use super::{Answer, Host};
use bytes::{Bytes, BytesMut};
use pelago_client::driver::{Transport, connect};
use pelago_model::limits::MAX_MESSAGE_BYTES;
use pelago_net::{Connection, ReceiveError};
use pelago_wire::client::{
    Arrival, ClientMessage, FetchContent, Hello, Ping, ServerMessage, Welcome, client_message,
    server_message,
};
use pelago_wire::message::{Kind, decode_control, put_control};
use pelago_wire::{Malformed, PROTOCOL_NEWEST, PROTOCOL_OLDEST};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpSocket;
use tokio::time::timeout;

/// How long a guest waits for an answer: longer than any limit on its time.
const PATIENCE: Duration = Duration::from_secs(180);

/// Bytes that the kernel keeps for a guest that does not read; Linux takes the double.
const NARROW_BYTES: u32 = 4096;

/// Why a visit came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum VisitError {
    /// The connection broke where it should not.
    #[error(transparent)]
    Connection(#[from] ReceiveError),
    /// The node's bytes are not the protocol.
    #[error("the node does not speak the protocol: {0}")]
    Malformed(#[from] Malformed),
    /// The node gave no answer.
    #[error("the node gave no answer")]
    NoAnswer,
    /// What the guest needs for its visit is not there.
    #[error("there is no place for it here")]
    NoPlace,
}

/// What an event means to a guest that waits for an answer.
pub(super) type Meaning<'a> = &'a mut (dyn FnMut(&server_message::Body) -> Option<Answer> + Send);

/// A connection that need not follow the protocol.
pub(super) struct Guest {
    connection: Connection,
}

impl Guest {
    /// Connects and says nothing.
    pub(super) async fn connect(host: Host<'_>) -> Result<Self, VisitError> {
        let connected = connect(host.address, &Transport::Tcp, host.source);
        let connected = timeout(PATIENCE, connected).await.map_err(|_| VisitError::NoAnswer)?;
        Ok(Self { connection: connected? })
    }

    /// Connects with little room for what it does not read.
    pub(super) async fn connect_narrowly(host: Host<'_>) -> Result<Self, VisitError> {
        let address: SocketAddr = host.address.parse().map_err(|_| VisitError::NoPlace)?;
        let stream = async {
            let socket =
                if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.set_recv_buffer_size(NARROW_BYTES)?;
            if let Some(source) = host.source {
                socket.bind(SocketAddr::new(source, 0))?;
            }
            socket.connect(address).await
        };
        let stream = timeout(PATIENCE, stream).await.map_err(|_| VisitError::NoAnswer)?;
        let stream = stream.map_err(ReceiveError::Io)?;
        let connection = Connection::tcp(stream, MAX_MESSAGE_BYTES, Arc::default());
        Ok(Self { connection: connection.map_err(ReceiveError::Io)? })
    }

    /// Connects, says hello, is welcomed.
    pub(super) async fn arrive(
        host: Host<'_>,
        name: &str,
        arrival: Arrival,
    ) -> Result<(Self, Welcome), VisitError> {
        Self::connect(host).await?.greet(name, arrival).await
    }

    /// Says hello and is welcomed.
    pub(super) async fn greet(
        self,
        name: &str,
        arrival: Arrival,
    ) -> Result<(Self, Welcome), VisitError> {
        let mut guest = self;
        guest.say(hello(name, arrival)).await?;
        let mut welcome = None;
        guest
            .answer(&mut |body| match body {
                server_message::Body::Welcome(found) => {
                    welcome = Some(found.clone());
                    Some(Answer::Served)
                }
                _ => None,
            })
            .await?;
        Ok((guest, welcome.ok_or(VisitError::NoAnswer)?))
    }

    /// Sends a message.
    pub(super) async fn say(&mut self, body: client_message::Body) -> Result<(), VisitError> {
        self.send(encode(body)).await
    }

    /// Sends bytes, whatever they are.
    pub(super) async fn send(&mut self, bytes: Bytes) -> Result<(), VisitError> {
        Ok(self.connection.send(bytes).await?)
    }

    /// Whether what was said last is answered as always.
    pub(super) async fn is_served(&mut self) -> Result<Answer, VisitError> {
        self.say(ping(PROOF)).await?;
        self.answer(&mut |body| match body {
            server_message::Body::Pong(pong) if pong.client_ms == PROOF => Some(Answer::Served),
            _ => None,
        })
        .await
    }

    /// Waits for what has a meaning, or for the end. A refusal and a close always have one.
    pub(super) async fn answer(&mut self, meaning: Meaning<'_>) -> Result<Answer, VisitError> {
        let answer = async {
            loop {
                let (kind, payload) = match self.connection.next_message().await {
                    Ok(Some(message)) => message,
                    Ok(None) | Err(_) => return Ok(Answer::Cut),
                };
                if kind != Kind::Control as u8 {
                    continue;
                }
                let answer = match decode_control::<ServerMessage>(&payload)?.body {
                    Some(server_message::Body::Refused(it)) => {
                        Some(Answer::Refused(it.code.into()))
                    }
                    Some(server_message::Body::Closing(it)) => Some(Answer::Closed(it.code.into())),
                    Some(body) => meaning(&body),
                    None => None,
                };
                if let Some(answer) = answer {
                    return Ok(answer);
                }
            }
        };
        timeout(PATIENCE, answer).await.map_err(|_| VisitError::NoAnswer)?
    }

    /// Waits for the end.
    pub(super) async fn end(&mut self) -> Result<Answer, VisitError> {
        self.answer(&mut |_| None).await
    }

    /// Asks for content and waits for it.
    pub(super) async fn fetch(&mut self, hash: Bytes) -> Result<Bytes, VisitError> {
        self.say(client_message::Body::Fetch(FetchContent { hash })).await?;
        let mut data = Bytes::new();
        self.answer(&mut |body| match body {
            server_message::Body::Content(content) => {
                data = content.data.clone();
                Some(Answer::Served)
            }
            _ => None,
        })
        .await?;
        Ok(data)
    }

    /// Leaves without a word.
    pub(super) fn vanish(self) {}
}

/// The clock that a guest gives with a ping whose answer it waits for.
const PROOF: i64 = 0x5eed;

pub(super) fn ping(client_ms: i64) -> client_message::Body {
    client_message::Body::Ping(Ping { client_ms })
}

pub(super) fn hello(name: &str, arrival: Arrival) -> client_message::Body {
    client_message::Body::Hello(Hello {
        oldest_version: PROTOCOL_OLDEST,
        newest_version: PROTOCOL_NEWEST,
        name: name.to_owned(),
        token: token(name),
        arrival: arrival.into(),
        client: "abuse".to_owned(),
    })
}

/// A guest's token follows from its name, so that it can come again. It has nothing to guard.
fn token(name: &str) -> Bytes {
    let hash = blake3::derive_key("pelago 2026 token of a rude guest", name.as_bytes());
    Bytes::copy_from_slice(&hash)
}

pub(super) fn encode(body: client_message::Body) -> Bytes {
    let mut bytes = BytesMut::new();
    put_control(&mut bytes, &ClientMessage { body: Some(body) });
    bytes.freeze()
}
