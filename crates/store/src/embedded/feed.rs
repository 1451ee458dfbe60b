//! The feed of the embedded engine: a second keyspace, written in the same batch as the documents.
//!
//! Changes are numbered without gaps. All changes of a group stand in one entry, under the number (u64, big-endian) of
//! the first one: for each `key length u8 | key | revision u64 BE`. What a change left is not written a second time: it
//! is read where the documents are, and a change that a later one has overtaken is left out. The oldest entries go when
//! more than [`MAX_CHANGES`] changes are kept, never the last one, which says where to go on.
//!
//! The earliest builds had another keyspace, `feed`, with the documents in it. Numbers go on beyond its own, so that
//! its followers are told that changes were forgotten; it is deleted once they have been told.

use super::directory;
use super::unread;
use crate::feed::{Change, FeedError, FeedPosition};
use crate::{OpenError, ReadError};
use fjall::{
    Database, Guard, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, Readable, Slice, Snapshot,
};
use pelago_model::{Document, Key, Revision};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Changes that are kept.
pub(super) const MAX_CHANGES: u64 = 262_144;
/// Bytes of changes that are kept in memory until they go to a file together: they are read from the files anyway.
const MEMTABLE_BYTES: u64 = 2 * 1024 * 1024;
/// The name of the keyspace.
const CHANGES: &str = "changes";
/// The name of the keyspace of the earliest builds.
const EARLIEST: &str = "feed";
/// Bytes of a revision in an entry.
const REVISION_BYTES: usize = 8;

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
        open(database, has_documents, max_changes)
            .map_err(|error| directory::engine(directory, error))
    }

    /// Adds the changes of a group to its batch.
    pub(super) fn put<'a>(
        &self,
        batch: &mut OwnedWriteBatch,
        changes: impl IntoIterator<Item = (&'a Key, Revision)>,
    ) -> Result<(), fjall::Error> {
        let (mut entry, mut count) = (Vec::new(), 0);
        for (key, revision) in changes {
            let text = key.as_str().as_bytes();
            // A key has at most 128 bytes: `limits::MAX_KEY_BYTES`.
            entry.push(text.len() as u8);
            entry.extend_from_slice(text);
            entry.extend_from_slice(&revision.0.to_be_bytes());
            count += 1;
        }
        if count == 0 {
            return Ok(());
        }
        let first = self.ends.next.fetch_add(count, Ordering::Relaxed);
        batch.insert(&self.keyspace, first.to_be_bytes(), entry);
        self.forget(batch, first)
    }

    /// Removes the oldest entries before `newest` while more changes are kept than may be.
    fn forget(&self, batch: &mut OwnedWriteBatch, newest: u64) -> Result<(), fjall::Error> {
        let next = self.ends.next.load(Ordering::Relaxed);
        let mut oldest = self.ends.oldest.load(Ordering::Relaxed);
        while next - oldest > self.max_changes && oldest < newest {
            batch.remove(&self.keyspace, oldest.to_be_bytes());
            // Only this thread writes here, so that nothing is seen half. What was removed earlier lies before.
            oldest = match self.keyspace.range((oldest + 1).to_be_bytes()..).next() {
                // Entries without a number are not ours: a follower that needs what stands before `newest` reads the
                // world.
                Some(entry) => number(&entry.key()?).unwrap_or(newest),
                None => newest,
            };
            self.ends.oldest.store(oldest, Ordering::Relaxed);
        }
        Ok(())
    }

    /// After the last change.
    pub(super) fn end(&self, view: &Snapshot) -> Result<FeedPosition, ReadError> {
        // What is visible, not what is being written.
        let last = view.last_key_value(&self.keyspace).map(Entry::read).transpose()?;
        let end = last.map(|entry| entry.end()).transpose()?;
        let end = end.unwrap_or_else(|| self.ends.oldest.load(Ordering::Relaxed));
        Ok(FeedPosition { major: end - 1, minor: 0 })
    }

    /// What follows a position. `document` reads documents of the same view.
    pub(super) fn read(
        &self,
        view: &Snapshot,
        after: FeedPosition,
        limit: usize,
        document: impl Fn(&Key) -> Result<Document, ReadError>,
    ) -> Result<Vec<Change>, FeedError> {
        let oldest = self.ends.oldest.load(Ordering::Relaxed);
        // Positions come from outside, too.
        let following = after.major.saturating_add(1);
        if following < oldest {
            return Err(FeedError::Forgotten {
                oldest: FeedPosition { major: oldest - 1, minor: 0 },
            });
        }
        let before = view.range(&self.keyspace, ..=following.to_be_bytes()).next_back();
        let first = match before {
            Some(entry) => number(&entry.key().map_err(unread)?)?,
            None => following,
        };
        let mut told = Vec::new();
        for entry in view.range(&self.keyspace, first.to_be_bytes()..) {
            let entry = Entry::read(entry)?;
            for change in entry.changes() {
                let (number, key, revision) = change?;
                if number < following {
                    continue;
                }
                if told.len() == limit {
                    return Ok(told);
                }
                let document = document(&key)?;
                if document == Document::ABSENT && key.can_be_forgotten() {
                    // It was removed by a rule of retention, which leaves no trace.
                    continue;
                }
                if document.revision < revision {
                    return Err(damaged(number).into());
                }
                if document.revision == revision {
                    let position = FeedPosition { major: number, minor: 0 };
                    told.push(Change { position, key, document });
                }
            }
        }
        Ok(told)
    }
}

fn open(database: &Database, has_documents: bool, max_changes: u64) -> Result<Feed, ReadError> {
    let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
    let keyspace = database.keyspace(CHANGES, options).map_err(unread)?;
    let view = database.snapshot();
    let entries = (view.first_key_value(&keyspace), view.last_key_value(&keyspace));
    let earliest = match database.keyspace_exists(EARLIEST) {
        true => Some(database.keyspace(EARLIEST, KeyspaceCreateOptions::default).map_err(unread)?),
        false => None,
    };
    let (oldest, next) = match (entries, earliest) {
        ((Some(first), Some(last)), earliest) => {
            if let Some(earliest) = earliest {
                database.delete_keyspace(earliest).map_err(unread)?;
            }
            (number(&first.key().map_err(unread)?)?, Entry::read(last)?.end()?)
        }
        (_, earliest) => {
            let last = earliest.and_then(|earliest| view.last_key_value(&earliest));
            let first = match last {
                Some(last) => number(&last.key().map_err(unread)?)?.saturating_add(2),
                None if has_documents => 2,
                None => 1,
            };
            (first, first)
        }
    };
    let ends = Arc::new(Ends { oldest: oldest.into(), next: next.into() });
    Ok(Feed { keyspace, max_changes, ends })
}

/// The changes of one group.
struct Entry {
    first: u64,
    bytes: Slice,
}

impl Entry {
    fn read(entry: Guard) -> Result<Self, ReadError> {
        let (key, bytes) = entry.into_inner().map_err(unread)?;
        Ok(Self { first: number(&key)?, bytes })
    }

    /// The number after its last change.
    fn end(&self) -> Result<u64, ReadError> {
        self.changes().try_fold(self.first, |_, change| Ok(change?.0.saturating_add(1)))
    }

    /// Number, key and revision of each change.
    fn changes(&self) -> impl Iterator<Item = Result<(u64, Key, Revision), ReadError>> {
        let (mut number, mut rest) = (self.first, &*self.bytes);
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let Some((key, revision, after)) = split_change(rest) else {
                rest = &[];
                return Some(Err(damaged(number)));
            };
            rest = after;
            let own = number;
            number = number.saturating_add(1);
            Some(Ok((own, key, revision)))
        })
    }
}

/// The first change of an entry, and what follows it.
fn split_change(bytes: &[u8]) -> Option<(Key, Revision, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (key, rest) = rest.split_at_checked(usize::from(*length))?;
    let (revision, rest) = rest.split_first_chunk::<REVISION_BYTES>()?;
    let key = Key::parse(std::str::from_utf8(key).ok()?).ok()?;
    Some((key, Revision(u64::from_be_bytes(*revision)), rest))
}

fn number(bytes: &[u8]) -> Result<u64, ReadError> {
    let bytes = <[u8; 8]>::try_from(bytes);
    bytes
        .map(u64::from_be_bytes)
        .map_err(|_| ReadError::Engine("a change has no number".to_owned()))
}

fn damaged(number: u64) -> ReadError {
    ReadError::Engine(format!("change {number} of the feed is damaged"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        Key::parse(&format!("a/{number}")).unwrap()
    }

    /// Opens a database in a directory, whose feed keeps `max_changes`.
    fn open_feed(directory: &Path, has_documents: bool, max_changes: u64) -> (Database, Feed) {
        let database = Database::builder(directory).open().unwrap();
        let feed = Feed::open(&database, directory, has_documents, max_changes).unwrap();
        (database, feed)
    }

    fn put(database: &Database, feed: &Feed, changes: &[(Key, Revision)]) {
        let mut batch = database.batch();
        feed.put(&mut batch, changes.iter().map(|(key, revision)| (key, *revision))).unwrap();
        batch.commit().unwrap();
    }

    /// Number and key of what follows; everything is as its first change left it.
    fn told(database: &Database, feed: &Feed, after: u64) -> Result<Vec<(u64, Key)>, FeedError> {
        let document = |_: &Key| Ok(Document { schema: 1, revision: Revision(1), value: None });
        let after = FeedPosition { major: after, minor: 0 };
        let told = feed.read(&database.snapshot(), after, 99, document)?;
        Ok(told.into_iter().map(|change| (change.position.major, change.key)).collect())
    }

    fn forgotten(before: u64) -> Result<Vec<(u64, Key)>, FeedError> {
        Err(FeedError::Forgotten { oldest: FeedPosition { major: before, minor: 0 } })
    }

    #[test]
    fn the_oldest_groups_go_and_who_missed_them_is_told() {
        let directory = tempfile::tempdir().unwrap();
        for group in 0..5 {
            // Opened anew before each group: the numbers go on.
            let (database, feed) = open_feed(directory.path(), false, 6);
            let changes = [(key(2 * group), Revision(1)), (key(2 * group + 1), Revision(1))];
            put(&database, &feed, &changes);
        }
        let (database, feed) = open_feed(directory.path(), false, 6);
        assert_eq!(told(&database, &feed, 0), forgotten(4));
        assert_eq!(told(&database, &feed, 3), forgotten(4));
        let kept: Vec<_> = (5..=10).map(|number| (number, key(number as usize - 1))).collect();
        for after in 4..=10 {
            // Also from within a group.
            assert_eq!(told(&database, &feed, after), Ok(kept[after as usize - 4..].to_vec()));
        }
        assert_eq!(told(&database, &feed, u64::MAX), Ok(Vec::new()));
        let end = feed.end(&database.snapshot());
        assert_eq!(end, Ok(FeedPosition { major: 10, minor: 0 }));
    }

    #[test]
    fn a_group_larger_than_all_that_is_kept_stays_whole() {
        let directory = tempfile::tempdir().unwrap();
        let (database, feed) = open_feed(directory.path(), false, 2);
        put(&database, &feed, &[(key(0), Revision(1))]);
        put(&database, &feed, &[1, 2, 3].map(|number| (key(number), Revision(1))));
        assert_eq!(told(&database, &feed, 0), forgotten(1));
        assert_eq!(told(&database, &feed, 1).unwrap().len(), 3);
    }

    #[test]
    fn what_was_overtaken_is_left_out_and_what_was_never_written_is_damage() {
        let directory = tempfile::tempdir().unwrap();
        let (database, feed) = open_feed(directory.path(), false, 9);
        put(&database, &feed, &[(key(1), Revision(0)), (key(2), Revision(1))]);
        assert_eq!(told(&database, &feed, 0), Ok(vec![(2, key(2))]));
        put(&database, &feed, &[(key(2), Revision(2))]);
        assert!(matches!(told(&database, &feed, 0), Err(FeedError::Read(ReadError::Engine(_)))));
    }

    #[test]
    fn a_feed_that_is_younger_than_its_documents_does_not_pretend() {
        let directory = tempfile::tempdir().unwrap();
        let (database, feed) = open_feed(directory.path(), true, 9);
        assert_eq!(told(&database, &feed, 0), forgotten(1));
        assert_eq!(told(&database, &feed, 1), Ok(Vec::new()));
    }

    #[test]
    fn numbers_go_on_beyond_those_of_the_earliest_feed() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::builder(directory.path()).open().unwrap();
        let earliest = database.keyspace(EARLIEST, KeyspaceCreateOptions::default).unwrap();
        earliest.insert(70_u64.to_be_bytes(), "a change").unwrap();
        drop((earliest, database));
        for _ in 0..2 {
            // Opened twice without a change: nothing is forgotten that is still needed.
            let (database, feed) = open_feed(directory.path(), true, 9);
            assert_eq!(told(&database, &feed, 70), forgotten(71));
        }
        for written in 1..=2 {
            let (database, feed) = open_feed(directory.path(), true, 9);
            put(&database, &feed, &[(key(1), Revision(1))]);
            assert_eq!(told(&database, &feed, 71).unwrap().len(), written);
            assert_eq!(database.keyspace_exists(EARLIEST), written == 1);
        }
    }
}
