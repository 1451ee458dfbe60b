//! The HTTP server: connections, TLS, and the limits on what a stranger may make it do.

mod crowd;

use axum::Router;
use axum::http::{StatusCode, header};
use crowd::Crowd;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use pelago_net::connection::HANDSHAKE_TIMEOUT;
use pelago_net::{Listener, ServerTls, TrustedProxies};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// HTTP connections of players at once. Never more than a quarter of the files that are kept for them, the links and the
/// store.
const MAX_CONNECTIONS: u64 = 1024;
/// HTTP connections of operators at once, which no player can take. Never more than an eighth of those files.
const MAX_OPERATORS: u64 = 64;
/// The share of all connections that one address may have, or one network of IPv6 (/64).
const SHARE_OF_ADDRESS: usize = 4;
/// Bytes of a request's line and headers; a longer one is answered 431.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Headers of a request; more are answered 431.
const MAX_HEADERS: usize = 64;
/// How long a client may take to send the head of a request, and how long a connection may wait for the next one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection lasts, whatever it does: a client that reads slowly does not hold a place for ever.
pub const CONNECTION_TIME: Duration = Duration::from_secs(120);

/// What the kernel keeps of an answer for a client that does not read it; Linux takes the double.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// What a listener grants its clients.
#[derive(Clone, Debug)]
pub struct Serving {
    /// Encrypts what passes.
    pub tls: Option<ServerTls>,
    /// Connections at once.
    pub connections: usize,
    /// Connections of one address at once; trusted proxies may have all of them.
    pub of_one_address: usize,
    /// The proxies that say for whom they ask.
    pub proxies: TrustedProxies,
    /// Whether only a request with a right token keeps a connection from making room for others; otherwise any does.
    pub by_token: bool,
    /// How long a connection lasts: [`CONNECTION_TIME`] but in tests.
    pub time: Duration,
}

/// The address at the other end of a request's connection: that of a client, or of a proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// A connection as its requests see it.
#[derive(Clone)]
struct Client {
    peer: Peer,
    /// Whether it has ever sent a request that counts.
    has_asked: Arc<AtomicBool>,
    by_token: bool,
}

impl Serving {
    /// For players, where so many files are kept for HTTP, the links and the store.
    pub fn players(reserve: u64, tls: Option<ServerTls>, proxies: TrustedProxies) -> Self {
        let connections = MAX_CONNECTIONS.min(reserve / 4).max(1) as usize;
        let of_one_address = (connections / SHARE_OF_ADDRESS).max(1);
        let by_token = false;
        Self { tls, connections, of_one_address, proxies, by_token, time: CONNECTION_TIME }
    }

    /// For operators.
    pub fn operators(reserve: u64, tls: Option<ServerTls>) -> Self {
        let connections = MAX_OPERATORS.min(reserve / 8).max(1) as usize;
        let proxies = TrustedProxies::default();
        // One address leaves room for the probes of others.
        let of_one_address = (connections / 2).max(1);
        let by_token = true;
        Self { tls, connections, of_one_address, proxies, by_token, time: CONNECTION_TIME }
    }
}

/// Serves on the threads of the runtime that this is called in, until `stop` becomes true. Then nobody holds the router any more: a browser may keep its connection open, and
/// the world does not wait for it.
pub async fn serve(
    listener: Listener,
    router: Router,
    serving: Serving,
    mut stop: watch::Receiver<bool>,
) {
    let listener = match listener.moved_here() {
        Ok(listener) => listener,
        // Whoever has started this sees that it has ended.
        Err(error) => return tracing::error!(%error, "nobody can listen for HTTP"),
    };
    if let Err(error) = listener.set_send_buffer_bytes(SEND_BUFFER_BYTES) {
        tracing::warn!(%error, "the kernel keeps as much for readers that lag as it likes");
    }
    let mut crowd = Crowd::new(serving.connections, serving.of_one_address);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            (stream, peer) = listener.accept() => {
                let address = peer.ip().to_canonical();
                if !crowd.make_room(address, serving.proxies.trust(address)) {
                    continue;
                }
                let by_token = serving.by_token;
                let client = Client { peer: Peer(address), has_asked: Arc::default(), by_token };
                let (router, tls, time) = (router.clone(), serving.tls.clone(), serving.time);
                let served = client.clone();
                let task = connections.spawn(async move {
                    drop(timeout(time, connection(stream, served, router, tls)).await);
                });
                crowd.enter(address, task, client.has_asked);
            }
            Some(ended) = connections.join_next_with_id() => {
                crowd.leave(match ended {
                    Ok((id, ())) => id,
                    Err(error) => error.id(),
                });
            }
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    connections.shutdown().await;
}

async fn connection(stream: TcpStream, client: Client, router: Router, tls: Option<ServerTls>) {
    // Without it small answers wait for the other side's acknowledgement.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Some(tls) = tls else { return requests(stream, client, router).await };
    match timeout(HANDSHAKE_TIMEOUT, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => requests(stream, client, router).await,
        Ok(Err(error)) => tracing::debug!(%error, "no TLS on an HTTP connection"),
        Err(_) => tracing::debug!("a TLS handshake on an HTTP connection took too long"),
    }
}

async fn requests(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    client: Client,
    router: Router,
) {
    let router = TowerToHyperService::new(router);
    let answer = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(client.peer);
        let has_token = request.headers().contains_key(header::AUTHORIZATION);
        let (answering, client) = (router.call(request), client.clone());
        if !client.by_token {
            client.has_asked.store(true, Relaxed);
        }
        async move {
            let answer = answering.await;
            let is_let_in =
                answer.as_ref().is_ok_and(|answer| answer.status() != StatusCode::UNAUTHORIZED);
            if has_token && is_let_in {
                client.has_asked.store(true, Relaxed);
            }
            answer
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        // It panics for clocks before 1970 or beyond 9999.
        .auto_date_header(false)
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), answer)
        .with_upgrades();
    if let Err(error) = served.await {
        tracing::debug!(%error, "an HTTP connection ended");
    }
}
