//! Where documents live: one trait, its engines, one conformance suite.
//!
//! A plain versioned key-value store is the truth. Engines know keys, revisions and bytes; what the
//! bytes mean they do not know. Answers come by callback: nobody who asks ever waits for a disk.
#![allow(clippy::disallowed_methods, reason = "a driver: engines measure how long they take")]

mod apply;
pub mod archive;
#[doc(hidden)]
pub mod conformance;
mod edit;
pub mod embedded;
pub mod envelope;
mod feed;
pub mod files;
mod layer;
pub mod memory;
mod pending;
pub mod postgres;
mod tally;
mod waiting;
pub mod world_hash;

pub use edit::{EditError, edit_now};
pub use embedded::Embedded;
pub use feed::{Change, FeedError, FeedPosition, MalformedPosition};
pub use layer::StoreLayer;
pub use memory::Memory;
pub use postgres::Postgres;
pub use waiting::{MAX_WAITING, MAX_WAITING_BYTES};
pub use world_hash::{HashReading, WorldHash, WorldHasher, world_hash};

use pelago_model::{CommitOutcome, Document, Key, Revision, Transaction};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

/// Takes the end of a commit. Called on a thread of the engine's, or on the caller's before the call returns: it
/// must be short, and must not wait for the store.
pub type CommitDone = Box<dyn FnOnce(CommitOutcome) + Send>;
/// Takes the documents of a load, in the order of the keys. Called as [`CommitDone`] is.
pub type LoadDone = Box<dyn FnOnce(Result<Vec<Document>, ReadError>) + Send>;

/// An engine.
///
/// Every engine passes [`mod@conformance`]. `Committed` means durable by the engine's strongest setting.
pub trait Store: Send + Sync {
    /// Reads documents, all at one instant; a key that was never written is [`Document::ABSENT`]. Only what is
    /// durable is seen, and everything that was answered `Committed` before the call. `done` is called exactly once.
    fn load(&self, keys: Vec<Key>, done: LoadDone);

    /// Commits a transaction: all of it or nothing. `done` is called exactly once, also when the store is closed.
    fn commit(&self, transaction: Transaction, done: CommitDone);

    /// Puts documents down as they are, with their revisions, deletions included: for restoring and importing a world,
    /// never for play. At most [`MAX_TRANSACTION_DOCUMENTS`](pelago_model::limits::MAX_TRANSACTION_DOCUMENTS) with
    /// revisions of 1 and more; a key occurs once.
    ///
    /// All of it or nothing, durable when it is answered, and told by the feed as other writes are. A document that
    /// is there already with the same schema, revision and value stays, so that the same may be put twice; if anything
    /// else is under one of the keys, the answer is `Conflict` with those keys. `Failed` also tells that the documents
    /// are malformed, or that the engine cannot. `done` is called exactly once, also when the store is closed.
    fn restore(&self, documents: Vec<(Key, Document)>, done: CommitDone) {
        drop(documents);
        done(CommitOutcome::Failed);
    }

    /// Removes documents without a trace, at most [`MAX_FORGOTTEN`]: no deletion is kept, and the feed tells nothing. Only
    /// for keys that nobody writes a second time ([`Key::can_be_forgotten`]), and only for rules of retention. What is
    /// not there is passed over. It blocks the caller.
    ///
    /// # Errors
    /// If a key is of another kind, or the engine cannot: some of them may be gone.
    fn forget(&self, keys: &[Key]) -> Result<(), ReadError>;

    /// Visits the documents whose key begins with `prefix` and is greater than `after`, in order, until `visit` says
    /// that it is enough. For administration only (audits, exports, hashes): nothing that a player waits for may depend
    /// on the size of the world.
    ///
    /// All documents are of one instant: a scan of a world in use finds no half of a transaction. It blocks
    /// the caller; others may commit meanwhile.
    ///
    /// # Errors
    /// [`ReadError`] at the first document that cannot be read.
    fn scan_after(
        &self,
        prefix: &str,
        after: Option<&Key>,
        visit: &mut dyn FnMut(Key, Document) -> ControlFlow<()>,
    ) -> Result<(), ReadError>;

    /// Visits every document whose key begins with `prefix`: see [`Store::scan_after`].
    ///
    /// # Errors
    /// [`ReadError`] at the first document that cannot be read.
    fn scan(&self, prefix: &str, visit: &mut dyn FnMut(Key, Document)) -> Result<(), ReadError> {
        self.scan_after(prefix, None, &mut |key, document| {
            visit(key, document);
            ControlFlow::Continue(())
        })
    }

    /// The changes of documents of the world ([`Key::is_of_the_world`]) that follow a position, oldest first, at most
    /// `limit`; none if there are none yet. Only what is durable is told, everything that is follows at last, each
    /// document's changes in the order of their revisions; a change that a later one of the same document has overtaken may be
    /// left out. It blocks the caller.
    ///
    /// # Errors
    /// [`FeedError`]: a follower that asks from too long ago has to read the world instead.
    fn feed(&self, after: FeedPosition, limit: usize) -> Result<Vec<Change>, FeedError>;

    /// After the last change that the feed has told or could tell: where to follow it from, after a scan.
    ///
    /// # Errors
    /// As of any read.
    fn feed_end(&self) -> Result<FeedPosition, ReadError>;

    /// From now on nothing is committed or restored unless the document under the fence's key has the fence's
    /// revision at that very moment. What is asked for otherwise fails, and the engine is [`broken`](Store::broken):
    /// another process has taken over. A later fence replaces this one.
    fn fence(&self, fence: Fence);

    /// What it can.
    fn capabilities(&self) -> Capabilities;

    /// Numbers for operators, since it was opened.
    fn counters(&self) -> StoreCounters;

    /// What ended the engine for good, if anything did: it takes no more commits, and the program that runs it should
    /// end, too, because only the next start finds what is on the disk. A disk that is merely full is no such end.
    fn broken(&self) -> Option<String> {
        None
    }

    /// Finishes what was asked before and releases everything. Later commits are answered `Failed`, later loads
    /// and audits [`ReadError::Busy`]. Only the first call does and waits for it.
    fn close(&self);
}

/// Documents that are removed at once.
pub const MAX_FORGOTTEN: usize = 256;

/// Whether these may be removed without a trace.
pub(crate) fn can_be_forgotten(keys: &[Key]) -> Result<(), ReadError> {
    match keys.iter().find(|key| !key.can_be_forgotten()) {
        Some(key) => Err(ReadError::Engine(format!("{key} is not to be removed"))),
        None if keys.len() > MAX_FORGOTTEN => {
            Err(ReadError::Engine(format!("more than {MAX_FORGOTTEN} are not removed at once")))
        }
        None => Ok(()),
    }
}

/// A document that another process changes when it takes over: see [`Store::fence`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Of the document.
    pub key: Key,
    /// The revision that the document has for as long as nobody else has taken over.
    pub revision: Revision,
}

/// Why an engine whose fence was passed takes no more commits.
pub(crate) const FENCED: &str =
    "another process has taken over: nothing of this one is stored any more";

/// What an engine can: declared, not guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Transactions over several documents are the engine's own. Otherwise they would have to be run over conditional
    /// writes.
    pub native_transactions: bool,
    /// [`Store::scan`] is of one instant, and cheap enough to be used while people play.
    pub scan: bool,
    /// [`Store::feed`] tells changes; otherwise none ever.
    pub feed: bool,
    /// What was acknowledged outlives the process.
    pub durable: bool,
    /// Only one process at a time can have it open: no lease has to say whose it is.
    pub exclusive: bool,
}

/// Numbers of an engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreCounters {
    /// Transactions that were committed.
    pub committed: u64,
    /// Transactions that were refused because a document had another revision.
    pub conflicts: u64,
    /// Transactions that failed.
    pub failed: u64,
    /// Transactions whose end is unknown.
    pub unknown: u64,
    /// Writes to the disk: transactions are made durable in groups.
    pub groups: u64,
    /// Transactions of those groups, with those that were refused.
    pub grouped: u64,
    /// Groups that were tried again because others were in the way.
    pub retries: u64,
    /// Connections that were lost and made again.
    pub reconnects: u64,
    /// Loads, of any number of documents each.
    pub loads: u64,
    /// Bytes of keys and values of the transactions that are not answered yet.
    pub waiting_bytes: u64,
}

/// Why documents could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The engine failed; it may be tried again.
    #[error("the store could not read: {0}")]
    Engine(String),
    /// Bytes under a key are no document of a known form.
    #[error("the document under {key} is damaged: {problem}")]
    Damaged {
        /// The key.
        key: Key,
        /// What is wrong.
        problem: envelope::Malformed,
    },
    /// The store is closed, or more waits than it takes.
    #[error("the store takes no more requests")]
    Busy,
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address is none.
    #[error(
        "store address {0:?}: expected memory:, embedded:DIRECTORY (also written fjall:DIRECTORY) or \
         postgres://USER:PASSWORD@HOST:PORT/DATABASE"
    )]
    Address(String),
    /// The directory is in use by another process.
    #[error("store directory {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The directory was written by a version that is too new, or is no store.
    #[error("store directory {}: {problem}", directory.display())]
    Format {
        /// The directory.
        directory: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The engine could not open it.
    #[error("store directory {}: {problem}", directory.display())]
    Engine {
        /// The directory.
        directory: PathBuf,
        /// What the engine says.
        problem: String,
    },
    /// A database could not be used.
    #[error("--store {address}: {problem}")]
    Database {
        /// Where: hosts and the database's name, never a password.
        address: String,
        /// What is wrong.
        problem: String,
    },
}

/// Opens the store at an address: `memory:`, `embedded:DIRECTORY`, which may name its engine: `fjall:DIRECTORY`, or
/// `postgres://USER:PASSWORD@HOST:PORT/DATABASE?OPTIONS` (see [`mod@postgres`]).
///
/// # Errors
/// See [`OpenError`].
pub fn open(address: &str) -> Result<Arc<dyn Store>, OpenError> {
    match address.split_once(':') {
        Some(("memory", "")) => Ok(Arc::new(Memory::default())),
        Some(("embedded" | "fjall", directory)) if !directory.is_empty() => {
            Ok(Arc::new(Embedded::open(directory.as_ref())?))
        }
        Some(("postgres" | "postgresql", _)) => Ok(Arc::new(Postgres::open(address)?)),
        _ => Err(OpenError::Address(without_secrets(address))),
    }
}

/// An address as it may be shown: what follows `//` could hold a password.
fn without_secrets(address: &str) -> String {
    match address.split_once("//") {
        Some((scheme, rest)) if !rest.is_empty() => format!("{scheme}//..."),
        _ => address.to_owned(),
    }
}

/// How long those wait who wait for an engine. Engines answer, or fail what is asked, long before that; a disk that
/// hangs answers nobody.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// Reads documents and waits for them. Not for threads that others wait for.
///
/// # Errors
/// See [`ReadError`].
pub fn load_now(store: &dyn Store, keys: Vec<Key>) -> Result<Vec<Document>, ReadError> {
    let (sender, receiver) = std::sync::mpsc::channel();
    // The receiver waits below, so that sending cannot fail.
    store.load(keys, Box::new(move |result| drop(sender.send(result))));
    match receiver.recv_timeout(ANSWER_TIME) {
        Ok(documents) => documents,
        Err(RecvTimeoutError::Disconnected) => Err(ReadError::Busy),
        Err(RecvTimeoutError::Timeout) => {
            Err(ReadError::Engine(format!("no answer for {} s", ANSWER_TIME.as_secs())))
        }
    }
}

/// Commits and waits for the end. Not for threads that others wait for.
pub fn commit_now(store: &dyn Store, transaction: Transaction) -> CommitOutcome {
    let (sender, receiver) = std::sync::mpsc::channel();
    store.commit(transaction, Box::new(move |outcome| drop(sender.send(outcome))));
    receiver.recv_timeout(ANSWER_TIME).unwrap_or(CommitOutcome::Unknown)
}

/// Restores documents and waits for the end. Not for threads that others wait for.
pub fn restore_now(store: &dyn Store, documents: Vec<(Key, Document)>) -> CommitOutcome {
    let (sender, receiver) = std::sync::mpsc::channel();
    store.restore(documents, Box::new(move |outcome| drop(sender.send(outcome))));
    receiver.recv_timeout(ANSWER_TIME).unwrap_or(CommitOutcome::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_addresses_say_what_is_expected() {
        for address in ["", "memory", "memory:x", "embedded:", "fjall:", "mysql://me:secret@x"] {
            let error = open(address).err().unwrap().to_string();
            assert!(error.contains("expected memory:, embedded:DIRECTORY"), "{error}");
            assert!(error.contains("postgres://USER:PASSWORD@HOST") && !error.contains("secret"));
        }
    }
}
