//! The log of a server that strangers reach: no line of code, however often somebody can make it speak, fills a disk.

use pelago_model::{Allowance, Throttle, WorldTime};
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Lines of one place of the code, and of one machine of a node: so many a second, and so many at once.
const ALLOWANCE: Allowance = Allowance::new(5, 50);
/// Places that are told apart. There are fewer in the code, but for machines.
const MAX_KINDS: usize = 4096;
/// The target of the lines that tell of others: they are never left out, for each stands for lines that are.
const TARGET: &str = "pelago::left_out";

/// Where a line comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    file: &'static str,
    line: u32,
    /// Of its machine, or 0.
    machine: u64,
}

/// Leaves lines out that one place of the code writes too often, and tells how many.
pub(crate) struct LogThrottle {
    began: Instant,
    /// Guards what has passed. Held for one step.
    throttle: Mutex<Throttle<Place>>,
}

impl LogThrottle {
    pub(crate) fn new() -> Self {
        let throttle = Mutex::new(Throttle::new(ALLOWANCE, MAX_KINDS));
        Self { began: Instant::now(), throttle }
    }
}

impl<S: Subscriber> Layer<S> for LogThrottle {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if metadata.target() == TARGET {
            return true;
        }
        let place = place_of(metadata, event);
        let ms = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        let (passes, unmentioned) = {
            let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
            (throttle.pass(WorldTime(ms), place), throttle.unmentioned(WorldTime(ms)))
        };
        // Not under the lock: these are lines like all others.
        if let Some(lines @ 1..) = passes {
            tell(Some(place), lines);
        }
        if let Some((place, lines)) = unmentioned {
            tell(place, lines);
        }
        passes.is_some()
    }
}

fn tell(place: Option<Place>, lines: u64) {
    match place {
        Some(Place { file, line, .. }) => {
            tracing::warn!(target: TARGET, lines, "left out of the log: too many of {file}:{line}");
        }
        None => {
            tracing::warn!(target: TARGET, lines, "left out of the log: too many of too many kinds")
        }
    }
}

fn place_of(metadata: &'static Metadata<'static>, event: &Event<'_>) -> Place {
    let mut machine = Machine(0);
    if metadata.fields().field("machine").is_some() {
        event.record(&mut machine);
    }
    let file = metadata.file().unwrap_or(metadata.target());
    Place { file, line: metadata.line().unwrap_or(0), machine: machine.0 }
}

/// The field `machine`, as a number.
struct Machine(u64);

impl Visit for Machine {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "machine" {
            let mut hasher = DefaultHasher::new();
            format!("{value:?}").hash(&mut hasher);
            self.0 = hasher.finish();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::Arc;
    use tracing_subscriber::layer::SubscriberExt;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_place_that_writes_too_often_is_left_out_and_others_are_not() {
        let written = Written::default();
        let writer = written.clone();
        let lines = tracing_subscriber::fmt::layer().with_ansi(false);
        let lines = lines.with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(LogThrottle::new()).with(lines);
        tracing::subscriber::with_default(subscriber, || {
            for machine in ["arrivals", "lane-0"] {
                for number in 0..10_000 {
                    tracing::info!(machine, number, "a wrong token");
                }
            }
            tracing::error!("the disk is full");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        for machine in ["arrivals", "lane-0"] {
            let passed = count(&format!("machine=\"{machine}\""));
            // A slow machine takes longer than a second for the 10,000, and lets more pass.
            assert!((50..5000).contains(&passed), "{passed} of {machine}");
        }
        assert_eq!(count("the disk is full"), 1);
    }
}
