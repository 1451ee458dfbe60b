//! Connections of clients.

use super::{LaneOf, Shared, hand_on_panic};
use crate::door::Visitor;
use crate::limits::ConnectionLimits;
use pelago_model::limits::MAX_CLIENT_MESSAGE_BYTES;
use pelago_model::{Bucket, Limit, Origin};
use pelago_net::{
    Admitted, Connection, Counted, Event, HostRule, Listener, Malformed, ReceiveError, SendOutcome,
    Sender, ServerTls, Transport, TrustedProxies,
};
use pelago_node::arrivals::ArrivalsInput;
use pelago_node::{ClientEvent, MachineInput, Piece, ProtocolViolation};
use pelago_wire::content::fetched_hash;
use pelago_world::ClientId;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How long a client that is being closed may take to read why.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// Of the 128 steps that tokio lets a task take before others have their turn, so many are taken by a message. A client
/// that sends thousands at once does not hold up the lanes, which wait for the same threads.
const STEPS_PER_MESSAGE: usize = 32;

/// How a listener receives clients.
pub(super) struct Reception {
    pub(super) transport: Transport,
    pub(super) tls: Option<ServerTls>,
    pub(super) hosts: HostRule,
    pub(super) proxies: TrustedProxies,
}

/// Takes connections, and clients whose WebSocket is open already, until the node ends.
pub(super) async fn listen(
    shared: Arc<Shared>,
    listener: Listener,
    reception: Reception,
    mut visitors: Option<mpsc::Receiver<Visitor>>,
) {
    let listener = match listener.moved_here() {
        Ok(listener) => listener,
        // The end of this task is that of the node.
        Err(error) => return tracing::error!(%error, "nobody can listen for clients"),
    };
    let reception = Arc::new(reception);
    let mut connections = JoinSet::new();
    // Before the book has taken the node, another node may have its number: whoever connects waits, or goes elsewhere.
    shared.status.standing.entered().await;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // Boxed: a handshake is large, and every connection's task has room for what it ever awaits.
                let opened = Box::pin(open(shared.clone(), accepted, reception.clone()));
                connections.spawn(serve(shared.clone(), opened));
            }
            Some(visitor) = next(&mut visitors) => {
                let opened = Box::pin(std::future::ready(let_in(&shared, visitor)));
                connections.spawn(serve(shared.clone(), opened));
            }
            Some(ended) = connections.join_next() => hand_on_panic(ended),
        }
    }
}

async fn next(visitors: &mut Option<mpsc::Receiver<Visitor>>) -> Option<Visitor> {
    match visitors {
        Some(visitors) => visitors.recv().await,
        None => None,
    }
}

/// A connection that counts for its address, and that nobody is logged in on.
struct Guest {
    /// Of the computer whose connection it is.
    address: IpAddr,
    origin: Origin,
    stranger: Admitted,
    /// Counts the connection for as long as it is there.
    _connection: Admitted,
}

/// A connection and whose it is; `None` if its address may not have one more.
type Opened = Result<Option<(Connection, Guest)>, ReceiveError>;

/// Admits a connection of a computer, if that may have one more.
fn admit(shared: &Shared, address: IpAddr) -> Option<Guest> {
    let origins = &shared.origins;
    let origin = origins.of(address);
    let admitted = origins.admit(origin, Counted::Connection).and_then(|connection| {
        let stranger = origins.count(origin, Counted::Stranger)?;
        Ok(Guest { address, origin, stranger, _connection: connection })
    });
    admitted.map_err(|limit| shared.status.traffic.note(limit)).ok()
}

/// A listener behind a proxy that names its clients is told their addresses; to all others the peer's is the client's.
async fn open(
    shared: Arc<Shared>,
    (mut stream, peer): (TcpStream, SocketAddr),
    reception: Arc<Reception>,
) -> Opened {
    let Reception { transport, tls, hosts, proxies } = &*reception;
    let client = proxies.client_of(&mut stream, peer).await?.ip();
    let Some(guest) = admit(&shared, client) else { return Ok(None) };
    let traffic = shared.status.traffic.clone();
    let limit = MAX_CLIENT_MESSAGE_BYTES;
    let connection = match (transport, tls) {
        (Transport::Tcp, None) => Connection::tcp(stream, limit, traffic)?,
        (Transport::Tcp, Some(tls)) => Connection::tls(stream, limit, traffic, tls).await?,
        (Transport::WebSocket, None) => {
            Connection::websocket(stream, limit, traffic, hosts).await?
        }
        (Transport::WebSocket, Some(tls)) => {
            Connection::secure_websocket(stream, limit, traffic, hosts, tls).await?
        }
    };
    Ok(Some((connection, guest)))
}

/// A client whose WebSocket is open already.
fn let_in(shared: &Shared, Visitor { upgraded, address }: Visitor) -> Opened {
    let Some(guest) = admit(shared, address) else { return Ok(None) };
    upgraded.set_send_buffer_bytes(shared.connections.send_buffer_bytes)?;
    let traffic = shared.status.traffic.clone();
    let connection = Connection::upgraded(upgraded, MAX_CLIENT_MESSAGE_BYTES, traffic)?;
    Ok(Some((connection, guest)))
}

async fn serve(shared: Arc<Shared>, opening: Pin<Box<impl Future<Output = Opened>>>) {
    let opened = opening.await;
    let (mut connection, guest) = match opened {
        Ok(Some(opened)) => opened,
        Ok(None) => return,
        Err(error) => return tracing::debug!(%error, "a client did not connect"),
    };
    let Guest { address, origin, stranger, _connection } = guest;
    let Some(sender) = connection.sender() else { return };
    let writing = sender.clone();
    if shared.stopping.load(Ordering::Relaxed) {
        return;
    }
    let client = ClientId(shared.next_connection());
    tracing::debug!(client = client.0, %address, "a client has connected");
    let lane = shared.connected(client, sender, stranger);
    let tell = async |event| tell(&shared, &lane, client, event).await;
    tell(ClientEvent::Connected { origin }).await;
    if let Some(violation) = read(&shared, &mut connection, &writing, (&lane, client)).await {
        tell(ClientEvent::Violated(violation)).await;
        connection.closed(FAREWELL_TIMEOUT).await;
    }
    // First it is taken out, so that a task that gives it a lane from now on sees that it is gone.
    shared.disconnected(client);
    tell(ClientEvent::Disconnected).await;
    if lane.get().is_some() {
        shared.post.tell(MachineInput::Arrivals(ArrivalsInput::Left { client }), &mut |_| ());
    }
    connection.finish().await;
}

/// Hands on what a client sends, until the end or a violation. Content it is sent from here: no machine that others need
/// works for that. As long as it does not read content that it has asked for, nothing more is read of it; and as long as
/// it has no lane, the same holds for every answer.
async fn read(
    shared: &Shared,
    connection: &mut Connection,
    sender: &Sender,
    (lane, client): (&LaneOf, ClientId),
) -> Option<ProtocolViolation> {
    let ConnectionLimits { messages, fetches, message_timeout, .. } = shared.connections;
    connection.set_message_timeout(message_timeout);
    let mut messages_left = Bucket::full(messages, shared.clock.now());
    let mut fetches_left = Bucket::full(fetches, shared.clock.now());
    // A piece that could not be sent yet, because something else waits for the client.
    let mut owed: Option<Piece> = None;
    let mut has_unread_content = false;
    loop {
        let unread = has_unread_content || lane.get().is_none() && sender.is_blocked();
        let event = if unread { connection.next_writable().await } else { connection.next().await };
        match event {
            Ok(Some(Event::Message(kind, payload))) => {
                for _ in 0..STEPS_PER_MESSAGE {
                    tokio::task::coop::consume_budget().await;
                }
                let now = shared.clock.now();
                if !messages_left.take(now, messages, 1) {
                    return Some(ProtocolViolation::Flood);
                }
                if let Ok(Some(hash)) = fetched_hash(kind, &payload) {
                    let piece = shared.content.answer(now, hash, fetches, &mut fetches_left);
                    if piece.is_too_much {
                        shared.status.traffic.note(Limit::Fetches);
                    }
                    owed = Some(piece);
                } else {
                    tell(shared, lane, client, ClientEvent::Received { kind, payload }).await;
                }
            }
            Ok(Some(Event::Writable)) => {
                has_unread_content = false;
                tell(shared, lane, client, ClientEvent::Writable).await;
            }
            Ok(None) => return None,
            Err(error) => {
                tracing::debug!(client = client.0, %error, "a client's connection ended");
                return violation(&error);
            }
        }
        let Some(piece) = owed.take() else { continue };
        match sender.send_shared(&piece.head, &piece.data) {
            // A connection that is gone says so when it is read next.
            SendOutcome::Written | SendOutcome::Closed => {}
            SendOutcome::Blocked => {
                has_unread_content = true;
                tell(shared, lane, client, ClientEvent::Blocked).await;
            }
            SendOutcome::Refused => {
                has_unread_content = true;
                owed = Some(piece);
            }
        }
    }
}

/// What a client is told about the end of what can be read of it; `None` if it is gone or does not listen.
fn violation(error: &ReceiveError) -> Option<ProtocolViolation> {
    match error {
        ReceiveError::Malformed(Malformed::TooLong) => Some(ProtocolViolation::TooLong),
        // A WebSocket has been closed with the code of its own protocol.
        ReceiveError::Malformed(_) | ReceiveError::WebSocket(_) | ReceiveError::Text => {
            Some(ProtocolViolation::Malformed)
        }
        ReceiveError::Stalled => Some(ProtocolViolation::Stalled),
        ReceiveError::EmptyFrames => Some(ProtocolViolation::EmptyFrames),
        ReceiveError::Io(_)
        | ReceiveError::Foreign(_)
        | ReceiveError::Handshake
        | ReceiveError::TooSlow => None,
    }
}

/// The straight way: into the mailbox of the client's lane, once it has one. What comes from the socket waits for room.
async fn tell(shared: &Shared, lane: &LaneOf, client: ClientId, event: ClientEvent) {
    let is_of_the_socket = matches!(event, ClientEvent::Received { .. });
    let input = MachineInput::of_client(lane.get(), client, event);
    if is_of_the_socket {
        shared.post.tell_from_socket(input).await;
    } else {
        shared.post.tell(input, &mut |_| ());
    }
}
