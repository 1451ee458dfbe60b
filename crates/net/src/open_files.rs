//! The process' limit of open files: every connection is one, and so is what a store writes.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The most files that are kept from connections of clients.
const MAX_RESERVE: u64 = 4096;

/// Raises the soft limit of open files to the hard one, and returns it; `None` is unlimited.
pub fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// The files that all connections of clients of a process may take together.
///
/// A quarter of what the process may open, at most 4,096, is kept from them: a store that cannot open a file takes
/// no more commits, and links, the page and the metrics are wanted most when everybody comes at once.
#[derive(Clone, Debug)]
pub struct OpenFiles {
    free: Arc<Semaphore>,
    reserve: u64,
}

impl OpenFiles {
    /// For a process that may open `limit` files; `None` is as many as it likes.
    pub fn new(limit: Option<u64>) -> Self {
        let most = Semaphore::MAX_PERMITS as u64;
        let limit = limit.unwrap_or(most).min(most);
        let reserve = (limit / 4).min(MAX_RESERVE);
        Self { free: Arc::new(Semaphore::new((limit - reserve) as usize)), reserve }
    }

    /// A file for a connection, taken until dropped; `None` if there is none left.
    pub(crate) fn take(&self) -> Option<OwnedSemaphorePermit> {
        self.free.clone().try_acquire_owned().ok()
    }

    /// The files that are kept from connections of clients.
    pub fn reserve(&self) -> u64 {
        self.reserve
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_is_kept_and_never_more_than_needed() {
        for (limit, free, reserve) in
            [(Some(0), 0, 0), (Some(8), 6, 2), (Some(20_000), 15_904, 4096)]
        {
            let files = OpenFiles::new(limit);
            assert_eq!((files.free.available_permits(), files.reserve()), (free, reserve));
        }
        assert_eq!(OpenFiles::new(None).reserve(), 4096);
        assert!(OpenFiles::new(Some(u64::MAX)).take().is_some());
    }
}
