//! The embedded engine: fjall behind one thread that commits in groups.
//!
//! All transactions that wait are checked one after the other, written as one batch and synced to disk
//! once; only then are they answered and can they be read. After a failed write or sync nobody knows what is on
//! disk: the engine answers `Unknown`. If the disk is full it takes nothing until there is room, then closes the database
//! and opens it again, as a restart would. Otherwise it is [`Store::broken`], and the server ends: what is on disk is
//! found at the next start. The same happens when the directory is deleted, moved or replaced.
//!
//! A journal that ends in the middle of a group, as `kill -9` leaves it, is read up to the group before. Two
//! limits are fjall's (3.1, <https://github.com/fjall-rs/fjall/issues/311>). If power fails while a group is being
//! synced and the disk kept a later page of it but not an earlier one, opening may fail with a checksum error
//! instead of dropping that group, which was never answered. And a disk that damages the journal's older parts
//! may be taken for such an end, and the documents after it be lost.
//!
//! A directory holds `lock` (one process at a time), `format` (the layout's version) and `documents` (fjall's: the
//! documents, and their feed). `embedded::directory` says how it comes to be and how it is deleted.

mod committer;
mod damage;
mod directory;
mod documents;
mod end;
mod feed;
mod journals;
mod opened;
mod place;
mod room;

use crate::tally::Tally;
use crate::waiting::{Commit, Load, MAX_WAITING, Work};
use crate::{
    Capabilities, Change, CommitDone, FeedError, FeedPosition, Fence, LoadDone, OpenError,
    ReadError, Store, StoreCounters, can_be_forgotten,
};
use committer::{Committer, Ended, OptionalFence};
use damage::Damage;
use directory::Directory;
use end::{AfterFailure, End};
use opened::Opened;
use pelago_model::{Document, Key, Transaction};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

pub use committer::{MAX_GROUP, MAX_GROUP_BYTES};

/// Documents in a directory.
pub struct Embedded {
    /// Guards the way to the threads, which `close` takes.
    running: Mutex<Option<Running>>,
    tally: Arc<Tally>,
    fence: Arc<OptionalFence>,
    end: End,
    damage: Arc<Damage>,
}

/// How long closing waits for what was asked before. A disk that hangs may never end it: what waits for that is not
/// acknowledged, and the next start finds what is there.
const CLOSE_TIME: Duration = Duration::from_secs(15);
/// How often it is looked whether a thread has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);

struct Running {
    commits: SyncSender<Commit>,
    loads: SyncSender<Load>,
    threads: Vec<JoinHandle<()>>,
    opened: Arc<Opened>,
}

impl Embedded {
    /// Opens or creates the store in a directory.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        Self::open_claimed(Directory::claim(directory)?)
    }

    /// Deletes the store in a directory, if there is one, and creates an empty one. A store that another process has, and
    /// whatever is no store, stays as it is.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_anew(directory: &Path) -> Result<Self, OpenError> {
        let directory = Directory::claim(directory)?;
        directory.delete()?;
        Self::open_claimed(directory)
    }

    /// Whether there is a store in a directory, which is not opened or touched.
    pub fn is_in(directory: &Path) -> bool {
        directory::has_store(directory)
    }

    fn open_claimed(directory: Directory) -> Result<Self, OpenError> {
        let place = directory.path().to_owned();
        let damage = Arc::new(Damage::new(directory.documents()));
        let opened = Arc::new(Opened::open(directory)?);
        let (commits, commit_requests) = sync_channel(MAX_WAITING);
        let (loads, load_requests) = sync_channel(MAX_WAITING);
        let tally = Arc::<Tally>::default();
        let end = End::default();
        let fence = Arc::<OptionalFence>::default();
        let (documents, ended, commit_tally) = (opened.clone(), end.clone(), tally.clone());
        let commit_fence = fence.clone();
        let commit = move || {
            // Nothing of it is used afterwards.
            let serve =
                || serve_commits(&documents, &commit_requests, commit_fence, &ended, commit_tally);
            if catch_unwind(AssertUnwindSafe(serve)).is_err() {
                ended.panicked();
            }
        };
        let (documents, load_tally, load_damage) = (opened.clone(), tally.clone(), damage.clone());
        let load = move || serve_loads(&documents, &load_requests, &load_tally, &load_damage);
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let builder = std::thread::Builder::new().name(name.to_owned());
            builder.spawn(run).map_err(|error| directory::engine(&place, error))
        };
        let threads =
            vec![spawn("store-commit", Box::new(commit))?, spawn("store-load", Box::new(load))?];
        let running = Mutex::new(Some(Running { commits, loads, threads, opened }));
        Ok(Self { running, tally, fence, end, damage })
    }

    fn ask(&self, work: Work, done: CommitDone) {
        let Some(commit) = Commit::new(work, done, &self.tally) else { return };
        let refused = match &*self.running() {
            Some(running) => refused(running.commits.try_send(commit)),
            None => Some(commit),
        };
        // Answered after the lock is released, because a caller that is answered may ask again.
        drop(refused);
    }

    fn opened(&self) -> Result<Arc<Opened>, ReadError> {
        let opened = self.running().as_ref().map(|running| running.opened.clone());
        opened.ok_or(ReadError::Busy)
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        // Nothing is left half done under the lock.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Embedded {
    fn load(&self, keys: Vec<Key>, done: LoadDone) {
        let load = Load::new(keys, done);
        let refused = match &*self.running() {
            Some(running) => refused(running.loads.try_send(load)),
            None => Some(load),
        };
        // As in `ask`.
        drop(refused);
    }

    fn commit(&self, transaction: Transaction, done: CommitDone) {
        self.ask(Work::Transaction(transaction), done);
    }

    fn restore(&self, documents: Vec<(Key, Document)>, done: CommitDone) {
        self.ask(Work::Restore(documents), done);
    }

    fn forget(&self, keys: &[Key]) -> Result<(), ReadError> {
        can_be_forgotten(keys)?;
        if let Some(reason) = self.broken() {
            return Err(ReadError::Engine(reason));
        }
        self.opened()?.read(|documents| documents.forget(keys).map_err(unread))
    }

    fn scan_after(
        &self,
        prefix: &str,
        after: Option<&Key>,
        visit: &mut dyn FnMut(Key, Document) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let visited = self.opened()?.read(|documents| documents.view().visit(prefix, after, visit));
        visited.map_err(|error| self.damage.name(error))
    }

    fn feed(&self, after: FeedPosition, limit: usize) -> Result<Vec<Change>, FeedError> {
        self.opened()?.read(|documents| documents.view().changes(after, limit))
    }

    fn feed_end(&self) -> Result<FeedPosition, ReadError> {
        self.opened()?.read(|documents| documents.view().feed_end())
    }

    fn fence(&self, fence: Fence) {
        *self.fence.lock().unwrap_or_else(PoisonError::into_inner) = Some(fence);
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            native_transactions: true,
            scan: true,
            feed: true,
            durable: true,
            exclusive: true,
        }
    }

    fn counters(&self) -> StoreCounters {
        self.tally.read()
    }

    fn broken(&self) -> Option<String> {
        self.end.reason()
    }

    fn close(&self) {
        let Some(running) = self.running().take() else { return };
        // The threads finish what was asked, then find that nobody can ask any more.
        drop((running.commits, running.loads));
        let began = Instant::now();
        for thread in running.threads {
            // A caller that is answered may drop the last handle on this very thread, which then ends soon.
            if thread.thread().id() == std::thread::current().id() {
                continue;
            }
            while !thread.is_finished() && began.elapsed() < CLOSE_TIME {
                sleep(LOOK_EVERY);
            }
            if !thread.is_finished() {
                tracing::error!("the disk does not answer: the store is left as it is");
            } else if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.close();
    }
}

fn refused<T>(sent: Result<(), TrySendError<T>>) -> Option<T> {
    match sent {
        Ok(()) => None,
        Err(TrySendError::Full(request) | TrySendError::Disconnected(request)) => Some(request),
    }
}

/// Commits until nobody can ask any more, or the engine has come to its end.
fn serve_commits(
    opened: &Arc<Opened>,
    requests: &Receiver<Commit>,
    fence: Arc<OptionalFence>,
    end: &End,
    tally: Arc<Tally>,
) {
    let write = |changed: &_| opened.write(changed);
    let mut committer = Committer::new(opened.clone(), write, fence, tally);
    while let Err(ended) = committer.run(requests) {
        let error = match ended {
            Ended::Disk(error) => error,
            Ended::Fenced => return end.fenced(),
        };
        if end.after(opened, &error) == AfterFailure::Ends {
            return;
        }
        if let Err(reason) = room::wait(opened, requests) {
            return end.note(reason);
        }
    }
}

fn serve_loads(opened: &Opened, requests: &Receiver<Load>, tally: &Tally, damage: &Damage) {
    while let Ok(load) = requests.recv() {
        let found = opened.read(|documents| {
            let view = documents.view();
            load.keys.iter().map(|key| view.read(key)).collect::<Result<_, ReadError>>()
        });
        load.answer(found.map_err(|error| damage.name(error)), tally);
    }
}

/// The error of an engine that could not read.
fn unread(error: fjall::Error) -> ReadError {
    ReadError::Engine(error.to_string())
}
