//! The embedded engine: fjall behind one thread that commits in groups.
//!
//! All transactions that wait are checked one after the other, written as one batch and synced to disk
//! once; only then are they answered and can they be read. After a failed sync nobody knows what is on
//! disk: the engine answers `Unknown` and takes nothing more.

use crate::apply::apply;
use crate::envelope;
use crate::{CommitDone, LoadDone, OpenError, ReadError, Store};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use pelago_model::{CommitOutcome, Document, Key, Revision, Transaction};
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Requests that wait; more fail at once.
pub const MAX_WAITING: usize = 65_536;
/// Transactions of one group.
pub const MAX_GROUP: usize = 4096;
/// The version of the directory's layout.
const FORMAT: &str = "pelago embedded store 1\n";

enum Request {
    Commit(Transaction, CommitDone),
    Load(Vec<Key>, LoadDone),
}

/// Documents in a directory.
pub struct Embedded {
    documents: Keyspace,
    /// Guards the senders and threads, which `close` takes.
    running: Mutex<Option<Running>>,
}

struct Running {
    commits: SyncSender<Request>,
    loads: SyncSender<Request>,
    threads: Vec<JoinHandle<()>>,
    /// Held as long as the directory is in use.
    _lock: File,
}

impl Embedded {
    /// Opens or creates the store in a directory.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        let engine =
            |problem: String| OpenError::Engine { directory: directory.to_owned(), problem };
        std::fs::create_dir_all(directory).map_err(|error| engine(error.to_string()))?;
        let lock = lock(directory)?;
        check_format(directory)?;
        let database = Database::builder(directory.join("documents"))
            .open()
            .map_err(|error| engine(error.to_string()))?;
        let documents = database
            .keyspace("documents", KeyspaceCreateOptions::default)
            .map_err(|error| engine(error.to_string()))?;
        let (commits, commit_requests) = sync_channel(MAX_WAITING);
        let (loads, load_requests) = sync_channel(MAX_WAITING);
        let committer = Committer { database, documents: documents.clone() };
        let reader = documents.clone();
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(run)
                .map_err(|error| engine(error.to_string()))
        };
        let threads = vec![
            spawn("store-commit", Box::new(move || committer.run(&commit_requests)))?,
            spawn("store-load", Box::new(move || serve_loads(&reader, &load_requests)))?,
        ];
        let running = Running { commits, loads, threads, _lock: lock };
        Ok(Self { documents, running: Mutex::new(Some(running)) })
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        // Nothing is left half done under the lock.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One process at a time.
fn lock(directory: &Path) -> Result<File, OpenError> {
    let engine = |error: std::io::Error| OpenError::Engine {
        directory: directory.to_owned(),
        problem: error.to_string(),
    };
    let file = File::create(directory.join("lock")).map_err(engine)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(directory.to_owned())),
        Err(TryLockError::Error(error)) => Err(engine(error)),
    }
}

/// Writes the layout's version into a new directory, and refuses another one's.
fn check_format(directory: &Path) -> Result<(), OpenError> {
    let format = |problem: String| OpenError::Format { directory: directory.to_owned(), problem };
    let path = directory.join("format");
    match std::fs::read_to_string(&path) {
        Ok(found) if found == FORMAT => Ok(()),
        Ok(found) => Err(format(format!("is of another format: {:?}", found.trim()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            std::fs::write(&path, FORMAT).map_err(|error| format(error.to_string()))
        }
        Err(error) => Err(format(error.to_string())),
    }
}

fn read(documents: &Keyspace, key: &Key) -> Result<Document, ReadError> {
    let bytes =
        documents.get(key.as_str()).map_err(|error| ReadError::Engine(error.to_string()))?;
    bytes.map_or(Ok(Document::ABSENT), |bytes| {
        envelope::decode(&bytes).map_err(|problem| ReadError::Damaged { key: key.clone(), problem })
    })
}

fn serve_loads(documents: &Keyspace, requests: &Receiver<Request>) {
    while let Ok(request) = requests.recv() {
        if let Request::Load(keys, done) = request {
            done(keys.iter().map(|key| read(documents, key)).collect());
        }
    }
}

struct Committer {
    database: Database,
    documents: Keyspace,
}

impl Committer {
    fn run(self, requests: &Receiver<Request>) {
        let mut failed = false;
        while let Ok(first) = requests.recv() {
            let mut group = vec![first];
            group.extend(requests.try_iter().take(MAX_GROUP - 1));
            if failed {
                group.into_iter().for_each(|request| finish(request, CommitOutcome::Failed));
                continue;
            }
            failed = !self.commit(group);
        }
    }

    /// Commits a group; `false` if the disk failed.
    fn commit(&self, group: Vec<Request>) -> bool {
        let mut view: BTreeMap<Key, Document> = BTreeMap::new();
        let mut committed = Vec::with_capacity(group.len());
        for request in group {
            let Request::Commit(transaction, done) = request else { continue };
            let revision = |key: &Key| -> Result<Revision, ReadError> {
                match view.get(key) {
                    Some(document) => Ok(document.revision),
                    None => Ok(read(&self.documents, key)?.revision),
                }
            };
            match apply(transaction, revision) {
                Ok(Ok(documents)) => {
                    view.extend(documents);
                    committed.push(done);
                }
                Ok(Err(outcome)) => done(outcome),
                Err(error) => {
                    tracing::error!(%error, "a document could not be read for a commit");
                    done(CommitOutcome::Failed);
                }
            }
        }
        if view.is_empty() {
            committed.into_iter().for_each(|done| done(CommitOutcome::Committed));
            return true;
        }
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for (key, document) in &view {
            batch.insert(&self.documents, key.as_str(), envelope::encode(document));
        }
        let result = batch.commit();
        let outcome = match &result {
            Ok(()) => CommitOutcome::Committed,
            Err(error) => {
                tracing::error!(%error, "the disk failed: the store takes no more commits");
                CommitOutcome::Unknown
            }
        };
        committed.into_iter().for_each(|done| done(outcome.clone()));
        result.is_ok()
    }
}

fn finish(request: Request, outcome: CommitOutcome) {
    match request {
        Request::Commit(_, done) => done(outcome),
        Request::Load(_, done) => done(Err(ReadError::Busy)),
    }
}

impl Store for Embedded {
    fn load(&self, keys: Vec<Key>, done: LoadDone) {
        let sender = self.running().as_ref().map(|running| running.loads.clone());
        send(sender, Request::Load(keys, done));
    }

    fn commit(&self, transaction: Transaction, done: CommitDone) {
        let sender = self.running().as_ref().map(|running| running.commits.clone());
        send(sender, Request::Commit(transaction, done));
    }

    fn audit(&self, prefix: &str, visit: &mut dyn FnMut(Key, Document)) -> Result<(), ReadError> {
        for entry in self.documents.prefix(prefix) {
            let (key, bytes) =
                entry.into_inner().map_err(|error| ReadError::Engine(error.to_string()))?;
            let text = String::from_utf8_lossy(&key);
            let key =
                Key::parse(&text).map_err(|_| ReadError::Engine(format!("{text:?} is no key")))?;
            let document = envelope::decode(&bytes)
                .map_err(|problem| ReadError::Damaged { key: key.clone(), problem })?;
            visit(key, document);
        }
        Ok(())
    }

    fn close(&self) {
        let Some(running) = self.running().take() else { return };
        drop((running.commits, running.loads));
        for thread in running.threads {
            if thread.join().is_err() {
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

fn send(sender: Option<SyncSender<Request>>, request: Request) {
    let Some(sender) = sender else { return finish(request, CommitOutcome::Failed) };
    if let Err(TrySendError::Full(request) | TrySendError::Disconnected(request)) =
        sender.try_send(request)
    {
        finish(request, CommitOutcome::Failed);
    }
}
