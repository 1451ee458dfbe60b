//! HTTP for players: the page, content by hash, where the nodes are, and the WebSocket of each node. Nothing of it asks for
//! a token, and nothing that operators have is here.

mod content;
mod encoding;
mod page;
mod websocket;

pub use content::Content;

use crate::answer::{for_players, problem, text};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use pelago_model::NodeId;
use pelago_net::{HostRule, TrustedProxies};
use pelago_runtime::admin_calls::{Question, StatusAnswer, ask_all};
use pelago_runtime::{AdminCalls, Door};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a browser may do with what comes from here, beside the policy.
const HEADERS: [(HeaderName, &str); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
];

/// The state that all handlers share.
pub struct PlayersSettings {
    /// The way to the nodes for questions.
    pub calls: Arc<dyn AdminCalls>,
    /// The way into the nodes of this process.
    pub doors: Vec<Door>,
    /// The content that clients may fetch by hash.
    pub content: Content,
    /// The hosts by which it may be asked.
    pub hosts: HostRule,
    /// The proxies that say for whom they ask.
    pub proxies: TrustedProxies,
}

struct App {
    calls: Arc<dyn AdminCalls>,
    doors: BTreeMap<NodeId, Door>,
    content: Content,
    hosts: HostRule,
    proxies: TrustedProxies,
}

/// All routes.
pub fn router(settings: PlayersSettings) -> Router {
    let PlayersSettings { calls, doors, content, hosts, proxies } = settings;
    let doors = doors.into_iter().map(|door| (door.node(), door)).collect();
    let rule = hosts.clone();
    let app = Arc::new(App { calls, doors, content, hosts, proxies });
    let mut router = Router::new()
        .route("/nodes", get(nodes))
        .route("/content/{hash}", get(content::by_hash))
        .route("/ws/{node}", get(websocket::enter));
    for path in ["/healthz", "/readyz", "/metrics", "/api", "/api/{*rest}"] {
        router = router.route(path, any(elsewhere));
    }
    router
        .fallback(page::page)
        .layer(from_fn(without_body))
        .layer(from_fn_with_state(rule, for_players))
        .layer(from_fn(with_headers))
        .with_state(app)
}

/// Where the nodes are. Those of this process are reached at this very address: the URL is relative to that of `/nodes`,
/// and begins with `ws` instead of `http`.
async fn nodes(State(app): State<Arc<App>>) -> Response {
    let answers = ask_all(&app.calls, &Question::Status).await;
    let told = answers.into_iter().filter_map(|(node, answer)| {
        let status: StatusAnswer = answer.ok()?.read(node).ok()?;
        let url = match app.doors.contains_key(&node) {
            true => format!("ws/{node}"),
            false => status.ws,
        };
        Some(json!({"id": node, "ws": url}))
    });
    let nodes = Json(json!({"nodes": told.collect::<Vec<_>>()}));
    ([(header::CACHE_CONTROL, "no-store")], nodes).into_response()
}

async fn elsewhere() -> Response {
    let sentence =
        "operators have a listener of their own: pelago dev --operators, named when it starts";
    problem(StatusCode::NOT_FOUND, "operators", sentence)
}

/// Nothing takes a body: none is read.
async fn without_body(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let length = headers.get(header::CONTENT_LENGTH);
    if length.is_some_and(|length| length != "0") || headers.contains_key(header::TRANSFER_ENCODING)
    {
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "body", "a request has no body here");
    }
    next.run(request).await
}

async fn with_headers(request: Request, next: Next) -> Response {
    let policy = policy_at(text(request.headers(), header::HOST).unwrap_or_default());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// The policy of a page at a host: it loads nothing from elsewhere, runs no text as a program, and is shown within no other
/// page. Not every browser takes the WebSocket of a host for its own, so it is named.
fn policy_at(host: &str) -> String {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    let websocket = match !host.is_empty() && host.bytes().all(allowed) {
        true => format!(" ws://{host} wss://{host}"),
        false => String::new(),
    };
    format!(
        "default-src 'self'; img-src 'self' data: blob:; worker-src 'self' blob:; \
         connect-src 'self' data: blob:{websocket}; object-src 'none'; base-uri 'none'; \
         form-action 'self'; frame-ancestors 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_host_gets_into_the_policy_but_as_a_host() {
        let own = policy_at("game.example:8080");
        assert!(own.contains("connect-src 'self' data: blob: ws://game.example:8080 wss://game"));
        for host in ["", "a; script-src *", "a b", "a,b", "ä"] {
            assert!(policy_at(host).contains("connect-src 'self' data: blob:; object"), "{host}");
        }
    }
}
