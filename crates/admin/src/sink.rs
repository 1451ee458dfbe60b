//! The sink: a follower of the store's feed that hands documents on, for search and for numbers.
//!
//! It only reads the store, on threads of its own, a page at a time, and nobody waits for it. Every document is handed
//! on at least once: the sink's bookmark (a position in the feed) is kept in a file after every page. At first, and where
//! the feed does not reach back that far, the sink reads all documents instead.

mod bookmark;
mod bulk;
mod lines;
mod settings;

pub use settings::SinkConfig;

use anyhow::{Context, Result, bail};
use bookmark::{Bookmark, Phase};
use bulk::Bulk;
use lines::Lines;
use metrics::{counter, gauge};
use pelago_model::{Backoff, Document, Key, Retry};
use pelago_store::archive::Page;
use pelago_store::{FeedError, Store, files};
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// How often the feed is looked at when nothing was there.
const POLL: Duration = Duration::from_millis(500);
/// The pauses after failures: a sink goes on for as long as its world does.
const AGAIN: Backoff = Backoff { first_ms: 500, longest_ms: 30_000, attempts: Backoff::ENDLESS };

/// A sink and where it is.
pub struct Sink {
    store: Arc<dyn Store>,
    target: Target,
    kinds: BTreeSet<String>,
    batch: usize,
    file: PathBuf,
    bookmark: Bookmark,
    /// When there was nothing more to hand on.
    caught_up: Instant,
    following: Arc<Following>,
}

/// How far a sink is, for those who wait for it.
#[derive(Debug, Default)]
pub struct Following(AtomicBool);

impl Following {
    /// Whether, when the sink looked last, there was nothing left to tell it: it follows the feed and is at its end.
    pub fn has_told_everything(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Where documents go.
enum Target {
    Lines(Lines),
    Bulk(Box<Bulk>),
}

impl Target {
    fn of(config: &SinkConfig) -> Result<Self> {
        Ok(match config.http_url() {
            Some(url) => Self::Bulk(Box::new(Bulk::new(config, url).context("sink.http")?)),
            None => Self::Lines(Lines::new(config.file_path())),
        })
    }

    /// Hands documents on; says how many were not taken and never will be.
    async fn deliver(&mut self, documents: Vec<(Key, Document)>) -> Result<u64> {
        match self {
            Self::Lines(lines) => lines.deliver(documents).await.map(|()| 0),
            Self::Bulk(bulk) => bulk.deliver(&documents).await,
        }
    }
}

/// The file of the bookmark, whose directory is there afterwards, and what is in it.
fn bookmark_of(config: &SinkConfig, data: &Path) -> Result<(PathBuf, Option<Bookmark>)> {
    let file = config.state.clone().unwrap_or_else(|| data.join("sink.json"));
    let shown = || format!("sink.state {}", file.display());
    if let Some(parent) = file.parent() {
        files::create_directory(parent).with_context(shown)?;
    }
    let found = Bookmark::read(&file).with_context(shown)?;
    Ok((file, found))
}

impl Sink {
    /// A sink as it is configured; its bookmark is kept in the directory of the world unless told otherwise.
    ///
    /// # Errors
    /// If the store has no feed, or a file or URL of the configuration cannot be used.
    pub fn new(config: SinkConfig, store: Arc<dyn Store>, data: &Path) -> Result<Self> {
        if !store.capabilities().feed {
            bail!("sink: the store's engine has no feed of changes");
        }
        metrics::describe_counter!("pelago_sink_documents_total", "Documents, by their end.");
        metrics::describe_counter!("pelago_sink_failures_total", "Pages that were not taken.");
        metrics::describe_gauge!("pelago_sink_lag_changes", "Changes not yet handed on.");
        metrics::describe_gauge!("pelago_sink_behind_seconds", "Since nothing was left to tell.");
        let target = Target::of(&config)?;
        let (file, found) = bookmark_of(&config, data)?;
        let end = store.feed_end().context("sink")?;
        // A bookmark beyond the end is of another store, or of one that was put back since.
        let bookmark =
            found.filter(|bookmark| bookmark.position <= end).unwrap_or(Bookmark::first(end));
        let kinds = config.kinds.into_iter().collect();
        let batch = config.batch;
        let (caught_up, following) = (Instant::now(), Arc::default());
        Ok(Self { store, target, kinds, batch, file, bookmark, caught_up, following })
    }

    /// How far it is with documents of a kind; `None` if it is not told of them.
    pub fn following(&self, kind: &str) -> Option<Arc<Following>> {
        self.kinds.contains(kind).then(|| self.following.clone())
    }

    /// Whether a sink can be made as it is configured, as far as that can be known without its store.
    ///
    /// # Errors
    /// If a file or URL of the configuration cannot be used.
    pub fn check(config: &SinkConfig, data: &Path) -> Result<()> {
        Target::of(config)?;
        if config.http_url().is_none() {
            let file = config.file_path();
            let appending = OpenOptions::new().append(true).create(true).open(&file);
            appending.with_context(|| format!("sink.file {}", file.display()))?;
        }
        bookmark_of(config, data).map(drop)
    }

    /// Follows the feed until `stop` becomes true.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut retry = Retry::new(AGAIN);
        loop {
            let step = tokio::select! {
                step = self.step() => step,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            self.following.0.store(matches!(step, Ok(false)), Ordering::Release);
            let wait = match step {
                Ok(more) => {
                    retry.succeeded();
                    if more { Duration::ZERO } else { POLL }
                }
                Err(error) => {
                    counter!("pelago_sink_failures_total").increment(1);
                    let pause = retry.pause(RandomState::new().hash_one(()));
                    tracing::warn!(error = format!("{error:#}"), ?pause, "the sink takes nothing");
                    pause
                }
            };
            gauge!("pelago_sink_behind_seconds").set(self.caught_up.elapsed().as_secs_f64());
            tokio::select! {
                () = sleep(wait) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Hands the next page on; says whether there is more.
    async fn step(&mut self) -> Result<bool> {
        let (store, bookmark, batch) = (self.store.clone(), self.bookmark.clone(), self.batch);
        let read = move || {
            let page = match &bookmark.phase {
                Phase::Scanning { after } => Page::of_documents(&*store, after.as_ref())?,
                Phase::Following => Page::of_changes(&*store, bookmark.position, batch)?,
            };
            let end = store.feed_end()?;
            Ok::<_, FeedError>((page, end))
        };
        let (page, end) = match tokio::task::spawn_blocking(read).await? {
            Ok(read) => read,
            Err(FeedError::Forgotten { oldest }) => {
                tracing::warn!(%oldest, "the feed does not reach back: the sink reads all documents");
                self.move_to(Bookmark::first(self.store.feed_end()?)).await?;
                return Ok(true);
            }
            Err(error) => return Err(error).context("the store"),
        };
        let next = self.bookmark.after(&page);
        let is_last = page.is_last;
        let wanted = |key: &Key| self.kinds.contains(key.kind());
        let documents: Vec<_> = page.documents.into_iter().filter(|(key, _)| wanted(key)).collect();
        if !documents.is_empty() {
            let count = documents.len() as u64;
            let rejected = self.target.deliver(documents).await?;
            let count_of = |end| counter!("pelago_sink_documents_total", "end" => end);
            count_of("delivered").increment(count - rejected);
            count_of("rejected").increment(rejected);
        }
        self.move_to(next).await?;
        let following = self.bookmark.phase == Phase::Following;
        if following && is_last {
            self.caught_up = Instant::now();
        }
        // Engines count changes by it, if not one by one.
        gauge!("pelago_sink_lag_changes")
            .set(end.major.saturating_sub(self.bookmark.position.major) as f64);
        Ok(!(following && is_last))
    }

    /// Keeps a bookmark, durably.
    async fn move_to(&mut self, bookmark: Bookmark) -> Result<()> {
        if bookmark == self.bookmark {
            return Ok(());
        }
        let (file, kept) = (self.file.clone(), bookmark.clone());
        tokio::task::spawn_blocking(move || kept.write(&file))
            .await?
            .with_context(|| format!("sink.state {}", self.file.display()))?;
        self.bookmark = bookmark;
        Ok(())
    }
}
