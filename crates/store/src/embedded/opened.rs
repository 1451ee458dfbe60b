//! The database of a claimed directory, as long as it is open, and how it is opened again after the disk was full.

use super::directory::{self, Directory};
use super::documents::Documents;
use super::journals;
use super::place::Place;
use crate::files;
use crate::{OpenError, ReadError};
use pelago_model::{Document, Key};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{PoisonError, RwLock, TryLockError};

/// Room beside the journals, which are written anew, that has to be there before a store is opened again.
const ROOM_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes that are written at once to see whether there is room.
const PROBE_BYTES: usize = 64 * 1024;

/// Documents that are open.
pub(super) struct Opened {
    /// Guards them against being closed while they are read. `None` if they could not be opened again yet.
    documents: RwLock<Option<Documents>>,
    place: Place,
    /// Dropped last, so that nobody opens the directory while fjall still closes.
    directory: Directory,
}

/// Why a group was not made durable.
#[derive(Debug, thiserror::Error)]
pub(super) enum DiskError {
    /// The engine's, or the disk's.
    #[error(transparent)]
    Engine(#[from] fjall::Error),
    /// What was written is not where anybody would look for it.
    #[error("the store is not in its place any more: {0}")]
    Lost(String),
}

impl Opened {
    /// Opens the store of a directory, and makes one if there is none.
    pub(super) fn open(directory: Directory) -> Result<Self, OpenError> {
        directory.complete(Documents::make)?;
        renew_suspect(&directory).map_err(|error| directory::engine(directory.path(), error))?;
        let documents = Documents::open(directory.path(), &directory.documents())?;
        let place =
            Place::of(&directory).map_err(|error| directory::engine(directory.path(), error))?;
        Ok(Self { documents: RwLock::new(Some(documents)), place, directory })
    }

    /// Lets `look` read them.
    pub(super) fn read<T, E: From<ReadError>>(
        &self,
        look: impl FnOnce(&Documents) -> Result<T, E>,
    ) -> Result<T, E> {
        // Nothing is left half done under the lock.
        let documents = self.documents.read().unwrap_or_else(PoisonError::into_inner);
        match &*documents {
            Some(documents) => look(documents),
            None => Err(ReadError::Engine("the disk is full".to_owned()).into()),
        }
    }

    /// Makes a group durable. An empty one only tells whether the store is still there.
    pub(super) fn write(&self, changed: &BTreeMap<Key, Document>) -> Result<(), DiskError> {
        let documents = self.documents.read().unwrap_or_else(PoisonError::into_inner);
        let Some(documents) = &*documents else { return Err(fjall::Error::Poisoned.into()) };
        documents.write(changed)?;
        self.check_place()
    }

    /// Whether the store is still there.
    pub(super) fn check_place(&self) -> Result<(), DiskError> {
        self.place.check().map_err(DiskError::Lost)
    }

    /// Notes for the next start that journals may not be on the disk as they are read, if the disk takes that.
    pub(super) fn note_suspect(&self) {
        drop(files::open_private(&self.directory.suspect()));
    }

    /// Bytes of room that it takes to open it again.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn room_bytes(&self) -> io::Result<u64> {
        Ok(ROOM_BYTES + journals::bytes(&self.directory.documents())?)
    }

    /// Whether there is room to open it again.
    ///
    /// # Errors
    /// Those of the file system; that the disk is full is one.
    pub(super) fn try_room(&self) -> io::Result<()> {
        let bytes = self.room_bytes()?;
        let probe = self.directory.probe();
        let written = write_zeros(&probe, bytes);
        files::remove(&probe)?;
        written
    }

    /// Closes the documents and opens them again, as the next start of the process would. `false` if somebody reads them
    /// just now.
    ///
    /// # Errors
    /// See [`OpenError`]. They stay closed.
    pub(super) fn open_again(&self) -> Result<bool, OpenError> {
        let mut documents = match self.documents.try_write() {
            Ok(documents) => documents,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(false),
        };
        let (path, files) = (self.directory.path(), self.directory.documents());
        self.check_place().map_err(|problem| directory::engine(path, problem))?;
        drop(documents.take());
        journals::write_anew(&files).map_err(|error| directory::engine(path, error))?;
        *documents = Some(Documents::open(path, &files)?);
        Ok(true)
    }
}

/// Makes sure that what is going to be read is on the disk, if the last process was not.
fn renew_suspect(directory: &Directory) -> io::Result<()> {
    let suspect = directory.suspect();
    if !suspect.exists() {
        return Ok(());
    }
    journals::write_anew(&directory.documents())?;
    files::remove(&suspect)
}

fn write_zeros(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file: File = files::open_private(path)?;
    let zeros = vec![0; PROBE_BYTES];
    for _ in 0..bytes.div_ceil(PROBE_BYTES as u64) {
        file.write_all(&zeros)?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelago_model::Revision;
    use std::sync::mpsc::channel;

    fn revision(opened: &Opened, key: &Key) -> Result<u64, ReadError> {
        opened.read(|documents| Ok(documents.view().read(key)?.revision.0))
    }

    #[test]
    fn what_is_opened_again_is_as_it_was_and_nobody_who_reads_is_interrupted() {
        let directory = tempfile::tempdir().unwrap();
        let opened = Opened::open(Directory::claim(directory.path()).unwrap()).unwrap();
        let key = Key::parse("a/1").unwrap();
        let write = |number| {
            let document =
                Document { schema: 1, revision: Revision(number), value: Some("1".into()) };
            opened.write(&BTreeMap::from([(key.clone(), document)])).unwrap();
        };
        for number in 1..=3 {
            write(number);
            opened.try_room().unwrap();
            let (begun, begins) = channel();
            let (end, ends) = channel();
            std::thread::scope(|scope| {
                let documents = &opened;
                let reader = scope.spawn(move || {
                    documents.read(|_| {
                        begun.send(()).unwrap();
                        ends.recv().unwrap();
                        Ok::<_, ReadError>(())
                    })
                });
                begins.recv().unwrap();
                assert!(!opened.open_again().unwrap());
                end.send(()).unwrap();
                reader.join().unwrap().unwrap();
            });
            assert!(opened.open_again().unwrap());
            assert_eq!(revision(&opened, &key), Ok(number));
        }
        // It is still this process's, and what is written is found by the next one.
        assert!(Directory::claim(directory.path()).is_err());
        write(4);
        drop(opened);
        let opened = Opened::open(Directory::claim(directory.path()).unwrap()).unwrap();
        assert_eq!(revision(&opened, &key), Ok(4));
    }
}
