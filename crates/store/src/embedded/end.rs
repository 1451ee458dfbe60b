//! How the thread that commits has ended: for now, because the disk is full, or for good.

use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Bytes that are written to see whether the disk is full.
const PROBE_BYTES: usize = 64 * 1024;

/// What ended the engine for good, once it is known.
#[derive(Clone, Default)]
pub(super) struct End(Arc<OnceLock<String>>);

impl End {
    /// Why nothing is acknowledged any more.
    pub(super) fn reason(&self) -> Option<String> {
        self.0.get().cloned()
    }

    /// The disk did not take a group.
    pub(super) fn disk_failed(&self, directory: &Path, error: &fjall::Error) {
        if is_full(error) || is_full_now(directory) {
            tracing::error!(%error, "the disk is full: the store takes no more commits until it is started again");
        } else {
            self.note(format!("the disk failed: {error}"));
        }
    }

    /// Another process has taken over.
    pub(super) fn fenced(&self) {
        self.note(crate::FENCED.to_owned());
    }

    /// A mistake of ours.
    pub(super) fn panicked(&self) {
        self.note("the thread that commits panicked".to_owned());
    }

    fn note(&self, reason: String) {
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
fn is_full_now(directory: &Path) -> bool {
    let probe = directory.join("probe");
    let written = std::fs::write(&probe, vec![0; PROBE_BYTES]);
    drop(std::fs::remove_file(&probe));
    written.is_err_and(|error| is_full_disk(&error))
}

fn is_full_disk(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_end_and_every_other_failure_is() {
        let directory = tempfile::tempdir().unwrap();
        for (error, ends) in [
            (fjall::Error::Io(ErrorKind::StorageFull.into()), false),
            (fjall::Error::Io(ErrorKind::QuotaExceeded.into()), false),
            (fjall::Error::Io(Error::other("EIO")), true),
            (fjall::Error::Poisoned, true),
        ] {
            let end = End::default();
            end.disk_failed(directory.path(), &error);
            assert_eq!(end.reason().is_some(), ends, "{error}");
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_first_reason_stays() {
        let end = End::default();
        end.panicked();
        end.disk_failed(tempfile::tempdir().unwrap().path(), &fjall::Error::Poisoned);
        assert_eq!(end.reason().as_deref(), Some("the thread that commits panicked"));
    }
}
