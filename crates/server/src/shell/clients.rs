//! Connections of clients.

use super::Shared;
use pelago_model::limits::MAX_CLIENT_MESSAGE_BYTES;
use pelago_net::{Connection, Event, Listener, Transport};
use pelago_node::{ControlInput, Message};
use pelago_world::ClientId;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Takes connections until the node ends.
pub(super) async fn listen(shared: Arc<Shared>, listener: Listener, transport: Transport) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            (stream, _) = listener.accept() => {
                connections.spawn(serve(shared.clone(), stream, transport));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(shared: Arc<Shared>, stream: TcpStream, transport: Transport) {
    let traffic = shared.status.traffic.clone();
    let opened = match transport {
        Transport::Tcp => {
            Connection::tcp(stream, MAX_CLIENT_MESSAGE_BYTES, traffic).map_err(Into::into)
        }
        Transport::WebSocket => {
            // Boxed: a handshake is large, and every connection's task has room for what it ever awaits.
            Box::pin(Connection::websocket(stream, MAX_CLIENT_MESSAGE_BYTES, traffic)).await
        }
    };
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
