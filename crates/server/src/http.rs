//! HTTP: the page, content by hash, health, metrics and the API.
//!
//! The API and the metrics ask for [`Access`]; all else is open to whoever reaches the listener.

mod access;
mod body;
pub(crate) mod books;
mod document;
mod grants;
mod serve;
pub(crate) mod store;

pub(crate) use access::{Access, bearer_of};
pub(crate) use serve::{CONNECTION_TIME, serve};

use crate::cluster::Cluster;
use crate::metrics;
use crate::shell::NodeShell;
use axum::extract::{Path, Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use pelago_game::ContentHash;
use pelago_model::{EntityId, Key};
use pelago_node::avatar::{AvatarDocument, PlaceDocument, read};
use pelago_store::load_now;
use rust_embed::RustEmbed;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// The built page.
#[derive(RustEmbed)]
#[folder = "../../web/dist"]
struct Page;

struct App {
    cluster: Arc<Cluster>,
    content: BTreeMap<ContentHash, bytes::Bytes>,
    metrics: PrometheusHandle,
    /// Which node the next grant goes through: nodes take turns.
    next_node: AtomicUsize,
}

/// The paths that take a body, in a `POST` and a `PATCH`.
const GRANTS: &str = "/api/v1/grants";
const DOCUMENT: &str = "/api/v1/store/document/";

/// All routes. `engine` is the name of the store's engine.
pub(crate) fn router(
    cluster: Arc<Cluster>,
    engine: String,
    metrics: PrometheusHandle,
    access: Access,
) -> Router {
    let game = cluster.game.content();
    let tiles = cluster.world.lands.values().flat_map(|land| land.content());
    let content = tiles.chain([(ContentHash::of(&game), game.clone())]).collect();
    let kept = store::routes(cluster.store.clone(), engine, store::HASH_WAIT);
    let next_node = AtomicUsize::new(0);
    let app = Arc::new(App { cluster, content, metrics, next_node });
    let guarded = Router::new()
        .route(
            "/metrics",
            get(async |State(app): State<Arc<App>>| metrics::render(&app.cluster, &app.metrics)),
        )
        .route("/api/v1/cluster", get(nodes))
        .route("/api/v1/islands", get(islands))
        .route("/api/v1/avatars/{id}", get(avatar))
        .route(&format!("{DOCUMENT}{{*key}}"), get(document::get).patch(document::patch))
        .route("/api/v1/audit", get(books::of_world))
        .route("/api/v1/audit/{avatar}", get(grants::audit))
        .route("/api/v1/books/{name}", get(books::of_avatar))
        .route(GRANTS, post(grants::grant))
        .merge(kept)
        .route("/api/{*rest}", any(unknown))
        .route_layer(from_fn_with_state(access, access::guard));
    Router::new()
        .merge(guarded)
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/nodes", get(doors))
        .route("/content/{hash}", get(content_by_hash))
        .fallback(page)
        .layer(from_fn(without_body))
        .with_state(app)
}

/// Nothing but grants and edits takes a body: no other is read.
async fn without_body(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let takes_one = match *request.method() {
        Method::POST => path == GRANTS,
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
    problem(StatusCode::NOT_FOUND, "not_found", "the API has no such path")
}

/// What the page needs to know of the nodes: where their doors are.
async fn doors(State(app): State<Arc<App>>) -> Json<Value> {
    let door = |shell: &NodeShell| json!({"id": shell.node, "ws": shell.websocket_url()});
    Json(json!({"nodes": app.cluster.nodes.iter().map(door).collect::<Vec<_>>()}))
}

async fn ready(State(app): State<Arc<App>>) -> (StatusCode, &'static str) {
    if app.cluster.is_ready() {
        (StatusCode::OK, "streams flow\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "streams do not flow\n")
    }
}

async fn nodes(State(app): State<Arc<App>>) -> Json<Value> {
    let nodes: Vec<Value> = app
        .cluster
        .nodes
        .iter()
        .map(|shell| {
            let players: usize =
                shell.status.lanes.iter().map(|lane| lane.players.load(Relaxed)).sum();
            json!({
                "id": shell.node,
                "tcp": shell.tcp.to_string(),
                "ws": shell.websocket_url(),
                "ready": shell.is_ready(),
                "lanes": shell.status.lanes.len(),
                "connections": shell.status.connections.load(Relaxed),
                "players": players,
            })
        })
        .collect();
    let world = &app.cluster.world.document;
    Json(json!({
        "nodes": nodes,
        "world": {
            "number": world.world,
            "game": app.cluster.game.name(),
            "time_ms": app.cluster.clock.now(),
        },
    }))
}

async fn islands(State(app): State<Arc<App>>) -> Json<Value> {
    let islands: Vec<Value> = app
        .cluster
        .world
        .lands
        .values()
        .map(|land| {
            let spec = land.spec();
            json!({
                "id": spec.id,
                "seed": spec.seed,
                "chunks": spec.size,
                "generator": spec.generator,
                "manifest": land.manifest().to_string(),
            })
        })
        .collect();
    Json(json!({ "islands": islands }))
}

async fn avatar(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    let Ok(id) = id.parse::<EntityId>() else {
        return problem(StatusCode::BAD_REQUEST, "malformed", "an id is 16 hexadecimal digits");
    };
    let store = app.cluster.store.clone();
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

fn problem(status: StatusCode, code: &str, sentence: &str) -> Response {
    (status, Json(json!({"code": code, "sentence": sentence}))).into_response()
}

async fn content_by_hash(State(app): State<Arc<App>>, Path(hash): Path<String>) -> Response {
    let found = hash.parse().ok().and_then(|hash: ContentHash| app.content.get(&hash).cloned());
    match found {
        Some(bytes) => {
            let headers = [
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
                (header::CONTENT_TYPE, "application/octet-stream"),
            ];
            (headers, bytes).into_response()
        }
        None => problem(StatusCode::NOT_FOUND, "not_found", "there is no such content"),
    }
}

async fn page(uri: Uri) -> Response {
    let path = match uri.path().trim_start_matches('/') {
        "" => "index.html",
        path => path,
    };
    let Some(file) = Page::get(path) else {
        if path == "index.html" {
            let text = "this binary was built without the page: build web/ first\n";
            return (StatusCode::NOT_FOUND, text).into_response();
        }
        return problem(StatusCode::NOT_FOUND, "not_found", "there is no such page");
    };
    let kind = match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("json") => "application/json",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    };
    ([(header::CONTENT_TYPE, kind)], file.data.into_owned()).into_response()
}
