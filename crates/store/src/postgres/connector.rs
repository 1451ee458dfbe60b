//! A connection that is made again by itself when it is lost.

use super::Shared;
use super::errors::Failure;
use super::kind::has_feed;
use super::session::{Session, Statements};
use crate::tally::Tally;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_postgres::config::LoadBalanceHosts;

/// The pause after the first failure to connect; it doubles up to the longest one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
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
    pause: Duration,
}

impl Connector {
    pub(super) fn new(shared: Arc<Shared>, purpose: Purpose) -> Self {
        Self { shared, purpose, session: None, had_one: false, doubts: 0, pause: FIRST_PAUSE }
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
                    self.pause = FIRST_PAUSE;
                }
                Err(failure) => {
                    self.shared.health.is_gone(&failure);
                    tokio::time::sleep(self.pause).await;
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
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
        self.shared.settings.config.get_hosts().len() > 1
    }

    /// Gives the session up.
    pub(super) fn drop_session(&mut self) {
        self.session = None;
    }

    async fn connect(&self) -> Result<(Session, Statements), Failure> {
        let settings = &self.shared.settings;
        let mut config = settings.config.clone();
        if self.pause > FIRST_PAUSE {
            // The first that takes writes was refused: another one may, too, and be the one that leads.
            config.load_balance_hosts(LoadBalanceHosts::Random);
        }
        let session = Session::open_at(&config, settings).await?;
        if self.purpose == Purpose::Commit || self.has_choice() {
            session.refuse_silent_standbys().await?;
        }
        let statements = session.prepare(has_feed(session.kind)).await?;
        Ok((session, statements))
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
