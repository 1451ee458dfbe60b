//! A connection that is made again by itself when it is lost.

use super::Shared;
use super::errors::Failure;
use super::hosts::RECONNECT;
use super::kind::has_feed;
use super::session::{Session, Statements};
use crate::tally::Tally;
use pelago_model::Retry;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the log says that the database is gone.
const HINT_EVERY: Duration = Duration::from_secs(10);

/// What a connector is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Commit,
    Read,
}

/// How often there was reason to doubt that the leader still leads, though it answers. Of several hosts another one may
/// have been elected while nobody could stop this one, which then commits nothing any more and tells what was.
#[derive(Default)]
pub(super) struct Doubts(AtomicU64);

impl Doubts {
    /// All connectors look for the leader again.
    pub(super) fn raise(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A way to the database. One task owns it.
pub(super) struct Connector {
    shared: Arc<Shared>,
    purpose: Purpose,
    session: Option<(Session, Statements)>,
    /// Whether there was a session before.
    had_one: bool,
    /// The doubts that there were before the session was made.
    doubts: u64,
    retry: Retry,
}

impl Connector {
    pub(super) fn new(shared: Arc<Shared>, purpose: Purpose) -> Self {
        Self {
            shared,
            purpose,
            session: None,
            had_one: false,
            doubts: 0,
            retry: Retry::new(RECONNECT),
        }
    }

    /// A session, made anew if there is none; `None`, after a pause, if that fails.
    pub(super) async fn session(&mut self) -> Option<&(Session, Statements)> {
        let is_closed = |(session, _): &(Session, Statements)| session.client.is_closed();
        if self.is_doubtful() || self.session.as_ref().is_some_and(is_closed) {
            self.session = None;
        }
        if self.session.is_none() {
            self.doubts = self.shared.doubts.count();
            match self.connect().await {
                Ok(session) => {
                    self.session = Some(session);
                    self.shared.health.is_there(self.had_one);
                    self.had_one = true;
                    self.retry.succeeded();
                }
                Err(failure) => {
                    self.shared.health.is_gone(&failure);
                    let pause = self.retry.pause(RandomState::new().hash_one(()));
                    tokio::time::sleep(pause).await;
                }
            }
        }
        self.session.as_ref()
    }

    /// Whether somebody had reason to doubt, since the session was made, that it is the leader's.
    fn is_doubtful(&self) -> bool {
        self.has_choice() && self.doubts != self.shared.doubts.count()
    }

    fn has_choice(&self) -> bool {
        self.shared.hosts.has_choice()
    }

    /// Gives the session up because of a failure. A host that was silent may be so to all: the others are asked first,
    /// over new connections.
    pub(super) fn give_up(&mut self, failure: &Failure) {
        let Some((session, _)) = self.session.take() else { return };
        if matches!(failure, Failure::Silent) {
            self.shared.hosts.suspect(session.host, failure);
            self.shared.doubts.raise();
        }
    }

    async fn connect(&self) -> Result<(Session, Statements), Failure> {
        let session = self.shared.hosts.open(&self.shared.settings).await?;
        let prepared = self.prepare(&session).await;
        if let Err(failure) = &prepared {
            // It takes writes, and is not to be used all the same: another one may, too, and be the one that leads.
            self.shared.hosts.suspect(session.host, failure);
        }
        prepared.map(|statements| (session, statements))
    }

    async fn prepare(&self, session: &Session) -> Result<Statements, Failure> {
        if self.purpose == Purpose::Commit || self.has_choice() {
            session.refuse_silent_standbys().await?;
        }
        session.prepare(has_feed(session.kind)).await
    }
}

/// Whether the database can be reached, as the log tells it.
pub(super) struct Health {
    label: String,
    /// Guards when the log said last that it is gone, while it is.
    hinted: Mutex<Option<Instant>>,
    tally: Arc<Tally>,
}

impl Health {
    pub(super) fn new(label: String, tally: Arc<Tally>) -> Self {
        Self { label, hinted: Mutex::new(None), tally }
    }

    /// A connection could not be made, or was lost.
    pub(super) fn is_gone(&self, failure: &Failure) {
        let mut hinted = self.hinted.lock().unwrap_or_else(PoisonError::into_inner);
        if hinted.is_none_or(|hinted| hinted.elapsed() > HINT_EVERY) {
            *hinted = Some(Instant::now());
            tracing::warn!(
                store = %self.label, %failure,
                "the database is gone or refuses: what waits for it fails after {} s; it is tried again and again",
                super::PATIENCE.as_secs(),
            );
        }
    }

    /// A connection was made, perhaps again.
    fn is_there(&self, again: bool) {
        if again {
            self.tally.reconnected();
        }
        let hinted = self.hinted.lock().unwrap_or_else(PoisonError::into_inner).take();
        if hinted.is_some() {
            tracing::info!(store = %self.label, "the database is there again");
        }
    }
}
