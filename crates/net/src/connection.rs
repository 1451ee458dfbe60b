//! Connections: messages in, a [`Sender`] out, the same over TCP and WebSocket.

mod connect;
mod reading;

use crate::framing::{Deframer, Malformed, Message};
use crate::hosts::{ForeignHost, HostRule};
use crate::sender::{Drained, SendOutcome, Sender};
use crate::tls::{ServerTls, TlsSession, TlsStream};
use crate::traffic::{MAX_CONNECTIONS, MAX_HANDSHAKES, Open, Traffic};
use crate::websocket::Duplex;
use bytes::Bytes;
use futures_util::SinkExt;
use pelago_model::Limit;
use reading::read;
use rustls::Connection as Handshaken;
use socket2::SockRef;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_websockets::{Limits, Message as Frame, ServerBuilder, WebSocketStream};

/// How long a handshake may take: of TLS, of WebSocket, or of both.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a message may take from its first to its last byte, unless told otherwise.
pub const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Frames of a WebSocket that bring no data, between two messages; beyond it the connection ends.
const MAX_EMPTY_FRAMES: u32 = 256;
/// Room for what is read at once of a stream of long messages.
const READ_BYTES: usize = 4096;
/// How long the other side may take to end a connection that we have ended.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// The transport of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Plain TCP.
    Tcp,
    /// WebSocket.
    WebSocket,
}

/// Events of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message.
    Message(u8, Bytes),
    /// Everything that waited has been written: more can be sent.
    Writable,
}

/// Why nothing more can be received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The bytes are no messages.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The WebSocket broke.
    #[error("the websocket broke: {0}")]
    WebSocket(#[from] tokio_websockets::Error),
    /// A page of another host tries to use a player's browser.
    #[error("the websocket was not opened: {0}")]
    Foreign(#[from] ForeignHost),
    /// The handshake took too long.
    #[error("the handshake took longer than {} s", HANDSHAKE_TIMEOUT.as_secs())]
    Handshake,
    /// More waits for the other side than it may keep waiting, or it kept a close waiting.
    #[error("the other side does not read what it is sent")]
    TooSlow,
    /// A message took too long from its first to its last byte.
    #[error("a message did not come to its end")]
    Stalled,
    /// A WebSocket sent many frames without data.
    #[error("the websocket sends frames without data")]
    EmptyFrames,
    /// A WebSocket sent a text message.
    #[error("the websocket sends text: messages are binary")]
    Text,
}

impl ReceiveError {
    /// The limit that was met, if it is one that nothing else counts.
    fn limit(&self) -> Option<Limit> {
        match self {
            Self::Malformed(Malformed::TooLong)
            | Self::WebSocket(tokio_websockets::Error::PayloadTooLong { .. }) => {
                Some(Limit::MessageBytes)
            }
            Self::Handshake => Some(Limit::HandshakeTime),
            Self::Stalled => Some(Limit::MessageTime),
            Self::EmptyFrames => Some(Limit::EmptyFrames),
            _ => None,
        }
    }
}

/// The stream of an HTTP connection that has become a WebSocket.
#[derive(Debug)]
pub struct Upgraded {
    stream: TcpStream,
    session: Option<Handshaken>,
    /// What was read beyond the handshake.
    read: Bytes,
}

impl Upgraded {
    /// A plain stream, and what was read of it beyond the handshake.
    pub fn plain(stream: TcpStream, read: Bytes) -> Self {
        Self { stream, session: None, read }
    }

    /// One within TLS.
    pub fn sealed(stream: TlsStream<TcpStream>, read: Bytes) -> Self {
        let (stream, session) = stream.into_inner();
        Self { stream, session: Some(session.into()), read }
    }

    /// Sets how many bytes the kernel keeps for a reader that lags (`SO_SNDBUF`).
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn set_send_buffer_bytes(&self, bytes: usize) -> io::Result<()> {
        SockRef::from(&self.stream).set_send_buffer_size(bytes)
    }
}

enum Inbound {
    Tcp(Arc<TcpStream>),
    Tls(Sender),
    Server(Box<WebSocketStream<Duplex>>),
    Client(Box<WebSocketStream<Box<dyn ClientStream>>>),
}

/// The stream beneath a client's WebSocket.
trait ClientStream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> ClientStream for S {}

/// A connection, from either side.
pub struct Connection {
    inbound: Inbound,
    /// `None` for the client's side of a WebSocket, which masks what it sends.
    sender: Option<Sender>,
    deframer: Deframer,
    traffic: Arc<Traffic>,
    /// Counts this connection while it is there.
    open: Open,
    /// How long a message may take from its first to its last byte.
    patience: Duration,
    /// Since when a message is incomplete.
    unfinished: Option<Instant>,
    /// Frames without data since the last message.
    empty_frames: u32,
}

impl Connection {
    /// A plain TCP connection.
    ///
    /// # Errors
    /// If the socket refuses its options, or [`MAX_CONNECTIONS`] are open.
    pub fn tcp(stream: TcpStream, limit: usize, traffic: Arc<Traffic>) -> io::Result<Self> {
        let open = traffic.open(MAX_CONNECTIONS)?;
        stream.set_nodelay(true)?;
        let stream = Arc::new(stream);
        let sender = Sender::new(stream.clone(), false, None, traffic.clone(), open.number);
        let deframer = Deframer::new(limit);
        let inbound = Inbound::Tcp(stream);
        Ok(Self::new(inbound, Some(sender), deframer, traffic, open))
    }

    /// The server's side of an encrypted TCP connection, after its handshake.
    ///
    /// # Errors
    /// [`ReceiveError`] if the handshake fails or takes too long, or [`MAX_CONNECTIONS`] or [`MAX_HANDSHAKES`]
    /// are there.
    pub async fn tls(
        stream: TcpStream,
        limit: usize,
        traffic: Arc<Traffic>,
        tls: &ServerTls,
    ) -> Result<Self, ReceiveError> {
        let open = traffic.open(MAX_CONNECTIONS)?;
        let _handshake = traffic.handshake(MAX_HANDSHAKES)?;
        stream.set_nodelay(true)?;
        let (stream, session) =
            accept(stream, tls, Instant::now() + HANDSHAKE_TIMEOUT, &traffic).await?;
        Self::sealed(stream, session, limit, traffic, open)
    }

    fn sealed(
        stream: TcpStream,
        session: Handshaken,
        limit: usize,
        traffic: Arc<Traffic>,
        open: Open,
    ) -> Result<Self, ReceiveError> {
        let tls = Some(TlsSession::new(session));
        let sender = Sender::new(Arc::new(stream), false, tls, traffic.clone(), open.number);
        let mut deframer = Deframer::new(limit);
        // The first messages may have come with the end of the handshake.
        sender.open(&[], deframer.buffer())?;
        let inbound = Inbound::Tls(sender.clone());
        Ok(Self::new(inbound, Some(sender), deframer, traffic, open))
    }

    /// The server's side of a WebSocket, after its handshake, at any path, if the rule of its listener lets its `Host`
    /// and its `Origin` pass.
    ///
    /// # Errors
    /// [`ReceiveError`] if the handshake fails or takes too long, or [`MAX_CONNECTIONS`] or [`MAX_HANDSHAKES`]
    /// are there.
    pub async fn websocket(
        stream: TcpStream,
        limit: usize,
        traffic: Arc<Traffic>,
        hosts: &HostRule,
    ) -> Result<Self, ReceiveError> {
        Self::accept_websocket(stream, limit, traffic, hosts, None).await
    }

    /// The same within TLS.
    ///
    /// # Errors
    /// See [`Connection::websocket`].
    pub async fn secure_websocket(
        stream: TcpStream,
        limit: usize,
        traffic: Arc<Traffic>,
        hosts: &HostRule,
        tls: &ServerTls,
    ) -> Result<Self, ReceiveError> {
        Self::accept_websocket(stream, limit, traffic, hosts, Some(tls)).await
    }

    async fn accept_websocket(
        stream: TcpStream,
        limit: usize,
        traffic: Arc<Traffic>,
        hosts: &HostRule,
        tls: Option<&ServerTls>,
    ) -> Result<Self, ReceiveError> {
        let open = traffic.open(MAX_CONNECTIONS)?;
        let _handshake = traffic.handshake(MAX_HANDSHAKES)?;
        let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        stream.set_nodelay(true)?;
        let (stream, session) = match tls {
            Some(tls) => {
                let (stream, session) = accept(stream, tls, deadline, &traffic).await?;
                (stream, Some(TlsSession::new(session)))
            }
            None => (stream, None),
        };
        let stream = Arc::new(stream);
        let sender = Sender::new(stream.clone(), true, session, traffic.clone(), open.number);
        let duplex = Duplex::new(stream, sender.clone(), Bytes::new());
        let builder = ServerBuilder::new().limits(Limits::default().max_payload_len(Some(limit)));
        let handshake = timeout_at(deadline, builder.accept(duplex)).await;
        let Ok(handshake) = handshake else {
            traffic.note(Limit::HandshakeTime);
            return Err(ReceiveError::Handshake);
        };
        let (request, mut websocket) = handshake?;
        let header = |name: &str| Some(request.headers().get(name)?.to_str().unwrap_or(""));
        hosts.check(header("host"), header("origin"))?;
        // The library leaves its answer in our buffer.
        websocket.get_mut().flush().await?;
        websocket.get_mut().shake_hands();
        let inbound = Inbound::Server(Box::new(websocket));
        let deframer = Deframer::new(limit);
        Ok(Self::new(inbound, Some(sender), deframer, traffic, open))
    }

    /// The server's side of a WebSocket whose handshake an HTTP server has done.
    ///
    /// # Errors
    /// If [`MAX_CONNECTIONS`] are open.
    pub fn upgraded(upgraded: Upgraded, limit: usize, traffic: Arc<Traffic>) -> io::Result<Self> {
        let open = traffic.open(MAX_CONNECTIONS)?;
        let Upgraded { stream, session, read } = upgraded;
        let stream = Arc::new(stream);
        let session = session.map(TlsSession::new);
        let sender = Sender::new(stream.clone(), true, session, traffic.clone(), open.number);
        let mut duplex = Duplex::new(stream, sender.clone(), read);
        duplex.shake_hands();
        let builder = ServerBuilder::new().limits(Limits::default().max_payload_len(Some(limit)));
        let inbound = Inbound::Server(Box::new(builder.serve(duplex)));
        Ok(Self::new(inbound, Some(sender), Deframer::new(limit), traffic, open))
    }

    fn new(
        inbound: Inbound,
        sender: Option<Sender>,
        deframer: Deframer,
        traffic: Arc<Traffic>,
        open: Open,
    ) -> Self {
        let mut connection = Self {
            inbound,
            sender,
            deframer,
            traffic,
            open,
            patience: Duration::MAX,
            unfinished: None,
            empty_frames: 0,
        };
        connection.set_message_timeout(MESSAGE_TIMEOUT);
        connection
    }

    /// Sets how long a message may take from its first to its last byte.
    pub fn set_message_timeout(&mut self, timeout: Duration) {
        self.patience = timeout;
        if let Inbound::Server(websocket) = &mut self.inbound {
            websocket.get_mut().set_patience(timeout);
        }
    }

    /// A handle to write with, on the server's side and over TCP.
    pub fn sender(&self) -> Option<Sender> {
        self.sender.clone()
    }

    /// Bytes received so far, without headers of WebSocket and TLS.
    pub fn received(&self) -> u64 {
        self.traffic.received.load(Ordering::Relaxed)
    }

    /// Sends from a client's side: waits until it is written.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), ReceiveError> {
        match (&mut self.inbound, &self.sender) {
            (Inbound::Client(websocket), _) => {
                self.traffic.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                Ok(websocket.send(Frame::binary(bytes)).await?)
            }
            (_, Some(sender)) => match sender.send(&bytes) {
                SendOutcome::Written => Ok(()),
                SendOutcome::Blocked => match sender.drained().await {
                    Drained::Writable => Ok(()),
                    Drained::TooSlow => Err(ReceiveError::TooSlow),
                    Drained::Finished | Drained::Broken => Err(gone()),
                },
                SendOutcome::Refused | SendOutcome::Closed => Err(gone()),
            },
            (_, None) => Err(gone()),
        }
    }

    /// Takes whole messages to be sent from a client's side. Safe to cancel: nothing has been taken then. After
    /// [`SendOutcome::Blocked`] [`Connection::next`] says when more should be sent.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn feed(&mut self, bytes: &Bytes) -> Result<SendOutcome, ReceiveError> {
        match (&mut self.inbound, &self.sender) {
            (Inbound::Client(websocket), _) => {
                websocket.feed(Frame::binary(bytes.clone())).await?;
                self.traffic.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                Ok(SendOutcome::Written)
            }
            (_, Some(sender)) => Ok(sender.send(bytes)),
            (_, None) => Err(gone()),
        }
    }

    /// Writes what [`Connection::feed`] has taken and not written yet: of a WebSocket from a client's side. Safe to cancel.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn flush(&mut self) -> Result<(), ReceiveError> {
        match &mut self.inbound {
            Inbound::Client(websocket) => Ok(websocket.flush().await?),
            Inbound::Tcp(_) | Inbound::Tls(_) | Inbound::Server(_) => Ok(()),
        }
    }

    /// The next event; `None` at the end. Safe to cancel.
    ///
    /// # Errors
    /// [`ReceiveError`]; nothing more can be received.
    pub async fn next(&mut self) -> Result<Option<Event>, ReceiveError> {
        let next = self.next_event().await;
        if let Some(limit) = next.as_ref().err().and_then(ReceiveError::limit) {
            self.traffic.note(limit);
        }
        next
    }

    async fn next_event(&mut self) -> Result<Option<Event>, ReceiveError> {
        loop {
            if let Some((kind, payload)) = self.deframer.next_message()? {
                self.unfinished = None;
                self.empty_frames = 0;
                return Ok(Some(Event::Message(kind, payload)));
            }
            let before = self.deframer.buffer().len();
            self.check_progress(before)?;
            let Some(sender) = &self.sender else {
                let number = self.open.number;
                if !read(&mut self.inbound, &mut self.deframer, &self.traffic, number).await? {
                    return Ok(None);
                }
                self.check_frame(before)?;
                continue;
            };
            let number = self.open.number;
            tokio::select! {
                more = read(&mut self.inbound, &mut self.deframer, &self.traffic, number) => {
                    if !more? {
                        return Ok(None);
                    }
                    self.check_frame(before)?;
                }
                drained = sender.drained() => match drained {
                    Drained::Writable => return Ok(Some(Event::Writable)),
                    Drained::TooSlow => return Err(ReceiveError::TooSlow),
                    Drained::Finished | Drained::Broken => return Ok(None),
                }
            }
        }
    }

    /// Waits until the other side has read what waits for it, and reads nothing of it meanwhile: [`Event::Writable`], or
    /// `None` at the end. Safe to cancel. To be called only while its [`Sender::is_blocked`].
    ///
    /// # Errors
    /// [`ReceiveError::TooSlow`]; nothing more can be received.
    pub async fn next_writable(&mut self) -> Result<Option<Event>, ReceiveError> {
        let Some(sender) = &self.sender else { return Ok(Some(Event::Writable)) };
        match sender.drained().await {
            Drained::Writable => Ok(Some(Event::Writable)),
            Drained::TooSlow => Err(ReceiveError::TooSlow),
            Drained::Finished | Drained::Broken => Ok(None),
        }
    }

    /// A client that sends a message byte by byte takes a connection that others could have.
    fn check_progress(&mut self, incomplete_bytes: usize) -> Result<(), ReceiveError> {
        if incomplete_bytes == 0 {
            self.unfinished = None;
            return Ok(());
        }
        let since = *self.unfinished.get_or_insert_with(Instant::now);
        if since.elapsed() > self.patience { Err(ReceiveError::Stalled) } else { Ok(()) }
    }

    /// Frames without data cost as much as others, and are no messages that could be counted.
    fn check_frame(&mut self, bytes_before: usize) -> Result<(), ReceiveError> {
        if self.deframer.buffer().len() == bytes_before {
            self.empty_frames += 1;
        }
        if self.empty_frames > MAX_EMPTY_FRAMES { Err(ReceiveError::EmptyFrames) } else { Ok(()) }
    }

    /// Waits until our side has closed the connection and everything is written, but not for ever.
    pub async fn closed(&self, timeout: Duration) {
        let Some(sender) = &self.sender else { return };
        let closed = async { while sender.drained().await == Drained::Writable {} };
        drop(tokio::time::timeout(timeout, closed).await);
    }

    /// The next message of a client's connection, whatever else happens.
    ///
    /// # Errors
    /// See [`Connection::next`].
    pub async fn next_message(&mut self) -> Result<Option<Message>, ReceiveError> {
        loop {
            match self.next().await? {
                Some(Event::Message(kind, payload)) => return Ok(Some((kind, payload))),
                Some(Event::Writable) => {}
                None => return Ok(None),
            }
        }
    }

    /// Ends the connection such that what was written still arrives.
    pub async fn finish(mut self) {
        if let Some(sender) = &self.sender {
            sender.close();
            let remainder = async { while sender.drained().await == Drained::Writable {} };
            drop(tokio::time::timeout(GOODBYE_TIMEOUT, remainder).await);
            sender.shut_down();
        }
        // Bytes that still come are read and dropped, because unread bytes would reset the connection.
        let rest = async {
            while read(&mut self.inbound, &mut self.deframer, &self.traffic, self.open.number)
                .await
                .unwrap_or(false)
            {
                self.deframer.buffer().clear();
            }
        };
        drop(tokio::time::timeout(GOODBYE_TIMEOUT, rest).await);
    }
}

fn gone() -> ReceiveError {
    io::Error::from(io::ErrorKind::BrokenPipe).into()
}

/// Shakes hands as a server.
async fn accept(
    stream: TcpStream,
    tls: &ServerTls,
    deadline: Instant,
    traffic: &Traffic,
) -> Result<(TcpStream, Handshaken), ReceiveError> {
    let handshake = timeout_at(deadline, tls.acceptor().accept(stream)).await;
    let Ok(handshake) = handshake else {
        traffic.note(Limit::HandshakeTime);
        return Err(ReceiveError::Handshake);
    };
    let (stream, session) = handshake?.into_inner();
    Ok((stream, session.into()))
}

/// Waits for a handshake that a client has begun.
async fn handshaken<T>(connecting: impl Future<Output = io::Result<T>>) -> Result<T, ReceiveError> {
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting).await;
    Ok(handshake.map_err(|_| ReceiveError::Handshake)??)
}
