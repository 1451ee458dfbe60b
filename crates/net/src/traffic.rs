//! Traffic: how much passed through connections, and how many of them there may be.

use crate::open_files::OpenFiles;
use crate::recording::Recorder;
use pelago_model::{Limit, LimitCounts};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OwnedSemaphorePermit;

/// Connections that share one [`Traffic`] and are open at once; one more is refused. It bounds memory: how
/// many players a node takes is decided elsewhere, and lower.
pub const MAX_CONNECTIONS: u64 = 64 * 1024;
/// WebSocket handshakes of one [`Traffic`] at once; one more is refused. As many as a full backlog, so that
/// all players may come back together.
pub const MAX_HANDSHAKES: u64 = 4096;

/// Counts of what passed through connections. It belongs to the program that opens them.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Bytes read.
    pub received: AtomicU64,
    /// Bytes written.
    pub sent: AtomicU64,
    /// Writes.
    pub writes: AtomicU64,
    /// Writes that the kernel did not take whole.
    pub blocked: AtomicU64,
    /// Connections that are open, those in their handshake included.
    pub open: AtomicU64,
    /// Handshakes under way.
    pub handshakes: AtomicU64,
    /// Connections admitted so far.
    pub accepted: AtomicU64,
    /// Connections refused for one of the limits.
    pub refused: AtomicU64,
    /// Connections that have ended.
    pub closed: AtomicU64,
    /// Of which each connection takes one; `None` where they are not counted.
    files: Option<OpenFiles>,
    /// Guards how often limits were met.
    limits: Mutex<LimitCounts>,
    /// The recording of what passes, if there is one.
    pub recorder: Recorder,
}

/// Counts a connection as open until dropped.
#[derive(Debug)]
pub(crate) struct Open {
    traffic: Arc<Traffic>,
    _file: Option<OwnedSemaphorePermit>,
    /// Of the connection, for recordings.
    pub(crate) number: u32,
}

/// Counts a handshake as under way until dropped.
#[derive(Debug)]
pub(crate) struct Handshake(Arc<Traffic>);

impl Traffic {
    /// Of connections that share their files with others.
    pub fn sharing(files: OpenFiles) -> Self {
        Self { files: Some(files), ..Self::default() }
    }

    /// Admits a connection, up to `limit`.
    pub(crate) fn open(self: &Arc<Self>, limit: u64) -> io::Result<Open> {
        let file = self.files.as_ref().map(OpenFiles::take);
        if matches!(file, Some(None)) {
            return Err(self.refuse("too many open files", Limit::OpenFiles));
        }
        self.enter(&self.open, limit, ("too many connections", Limit::Connections))?;
        let number = self.accepted.fetch_add(1, Ordering::Relaxed) as u32;
        Ok(Open { traffic: self.clone(), _file: file.flatten(), number })
    }

    /// Admits a handshake, up to `limit`.
    pub(crate) fn handshake(self: &Arc<Self>, limit: u64) -> io::Result<Handshake> {
        self.enter(&self.handshakes, limit, ("too many handshakes", Limit::Handshakes))?;
        Ok(Handshake(self.clone()))
    }

    /// A limit was met.
    pub fn note(&self, limit: Limit) {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).note(limit);
    }

    /// How often limits were met.
    pub fn limits(&self) -> LimitCounts {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(
        &self,
        gauge: &AtomicU64,
        limit: u64,
        (problem, met): (&'static str, Limit),
    ) -> io::Result<()> {
        if gauge.fetch_add(1, Ordering::Relaxed) < limit {
            return Ok(());
        }
        gauge.fetch_sub(1, Ordering::Relaxed);
        Err(self.refuse(problem, met))
    }

    fn refuse(&self, problem: &'static str, met: Limit) -> io::Error {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.note(met);
        io::Error::new(io::ErrorKind::QuotaExceeded, problem)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.traffic.open.fetch_sub(1, Ordering::Relaxed);
        self.traffic.closed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.handshakes.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_limit_is_refused_until_one_ends() {
        let traffic = Arc::new(Traffic::default());
        let first = traffic.open(2).unwrap();
        let _second = traffic.open(2).unwrap();
        assert_eq!(traffic.open(2).unwrap_err().to_string(), "too many connections");
        drop(first);
        let _third = traffic.open(2).unwrap();
        let counts = [&traffic.open, &traffic.accepted, &traffic.refused, &traffic.closed];
        assert_eq!(counts.map(|count| count.load(Ordering::Relaxed)), [2, 3, 1, 1]);

        let files = OpenFiles::new(Some(1));
        let nodes = [(); 2].map(|()| Arc::new(Traffic::sharing(files.clone())));
        let first = nodes[0].open(2).unwrap();
        assert_eq!(nodes[1].open(2).unwrap_err().to_string(), "too many open files");
        assert_eq!(nodes[1].limits().of(Limit::OpenFiles), 1);
        drop(first);
        assert!(nodes[1].open(2).is_ok());

        let handshake = traffic.handshake(1).unwrap();
        assert!(traffic.handshake(1).is_err());
        drop(handshake);
        assert!(traffic.handshake(1).is_ok());
    }
}
