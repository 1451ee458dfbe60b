//! A world that is read through the API of the server that runs it.

use super::document::Shown;
use crate::http_client::{HttpClient, Question};
use axum::http::{Method, StatusCode};
use bytes::Bytes;
use pelago_model::edit::Edit;
use pelago_model::{Key, Revision};
use pelago_store::archive::{About, Page, Source, SourceError, WorldIdentity, part};
use pelago_store::{FeedPosition, HashReading};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::time::Duration;
use tokio::runtime::Handle;

/// How long a page may take, and how long the hash, which reads everything.
const PATIENCE: Duration = Duration::from_secs(30);
const HASH_PATIENCE: Duration = Duration::from_secs(120);
/// How often a page is asked for when the server is busy or away; the pause doubles from the first.
const ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(500);

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

impl Remote {
    pub(super) fn new(client: HttpClient, runtime: Handle) -> Self {
        Self { client, runtime, met: false }
    }

    /// A document.
    pub(super) fn document(&mut self, key: &Key) -> Result<Shown, SourceError> {
        self.json(&document_path(key), PATIENCE)
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

    fn ask(&mut self, path: &str, patience: Duration) -> Result<Bytes, SourceError> {
        self.send(&Question { method: Method::GET, path, body: None, patience })
    }

    /// Asks, and again if it may help.
    fn send(&mut self, question: &Question) -> Result<Bytes, SourceError> {
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let answer = self.runtime.block_on(self.client.ask(question));
            let error = match answer {
                Ok((StatusCode::OK, body)) => {
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
            if !self.met || attempt == ATTEMPTS {
                return Err(error);
            }
            tracing::warn!(%error, ?pause, "asked again");
            std::thread::sleep(pause);
            pause *= 2;
        }
        unreachable!("the attempts are counted")
    }

    fn page(&mut self, path: &str) -> Result<Page, SourceError> {
        let bytes = self.ask(path, PATIENCE)?;
        part::decode(&bytes).map_err(|error| SourceError::Server(format!("{path}: it {error}")))
    }

    fn json<T: DeserializeOwned>(
        &mut self,
        path: &str,
        patience: Duration,
    ) -> Result<T, SourceError> {
        let bytes = self.ask(path, patience)?;
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
        let Described { world, feed_end } = self.json("/api/v1/store", PATIENCE)?;
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
        self.json("/api/v1/store/hash", HASH_PATIENCE)
    }
}
