//! The engine `postgres`: documents in a PostgreSQL database, or in one that speaks its protocol.
//!
//! Addresses are `postgres://USER:PASSWORD@HOST:PORT/DATABASE?OPTIONS`; `docs/store.md` lists the options. Several
//! processes may use one database: revisions decide, as between the stewards of one process.
//!
//! Transactions that wait are taken in groups, and each group is one database transaction: it locks the rows of all
//! its keys, decides by the present revisions exactly as the embedded engine does, writes what changes with one
//! statement, and commits once (`committer`). Groups of one engine that run at the same time have no key in common. Reads
//! that wait are one statement, too (`loads`).
//!
//! `Committed` is said only after the database has said so. If the connection ends between `COMMIT` and its answer, or
//! the database stopped waiting for its standbys, the end is `Unknown`; the engine goes on, other than the embedded
//! one, because the database knows how it ended: a caller that reads again finds out.
//!
//! Of several hosts the leader is used. One that cannot reach its standbys any more may have been replaced without
//! knowing it: whenever nobody knows how commits ended, all connections are made anew, to one whose standbys answer.
//!
//! While the database is gone, requests wait for [`PATIENCE`] at most, then fail; connections are made again by
//! themselves.

mod address;
mod committer;
mod connector;
mod errors;
mod feed;
mod hosts;
mod kind;
mod loads;
mod queue;
mod retention;
mod rows;
mod scan;
mod schema;
mod session;
mod statements;
mod tls;

use crate::tally::Tally;
use crate::waiting::{Commit, Load, Work};
use crate::{
    Capabilities, Change, CommitDone, FENCED, FeedError, FeedPosition, Fence, LoadDone, OpenError,
    ReadError, Store, StoreCounters, can_be_forgotten,
};
use address::Settings;
use committer::{Busy, Committer};
use connector::{Doubts, Health};
use feed::Feed;
use hosts::Hosts;
use loads::Loader;
use pelago_model::{Document, Key, Transaction};
use queue::Queue;
use retention::Retention;
use schema::Facts;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;
use tokio::task::JoinSet;

pub use committer::{MAX_GROUP, MAX_GROUP_BYTES};
#[doc(hidden)]
pub use statements::Sql;

/// How long a request waits for its turn, while the database is gone or slow; then it fails.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How long closing waits for what was asked before; then that is given up.
const CLOSE_TIME: Duration = Duration::from_secs(10);
/// How often it is looked whose patience has ended.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Connections that read documents, beside those that commit.
const LOADERS: usize = 2;

/// Documents in a database.
pub struct Postgres {
    /// Guards the way to the thread, which `close` takes.
    running: Mutex<Option<Running>>,
    shared: Arc<Shared>,
    feed: Option<Arc<Feed>>,
    retention: Arc<Retention>,
    capabilities: Capabilities,
}

struct Running {
    /// Where reads that block their caller are run.
    handle: Handle,
    thread: JoinHandle<()>,
}

/// What the tasks of an engine share.
struct Shared {
    settings: Settings,
    hosts: Hosts,
    commits: Queue<Commit>,
    loads: Queue<Load>,
    busy: Busy,
    health: Health,
    doubts: Doubts,
    /// Guards what has to hold for every commit, for the moment in which it is set or read.
    fence: Mutex<Option<Fence>>,
    /// Whether the fence was passed: another process has taken over.
    fenced: AtomicBool,
    /// Told when the engine is closed.
    closing: Notify,
    tally: Arc<Tally>,
}

impl Postgres {
    /// Connects, and creates the tables if there are none.
    ///
    /// # Errors
    /// [`OpenError::Database`], which never shows the password.
    pub fn open(address: &str) -> Result<Self, OpenError> {
        let settings = Settings::parse(address)?;
        let label = settings.label.clone();
        let problem = |problem: String| OpenError::Database { address: label.clone(), problem };
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| problem(error.to_string()))?;
        let handle = runtime.handle().clone();
        let tally = Arc::<Tally>::default();
        let shared = Arc::new(Shared {
            commits: Queue::default(),
            loads: Queue::default(),
            busy: Busy::default(),
            health: Health::new(settings.label.clone(), tally.clone()),
            doubts: Doubts::default(),
            fence: Mutex::new(None),
            fenced: AtomicBool::new(false),
            closing: Notify::new(),
            hosts: Hosts::new(&settings.config),
            settings,
            tally,
        });
        let (opened, facts) = channel();
        let served = shared.clone();
        let thread = std::thread::Builder::new()
            .name("store-postgres".to_owned())
            .spawn(move || serve(runtime, &served, &opened))
            .map_err(|error| problem(error.to_string()))?;
        let ended = || Err("the thread of the store has ended".to_owned());
        let (facts, feed) = facts.recv().unwrap_or_else(|_| ended()).map_err(problem)?;
        let capabilities = Capabilities {
            native_transactions: true,
            scan: true,
            feed: facts.feed,
            durable: facts.durable,
            exclusive: false,
        };
        let running = Mutex::new(Some(Running { handle, thread }));
        let retention = Arc::new(Retention::new(shared.clone()));
        Ok(Self { running, shared, feed, retention, capabilities })
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        // Nothing is left half done under the lock.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self) -> Result<Handle, ReadError> {
        let handle = self.running().as_ref().map(|running| running.handle.clone());
        handle.ok_or(ReadError::Busy)
    }

    /// Runs what asks the database, and waits for it.
    fn ask<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, ReadError> {
        let (sender, answer) = channel();
        self.handle()?.spawn(async move { drop(sender.send(work.await)) });
        answer.recv().map_err(|_| ReadError::Busy)
    }
}

impl Store for Postgres {
    fn load(&self, keys: Vec<Key>, done: LoadDone) {
        drop(self.shared.loads.push(Load::new(keys, done)));
    }

    fn commit(&self, transaction: Transaction, done: CommitDone) {
        self.shared.commit(Work::Transaction(transaction), done);
    }

    fn restore(&self, documents: Vec<(Key, Document)>, done: CommitDone) {
        self.shared.commit(Work::Restore(documents), done);
    }

    fn forget(&self, keys: &[Key]) -> Result<(), ReadError> {
        can_be_forgotten(keys)?;
        let (keys, retention) = (keys.to_vec(), self.retention.clone());
        self.ask(async move { retention.forget(&keys).await })?
    }

    fn scan_after(
        &self,
        prefix: &str,
        after: Option<&Key>,
        visit: &mut dyn FnMut(Key, Document) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        scan::scan(&self.handle()?, &self.shared, prefix, after, visit)
    }

    fn feed(&self, after: FeedPosition, limit: usize) -> Result<Vec<Change>, FeedError> {
        match self.feed.clone() {
            Some(feed) => self.ask(async move { feed.read(after, limit).await })?,
            None => self.handle().map(|_| Vec::new()).map_err(FeedError::Read),
        }
    }

    fn feed_end(&self) -> Result<FeedPosition, ReadError> {
        match self.feed.clone() {
            Some(feed) => self.ask(async move { feed.end().await })?,
            None => self.handle().map(|_| FeedPosition::START),
        }
    }

    fn fence(&self, fence: Fence) {
        *self.shared.fence.lock().unwrap_or_else(PoisonError::into_inner) = Some(fence);
    }

    fn broken(&self) -> Option<String> {
        self.shared.fenced.load(Ordering::Acquire).then(|| FENCED.to_owned())
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn counters(&self) -> StoreCounters {
        self.shared.tally.read()
    }

    fn close(&self) {
        let Some(running) = self.running().take() else { return };
        // The tasks finish what was asked, then find that nobody can ask any more.
        self.shared.commits.close();
        self.shared.loads.close();
        self.shared.closing.notify_one();
        // A caller that is answered may drop the last handle on this very thread, which then ends soon.
        let here = running.thread.thread().id() == std::thread::current().id();
        if !here && running.thread.join().is_err() {
            tracing::error!("the thread of the store panicked");
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.close();
    }
}

type Opened = Result<(Facts, Option<Arc<Feed>>), String>;

/// Opens the database, says how that went, and serves it until the queues are closed and empty.
fn serve(runtime: Runtime, shared: &Arc<Shared>, opened: &Sender<Opened>) {
    runtime.block_on(async {
        let facts = match schema::prepare(&shared.hosts, &shared.settings).await {
            Ok(facts) => facts,
            Err(problem) => return drop(opened.send(Err(problem))),
        };
        let feed = facts.feed.then(|| Arc::new(Feed::new(shared.clone())));
        let mut workers = JoinSet::new();
        for _ in 0..shared.settings.connections {
            workers.spawn(Committer::new(shared.clone(), feed.clone()).run());
        }
        for _ in 0..LOADERS {
            workers.spawn(Loader::new(shared.clone()).run());
        }
        tokio::spawn(watch(shared.clone()));
        if let Some(feed) = &feed {
            tokio::spawn(feed.clone().keep_short());
        }
        drop(opened.send(Ok((facts, feed))));
        let closed = async {
            shared.closing.notified().await;
            tokio::time::sleep(CLOSE_TIME).await;
        };
        tokio::select! {
            () = all_end(&mut workers) => {}
            // Dropped, what they hold is answered: as failed, or as unknown if it was sent.
            () = closed => tracing::error!(
                "the database has not answered for {} s: what was asked of it is given up", CLOSE_TIME.as_secs()
            ),
        }
    });
    // What was given up is still in the queues; a caller that is answered may ask again, and is refused.
    drop(shared.commits.expire(|_| true));
    drop(shared.loads.expire(|_| true));
    // A name that is being looked up would be waited for.
    runtime.shutdown_background();
}

async fn all_end(workers: &mut JoinSet<()>) {
    while let Some(ended) = workers.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a task of the store panicked");
        }
    }
}

/// Ends what has waited for too long.
async fn watch(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        // Dropped, they have failed.
        drop(shared.commits.expire(|commit| commit.asker.asked().elapsed() > PATIENCE));
        for load in shared.loads.expire(|load| load.asked().elapsed() > PATIENCE) {
            let problem = format!("the database has not answered for {} s", PATIENCE.as_secs());
            load.answer(Err(ReadError::Engine(problem)), &shared.tally);
        }
    }
}

impl Shared {
    fn fence(&self) -> Option<Fence> {
        self.fence.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The fence was passed: a group has failed, and everything later does.
    fn end_fenced(&self) {
        if !self.fenced.swap(true, Ordering::AcqRel) {
            tracing::error!(store = %self.settings.label, "{FENCED}");
        }
    }

    fn commit(&self, work: Work, done: CommitDone) {
        let commit = Commit::new(work, done, &self.tally);
        if self.fenced.load(Ordering::Acquire) {
            // Dropped, it has failed.
            return;
        }
        drop(commit.map(|commit| self.commits.push(commit)));
    }
}
