//! What a task of a node does with its time: how long it works, how much waits for it, and for how long.

use serde::{Deserialize, Serialize};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// The longest wait is that of this time and of the one before, so that an incident of yesterday is not shown today.
const WINDOW: Duration = Duration::from_secs(30);

/// The numbers of one task. The task and those who write to its mailbox count; operators read.
#[derive(Debug)]
pub(crate) struct TaskMeter {
    name: String,
    /// All times are counted from here.
    began: Instant,
    busy_ns: AtomicU64,
    /// When the task began to work, in ns and one more; 0 while it does not.
    working_since: AtomicU64,
    /// Inputs that were put into its mailboxes.
    sent: AtomicU64,
    /// Inputs that it took out of them.
    taken: AtomicU64,
    /// Inputs that its mailbox holds at most; 0 if it has none.
    limit: AtomicU64,
    /// When the task came round last, in ns and one more; 0 if it is not one that is asked whether it answers.
    turned: AtomicU64,
    /// The number of the window in which an input was taken last.
    window: AtomicU64,
    /// The longest wait of that window and of the one before, in ns.
    longest: [AtomicU64; 2],
}

/// The numbers of a task, as operators are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskReport {
    /// Its name, unique within its node.
    pub task: String,
    /// Nanoseconds it has worked so far.
    pub busy_ns: u64,
    /// Inputs that wait for it.
    pub mailbox: u64,
    /// How many may wait; `None` for a task that has no mailbox.
    pub mailbox_limit: Option<u64>,
    /// Nanoseconds that an input has waited at most, of those taken in the last half minute or so; a task that works
    /// for longer than that on one input shows that time.
    pub longest_wait_ns: u64,
}

impl TaskMeter {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            began: Instant::now(),
            busy_ns: AtomicU64::new(0),
            working_since: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            limit: AtomicU64::new(0),
            turned: AtomicU64::new(0),
            window: AtomicU64::new(0),
            longest: [AtomicU64::new(0), AtomicU64::new(0)],
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The task has a mailbox that holds so many.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit as u64, Relaxed);
    }

    /// An input was put into a mailbox of the task.
    pub(crate) fn note_sent(&self) {
        self.sent.fetch_add(1, Relaxed);
    }

    /// The task has taken so many inputs at once, of which one has waited so long. Only the task itself calls this.
    pub(crate) fn note_taken_many(&self, count: usize, longest_ms: i64) {
        if count > 0 {
            let now = Instant::now();
            let waited = Duration::from_millis(longest_ms.unsigned_abs());
            self.note_taken_at(now.checked_sub(waited).unwrap_or(now), now);
            self.taken.fetch_add(count as u64 - 1, Relaxed);
        }
    }

    /// The task has taken an input that was put there `since`. Only the task itself calls this.
    pub(crate) fn note_taken(&self, since: Instant) {
        self.note_taken_at(since, Instant::now());
    }

    fn note_taken_at(&self, since: Instant, now: Instant) {
        self.taken.fetch_add(1, Relaxed);
        let window = self.window_of(now);
        let before = self.window.swap(window, Relaxed);
        if before != window {
            let last = self.longest[0].swap(0, Relaxed);
            self.longest[1].store(if window == before + 1 { last } else { 0 }, Relaxed);
        }
        self.longest[0].fetch_max(nanoseconds(now.saturating_duration_since(since)), Relaxed);
    }

    /// The task has come round: it looks into its mailbox.
    pub(crate) fn note_turn(&self) {
        self.turned.store(self.since_began(Instant::now()) + 1, Relaxed);
    }

    /// The task has come round so long ago.
    #[cfg(test)]
    pub(crate) fn note_turn_ago(&self, ago: Duration) {
        // A meter of a test is young: all its life is moved back.
        let turned = self.since_began(Instant::now()) + 1;
        self.turned.store(turned.wrapping_sub(nanoseconds(ago)), Relaxed);
    }

    /// For how long the task has given no sign of life, in ms: it works on one thing, or does not come round although the
    /// watch of its node asks it to.
    pub(crate) fn silence_ms(&self) -> i64 {
        let now = self.since_began(Instant::now()) + 1;
        let since = |moment: u64| match moment {
            0 => 0,
            moment => now.wrapping_sub(moment).cast_signed().max(0) / 1_000_000,
        };
        since(self.working_since.load(Relaxed)).max(since(self.turned.load(Relaxed)))
    }

    /// The numbers as they are now.
    pub(crate) fn report(&self) -> TaskReport {
        self.report_at(Instant::now())
    }

    fn report_at(&self, now: Instant) -> TaskReport {
        let mailbox = self.sent.load(Relaxed).saturating_sub(self.taken.load(Relaxed));
        let windows_ago = self.window_of(now).saturating_sub(self.window.load(Relaxed));
        let waited = match windows_ago {
            0 => self.longest[0].load(Relaxed).max(self.longest[1].load(Relaxed)),
            1 => self.longest[0].load(Relaxed),
            _ => 0,
        };
        let working = match self.working_since.load(Relaxed) {
            0 => 0,
            since => (self.since_began(now) + 1).saturating_sub(since),
        };
        // What waits for a task that works has waited as long as that, but for what came meanwhile.
        let longest = if mailbox > 0 { waited.max(working) } else { waited };
        let limit = self.limit.load(Relaxed);
        TaskReport {
            task: self.name.clone(),
            busy_ns: self.busy_ns.load(Relaxed) + working,
            mailbox,
            mailbox_limit: (limit > 0).then_some(limit),
            longest_wait_ns: longest,
        }
    }

    fn window_of(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs() / WINDOW.as_secs()
    }

    fn since_began(&self, now: Instant) -> u64 {
        nanoseconds(now.saturating_duration_since(self.began))
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A task whose working time is measured: from being polled to giving its thread back.
pub(crate) struct Metered<T> {
    meter: Arc<TaskMeter>,
    task: Pin<Box<dyn Future<Output = T> + Send>>,
}

impl<T> Metered<T> {
    pub(crate) fn new(
        meter: Arc<TaskMeter>,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Self {
        Self { meter, task: Box::pin(task) }
    }
}

impl<T> Future for Metered<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let began = Instant::now();
        self.meter.working_since.store(self.meter.since_began(began) + 1, Relaxed);
        let polled = self.task.as_mut().poll(context);
        self.meter.working_since.store(0, Relaxed);
        self.meter.busy_ns.fetch_add(nanoseconds(began.elapsed()), Relaxed);
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_longest_wait_is_forgotten_after_two_windows() {
        let meter = TaskMeter::new("lane 0".to_owned());
        let at = |seconds| meter.began + Duration::from_secs(seconds);
        let longest = |seconds| meter.report_at(at(seconds)).longest_wait_ns;
        meter.note_taken_at(at(1), at(6));
        assert_eq!((longest(6), longest(59)), (5 * SECOND, 5 * SECOND));
        assert_eq!(longest(60), 0, "nothing has been taken for two windows");
        meter.note_taken_at(at(31), at(32));
        assert_eq!(longest(32), 5 * SECOND, "the window before counts");
        meter.note_taken_at(at(90), at(92));
        assert_eq!(longest(92), 2 * SECOND, "the window before was empty");
    }

    #[test]
    fn what_was_sent_and_not_taken_waits() {
        let meter = TaskMeter::new("hub".to_owned());
        assert_eq!(meter.report().mailbox_limit, None);
        meter.set_limit(8);
        (0..3).for_each(|_| meter.note_sent());
        meter.note_taken(meter.began);
        let report = meter.report();
        assert_eq!((report.mailbox, report.mailbox_limit), (2, Some(8)));
    }

    #[tokio::test]
    async fn work_is_counted_and_waiting_is_not() {
        let meter = Arc::new(TaskMeter::new("lane 0".to_owned()));
        let working = meter.clone();
        let task = async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            std::thread::sleep(Duration::from_millis(20));
            // A task that works on one input for long is seen while it does.
            working.note_sent();
            working.report()
        };
        let during = Metered::new(meter.clone(), task).await;
        assert!(during.longest_wait_ns >= SECOND / 50, "{during:?}");
        assert!(during.busy_ns >= SECOND / 50, "{during:?}");
        let after = meter.report();
        assert!((SECOND / 50..SECOND / 4).contains(&after.busy_ns), "{after:?}");
    }
}
