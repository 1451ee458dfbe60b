//! A fleet: all bots of a process.

use crate::ledger::Ledger;
use crate::shared::{JournalFile, Sessions, Shared, Window};
use crate::{Plan, Report, bot, report};
use anyhow::{Context, Result};
use pelago_model::EntityId;
use serde::Serialize;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Bots arrive in groups this often: a steady stream instead of a wall.
const ARRIVAL_PERIOD: Duration = Duration::from_millis(20);

/// What bots were shown since this was last asked, and what happened to their sessions so far.
#[derive(Clone, Debug, Serialize)]
pub struct Interim {
    /// Bots that are in the world.
    pub playing: usize,
    /// Changes decoded.
    pub decoded: u64,
    /// From the sender's send to the observer's decoding, median.
    pub staleness_p50_ms: u64,
    /// From the sender's send to the observer's decoding, 99th percentile.
    pub staleness_p99_ms: u64,
    /// Distance between shown and true places, 99th percentile, in metres.
    pub position_error_p99_m: f64,
    /// The longest time, beyond a second, in which a connected bot heard nothing.
    pub longest_gap_ms: u64,
    /// Sessions that bots ended without a goodbye, so far.
    pub vanished: u64,
    /// Sessions that bots took over from themselves, so far.
    pub taken_over: u64,
    /// Sessions that were ended by a node, so far.
    pub cut_off: u64,
    /// Sessions that were not begun, so far.
    pub refused: u64,
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
        let journal = plan.journal.as_deref().map(JournalFile::open).transpose()?;
        let shared = Arc::new(Shared {
            ledger: Ledger::new(plan.forgetful),
            journal,
            tiles: Mutex::default(),
            playing: AtomicUsize::new(0),
            sessions: Sessions::default(),
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

    /// The avatars of those that are in the world.
    pub fn avatars(&self) -> Vec<EntityId> {
        self.shared.ledger.present()
    }

    /// The numbers since this was last asked. Those of the report begin anew.
    pub fn interim(&self) -> Interim {
        let meters = {
            let mut meters = self.shared.meters.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *meters)
        };
        let sessions = &self.shared.sessions;
        let number = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Interim {
            playing: self.playing(),
            decoded: meters.decoded,
            staleness_p50_ms: meters.staleness_ms.value_at_quantile(0.5),
            staleness_p99_ms: meters.staleness_ms.value_at_quantile(0.99),
            position_error_p99_m: meters.error_cm.value_at_quantile(0.99) as f64 / 100.0,
            longest_gap_ms: meters.longest_gap_ms,
            vanished: number(&sessions.vanished),
            taken_over: number(&sessions.taken_over),
            cut_off: number(&sessions.cut_off),
            refused: number(&sessions.refused),
        }
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
