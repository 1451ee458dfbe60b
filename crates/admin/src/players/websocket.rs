//! `/ws/NODE`: the WebSocket of a node, on the port of the page. The handshake is done here; then the connection is the
//! node's as one of its own port is.

use super::App;
use crate::answer::{problem, refused, text};
use crate::serve::Peer;
use axum::Extension;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hyper::upgrade::{OnUpgrade, Upgraded as HttpUpgraded};
use hyper_util::rt::TokioIo;
use pelago_model::NodeId;
use pelago_net::connection::HANDSHAKE_TIMEOUT;
use pelago_net::{TlsStream, Upgraded, accept_key};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The version of the protocol that both sides speak (RFC 6455).
const VERSION: &str = "13";

pub(super) async fn enter(
    State(app): State<Arc<App>>,
    Path(node): Path<String>,
    Extension(Peer(peer)): Extension<Peer>,
    mut request: Request,
) -> Response {
    let door = node.parse().ok().and_then(|node| app.doors.get(&NodeId(node)).cloned());
    let Some(door) = door else {
        return problem(
            StatusCode::NOT_FOUND,
            "not_found",
            "there is no such node here: see /nodes",
        );
    };
    let headers = request.headers();
    let (host, origin) = (text(headers, header::HOST), text(headers, header::ORIGIN));
    if let Err(foreign) = app.hosts.check(host, origin) {
        return refused(foreign);
    }
    let Some(key) = key_of(headers) else {
        let body = problem(StatusCode::UPGRADE_REQUIRED, "websocket", "this is a WebSocket");
        let how = [(header::UPGRADE, "websocket"), (header::SEC_WEBSOCKET_VERSION, VERSION)];
        return (how, body).into_response();
    };
    let accept = accept_key(key);
    let forwarded = headers.get_all("x-forwarded-for").iter();
    // Clients may have begun it with any bytes; what the proxy has added stands at its end.
    let forwarded: Vec<_> =
        forwarded.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    let client = app.proxies.client(peer, forwarded.iter().map(|value| &**value));
    let upgrade: OnUpgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match timeout(HANDSHAKE_TIMEOUT, upgrade).await {
            Ok(Ok(upgraded)) => {
                if let Some(stream) = stream_of(upgraded) {
                    door.enter(stream, client);
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, "a WebSocket did not open"),
            Err(_) => tracing::debug!("a WebSocket took too long to open"),
        }
    });
    let answer = [
        (header::CONNECTION, "upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_ACCEPT, &*accept),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, answer).into_response()
}

/// The key of a handshake; `None` if the request is none.
fn key_of(headers: &HeaderMap) -> Option<&[u8]> {
    let connection = headers.get_all(header::CONNECTION).iter();
    let mut options =
        connection.filter_map(|value| value.to_str().ok()).flat_map(|it| it.split(','));
    let is_upgrade = options.any(|option| option.trim().eq_ignore_ascii_case("upgrade"));
    let upgrade = text(headers, header::UPGRADE)?;
    let version = text(headers, header::SEC_WEBSOCKET_VERSION)?;
    let is_ours = upgrade.eq_ignore_ascii_case("websocket") && version == VERSION;
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    (is_upgrade && is_ours).then(|| key.as_bytes())
}

/// The stream beneath the HTTP connection.
fn stream_of(upgraded: HttpUpgraded) -> Option<Upgraded> {
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => Some(Upgraded::plain(parts.io.into_inner(), parts.read_buf)),
        Err(upgraded) => {
            let parts = upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>().ok()?;
            Some(Upgraded::sealed(parts.io.into_inner(), parts.read_buf))
        }
    }
}
