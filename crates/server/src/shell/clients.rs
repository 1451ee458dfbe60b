//! Connections of clients.

use super::Shared;
use pelago_model::limits::MAX_CLIENT_MESSAGE_BYTES;
use pelago_net::{Connection, Event, Listener, ReceiveError, ServerTls, Transport};
use pelago_node::{ControlInput, Message};
use pelago_world::ClientId;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

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
            Some(_) = connections.join_next() => {}
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
    shared.clients.lock().unwrap_or_else(PoisonError::into_inner).insert(client, sender);
    tell(&shared, ControlInput::Connected { client }).await;
    loop {
        match connection.next().await {
            Ok(Some(Event::Message(kind, payload))) => {
                tell(&shared, ControlInput::Received { client, kind, payload }).await;
            }
            Ok(Some(Event::Writable)) => {
                tell(&shared, ControlInput::ClientWritable { client }).await;
            }
            Ok(None) => break,
            Err(error) => {
                tracing::debug!(client = client.0, %error, "a client's connection ended");
                break;
            }
        }
    }
    tell(&shared, ControlInput::Disconnected { client }).await;
    connection.finish().await;
    shared.clients.lock().unwrap_or_else(PoisonError::into_inner).remove(&client);
}

async fn tell(shared: &Shared, input: ControlInput) {
    // Once the hub has ended, nobody needs to know.
    drop(shared.hub.outer.send(Message::Control(input)).await);
}
