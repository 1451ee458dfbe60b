//! The documents in fjall: what can be read, and how a group becomes durable.

use super::damage;
use super::directory;
use super::feed::{Feed, MAX_CHANGES};
use super::unread;
use crate::feed::{Change, FeedError, FeedPosition};
use crate::{OpenError, ReadError, envelope};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};
use pelago_model::{Document, Key, Revision};
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::path::Path;

/// The name of the keyspace.
const DOCUMENTS: &str = "documents";

/// Bytes of documents that are kept in memory, beside the journal, until they go to a file together. Places, which are
/// written again and again, are most of them; an eighth of fjall's default is an eighth of the memory they take.
const MEMTABLE_BYTES: u64 = 8 * 1024 * 1024;

/// Bytes of blocks of files that are kept in memory. Lanes keep the documents that they watch, and the kernel keeps the
/// files: a larger cache would mostly hold what is not read twice.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// An open database.
pub(super) struct Documents {
    keyspace: Keyspace,
    feed: Feed,
    database: Database,
}

impl Documents {
    /// Makes the files of an empty database, and closes it. What is there afterwards is not durable yet.
    pub(super) fn make(files: &Path) -> Result<(), OpenError> {
        Self::open(files, files).map(drop)
    }

    /// Opens the database of a claimed directory, whose files are in `files`.
    pub(super) fn open(directory: &Path, files: &Path) -> Result<Self, OpenError> {
        let problem = |error| match error {
            fjall::Error::Locked => OpenError::InUse(directory.to_owned()),
            error => directory::engine(directory, damage::describe(files, &error)),
        };
        let database = Database::builder(files).cache_size(CACHE_BYTES).open().map_err(problem)?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let keyspace = database.keyspace(DOCUMENTS, options).map_err(problem)?;
        let has_documents = database.snapshot().first_key_value(&keyspace).is_some();
        let feed = Feed::open(&database, directory, has_documents, MAX_CHANGES)?;
        Ok(Self { keyspace, feed, database })
    }

    /// The documents after some group, none of a later one.
    ///
    /// A view sees only what is durable and never half of a transaction: fjall's batch writes and syncs the
    /// journal first, then fills the memtable, then moves the instant at which snapshots see it. Its reads
    /// without a snapshot see the memtable while it is being filled; nothing here uses them.
    pub(super) fn view(&self) -> View<'_> {
        View { snapshot: self.database.snapshot(), keyspace: &self.keyspace, feed: &self.feed }
    }

    /// Writes documents as one batch and syncs it: all of them are durable, or after an error nobody knows.
    pub(super) fn write(&self, documents: &BTreeMap<Key, Document>) -> Result<(), fjall::Error> {
        // The journal's length is allocated and synced when it is created, so that the data is enough.
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for (key, document) in documents {
            batch.insert(&self.keyspace, key.as_str(), envelope::encode(document));
        }
        let of_the_world = documents.iter().filter(|(key, _)| key.is_of_the_world());
        self.feed.put(&mut batch, of_the_world.map(|(key, document)| (key, document.revision)))?;
        batch.commit()
    }
}

impl Documents {
    /// Removes documents without a trace. If that is lost with the machine they are there again.
    pub(super) fn forget(&self, keys: &[Key]) -> Result<(), fjall::Error> {
        let mut batch = self.database.batch().durability(Some(PersistMode::Buffer));
        keys.iter().for_each(|key| batch.remove(&self.keyspace, key.as_str()));
        batch.commit()
    }
}

/// All documents at one instant.
pub(super) struct View<'a> {
    snapshot: Snapshot,
    keyspace: &'a Keyspace,
    feed: &'a Feed,
}

impl View<'_> {
    /// The document under a key.
    pub(super) fn read(&self, key: &Key) -> Result<Document, ReadError> {
        match self.snapshot.get(self.keyspace, key.as_str()).map_err(unread)? {
            Some(bytes) => decode(key, &bytes),
            None => Ok(Document::ABSENT),
        }
    }

    /// The revision of the document under a key.
    pub(super) fn revision(&self, key: &Key) -> Result<Revision, ReadError> {
        match self.snapshot.get(self.keyspace, key.as_str()).map_err(unread)? {
            Some(bytes) => envelope::revision(&bytes).map_err(|problem| damaged(key, problem)),
            None => Ok(Document::ABSENT.revision),
        }
    }

    /// The changes that follow a position.
    pub(super) fn changes(
        &self,
        after: FeedPosition,
        limit: usize,
    ) -> Result<Vec<Change>, FeedError> {
        self.feed.read(&self.snapshot, after, limit, |key| self.read(key))
    }

    /// After the last change.
    pub(super) fn feed_end(&self) -> Result<FeedPosition, ReadError> {
        self.feed.end(&self.snapshot)
    }

    /// The documents whose key begins with `prefix` and is greater than `after`, in order, until it is enough.
    pub(super) fn visit(
        &self,
        prefix: &str,
        after: Option<&Key>,
        visit: &mut dyn FnMut(Key, Document) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let after = after.map(Key::as_str).filter(|after| *after >= prefix);
        let first = after.map_or(Bound::Included(prefix), Bound::Excluded);
        for entry in self.snapshot.range::<&str, _>(self.keyspace, (first, Bound::Unbounded)) {
            let (key, bytes) = entry.into_inner().map_err(unread)?;
            if !key.starts_with(prefix.as_bytes()) {
                break;
            }
            let text = String::from_utf8_lossy(&key);
            let key =
                Key::parse(&text).map_err(|_| ReadError::Engine(format!("{text:?} is no key")))?;
            let document = decode(&key, &bytes)?;
            if visit(key, document).is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn decode(key: &Key, bytes: &[u8]) -> Result<Document, ReadError> {
    envelope::decode(bytes).map_err(|problem| damaged(key, problem))
}

fn damaged(key: &Key, problem: envelope::Malformed) -> ReadError {
    ReadError::Damaged { key: key.clone(), problem }
}
