//! Where a store is, so that it is noticed when it is there no longer: deleted, moved, or another put in its place.
//!
//! A process that holds files open can go on writing them after they were deleted, and would acknowledge what nobody
//! will ever find.

use super::directory::{Directory, has_journal};
use std::fs::{Metadata, metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// Files of an open store, as they were when it was opened.
pub(super) struct Place {
    files: [(PathBuf, Identity); 2],
    documents: PathBuf,
}

/// Which file it is: its device and its number there.
type Identity = (u64, u64);

impl Place {
    /// The place of a store that is there.
    pub(super) fn of(directory: &Directory) -> io::Result<Self> {
        let (lock_file, lock) = directory.lock();
        let version = directory.version();
        let found = identity(&metadata(&version)?);
        let files = [(lock_file, identity(&lock.metadata()?)), (version, found)];
        Ok(Self { files, documents: directory.documents() })
    }

    /// Looks whether the store is still there.
    ///
    /// # Errors
    /// What is gone, in words.
    pub(super) fn check(&self) -> Result<(), String> {
        for (path, known) in &self.files {
            let path_shown = path.display();
            match metadata(path) {
                Ok(found) if identity(&found) == *known => {}
                Ok(_) => return Err(format!("{path_shown} is another file than it was")),
                Err(error) => return Err(format!("{path_shown}: {error}")),
            }
        }
        match has_journal(&self.documents) {
            true => Ok(()),
            false => Err(format!("{}: the journals are gone", self.documents.display())),
        }
    }
}

fn identity(found: &Metadata) -> Identity {
    (found.dev(), found.ino())
}
