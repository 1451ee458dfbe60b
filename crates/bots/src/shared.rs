//! What the bots of one process share.

use crate::Plan;
use crate::ledger::Ledger;
use crate::meters::Meters;
use crate::verify::Line;
use anyhow::{Context, Result};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The journal: a JSON line for every acknowledged durable command, before its bot sends the next.
pub(crate) struct JournalFile {
    /// Guards the file, so that lines stay whole.
    file: Mutex<File>,
}

impl JournalFile {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("journal {}", path.display()))?;
        Ok(Self { file: Mutex::new(file) })
    }

    pub(crate) fn write(&self, line: &Line) -> std::io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(text.as_bytes())
    }
}

/// When the numbers of the report are taken.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Window {
    pub(crate) began: Option<Instant>,
    pub(crate) ended: Option<Instant>,
}

impl Window {
    pub(crate) fn holds(&self, at: Instant) -> bool {
        self.began.is_some_and(|began| began <= at) && self.ended.is_none_or(|ended| at <= ended)
    }
}

/// What happened to sessions.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    /// Ended by their bots without a goodbye.
    pub(crate) vanished: AtomicU64,
    /// Followed by a newer one of the same bot while they were there.
    pub(crate) taken_over: AtomicU64,
    /// Ended by somebody else.
    pub(crate) cut_off: AtomicU64,
    /// Not begun.
    pub(crate) refused: AtomicU64,
}

/// What bots of one process share.
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) ledger: Ledger,
    pub(crate) journal: Option<JournalFile>,
    /// Guards the natural objects of tiles that some bot has fetched, by hash.
    pub(crate) tiles: Mutex<BTreeMap<Bytes, Bytes>>,
    /// Bots that are in the world.
    pub(crate) playing: AtomicUsize,
    /// What happened to sessions so far.
    pub(crate) sessions: Sessions,
    /// Guards the numbers taken within the window.
    pub(crate) meters: Mutex<Meters>,
    /// Guards the window.
    pub(crate) window: Mutex<Window>,
}

impl Shared {
    pub(crate) fn window(&self) -> Window {
        *self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The meters, if numbers are taken now.
    pub(crate) fn meters(&self) -> Option<MutexGuard<'_, Meters>> {
        let open = self.window().holds(Instant::now());
        open.then(|| self.meters.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
