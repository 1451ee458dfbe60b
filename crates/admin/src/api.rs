//! HTTP for operators: health, metrics and the API.
//!
//! The API and the metrics ask for [`Access`]; health is open to everybody who reaches the listener. What the API tells of
//! nodes it has asked them for through [`AdminCalls`]: it holds no node.

mod access;
mod backups;
mod body;
mod books;
mod document;
mod grants;
mod nodes;
mod record;
mod services;
pub mod store_routes;

pub use access::Access;

use crate::answer::{for_operators, problem};
use crate::metrics::Metrics;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use pelago_game::Game;
use pelago_model::{EntityId, Key, NodeId};
use pelago_net::HostRule;
use pelago_node::documents::avatar::{AvatarDocument, PlaceDocument, read};
use pelago_runtime::AdminCalls;
use pelago_store::{Store, load_now};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// The state that all handlers share.
pub struct ApiSettings {
    /// The way to the nodes.
    pub calls: Arc<dyn AdminCalls>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// The rules, which say what documents hold.
    pub game: Arc<dyn Game>,
    /// The name of the store's engine.
    pub engine: String,
    /// The numbers of this process.
    pub metrics: Metrics,
    /// The rule by which a request is let in.
    pub access: Access,
    /// The hosts by which it may be asked.
    pub hosts: HostRule,
}

struct App {
    calls: Arc<dyn AdminCalls>,
    store: Arc<dyn Store>,
    game: Arc<dyn Game>,
    metrics: Metrics,
    /// Which node the next grant or call goes through: nodes take turns.
    next_node: AtomicUsize,
}

/// The paths that take a body, in a `POST` and a `PATCH`.
const GRANTS: &str = "/api/v1/grants";
const BACKUPS: &str = "/api/v1/backups";
const RECORD: &str = "/api/v1/record";
const DOCUMENT: &str = "/api/v1/store/document/";
const SERVICES: &str = "/api/v1/services/";

/// All routes.
pub fn router(settings: ApiSettings) -> Router {
    let ApiSettings { calls, store, game, engine, metrics, access, hosts } = settings;
    let kept = store_routes::routes(store.clone(), engine, store_routes::HASH_WAIT);
    let next_node = AtomicUsize::new(0);
    let app = Arc::new(App { calls, store, game, metrics, next_node });
    let guarded = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/api/v1/cluster", get(nodes::cluster))
        .route("/api/v1/islands", get(nodes::islands))
        .route("/api/v1/avatars/{id}", get(avatar))
        .route(&format!("{DOCUMENT}{{*key}}"), get(document::get).patch(document::patch))
        .route("/api/v1/audit", get(books::of_world))
        .route("/api/v1/audit/{avatar}", get(grants::audit))
        .route("/api/v1/books/{name}", get(books::of_avatar))
        .route(GRANTS, post(grants::grant))
        .route(BACKUPS, post(backups::note))
        .route(RECORD, post(record::record))
        .route(&format!("{SERVICES}{{role}}/{{*key}}"), post(services::call))
        .merge(kept)
        .route("/api/{*rest}", any(unknown))
        .route_layer(from_fn_with_state(access, access::guard));
    Router::new()
        .merge(guarded)
        .route("/healthz", get(nodes::alive))
        .route("/readyz", get(nodes::ready))
        .fallback(unknown)
        .layer(from_fn(without_body))
        .layer(from_fn_with_state(hosts, for_operators))
        .layer(from_fn(with_headers))
        .with_state(app)
}

impl App {
    /// The node whose turn it is; `None` if there is no node.
    fn next_node(&self) -> Option<NodeId> {
        let nodes = self.calls.nodes();
        let turn = self.next_node.fetch_add(1, Relaxed);
        nodes.get(turn.checked_rem(nodes.len())?).copied()
    }
}

async fn metrics_page(State(app): State<Arc<App>>) -> String {
    app.metrics.render(&app.calls, app.store.counters()).await
}

/// No answer is kept by anybody, or shown within a page.
async fn with_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.insert(header::CONTENT_SECURITY_POLICY, nothing);
    response
}

/// Nothing but grants, recordings, calls and edits takes a body: no other is read.
async fn without_body(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let takes_one = match *request.method() {
        Method::POST => {
            path == BACKUPS || path == GRANTS || path == RECORD || path.starts_with(SERVICES)
        }
        Method::PATCH => path.starts_with(DOCUMENT),
        _ => false,
    };
    if takes_one {
        return next.run(request).await;
    }
    let headers = request.headers();
    let length = headers.get(header::CONTENT_LENGTH);
    if length.is_some_and(|length| length != "0") || headers.contains_key(header::TRANSFER_ENCODING)
    {
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "body", "a request has no body here");
    }
    next.run(request).await
}

async fn unknown() -> Response {
    let sentence = "operators have no such path: the page and the nodes are on --http";
    problem(StatusCode::NOT_FOUND, "not_found", sentence)
}

async fn avatar(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    let Ok(id) = id.parse::<EntityId>() else {
        return problem(StatusCode::BAD_REQUEST, "malformed", "an id is 16 hexadecimal digits");
    };
    let store = app.store.clone();
    let found = tokio::task::spawn_blocking(move || {
        load_now(&*store, vec![Key::avatar(id), Key::place(id)])
    });
    let Ok(Ok(found)) = found.await else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the store cannot read");
    };
    let [document, place] = found.as_slice() else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the store cannot read");
    };
    match (read::<AvatarDocument>(document), read::<PlaceDocument>(place)) {
        (Ok(Some(avatar)), Ok(place)) => Json(json!({
            "id": id,
            "name": avatar.name,
            "epoch": avatar.epoch,
            "owner": avatar.owner,
            "sequence": avatar.sequence,
            "chain": avatar.chain,
            "place": place.map_or(avatar.place, |place| place.place),
            "state": avatar.game,
            "revision": document.revision,
        }))
        .into_response(),
        (Ok(None), _) => problem(StatusCode::NOT_FOUND, "not_found", "there is no such avatar"),
        _ => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the document is damaged"),
    }
}
