//! The feed of the embedded engine: a second keyspace, written in the same batch as the documents.
//!
//! A change stands under its number (u64, big-endian) as `key length u8 | key | envelope`. Numbers count without gaps;
//! the oldest changes go when more than [`MAX_CHANGES`] are kept, never the last one, which says where to go on.

use super::directory;
use crate::envelope;
use crate::feed::{Change, FeedError, FeedPosition};
use crate::{OpenError, ReadError};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, Readable, Slice};
use pelago_model::Key;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Changes that are kept.
pub(super) const MAX_CHANGES: u64 = 262_144;
/// Bytes of changes that are kept in memory until they go to a file together: they are read from the files anyway.
const MEMTABLE_BYTES: u64 = 2 * 1024 * 1024;
/// The name of the keyspace.
const FEED: &str = "feed";

/// The changes of a database.
#[derive(Clone)]
pub(super) struct Feed {
    keyspace: Keyspace,
    max_changes: u64,
    /// Only the thread that commits moves them.
    ends: Arc<Ends>,
}

struct Ends {
    /// The number of the oldest change that is kept, or of the next one if there is none.
    oldest: AtomicU64,
    next: AtomicU64,
}

impl Feed {
    /// Opens it. A store that had documents before it had a feed says so: its first change is not number 1.
    pub(super) fn open(
        database: &Database,
        directory: &Path,
        has_documents: bool,
        max_changes: u64,
    ) -> Result<Self, OpenError> {
        let problem = |error: &dyn ToString| directory::engine(directory, error.to_string());
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let keyspace = database.keyspace(FEED, options).map_err(|error| problem(&error))?;
        let view = database.snapshot();
        let number = |entry: Option<fjall::Guard>| match entry {
            Some(entry) => {
                let key = entry.key().map_err(|error| problem(&error))?;
                let bytes = <[u8; 8]>::try_from(&*key);
                let number = bytes.map(u64::from_be_bytes);
                number.map(Some).map_err(|_| problem(&"a change has no number"))
            }
            None => Ok(None),
        };
        let first = if has_documents { 2 } else { 1 };
        let oldest = number(view.first_key_value(&keyspace))?.unwrap_or(first);
        let next = number(view.last_key_value(&keyspace))?.map_or(first, |last| last + 1);
        let ends = Arc::new(Ends { oldest: oldest.into(), next: next.into() });
        Ok(Self { keyspace, max_changes, ends })
    }

    /// Adds a change to a batch.
    pub(super) fn put(&self, batch: &mut OwnedWriteBatch, key: &Key, document: &[u8]) {
        let number = self.ends.next.fetch_add(1, Ordering::Relaxed);
        let text = key.as_str().as_bytes();
        let mut change = Vec::with_capacity(1 + text.len() + document.len());
        // A key has at most 255 bytes: `limits::MAX_KEY_BYTES`.
        change.push(text.len() as u8);
        change.extend_from_slice(text);
        change.extend_from_slice(document);
        batch.insert(&self.keyspace, number.to_be_bytes(), change);
        let oldest = self.ends.oldest.load(Ordering::Relaxed);
        if number - oldest >= self.max_changes {
            batch.remove(&self.keyspace, oldest.to_be_bytes());
            self.ends.oldest.store(oldest + 1, Ordering::Relaxed);
        }
    }

    /// After the last change.
    pub(super) fn end(&self, view: &impl Readable) -> Result<FeedPosition, ReadError> {
        // What is visible, not what is being written.
        match view.last_key_value(&self.keyspace) {
            Some(entry) => Ok(position(&entry.key().map_err(super::documents::engine)?)?),
            None => {
                Ok(FeedPosition { major: self.ends.oldest.load(Ordering::Relaxed) - 1, minor: 0 })
            }
        }
    }

    /// What follows a position.
    pub(super) fn read(
        &self,
        view: &impl Readable,
        after: FeedPosition,
        limit: usize,
    ) -> Result<Vec<Change>, FeedError> {
        let oldest = match view.first_key_value(&self.keyspace) {
            Some(entry) => position(&entry.key().map_err(super::documents::engine)?)?.major,
            None => self.ends.oldest.load(Ordering::Relaxed),
        };
        if after.major + 1 < oldest {
            return Err(FeedError::Forgotten {
                oldest: FeedPosition { major: oldest - 1, minor: 0 },
            });
        }
        let following = (after.major.saturating_add(1)).to_be_bytes()..;
        let changes = view.range(&self.keyspace, following).take(limit).map(|entry| {
            let (number, bytes) = entry.into_inner().map_err(super::documents::engine)?;
            change(position(&number)?, &bytes)
        });
        Ok(changes.collect::<Result<_, ReadError>>()?)
    }
}

fn position(number: &Slice) -> Result<FeedPosition, ReadError> {
    let bytes = <[u8; 8]>::try_from(&**number);
    let number = bytes.map_err(|_| ReadError::Engine("a change has no number".to_owned()))?;
    Ok(FeedPosition { major: u64::from_be_bytes(number), minor: 0 })
}

fn change(position: FeedPosition, bytes: &[u8]) -> Result<Change, ReadError> {
    let damaged = || ReadError::Engine(format!("change {position} of the feed is damaged"));
    let (length, rest) = bytes.split_first().ok_or_else(damaged)?;
    let (key, document) = rest.split_at_checked(usize::from(*length)).ok_or_else(damaged)?;
    let key = std::str::from_utf8(key).ok().and_then(|key| Key::parse(key).ok());
    let key = key.ok_or_else(damaged)?;
    match envelope::decode(document) {
        Ok(document) => Ok(Change { position, key, document }),
        Err(problem) => Err(ReadError::Damaged { key, problem }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelago_model::{Document, Revision};

    /// What a feed says of three changes, opened anew before each of them.
    fn three_changes(has_documents: bool) -> Result<Vec<u64>, FeedError> {
        let directory = tempfile::tempdir().unwrap();
        let key = Key::parse("a/1").unwrap();
        for revision in 1..=3 {
            let database = Database::builder(directory.path()).open().unwrap();
            let feed = Feed::open(&database, directory.path(), has_documents, 2).unwrap();
            let mut batch = database.batch();
            let document = Document { schema: 1, revision: Revision(revision), value: None };
            feed.put(&mut batch, &key, &envelope::encode(&document));
            batch.commit().unwrap();
        }
        let database = Database::builder(directory.path()).open().unwrap();
        let feed = Feed::open(&database, directory.path(), has_documents, 2).unwrap();
        let view = database.snapshot();
        let oldest = match feed.read(&view, FeedPosition::START, 9) {
            Err(FeedError::Forgotten { oldest }) => oldest,
            told => panic!("{told:?}"),
        };
        let told = feed.read(&view, oldest, 9)?;
        assert_eq!(told.last().map(|change| change.position), feed.end(&view).ok());
        Ok(told.iter().map(|change| change.document.revision.0).collect())
    }

    #[test]
    fn the_oldest_changes_go_and_who_missed_them_is_told() {
        assert_eq!(three_changes(false), Ok(vec![2, 3]));
        assert_eq!(three_changes(true), Ok(vec![2, 3]));
    }

    #[test]
    fn a_feed_that_is_younger_than_its_documents_does_not_pretend() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::builder(directory.path()).open().unwrap();
        let feed = Feed::open(&database, directory.path(), true, 9).unwrap();
        let view = database.snapshot();
        let oldest = feed.end(&view).unwrap();
        let told = feed.read(&view, FeedPosition::START, 9);
        assert_eq!(told, Err(FeedError::Forgotten { oldest }));
        assert_eq!(feed.read(&view, oldest, 9), Ok(Vec::new()));
    }
}
