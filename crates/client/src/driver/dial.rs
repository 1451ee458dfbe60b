//! How a connection is opened.

use pelago_model::limits::MAX_MESSAGE_BYTES;
use pelago_net::{Connection, ReceiveError, Trust};
use std::net::IpAddr;

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
