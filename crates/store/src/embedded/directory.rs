//! The directory of an embedded store: one process at a time, one layout, whole or not begun.
//!
//! | what is there | what it means |
//! | --- | --- |
//! | `format` and `documents` | a store |
//! | `format.new`, no `format`, no `documents` | one that is being made, or was deleted: it is begun anew |
//! | `format.new`, no `format`, `documents` | one that is made but for its name, which it gets |
//! | `documents.new`, `documents.deleted` | what a process that died has left of making or deleting: it is removed |
//!
//! So there is one instant at which a store begins to be there, the renaming of `documents.new`, and one at which it is
//! deleted, the renaming of `documents` to `documents.deleted`.

use crate::OpenError;
use crate::files;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The version of the directory's layout.
const FORMAT: &str = "pelago embedded store 1\n";
/// Says the version.
const FORMAT_FILE: &str = "format";
/// Where fjall keeps the documents.
const DOCUMENTS: &str = "documents";
/// Held by the process that has the store.
const LOCK: &str = "lock";
/// Written to see whether there is room.
const PROBE: &str = "probe";
/// Says that a write or a sync has failed since the store was opened. It need not be durable: what other files have only
/// in memory is lost when it is.
const SUSPECT: &str = "suspect";
/// What a file system puts into its root.
const LOST_AND_FOUND: &str = "lost+found";

/// What fjall writes first of all into a new database, before anything is committed.
const VERSION: &str = "version";
/// The list of keyspaces, which the engine keeps beside the documents.
const KEYSPACES: &str = "keyspaces";
/// With what the names of its journals end.
const JOURNAL: &str = "jnl";

/// What is found in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// No store, or one that was only begun.
    Nothing,
    Store,
    /// A store whose documents are gone.
    WithoutDocuments,
    /// Its documents lack a journal or the list of their keyspaces.
    WithoutJournal,
    /// A store whose documents an earlier build has begun to make.
    Unfinished,
}

/// A directory that this process has for itself, as long as it is held.
pub(super) struct Directory {
    path: PathBuf,
    lock: File,
}

/// The error of an engine that did not open.
pub(super) fn engine(directory: &Path, problem: impl ToString) -> OpenError {
    OpenError::Engine { directory: directory.to_owned(), problem: problem.to_string() }
}

/// Whether a directory has a store, also one that lacks no more than its name.
pub(super) fn has_store(directory: &Path) -> bool {
    let format = directory.join(FORMAT_FILE);
    format.exists() || files::beside(&format).exists() && directory.join(DOCUMENTS).exists()
}

impl Directory {
    /// Creates the directory if there is none, and takes it for this process. What is in it is not looked at, and stays.
    pub(super) fn claim(path: &Path) -> Result<Self, OpenError> {
        let failed = |error| engine(path, error);
        files::create_directory(path).map_err(failed)?;
        // An own lock, taken before anything is read or written: fjall's stands in its directory, behind the format.
        let lock = files::open_private(&path.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        Ok(Self { path: path.to_owned(), lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The engine's files.
    pub(super) fn documents(&self) -> PathBuf {
        self.path.join(DOCUMENTS)
    }

    /// A file of the engine's that stays as it is as long as there is a store.
    pub(super) fn version(&self) -> PathBuf {
        self.documents().join(VERSION)
    }

    /// The file that says that a process has the store.
    pub(super) fn lock(&self) -> (PathBuf, &File) {
        (self.path.join(LOCK), &self.lock)
    }

    /// Where it is noted that the journals may not be on the disk as they are read.
    pub(super) fn suspect(&self) -> PathBuf {
        self.path.join(SUSPECT)
    }

    /// Where it is tried whether there is room.
    pub(super) fn probe(&self) -> PathBuf {
        self.path.join(PROBE)
    }

    /// Deletes the store that is here, so that whoever opens it next begins anew. What is no store is left alone.
    pub(super) fn delete(&self) -> Result<(), OpenError> {
        self.delete_found(self.find()?).map_err(|error| engine(&self.path, error))
    }

    fn delete_found(&self, found: Found) -> io::Result<()> {
        if found == Found::Nothing {
            return Ok(());
        }
        let (format, documents) = (self.path.join(FORMAT_FILE), self.documents());
        self.sweep()?;
        // As long as the documents have their name, a process that dies has deleted nothing.
        files::rename(&format, &files::beside(&format))?;
        if found != Found::WithoutDocuments {
            files::rename(&documents, &files::deleted(&documents))?;
        }
        self.sweep()
    }

    /// Lets `make` make the engine's files if there is no store yet, so that there is one afterwards.
    pub(super) fn complete(
        &self,
        make: impl FnOnce(&Path) -> Result<(), OpenError>,
    ) -> Result<(), OpenError> {
        let failed = |error| engine(&self.path, error);
        let found = self.find()?;
        if let Err(error) = self.make_private() {
            // Not every file system has modes, and not every file is ours.
            tracing::warn!(directory = %self.path.display(), %error, "others may read the store");
        }
        match found {
            Found::Store => {}
            Found::Nothing => {
                let (format, documents) = (self.path.join(FORMAT_FILE), self.documents());
                self.sweep().map_err(failed)?;
                // What is left of it if this process dies is known to be ours by that.
                files::replace(&files::beside(&format), FORMAT.as_bytes()).map_err(failed)?;
                let beside = files::beside(&documents);
                make(&beside)?;
                files::sync_tree(&beside).map_err(failed)?;
                files::rename(&beside, &documents).map_err(failed)?;
                files::rename(&files::beside(&format), &format).map_err(failed)?;
            }
            Found::WithoutDocuments => {
                return Err(self.problem(
                    "says its format, but has no documents: they were moved or deleted. Put them back, or begin anew \
                     (--reset)",
                ));
            }
            Found::WithoutJournal => {
                return Err(self.problem(
                    "has documents without a journal (\"*.jnl\") or their list (\"keyspaces\"): they were moved or \
                     deleted. Put them back, or begin anew (--reset)",
                ));
            }
            Found::Unfinished => {
                return Err(self.problem(
                    "has documents without their file \"version\": an earlier build has died while it made them, or \
                     the file was deleted. Put it back, or begin anew (--reset)",
                ));
            }
        }
        self.sweep().map_err(failed)
    }

    /// What is here. A store that lacks no more than its name gets it.
    fn find(&self) -> Result<Found, OpenError> {
        let (format, documents) = (self.path.join(FORMAT_FILE), self.documents());
        let is_begun = self.read(&files::beside(&format))?.as_deref() == Some(FORMAT);
        match self.read(&format)?.as_deref() {
            Some(FORMAT) if !documents.exists() => Ok(Found::WithoutDocuments),
            Some(FORMAT) if !documents.join(VERSION).exists() => Ok(Found::Unfinished),
            Some(FORMAT) if !has_journal(&documents) => Ok(Found::WithoutJournal),
            Some(FORMAT) => Ok(Found::Store),
            Some(other) => Err(self.problem(&format!("is of another format: {:?}", other.trim()))),
            None if is_begun && documents.exists() => {
                files::rename(&files::beside(&format), &format)
                    .map_err(|error| engine(&self.path, error))?;
                Ok(Found::Store)
            }
            None if is_begun => Ok(Found::Nothing),
            None => {
                let beside = files::beside(&documents);
                match [documents, beside].iter().find(|path| path.exists()) {
                    // They are somebody else's.
                    Some(_) => {
                        Err(self.problem("has documents, but no file that says their format"))
                    }
                    None => Ok(Found::Nothing),
                }
            }
        }
    }

    fn problem(&self, problem: &str) -> OpenError {
        OpenError::Format { directory: self.path.clone(), problem: problem.to_owned() }
    }

    /// The text of a file; `None` if there is none.
    fn read(&self, file: &Path) -> Result<Option<String>, OpenError> {
        match fs::read(file) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(engine(&self.path, format!("{}: {error}", file.display()))),
        }
    }

    /// Removes what a process that died has left.
    fn sweep(&self) -> io::Result<()> {
        let documents = self.documents();
        files::remove(&files::beside(&documents))?;
        files::remove(&files::deleted(&documents))?;
        files::remove(&self.path.join(PROBE))
    }

    /// Takes away what others may do with the store. Nothing else in the directory is touched.
    fn make_private(&self) -> io::Result<()> {
        let documents = self.documents();
        let ours = [&*documents, &self.path.join(FORMAT_FILE), &self.path.join(LOCK)];
        ours.into_iter().try_for_each(files::make_private)?;
        files::make_own_directory_private(&self.path, |name| {
            // With their endings.
            [DOCUMENTS, FORMAT_FILE, LOCK, PROBE, SUSPECT, LOST_AND_FOUND]
                .iter()
                .any(|ours| name.starts_with(ours))
        })
    }
}

/// Whether documents have what the engine never is without: a journal, and the list of its keyspaces.
pub(super) fn has_journal(documents: &Path) -> bool {
    let is_journal =
        |entry: fs::DirEntry| entry.path().extension().is_some_and(|ending| ending == JOURNAL);
    let journals = fs::read_dir(documents).map(|entries| entries.flatten().any(is_journal));
    documents.join(KEYSPACES).exists() && journals.unwrap_or(false)
}
