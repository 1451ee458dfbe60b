//! The client's side: how a connection is opened.

use super::{ClientStream, Connection, Inbound, ReceiveError, handshaken};
use crate::framing::Deframer;
use crate::tls::{Trust, server_name};
use crate::traffic::{MAX_CONNECTIONS, Traffic};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio_websockets::{ClientBuilder, Limits};

impl Connection {
    /// Connects by TCP to `host:port`, from address `source` of this machine if one is given.
    ///
    /// # Errors
    /// If nobody answers.
    pub async fn connect_tcp(
        address: &str,
        source: Option<IpAddr>,
        limit: usize,
    ) -> Result<Self, ReceiveError> {
        Ok(Self::tcp(dial(address, source).await?, limit, Arc::default())?)
    }

    /// Connects by TLS to `host:port`, from address `source` of this machine if one is given.
    ///
    /// # Errors
    /// If nobody answers, or nobody who is trusted.
    pub async fn connect_tls(
        address: &str,
        source: Option<IpAddr>,
        limit: usize,
        trust: &Trust,
    ) -> Result<Self, ReceiveError> {
        let stream = dial(address, source).await?;
        stream.set_nodelay(true)?;
        let connecting = trust.connector().connect(server_name(address)?, stream);
        let (stream, session) = handshaken(connecting).await?.into_inner();
        let traffic = Arc::<Traffic>::default();
        let open = traffic.open(MAX_CONNECTIONS)?;
        Self::sealed(stream, session.into(), limit, traffic, open)
    }

    /// Connects by WebSocket to `ws://host:port`, from address `source` of this machine if one is given.
    ///
    /// # Errors
    /// If nobody answers, or not as a WebSocket.
    pub async fn connect_websocket(
        url: &str,
        source: Option<IpAddr>,
        limit: usize,
    ) -> Result<Self, ReceiveError> {
        Self::dial_websocket(url, source, limit, None).await
    }

    /// Connects by WebSocket within TLS to `wss://host:port`.
    ///
    /// # Errors
    /// If nobody answers, or not as a WebSocket, or nobody who is trusted.
    pub async fn connect_secure_websocket(
        url: &str,
        source: Option<IpAddr>,
        limit: usize,
        trust: &Trust,
    ) -> Result<Self, ReceiveError> {
        Self::dial_websocket(url, source, limit, Some(trust)).await
    }

    async fn dial_websocket(
        url: &str,
        source: Option<IpAddr>,
        limit: usize,
        trust: Option<&Trust>,
    ) -> Result<Self, ReceiveError> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let builder = ClientBuilder::new()
            .uri(url)
            .map_err(invalid)?
            .limits(Limits::default().max_payload_len(Some(2 * limit)));
        let host = match url.split_once("://") {
            Some(("ws", rest)) if trust.is_none() => rest,
            Some(("wss", rest)) if trust.is_some() => rest,
            _ => {
                let problem = "expected ws:// without, wss:// with TLS";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, problem).into());
            }
        };
        let host = host.split('/').next().unwrap_or_default();
        let stream = dial(host, source).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn ClientStream> = match trust {
            Some(trust) => {
                let connecting = trust.connector().connect(server_name(host)?, stream);
                Box::new(handshaken(connecting).await?)
            }
            None => Box::new(stream),
        };
        let (websocket, _) = builder.connect_on(stream).await?;
        let inbound = Inbound::Client(Box::new(websocket));
        let traffic = Arc::<Traffic>::default();
        let open = traffic.open(MAX_CONNECTIONS)?;
        let deframer = Deframer::new(limit);
        Ok(Self::new(inbound, None, deframer, traffic, open))
    }
}

/// Connects from an address of this machine, or from one that the system chooses.
async fn dial(address: &str, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let Some(source) = source else { return TcpStream::connect(address).await };
    let nowhere = || io::Error::new(io::ErrorKind::NotFound, "the address has no host of its kind");
    let found = lookup_host(address).await?.find(|found| found.is_ipv4() == source.is_ipv4());
    let target = found.ok_or_else(nowhere)?;
    let socket = if source.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(source, 0))?;
    socket.connect(target).await
}
