//! The directory of an archive that is being made: one process at a time, nobody else's files.

use super::manifest::Manifest;
use crate::files;
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

pub(super) const MANIFEST: &str = "manifest.json";
const LOCK: &str = "lock";

/// Why a directory cannot be written to.
#[derive(Debug)]
pub(super) enum ClaimError {
    InUse,
    /// What else is there.
    Foreign(String),
    File(PathBuf, io::Error),
}

/// A directory that this process has for itself.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Held as long as it is written to.
    _lock: File,
}

impl Directory {
    /// Creates a directory or takes one that is empty or holds an archive, whose manifest is handed out.
    pub(super) fn claim(path: &Path) -> Result<(Self, Option<Manifest>), ClaimError> {
        let failed = |error| ClaimError::File(path.to_owned(), error);
        files::create_directory(path).map_err(failed)?;
        // Nothing is put into a directory that is somebody else's.
        find(path)?;
        let lock_path = path.join(LOCK);
        let lock = files::open_private(&lock_path)
            .map_err(|error| ClaimError::File(lock_path.clone(), error))?;
        match lock.try_lock() {
            // Another process may have gone on until it let go of the lock.
            Ok(()) => Ok((Self { path: path.to_owned(), _lock: lock }, find(path)?)),
            Err(TryLockError::WouldBlock) => Err(ClaimError::InUse),
            Err(TryLockError::Error(error)) => Err(ClaimError::File(lock_path, error)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a file durable.
    pub(super) fn put(&self, name: &str, bytes: &[u8]) -> Result<(), (PathBuf, io::Error)> {
        let path = self.path.join(name);
        files::replace(&path, bytes).map_err(|error| (path, error))
    }

    /// Removes a part; it may be gone.
    pub(super) fn remove(&self, name: &str) -> Result<(), (PathBuf, io::Error)> {
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err((path, error)),
            _ => Ok(()),
        }
    }
}

/// The manifest of an archive, if one was begun.
fn find(path: &Path) -> Result<Option<Manifest>, ClaimError> {
    let manifest = path.join(MANIFEST);
    match fs::read(&manifest) {
        Ok(text) => Manifest::parse(&text)
            .map(Some)
            .map_err(|problem| ClaimError::Foreign(format!("its {MANIFEST} {problem}"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => check_empty(path).map(|()| None),
        Err(error) => Err(ClaimError::File(manifest, error)),
    }
}

/// Whether there is nothing but what a process leaves that died before there was a manifest.
fn check_empty(path: &Path) -> Result<(), ClaimError> {
    let failed = |error| ClaimError::File(path.to_owned(), error);
    for entry in fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name != OsStr::new(LOCK) && name != OsStr::new("manifest.json.new") {
            return Err(ClaimError::Foreign(format!(
                "it has no {MANIFEST}, but {:?}",
                name.to_string_lossy()
            )));
        }
    }
    Ok(())
}
