//! A world that is read through the API of the server that runs it.

use super::shown::Shown;
use axum::http::{Method, StatusCode};
use bytes::Bytes;
use pelago_admin::api::store_routes::UnderWay;
use pelago_admin::http_client::{HttpClient, Question};
use pelago_model::edit::Edit;
use pelago_model::{Backoff, Key, Retry, Revision, WorldTime};
use pelago_store::archive::{About, Page, Source, SourceError, WorldIdentity, part};
use pelago_store::{FeedPosition, HashReading};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a hash, which reads everything, may come no further.
const HASH_PATIENCE: Duration = Duration::from_secs(300);
const HASH: &str = "/api/v1/store/hash";
/// How often a page is asked for when the server is busy or away.
const AGAIN: Backoff = Backoff { first_ms: 500, longest_ms: 16_000, attempts: 6 };

/// A server. Blocks: not for threads of the runtime.
pub(super) struct Remote {
    client: HttpClient,
    runtime: Handle,
    /// Whether it has ever answered: otherwise its address is wrong, and nobody waits for it.
    met: bool,
}

#[derive(Deserialize)]
struct Problem {
    code: String,
    sentence: String,
    oldest: Option<FeedPosition>,
}

#[derive(Deserialize)]
struct Described {
    world: Option<WorldIdentity>,
    feed_end: Option<FeedPosition>,
}

/// What is said of the hash.
#[derive(Deserialize)]
#[serde(untagged)]
enum Hashed {
    Ended(HashReading),
    UnderWay(UnderWay),
}

impl Remote {
    pub(super) fn new(client: HttpClient, runtime: Handle) -> Self {
        Self { client, runtime, met: false }
    }

    /// A document.
    pub(super) fn document(&mut self, key: &Key) -> Result<Shown, SourceError> {
        self.json(&document_path(key))
    }

    /// Edits a document that has a revision, or has it now: so that nothing is done twice if it is asked twice.
    pub(super) fn edit(
        &mut self,
        key: &Key,
        revision: Option<Revision>,
        edits: &[Edit],
    ) -> Result<Shown, SourceError> {
        let revision = match revision {
            Some(revision) => revision,
            None => self.document(key)?.revision,
        };
        let path = document_path(key);
        let body = json!({"revision": revision, "edits": edits}).to_string();
        let body = Some(("application/json", body.into()));
        let question = Question { method: Method::PATCH, path: &path, body, patience: PATIENCE };
        let bytes = self.send(&question)?;
        read_json(&path, &bytes)
    }

    /// The time of the world; of a backup that is whole, notes when it began.
    pub(super) fn backup(&mut self, began: Option<WorldTime>) -> Result<WorldTime, SourceError> {
        #[derive(Deserialize)]
        struct Noted {
            began_ms: WorldTime,
        }
        let path = "/api/v1/backups";
        let body = json!({"began_ms": began}).to_string();
        let body = Some(("application/json", body.into()));
        let question = Question { method: Method::POST, path, body, patience: PATIENCE };
        let bytes = self.send(&question)?;
        let Noted { began_ms } = read_json(path, &bytes)?;
        Ok(began_ms)
    }

    fn ask(&mut self, path: &str) -> Result<Bytes, SourceError> {
        self.send(&Question { method: Method::GET, path, body: None, patience: PATIENCE })
    }

    /// Asks, and again if it may help.
    fn send(&mut self, question: &Question) -> Result<Bytes, SourceError> {
        let mut retry = Retry::new(AGAIN);
        loop {
            let answer = self.runtime.block_on(self.client.ask(question));
            let error = match answer {
                Ok((StatusCode::OK | StatusCode::ACCEPTED, body)) => {
                    self.met = true;
                    return Ok(body);
                }
                Ok((status, body)) => {
                    self.met = true;
                    let problem = refused(status, &body);
                    if !may_pass(status) {
                        return Err(problem);
                    }
                    problem
                }
                Err(error) => SourceError::Server(format!("{error:#}")),
            };
            let chance = RandomState::new().hash_one(());
            let Some(pause_ms) = retry.failed(chance).filter(|_| self.met) else {
                return Err(error);
            };
            tracing::warn!(%error, pause_ms, "asked again");
            std::thread::sleep(Duration::from_millis(pause_ms.unsigned_abs()));
        }
    }

    fn page(&mut self, path: &str) -> Result<Page, SourceError> {
        let bytes = self.ask(path)?;
        part::decode(&bytes).map_err(|error| SourceError::Server(format!("{path}: it {error}")))
    }

    fn json<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, SourceError> {
        let bytes = self.ask(path)?;
        read_json(path, &bytes)
    }
}

fn document_path(key: &Key) -> String {
    format!("/api/v1/store/document/{key}")
}

fn read_json<T: DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T, SourceError> {
    let wrong = |error| SourceError::Server(format!("{path}: it is no pelago server: {error}"));
    serde_json::from_slice(bytes).map_err(wrong)
}

fn may_pass(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

fn refused(status: StatusCode, body: &[u8]) -> SourceError {
    match serde_json::from_slice(body) {
        Ok(Problem { oldest: Some(oldest), .. }) => SourceError::Forgotten(oldest),
        Ok(Problem { code, sentence, .. }) => {
            SourceError::Server(format!("it answered {status} {code}: {sentence}"))
        }
        Err(_) => SourceError::Server(format!("it answered {status}, and is no pelago server")),
    }
}

impl Source for Remote {
    fn about(&mut self) -> Result<About, SourceError> {
        let Described { world, feed_end } = self.json("/api/v1/store")?;
        Ok(About { world: world.ok_or(SourceError::NoWorld)?, feed_end })
    }

    fn documents(&mut self, after: Option<&Key>) -> Result<Page, SourceError> {
        match after {
            Some(after) => self.page(&format!("/api/v1/store/documents?after={after}")),
            None => self.page("/api/v1/store/documents"),
        }
    }

    fn changes(&mut self, after: FeedPosition) -> Result<Page, SourceError> {
        self.page(&format!("/api/v1/store/feed?after={after}"))
    }

    fn hash(&mut self) -> Result<HashReading, SourceError> {
        let mut path = HASH.to_owned();
        let (mut read, mut since) = (None, Instant::now());
        loop {
            match self.json(&path)? {
                Hashed::Ended(reading) => return Ok(reading),
                Hashed::UnderWay(UnderWay { reading, documents }) => {
                    tracing::info!(documents, "the server reads its store");
                    path = format!("{HASH}?reading={reading}");
                    if read != Some((reading, documents)) {
                        (read, since) = (Some((reading, documents)), Instant::now());
                    }
                }
            }
            if since.elapsed() > HASH_PATIENCE {
                return Err(SourceError::Server("its hash comes no further".to_owned()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelago_admin::{Serving, api, serve as serve_http};
    use pelago_model::{CommitOutcome, Document, Revision};
    use pelago_net::Listener;
    use pelago_store::archive::{Event, Kind, Plan, backup};
    use pelago_store::{Memory, restore_now, world_hash};
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::Arc;
    use tokio::sync::watch;

    /// How long a connection lasts, and how long an answer waits for a hash: a hundredth of what they do.
    const CONNECTION_TIME: Duration = Duration::from_millis(1200);
    const HASH_WAIT: Duration = Duration::from_millis(200);
    /// Longer than a connection lasts.
    const LONG: Duration = Duration::from_millis(2500);

    /// A world of several pages, and a reader of it through its server.
    struct Served {
        store: Arc<Memory>,
        remote: Remote,
        /// Dropped, it stops the server.
        _served: watch::Sender<bool>,
    }

    fn serve(runtime: &Handle) -> Served {
        let store = Arc::new(Memory::default());
        let put = |key: Key, value: String| {
            let document = Document { schema: 1, revision: Revision(1), value: Some(value.into()) };
            assert_eq!(restore_now(&*store, vec![(key, document)]), CommitOutcome::Committed);
        };
        put(Key::world(), r#"{"world":1}"#.to_owned());
        for number in 0..100 {
            let key = Key::parse(&format!("filler/{number:03}")).unwrap();
            put(key, format!("\"{}\"", "x".repeat(60_000)));
        }
        let _entered = runtime.enter();
        let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let url = format!("http://{}", listener.address());
        let routes = api::store_routes::routes(store.clone(), "memory".to_owned(), HASH_WAIT);
        let (served, stop) = watch::channel(false);
        let serving = Serving { time: CONNECTION_TIME, ..Serving::operators(100, None) };
        runtime.spawn(serve_http(listener, routes, serving, stop));
        let client = HttpClient::new(&url, None, None).unwrap();
        Served { store, remote: Remote::new(client, runtime.clone()), _served: served }
    }

    #[test]
    fn a_hash_may_take_longer_than_a_connection_lasts() {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
        let mut served = serve(runtime.handle());
        assert_eq!(served.remote.about().unwrap().world.number, 1);
        // Nothing is read until the only thread that may is free.
        runtime.spawn_blocking(|| std::thread::sleep(LONG));
        let began = Instant::now();
        let reading = served.remote.hash().unwrap();
        assert!(began.elapsed() > CONNECTION_TIME, "it was not held up");
        let hash = world_hash(&*served.store).unwrap();
        assert_eq!(reading, HashReading { hash, quiet: true });
    }

    #[test]
    fn a_backup_may_take_longer_than_a_connection_lasts() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut served = serve(runtime.handle());
        let directory = tempfile::tempdir().unwrap();
        let plan = Plan::new(directory.path(), Kind::Backup, "test", 0);
        let began = Instant::now();
        let watch = &mut |event| {
            if matches!(event, Event::Progress(_)) {
                std::thread::sleep(CONNECTION_TIME / 2);
            }
        };
        let manifest = backup(&mut served.remote, &plan, watch).unwrap();
        assert!(began.elapsed() > 2 * CONNECTION_TIME, "there were too few pages");
        assert_eq!(manifest.hash, Some(world_hash(&*served.store).unwrap()));
    }
}
