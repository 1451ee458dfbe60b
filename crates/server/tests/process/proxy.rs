//! A hostile network: a proxy on loopback that does to bytes what networks do.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

/// Connections that wait to be taken in.
const BACKLOG: u32 = 128;
/// Bytes that are carried at once.
const CHUNK: usize = 16 * 1024;

/// What is done to bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NetworkConditions {
    /// Every piece is late by so much.
    pub(crate) delay: Duration,
    /// Every byte is a piece of its own.
    pub(crate) single_bytes: bool,
    /// Nothing is carried; senders notice when buffers are full.
    pub(crate) stalled: bool,
    /// Everything vanishes, also ends of connections: both sides believe in a connection that is none.
    pub(crate) half_open: bool,
    /// Nobody listens: connections have ended, new ones are refused.
    pub(crate) refusing: bool,
}

/// Stands before a listener.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    conditions: watch::Sender<NetworkConditions>,
    cuts: watch::Sender<u32>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn toward(upstream: SocketAddr) -> Self {
        // Nobody else gets the port while nobody listens there.
        let reservation = socket_at(SocketAddr::from(([127, 0, 0, 1], 0)));
        let address = reservation.local_addr().unwrap();
        let (conditions, mut sky) = watch::channel(NetworkConditions::default());
        let (cuts, cut) = watch::channel(0);
        let mut listener = socket_at(address).listen(BACKLOG).unwrap();
        let task = tokio::spawn(async move {
            let _reservation = reservation;
            loop {
                tokio::select! {
                    () = serve(listener, upstream, sky.clone(), cut.clone()) => return,
                    _ = sky.wait_for(|conditions| conditions.refusing) => {}
                }
                if sky.wait_for(|conditions| !conditions.refusing).await.is_err() {
                    return;
                }
                listener = socket_at(address).listen(BACKLOG).unwrap();
            }
        });
        Self { address, conditions, cuts, task }
    }

    /// From now on.
    pub(crate) fn set(&self, conditions: NetworkConditions) {
        self.conditions.send_replace(conditions);
    }

    /// Ends all connections.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A socket that has an address and does not listen. One that listens may have the same.
pub(crate) fn socket_at(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

/// Dropped, it ends all connections.
async fn serve(
    listener: TcpListener,
    upstream: SocketAddr,
    sky: watch::Receiver<NetworkConditions>,
    cut: watch::Receiver<u32>,
) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(carry(stream, upstream, sky.clone(), cut.clone()));
    }
}

async fn carry(
    client: TcpStream,
    upstream: SocketAddr,
    sky: watch::Receiver<NetworkConditions>,
    mut cut: watch::Receiver<u32>,
) {
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    cut.mark_unchanged();
    tokio::select! {
        () = pump(from_client, to_server, sky.clone()) => {}
        () = pump(from_server, to_client, sky.clone()) => {}
        _ = cut.changed() => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut sky: watch::Receiver<NetworkConditions>,
) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = from.read(&mut buffer).await.unwrap_or(0);
        // Also what came before the stall was known is not carried any more.
        let Ok(conditions) =
            sky.wait_for(|conditions| !conditions.stalled).await.map(|conditions| *conditions)
        else {
            return;
        };
        if conditions.half_open {
            if count == 0 {
                // The end vanishes, too.
                drop(sky.wait_for(|conditions| !conditions.half_open).await);
                return;
            }
            continue;
        }
        if count == 0 {
            return;
        }
        sleep(conditions.delay).await;
        let piece = if conditions.single_bytes { 1 } else { CHUNK };
        for piece in buffer[..count].chunks(piece) {
            if to.write_all(piece).await.is_err() {
                return;
            }
        }
    }
}
