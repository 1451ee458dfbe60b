//! The store, for operators: what it is, its documents page by page, its feed, its hash.
//!
//! Pages have the form of an archive's parts (`docs/archive.md`). They are read on threads of their own, a few at
//! once: people play meanwhile.

#![allow(clippy::result_large_err, reason = "an answer of HTTP is an error once per request")]

mod hashing;

use crate::answer::problem;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hashing::{Hashing, Progress};
use pelago_model::Key;
use pelago_store::archive::{MAX_PAGE_CHANGES, Page, WorldIdentity, part};
use pelago_store::{FeedError, FeedPosition, ReadError, Store};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

pub use hashing::UnderWay;

/// Pages that are read at once; one more is answered 429 `busy`.
const MAX_PAGES: usize = 4;
/// How long an answer waits for the end of a hash: short enough that no proxy on the way cuts the connection off.
pub const HASH_WAIT: Duration = Duration::from_secs(20);

/// The store, and what may be done with it at once.
struct StoreDesk {
    store: Arc<dyn Store>,
    /// The name of its engine.
    engine: String,
    pages: Arc<Semaphore>,
    hashing: Hashing,
}

/// The routes of a store. `engine` is the name of its engine; `hash_wait` is [`HASH_WAIT`] but in tests.
pub fn routes<S: Clone + Send + Sync + 'static>(
    store: Arc<dyn Store>,
    engine: String,
    hash_wait: Duration,
) -> Router<S> {
    let pages = Arc::new(Semaphore::new(MAX_PAGES));
    let hashing = Hashing::new(hash_wait);
    Router::new()
        .route("/api/v1/store", get(about))
        .route("/api/v1/store/documents", get(documents))
        .route("/api/v1/store/feed", get(feed))
        .route("/api/v1/store/hash", get(hash))
        .with_state(Arc::new(StoreDesk { store, engine, pages, hashing }))
}

impl StoreDesk {
    /// Reads on a thread of its own, if a permit is free. The permit is held until the read is done, even if the client
    /// has gone away meanwhile.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Store) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let Ok(permit) = self.pages.clone().try_acquire_owned() else {
            let sentence = "others read already: ask again later";
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", sentence));
        };
        let store = self.store.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let result = read(&*store);
            drop(permit);
            result
        });
        reading.await.unwrap_or_else(|_| Err(unavailable("the reading broke off")))
    }
}

async fn about(State(desk): State<Arc<StoreDesk>>, uri: Uri) -> Result<Response, Problem> {
    parameters(&uri, [])?;
    let read = |store: &dyn Store| {
        let world = WorldIdentity::of_store(store).map_err(unreadable)?;
        let feed = store.capabilities().feed;
        let feed_end = feed.then(|| store.feed_end().map_err(unreadable)).transpose()?;
        Ok((world, feed_end))
    };
    let (world, feed_end) = desk.read(read).await?;
    let (capabilities, counters) = (desk.store.capabilities(), desk.store.counters());
    Ok(Json(json!({
        "engine": desk.engine,
        "world": world,
        "feed_end": feed_end,
        "capabilities": {
            "native_transactions": capabilities.native_transactions,
            "scan": capabilities.scan,
            "feed": capabilities.feed,
            "durable": capabilities.durable,
        },
        "counters": {
            "committed": counters.committed,
            "conflicts": counters.conflicts,
            "failed": counters.failed,
            "groups": counters.groups,
            "loads": counters.loads,
        },
    }))
    .into_response())
}

async fn documents(State(desk): State<Arc<StoreDesk>>, uri: Uri) -> Result<Response, Problem> {
    let [after] = parameters(&uri, ["after"])?;
    let after = after.map(Key::parse).transpose().map_err(|error| malformed("after", &error))?;
    let read = move |store: &dyn Store| {
        Page::of_documents(store, after.as_ref()).map(answer).map_err(unreadable)
    };
    desk.read(read).await
}

async fn feed(State(desk): State<Arc<StoreDesk>>, uri: Uri) -> Result<Response, Problem> {
    let [after, limit] = parameters(&uri, ["after", "limit"])?;
    let after = after.map(str::parse).transpose().map_err(|error| malformed("after", &error))?;
    let after: FeedPosition = after.unwrap_or(FeedPosition::START);
    let wrong = || malformed("limit", &format!("a number from 1 to {MAX_PAGE_CHANGES}"));
    let limit = match limit.map(str::parse::<usize>) {
        None => MAX_PAGE_CHANGES,
        Some(Ok(limit)) if (1..=MAX_PAGE_CHANGES).contains(&limit) => limit,
        Some(_) => return Err(wrong()),
    };
    let read = move |store: &dyn Store| match Page::of_changes(store, after, limit) {
        Ok(page) => Ok(answer(page)),
        Err(FeedError::Read(error)) => Err(unreadable(error)),
        Err(FeedError::Forgotten { oldest }) => {
            let sentence = "these changes are no longer kept: read the documents";
            let problem = Problem::new(StatusCode::GONE, "forgotten", sentence);
            Err(Problem { oldest: Some(oldest), ..problem })
        }
    };
    desk.read(read).await
}

async fn hash(State(desk): State<Arc<StoreDesk>>, uri: Uri) -> Result<Response, Problem> {
    let [reading] = parameters(&uri, ["reading"])?;
    let reading = reading.map(str::parse).transpose();
    let reading = reading.map_err(|error| malformed("reading", &error))?;
    Ok(match desk.hashing.ask(&desk.store, reading).await {
        Progress::Ended(read) => Json(read.map_err(unreadable)?).into_response(),
        Progress::UnderWay(how_far) => (StatusCode::ACCEPTED, Json(how_far)).into_response(),
    })
}

fn answer(page: Page) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
    (kind, part::encode(0, false, &page)).into_response()
}

/// The values of the parameters of a query. Nothing in them needs escapes, and nothing else is understood.
fn parameters<'a, const N: usize>(
    uri: &'a Uri,
    names: [&str; N],
) -> Result<[Option<&'a str>; N], Problem> {
    let mut values = [None; N];
    for parameter in uri.query().unwrap_or_default().split('&').filter(|text| !text.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match names.iter().position(|known| *known == name) {
            Some(index) if values[index].is_none() => values[index] = Some(value),
            Some(_) => return Err(malformed(name, &"is there twice")),
            None => return Err(malformed(name, &"there is no such parameter")),
        }
    }
    Ok(values)
}

/// Why a question is not answered.
struct Problem {
    status: StatusCode,
    code: &'static str,
    sentence: String,
    /// From where on the feed can be read.
    oldest: Option<FeedPosition>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, sentence: impl Into<String>) -> Self {
        Self { status, code, sentence: sentence.into(), oldest: None }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, code, sentence, oldest } = self;
        match oldest {
            None => problem(status, code, &sentence),
            Some(oldest) => {
                let body = json!({"code": code, "sentence": sentence, "oldest": oldest});
                (status, Json(body)).into_response()
            }
        }
    }
}

fn malformed(parameter: &str, problem: &dyn std::fmt::Display) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "malformed", format!("{parameter}: {problem}"))
}

fn unreadable(error: ReadError) -> Problem {
    tracing::error!(%error, "the store could not be read for an operator");
    match error {
        ReadError::Damaged { .. } => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "damaged", error.to_string())
        }
        ReadError::Engine(_) | ReadError::Busy => unavailable("the store cannot read"),
    }
}

fn unavailable(sentence: &str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", sentence)
}
