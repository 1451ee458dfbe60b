//! How the thread that commits has ended: for now, because the disk is full, or for good.

use super::opened::{DiskError, Opened};
use std::io::{Error, ErrorKind};
use std::sync::{Arc, OnceLock};

/// What is to be done after a group was not made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterFailure {
    /// The disk is full: there may be room later.
    WaitsForRoom,
    /// Nothing any more.
    Ends,
}

/// What ended the engine for good, once it is known.
#[derive(Clone, Default)]
pub(super) struct End(Arc<OnceLock<String>>);

impl End {
    /// Why nothing is acknowledged any more.
    pub(super) fn reason(&self) -> Option<String> {
        self.0.get().cloned()
    }

    /// The disk did not take a group.
    pub(super) fn after(&self, opened: &Opened, error: &DiskError) -> AfterFailure {
        match error {
            DiskError::Lost(_) => self.note(error.to_string()),
            DiskError::Engine(engine) if is_full(engine) || is_full_now(opened) => {
                tracing::error!(%error, "the disk is full: the store takes no commits until there is room");
                return AfterFailure::WaitsForRoom;
            }
            // Files that are gone make writes fail in many ways.
            DiskError::Engine(error) => match opened.check_place() {
                Err(lost) => self.note(lost.to_string()),
                Ok(()) => {
                    opened.note_suspect();
                    self.note(format!("the disk failed: {error}"));
                }
            },
        }
        AfterFailure::Ends
    }

    /// Another process has taken over.
    pub(super) fn fenced(&self) {
        self.note(crate::FENCED.to_owned());
    }

    /// A mistake of ours.
    pub(super) fn panicked(&self) {
        self.note("the thread that commits panicked".to_owned());
    }

    /// It has come to its end, and this is why.
    pub(super) fn note(&self, reason: String) {
        tracing::error!(%reason, "the store takes no more commits");
        // The first reason is the one.
        drop(self.0.set(reason));
    }
}

fn is_full(error: &fjall::Error) -> bool {
    match error {
        fjall::Error::Io(error) => is_full_disk(error),
        _ => false,
    }
}

/// Files that are written behind the commits fail first, and the error says no more than that something did.
fn is_full_now(opened: &Opened) -> bool {
    opened.try_room().is_err_and(|error| is_full_disk(&error))
}

/// Whether an error says that the disk, or what one may have of it, is full.
pub(super) fn is_full_disk(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::directory::Directory;
    use std::path::Path;

    fn opened(directory: &Path) -> Opened {
        Opened::open(Directory::claim(directory).unwrap()).unwrap()
    }

    #[test]
    fn a_full_disk_is_no_end_and_every_other_failure_is() {
        let directory = tempfile::tempdir().unwrap();
        let broken = opened(directory.path());
        for (error, ends) in [
            (fjall::Error::Io(ErrorKind::StorageFull.into()), false),
            (fjall::Error::Io(ErrorKind::QuotaExceeded.into()), false),
            (fjall::Error::Io(Error::other("EIO")), true),
            (fjall::Error::Poisoned, true),
        ] {
            let end = End::default();
            let after = end.after(&broken, &error.into());
            assert_eq!(after == AfterFailure::Ends, ends);
            assert_eq!(end.reason().is_some(), ends);
        }
        assert!(!directory.path().join("probe").exists());
        // The next start does not trust what it reads to be on the disk, until it has written it.
        assert!(directory.path().join("suspect").exists());
        drop(broken);
        drop(opened(directory.path()));
        assert!(!directory.path().join("suspect").exists());
    }

    #[test]
    fn the_first_reason_stays() {
        let end = End::default();
        end.panicked();
        let directory = tempfile::tempdir().unwrap();
        end.after(&opened(directory.path()), &fjall::Error::Poisoned.into());
        assert_eq!(end.reason().as_deref(), Some("the thread that commits panicked"));
    }
}
