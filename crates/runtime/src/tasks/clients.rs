//! Connections of clients.

use super::{LaneOf, Shared, hand_on_panic};
use pelago_model::Bucket;
use pelago_model::limits::MAX_CLIENT_MESSAGE_BYTES;
use pelago_net::{Connection, Event, Listener, Malformed, ReceiveError, ServerTls, Transport};
use pelago_node::arrivals::ArrivalsInput;
use pelago_node::{ClientEvent, MachineInput, ProtocolViolation};
use pelago_world::ClientId;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How long a client that is being closed may take to read why.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// Takes connections until the node ends.
pub(super) async fn listen(
    shared: Arc<Shared>,
    listener: Listener,
    transport: Transport,
    tls: Option<ServerTls>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            (stream, _) = listener.accept() => {
                // Boxed: a handshake is large, and every connection's task has room for what it ever awaits.
                let opened = Box::pin(open(shared.clone(), stream, transport, tls.clone()));
                connections.spawn(serve(shared.clone(), opened));
            }
            Some(ended) = connections.join_next() => hand_on_panic(ended),
        }
    }
}

async fn open(
    shared: Arc<Shared>,
    stream: TcpStream,
    transport: Transport,
    tls: Option<ServerTls>,
) -> Result<Connection, ReceiveError> {
    let traffic = shared.status.traffic.clone();
    let limit = MAX_CLIENT_MESSAGE_BYTES;
    match (transport, &tls) {
        (Transport::Tcp, None) => Ok(Connection::tcp(stream, limit, traffic)?),
        (Transport::Tcp, Some(tls)) => Connection::tls(stream, limit, traffic, tls).await,
        (Transport::WebSocket, None) => Connection::websocket(stream, limit, traffic).await,
        (Transport::WebSocket, Some(tls)) => {
            Connection::secure_websocket(stream, limit, traffic, tls).await
        }
    }
}

async fn serve(
    shared: Arc<Shared>,
    opening: Pin<Box<impl Future<Output = Result<Connection, ReceiveError>>>>,
) {
    let opened = opening.await;
    let mut connection = match opened {
        Ok(connection) => connection,
        Err(error) => return tracing::debug!(%error, "a client did not connect"),
    };
    let Some(sender) = connection.sender() else { return };
    if shared.stopping.load(Ordering::Relaxed) {
        return;
    }
    let client = ClientId(shared.next_connection());
    let lane = shared.connected(client, sender);
    let tell = async |event| tell(&shared, &lane, client, event).await;
    tell(ClientEvent::Connected).await;
    if let Some(violation) = read(&shared, &mut connection, &lane, client).await {
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

/// Hands on what a client sends, until the end or a violation.
async fn read(
    shared: &Shared,
    connection: &mut Connection,
    lane: &LaneOf,
    client: ClientId,
) -> Option<ProtocolViolation> {
    let allowance = shared.connections.messages;
    connection.set_message_timeout(shared.connections.message_timeout);
    let mut messages = Bucket::full(allowance, shared.clock.now());
    loop {
        match connection.next().await {
            Ok(Some(Event::Message(kind, payload))) => {
                if !messages.take(shared.clock.now(), allowance, 1) {
                    return Some(ProtocolViolation::Flood);
                }
                tell(shared, lane, client, ClientEvent::Received { kind, payload }).await;
            }
            Ok(Some(Event::Writable)) => {
                tell(shared, lane, client, ClientEvent::Writable).await;
            }
            Ok(None) => return None,
            Err(error) => {
                tracing::debug!(client = client.0, %error, "a client's connection ended");
                return violation(&error);
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
        | ReceiveError::Origin
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
