//! How the program ends: when it is told to, and soon.

use crate::output;
use anyhow::{Context as _, Result};
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long the program may take to end: players are told, places are kept, the store is closed. Whatever has not answered
/// by then never will: then the program ends all the same.
pub(crate) const ENDING_TIME: Duration = Duration::from_secs(20);
/// How the program ends at a second Ctrl-C, as a shell has it.
const INTERRUPTED: i32 = 130;
/// How it ends when the end has taken too long.
const TOO_LATE: i32 = 1;

/// Waits for the word to end.
pub(crate) struct Ending {
    interrupt: Signal,
    terminate: Signal,
    /// From now on Ctrl-C ends the program at once.
    begun: Arc<AtomicBool>,
}

impl Ending {
    /// From now on signals are waited for; before, they end the program at once.
    ///
    /// # Errors
    /// If the system does not let us.
    pub(crate) fn prepare() -> Result<Self> {
        let begun = Arc::new(AtomicBool::new(false));
        // Before ours, so that the first Ctrl-C does not find it set.
        signal_hook::flag::register_conditional_shutdown(
            signal_hook::consts::SIGINT,
            INTERRUPTED,
            begun.clone(),
        )
        .context("Ctrl-C")?;
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { interrupt, terminate, begun })
    }

    /// Waits for Ctrl-C or SIGTERM.
    pub(crate) async fn told(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// The end begins: it has its time, and no more. A thread watches over it, since tasks may be stuck.
    pub(crate) fn begin(&self) {
        self.begun.store(true, SeqCst);
        thread::spawn(|| {
            thread::sleep(ENDING_TIME);
            let seconds = ENDING_TIME.as_secs();
            tracing::error!(
                "not ended after {seconds} s: something does not answer; ending all the same"
            );
            output::flush();
            exit(TOO_LATE);
        });
    }
}
