//! The HTTP server: connections, TLS, and the limits on what a stranger may make it do.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use pelago_net::connection::HANDSHAKE_TIMEOUT;
use pelago_net::{Listener, ServerTls};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// HTTP connections at once; one more is closed at once. Never more than a quarter of the files that are kept for them,
/// the links and the store.
const MAX_CONNECTIONS: u64 = 1024;
/// Bytes of a request's line and headers; a longer one is answered 431.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Headers of a request; more are answered 431.
const MAX_HEADERS: usize = 64;
/// How long a client may take to send the head of a request, and how long a connection may wait for the next one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection lasts, whatever it does: a client that reads slowly does not hold a permit for ever.
pub const CONNECTION_TIME: Duration = Duration::from_secs(120);

/// Serves until `stop` becomes true. Then nobody holds the router any more: a browser may keep its connection open, and
/// the world does not wait for it. A connection lasts for `time`: [`CONNECTION_TIME`] but in tests.
pub async fn serve(
    listener: Listener,
    router: Router,
    tls: Option<ServerTls>,
    reserve: u64,
    time: Duration,
    mut stop: watch::Receiver<bool>,
) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS.min(reserve / 4).max(1) as usize));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            (stream, _) = listener.accept() => {
                let Ok(permit) = permits.clone().try_acquire_owned() else { continue };
                let (router, tls) = (router.clone(), tls.clone());
                connections.spawn(async move {
                    drop(timeout(time, connection(stream, router, tls)).await);
                    drop(permit);
                });
            }
            Some(_) = connections.join_next() => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    connections.shutdown().await;
}

async fn connection(stream: TcpStream, router: Router, tls: Option<ServerTls>) {
    // Without it small answers wait for the other side's acknowledgement.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Some(tls) = tls else { return requests(stream, router).await };
    match timeout(HANDSHAKE_TIMEOUT, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => requests(stream, router).await,
        Ok(Err(error)) => tracing::debug!(%error, "no TLS on an HTTP connection"),
        Err(_) => tracing::debug!("a TLS handshake on an HTTP connection took too long"),
    }
}

async fn requests(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = served.await {
        tracing::debug!(%error, "an HTTP connection ended");
    }
}
