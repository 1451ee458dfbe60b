//! Bots: many clients that walk and gather, measure what they are shown, and keep a journal of what was acknowledged.

mod bot;
mod ledger;
mod report;
mod verify;

pub use report::Report;
pub use verify::{Verdict, verify};

use crate::session::Transport;
use anyhow::{Context, Result};
use ledger::Ledger;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What bots do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behavior {
    /// Walk about.
    Wander,
    /// Walk to things and gather.
    Gather,
    /// Half of them this, half that.
    Mixed,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes; bots take them in turn.
    pub addresses: Vec<String>,
    /// How many bots.
    pub count: usize,
    /// What they do.
    pub behavior: Behavior,
    /// For how long; `None` until told to stop.
    pub duration: Option<Duration>,
    /// What bytes travel in.
    pub transport: Transport,
    /// Of names and of choices: the same seed plays the same avatars.
    pub seed: u64,
    /// Where acknowledged commands are written to.
    pub journal: Option<PathBuf>,
}

/// The journal: a JSON line for every acknowledged durable command, before its bot sends the next.
struct Journal {
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

    fn write(&self, line: &verify::Line) -> std::io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(text.as_bytes())
    }
}

/// What bots of one process share.
struct Shared {
    plan: Plan,
    ledger: Ledger,
    journal: Option<Journal>,
    /// Guards the natural objects of tiles that some bot has fetched, by hash.
    tiles: Mutex<BTreeMap<bytes::Bytes, bytes::Bytes>>,
}

/// Runs bots until their time is over or `stop` becomes true.
///
/// # Errors
/// If the journal cannot be written.
pub async fn run(plan: Plan, mut stop: watch::Receiver<bool>) -> Result<Report> {
    let journal = plan.journal.as_deref().map(Journal::open).transpose()?;
    let began = Instant::now();
    let shared = Arc::new(Shared {
        ledger: Ledger::new(began),
        journal,
        tiles: Mutex::default(),
        plan: plan.clone(),
    });
    let (ending, end) = watch::channel(false);
    let mut bots = JoinSet::new();
    for number in 0..plan.count {
        bots.spawn(bot::run(shared.clone(), number, end.clone()));
        // A steady stream of arrivals instead of a wall: 500 a second.
        if number % 10 == 9 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let time_is_over = async {
        match plan.duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = time_is_over => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    ending.send_replace(true);
    let mut logs = Vec::with_capacity(plan.count);
    while let Some(log) = bots.join_next().await {
        logs.push(log.context("a bot panicked")?);
    }
    Ok(report::assemble(&shared.ledger, logs))
}
