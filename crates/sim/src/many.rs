//! Many seeds on all processors, and what became of them.

use crate::rare;
use pelago_sim::{Minimal, Outcome, Setup, Simulation, Violation};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often each kind of fault must have struck in a run of many seeds.
const LEAST_FAULTS: u64 = 50;
/// From how many seeds on that is expected.
const MANY_SEEDS: u64 = 100;
/// How often it is told how far a long run is.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Violations of a run after which it ends: more say nothing new.
const MOST_OBJECTIONS: usize = 100;

/// Which days are simulated.
pub(crate) struct Seeds {
    /// The first.
    pub(crate) from: u64,
    /// How many at most.
    pub(crate) count: u64,
    /// Of each, in simulated seconds.
    pub(crate) seconds: u32,
}

/// What became of them.
pub(crate) struct Report {
    days: u64,
    seconds: u32,
    took: Duration,
    complete: bool,
    total: Outcome,
    pub(crate) violations: Vec<Violation>,
}

impl Seeds {
    /// Simulates them, if there is a limit for so long at most. Violations are handed on at once.
    pub(crate) fn run(self, limit: Option<Duration>, object: impl Fn(&Violation) + Sync) -> Report {
        let began = Instant::now();
        let (next, end) = (AtomicU64::new(self.from), self.from.saturating_add(self.count));
        let report = Report {
            days: 0,
            seconds: self.seconds,
            took: Duration::ZERO,
            complete: true,
            total: Outcome::default(),
            violations: Vec::new(),
        };
        let state = Mutex::new((report, began));
        let work = || {
            loop {
                if limit.is_some_and(|limit| began.elapsed() > limit) {
                    return;
                }
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end {
                    return;
                }
                let result = Simulation::new(Setup::usual(seed, self.seconds)).run();
                if let Err(violation) = &result {
                    object(violation);
                }
                let Ok(mut state) = state.lock() else { return };
                let (report, told) = &mut *state;
                report.add(result);
                if report.violations.len() >= MOST_OBJECTIONS {
                    return;
                }
                if limit.is_some() && told.elapsed() > TELL_EVERY {
                    *told = Instant::now();
                    let minutes = began.elapsed().as_secs() / 60;
                    let violations = report.violations.len();
                    println!("{minutes} min: {} days, {violations} violations", report.days);
                }
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let panicked = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let ends: Vec<_> =
                threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
            ends.iter().any(Result::is_err)
        });
        let (mut report, _) = match state.into_inner() {
            Ok(state) => state,
            Err(poisoned) => poisoned.into_inner(),
        };
        (report.took, report.complete) = (began.elapsed(), !panicked);
        report.violations.sort_by_key(|violation| violation.seed);
        report
    }
}

impl Report {
    fn add(&mut self, result: Result<Outcome, Violation>) {
        self.days += 1;
        match result {
            Ok(outcome) => {
                self.total.events += outcome.events;
                self.total.acknowledged += outcome.acknowledged;
                self.total.granted += outcome.granted;
                self.total.spoken += outcome.spoken;
                self.total.faults += &outcome.faults;
            }
            Err(violation) => self.violations.push(violation),
        }
    }

    /// Prints it.
    pub(crate) fn tell(&self) {
        println!("{} seeds, {} s each, {:.1} s", self.days, self.seconds, self.took.as_secs_f64());
        tell(&self.total);
    }

    /// Whether all is well.
    pub(crate) fn verdict(&self) -> ExitCode {
        if !self.complete {
            println!("a simulation has panicked");
            return ExitCode::FAILURE;
        }
        if !self.violations.is_empty() {
            println!("{} seeds had violations", self.violations.len());
            return ExitCode::FAILURE;
        }
        let rare = rare(&self.total, LEAST_FAULTS);
        if self.days >= MANY_SEEDS && !rare.is_empty() {
            println!("too rare to prove anything: {}", rare.join(", "));
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }
}

/// Prints what happened.
pub(crate) fn tell(outcome: &Outcome) {
    let Outcome { events, acknowledged, granted, .. } = outcome;
    println!("{events} events, {acknowledged} commands and {granted} grants acknowledged");
    println!("faults: {}", outcome.faults);
}

/// Adds a failure to a file.
pub(crate) fn append(file: &Path, minimal: &Minimal) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    writeln!(file, "{minimal}\n")
}
