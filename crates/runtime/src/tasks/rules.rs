//! The threads on which rules run: a rule that takes its time holds up the turns of its host, and no machine.
//!
//! A host has one thread for rules, and a line of runs that wait for it. A rule that does not return cannot be stopped, so
//! its thread is given up when the host asks for that: another one serves the line from then on, and what the lost one may
//! decide one day is dropped. A node that has lost two threads ends.

use super::post::Post;
use crate::rule_watch::this_thread_may_be_lost;
use crate::stopwatch::Stopwatch;
use pelago_node::service::RUN_LIMIT_MS;
use pelago_node::{MachineId, MachineInput, RequestId, RuleRun, RunProgress};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// A node that has lost so many threads to rules that do not return ends: each of them takes a core, perhaps.
const MAX_LOST_THREADS: usize = 2;
/// A rule is given up only if its thread had a core for so long: on a machine that is busy with other things it waits.
const LEAST_RUN: Duration = Duration::from_millis(RUN_LIMIT_MS as u64 / 2);

/// The threads of a node that rules have not given back yet.
#[derive(Clone, Default)]
pub(super) struct LostThreads(Arc<AtomicUsize>);

/// The way to the thread for the rules of one host of services. Dropped, the thread ends after the rule that it runs.
pub(super) struct Rules {
    line: Arc<Line>,
}

/// What waits for a thread, and what it does.
struct Line {
    name: String,
    post: Arc<Post>,
    lost: LostThreads,
    /// Guards the line. Held for a few lines.
    state: Mutex<State>,
    /// Something came, or the thread is to end.
    came: Condvar,
    /// Why the node has to end.
    failure: mpsc::UnboundedSender<String>,
}

#[derive(Default)]
struct State {
    /// Bounded by the batches that services have under way.
    waiting: VecDeque<Job>,
    running: Option<Running>,
    /// The number of the thread that serves the line. Those with smaller ones are lost.
    thread: u64,
    is_closed: bool,
}

struct Job {
    machine: MachineId,
    request: RequestId,
    run: RuleRun,
}

struct Running {
    machine: MachineId,
    request: RequestId,
    progress: RunProgress,
    /// The step for which the stopwatch runs.
    step: u32,
    stopwatch: Stopwatch,
}

impl Rules {
    /// A thread for rules, and why the node has to end, should that ever come. A rule that panics is caught where it is
    /// run; a panic of the thread itself ends the node.
    pub(super) fn start(
        name: String,
        post: Arc<Post>,
        lost: LostThreads,
    ) -> (Self, impl Future<Output = String> + Send + 'static) {
        let (failure, mut failures) = mpsc::unbounded_channel();
        let (state, came) = (Mutex::default(), Condvar::new());
        let line = Arc::new(Line { name, post, lost, state, came, failure });
        line.serve_by_new_thread(0);
        let ends = async move {
            match failures.recv().await {
                Some(reason) => reason,
                None => std::future::pending().await,
            }
        };
        (Self { line }, ends)
    }

    /// Runs rules after those that wait already.
    pub(super) fn run(&self, machine: MachineId, request: RequestId, run: RuleRun) {
        self.line.lock().waiting.push_back(Job { machine, request, run });
        self.line.came.notify_one();
    }

    /// Gives up the thread that runs these rules, if it does, and if it was not merely kept from it.
    pub(super) fn abandon(&self, machine: MachineId, request: RequestId) {
        let mut state = self.line.lock();
        let is_meant = |it: &&mut Running| (it.machine, it.request) == (machine, request);
        let Some(running) = state.running.as_mut().filter(is_meant) else { return };
        let step = running.progress.step();
        if std::mem::replace(&mut running.step, step) != step {
            running.stopwatch = running.stopwatch.restarted();
        }
        if running.stopwatch.ran_for() < LEAST_RUN {
            return;
        }
        state.running = None;
        state.thread += 1;
        let thread = state.thread;
        drop(state);
        self.line.lost.0.fetch_add(1, Ordering::Relaxed);
        self.line.serve_by_new_thread(thread);
        if let Some(input) = MachineInput::abandoned(machine, request, step) {
            self.line.post.tell(input, &mut |_| ());
        }
    }

    /// A thread was lost to these rules.
    pub(super) fn lost(&self, what: &str) {
        let lost = self.line.lost.0.load(Ordering::Relaxed);
        if lost >= MAX_LOST_THREADS {
            let reason = format!("{lost} rules do not return, the last of them for {what}");
            // The node may be ending already.
            drop(self.line.failure.send(reason));
        }
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        self.line.lock().is_closed = true;
        self.line.came.notify_all();
    }
}

impl Line {
    /// Every step leaves the line whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Not a thread of tokio's: a process that ends does not wait for a rule that does not return.
    fn serve_by_new_thread(self: &Arc<Self>, number: u64) {
        let line = self.clone();
        let serve = move || {
            this_thread_may_be_lost();
            if catch_unwind(AssertUnwindSafe(|| line.serve(number))).is_err() {
                drop(line.failure.send("the thread for rules panicked".to_owned()));
            }
        };
        if let Err(error) = std::thread::Builder::new().name(self.name.clone()).spawn(serve) {
            drop(self.failure.send(format!("there is no thread for rules: {error}")));
        }
    }

    fn serve(&self, number: u64) {
        let stopwatch = Stopwatch::of_this_thread();
        while let Some(Job { machine, request, run }) = self.next(number, &stopwatch) {
            let end = run.run();
            {
                let mut state = self.lock();
                if state.thread != number {
                    self.lost.0.fetch_sub(1, Ordering::Relaxed);
                    tracing::warn!(
                        "a rule that was given up has returned: what it decided is dropped"
                    );
                    return;
                }
                state.running = None;
            }
            if let Some(input) = MachineInput::ran(machine, request, end) {
                self.post.tell(input, &mut |_| ());
            }
        }
    }

    /// Waits for the next run; `None` if there will be none for this thread.
    fn next(&self, number: u64, stopwatch: &Stopwatch) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.is_closed || state.thread != number {
                return None;
            }
            if let Some(job) = state.waiting.pop_front() {
                let (machine, request, progress) = (job.machine, job.request, job.run.progress());
                let stopwatch = stopwatch.restarted();
                state.running = Some(Running { machine, request, progress, step: 0, stopwatch });
                return Some(job);
            }
            state = self.came.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
