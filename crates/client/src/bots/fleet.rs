//! A fleet: all bots of a process, and what they share.

use super::ledger::Ledger;
use super::meters::Meters;
use super::verify::Line;
use super::{Plan, Report, bot, report};
use anyhow::{Context, Result};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Bots arrive in groups this often: a steady stream instead of a wall.
const ARRIVAL_PERIOD: Duration = Duration::from_millis(20);

/// The journal: a JSON line for every acknowledged durable command, before its bot sends the next.
pub(super) struct Journal {
    /// Guards the file, so that lines stay whole.
    file: Mutex<File>,
}

impl Journal {
    fn open(path: &Path) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("journal {}", path.display()))?;
        Ok(Self { file: Mutex::new(file) })
    }

    pub(super) fn write(&self, line: &Line) -> std::io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(text.as_bytes())
    }
}

/// When the numbers of the report are taken.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    pub(super) began: Option<Instant>,
    pub(super) ended: Option<Instant>,
}

impl Window {
    pub(super) fn holds(&self, at: Instant) -> bool {
        self.began.is_some_and(|began| began <= at) && self.ended.is_none_or(|ended| at <= ended)
    }
}

/// What bots of one process share.
pub(super) struct Shared {
    pub(super) plan: Plan,
    pub(super) ledger: Ledger,
    pub(super) journal: Option<Journal>,
    /// Guards the natural objects of tiles that some bot has fetched, by hash.
    pub(super) tiles: Mutex<BTreeMap<Bytes, Bytes>>,
    /// Bots that are in the world.
    pub(super) playing: AtomicUsize,
    /// Guards the numbers taken within the window.
    meters: Mutex<Meters>,
    /// Guards the window.
    window: Mutex<Window>,
}

impl Shared {
    pub(super) fn window(&self) -> Window {
        *self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The meters, if numbers are taken now.
    pub(super) fn meters(&self) -> Option<MutexGuard<'_, Meters>> {
        let open = self.window().holds(Instant::now());
        open.then(|| self.meters.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Bots at play.
pub struct Fleet {
    shared: Arc<Shared>,
    ending: watch::Sender<bool>,
    arriving: JoinHandle<JoinSet<bot::BotLog>>,
}

impl Fleet {
    /// Lets bots arrive, one after the other.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub fn start(plan: Plan) -> Result<Self> {
        let journal = plan.journal.as_deref().map(Journal::open).transpose()?;
        let shared = Arc::new(Shared {
            ledger: Ledger::default(),
            journal,
            tiles: Mutex::default(),
            playing: AtomicUsize::new(0),
            meters: Mutex::default(),
            window: Mutex::default(),
            plan,
        });
        let (ending, end) = watch::channel(false);
        let arriving = tokio::spawn(arrive(shared.clone(), end));
        Ok(Self { shared, ending, arriving })
    }

    /// Bots that are in the world.
    pub fn playing(&self) -> usize {
        self.shared.playing.load(Ordering::Relaxed)
    }

    /// The numbers of the report are taken from now on.
    pub fn begin_measuring(&self) {
        let mut window = self.shared.window.lock().unwrap_or_else(PoisonError::into_inner);
        *window = Window { began: Some(Instant::now()), ended: None };
    }

    /// The numbers of the report are taken no more.
    pub fn stop_measuring(&self) {
        let mut window = self.shared.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.ended.get_or_insert_with(Instant::now);
    }

    /// Lets all leave, and adds up what they have seen.
    ///
    /// # Errors
    /// If a bot panicked.
    pub async fn end(self) -> Result<Report> {
        self.stop_measuring();
        self.ending.send_replace(true);
        let mut bots = self.arriving.await.context("the arrivals")?;
        let mut logs = Vec::with_capacity(bots.len());
        while let Some(log) = bots.join_next().await {
            logs.push(log.context("a bot panicked")?);
        }
        let meters = self.shared.meters.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(report::assemble(&self.shared.ledger, &meters, self.shared.window(), &logs))
    }
}

async fn arrive(shared: Arc<Shared>, mut end: watch::Receiver<bool>) -> JoinSet<bot::BotLog> {
    let mut bots = JoinSet::new();
    let periods_per_second = 1000 / ARRIVAL_PERIOD.as_millis() as u32;
    let group = (shared.plan.arrivals_per_second / periods_per_second).max(1) as usize;
    for number in 0..shared.plan.count {
        bots.spawn(bot::run(shared.clone(), number, end.clone()));
        if number % group == group - 1 {
            let ended = end.wait_for(|end| *end);
            if tokio::time::timeout(ARRIVAL_PERIOD, ended).await.is_ok() {
                break;
            }
        }
    }
    bots
}
