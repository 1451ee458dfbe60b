//! Rules that are handed out to be run where they may take their time.
//!
//! A rule that does not return cannot be stopped. So no machine runs durable rules itself: it hands them out as
//! [`RuleRun`] and receives a [`RuleEnd`]. A server runs them on a thread for rules, the simulator at once. A run that is
//! out for too long is abandoned with its thread: its machine is told at which step it was, and the end of it, should it
//! ever come, is told to nobody.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Work of a service that runs a game's rules.
pub struct RuleRun {
    work: Box<dyn FnOnce(&RunProgress) -> RuleEnd + Send>,
    steps: u16,
    progress: RunProgress,
}

/// How far a run has come: the step that is under way, from 0.
#[derive(Clone, Debug, Default)]
pub struct RunProgress(Arc<AtomicU32>);

/// What came of it, for the service that handed it out.
pub struct RuleEnd(Box<dyn Any + Send>);

impl RunProgress {
    /// A step of the run begins.
    pub fn begin(&self, step: usize) {
        self.0.store(u32::try_from(step).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// The step that is under way, or was the last.
    pub fn step(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl RuleRun {
    /// Work to be handed out.
    pub fn new<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Self {
        Self::of_steps(1, move |_| work())
    }

    /// Work of so many steps, of which one may never end. It says which one is under way.
    pub fn of_steps<T: Send + 'static>(
        steps: usize,
        work: impl FnOnce(&RunProgress) -> T + Send + 'static,
    ) -> Self {
        let work = Box::new(move |progress: &RunProgress| RuleEnd(Box::new(work(progress))));
        let steps = u16::try_from(steps).unwrap_or(u16::MAX);
        Self { work, steps, progress: RunProgress::default() }
    }

    /// How many steps it has.
    pub fn steps(&self) -> u16 {
        self.steps
    }

    /// How far it has come, to be asked while it is run elsewhere.
    pub fn progress(&self) -> RunProgress {
        self.progress.clone()
    }

    /// Does it.
    pub fn run(self) -> RuleEnd {
        (self.work)(&self.progress)
    }
}

impl RuleEnd {
    /// The end of rules of which nobody knows any more what they decided: no caller can take anything from it.
    pub(crate) fn forgotten() -> Self {
        Self(Box::new(()))
    }

    /// What the work returned; `None` if it is of another type than the caller handed out.
    pub fn take<T: 'static>(self) -> Option<T> {
        self.0.downcast().ok().map(|end| *end)
    }
}

impl fmt::Debug for RuleRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RuleRun(..)")
    }
}

impl fmt::Debug for RuleEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RuleEnd(..)")
    }
}
