//! Many seeds on all processors, and what became of them.

use crate::rare;
use pelago_sim::{INTERLEAVING_TURNS, Lanes, Minimal, Outcome, Setup, Simulation, Violation};
use std::collections::BTreeSet;
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
const MOST_VIOLATIONS: usize = 100;

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
                if report.violations.len() >= MOST_VIOLATIONS {
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
                self.total.said += outcome.said;
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

/// Simulates days of nodes with two lanes, and tells how many orders of turns their machines had.
pub(crate) fn tell_interleavings(seeds: Seeds) {
    let Seeds { from, count, seconds } = seeds;
    let (began, next, end) = (Instant::now(), AtomicU64::new(from), from.saturating_add(count));
    let seen = Mutex::new(BTreeSet::new());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            let setup = Setup { lanes: Lanes::Each(2), ..Setup::usual(seed, seconds) };
            let mut simulation = Simulation::new(setup);
            simulation.note_interleavings();
            // What is wrong is found by the usual run of seeds.
            let _ = simulation.run();
            if let Ok(mut seen) = seen.lock() {
                seen.extend(simulation.interleavings().seen());
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let seen = seen.into_inner().map_or(0, |seen| seen.len());
    let took = began.elapsed().as_secs_f64();
    println!("{count} seeds, {seconds} s each, {took:.1} s");
    println!(
        "{seen} different orders of {INTERLEAVING_TURNS} turns in a row of two lanes and a host of services"
    );
}
