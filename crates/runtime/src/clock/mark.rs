//! The high-water mark of world time in the store: read at the start, written ahead, given back at the end.

use super::{MONOTONIC, WorldClock};
use pelago_model::clock::MARK_LEASE_MS;
use pelago_model::{
    ClockMark, ClockStart, CommitOutcome, Document, Key, Revision, Transaction, WorldTime,
};
use pelago_node::documents::clock::ClockDocument;
use pelago_node::documents::schema::{self, Unreadable};
use pelago_store::Store;
use rustix::time::clock_gettime;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// How often it is looked whether the mark is to be written anew.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long the store may take for the mark before it is asked anew, and what was asked counts as unknown.
const STORE_TIMEOUT: Duration = Duration::from_secs(3);
/// The pause after a mark that was not written; up to as long again is added by chance.
const RETRY_PAUSE_MS: u64 = 500;

impl WorldClock {
    /// The clock of a world whose time began then, after its mark as it is in the store.
    pub(crate) fn open(epoch_unix_ms: i64, found: &Document) -> Result<Arc<Self>, Unreadable> {
        let document: Option<ClockDocument> = schema::read(found)?;
        let stored = document.map(ClockMark::from);
        let (clock, start) = Self::start(epoch_unix_ms, stored, found.revision);
        clock.say_how_it_began(start);
        Ok(Arc::new(clock))
    }

    fn say_how_it_began(&self, start: ClockStart) {
        let (now, offset_ms) = (self.now().0, self.answer().offset_ms);
        match start {
            ClockStart::First | ClockStart::Joined => {}
            ClockStart::Ahead { by_ms } => {
                tracing::info!(world_time_ms = now, by_ms, offset_ms, "world time goes on");
            }
            // A process that was killed has left what it had leased and not used.
            ClockStart::Behind { by_ms } if by_ms <= MARK_LEASE_MS => {
                tracing::info!(
                    world_time_ms = now,
                    by_ms,
                    offset_ms,
                    "world time goes on from its mark"
                );
            }
            ClockStart::Behind { by_ms } => tracing::warn!(
                world_time_ms = now,
                by_ms,
                offset_ms,
                "the clock of this host is behind the world's: world time goes on from its mark, at its normal rate"
            ),
        }
    }

    /// A node begins to tell this time. It is leased first; if the store cannot, the node starts all the same, since
    /// nothing is committed then.
    pub(crate) async fn enter(&self, store: &dyn Store) {
        self.nodes.fetch_add(1, Relaxed);
        // Whoever holds it is about to write it.
        let Ok(mut revision) = self.mark.try_lock() else { return };
        if let Some(wanted) = self.wanted() {
            self.write(store, wanted, &mut revision).await;
        }
    }

    /// A node tells this time no more. After the last one what is leased and not used is given back, so that the next
    /// start need not leap over it.
    pub(crate) async fn leave(&self, store: &dyn Store) {
        if self.nodes.fetch_sub(1, Relaxed) != 1 {
            return;
        }
        let Ok(mut revision) = timeout(STORE_TIMEOUT, self.mark.lock()).await else { return };
        let (mark, offset_ms) = (self.now(), self.answer().offset_ms);
        self.write(store, ClockMark { mark, offset_ms }, &mut revision).await;
    }

    fn wanted(&self) -> Option<ClockMark> {
        let now = self.now();
        let state = self.state();
        state.lease.wanted(now, state.clock.offset_ms())
    }

    /// Writes a mark. Whether the store has it.
    async fn write(&self, store: &dyn Store, mark: ClockMark, revision: &mut Revision) -> bool {
        let Ok(write) = ClockDocument::write(mark, *revision) else { return false };
        let (told, outcome) = oneshot::channel();
        let transaction = Transaction { checks: Vec::new(), writes: vec![write] };
        store.commit(transaction, Box::new(move |outcome| drop(told.send(outcome))));
        match timeout(STORE_TIMEOUT, outcome).await {
            Ok(Ok(CommitOutcome::Committed)) => *revision = revision.next(),
            // Nobody knows, or somebody else has written it.
            _ => match read(store).await {
                Some((found, document)) => {
                    *revision = found;
                    if document != Some(ClockDocument::from(mark)) {
                        return false;
                    }
                }
                None => return false,
            },
        }
        let mut state = self.state();
        state.lease.written(mark.mark);
        self.standing.leased.store(true, Relaxed);
        true
    }
}

/// The mark's document as it is, or nothing if the store does not tell.
async fn read(store: &dyn Store) -> Option<(Revision, Option<ClockDocument>)> {
    let (told, answer) = oneshot::channel();
    store.load(vec![Key::clock()], Box::new(move |answer| drop(told.send(answer))));
    let found = timeout(STORE_TIMEOUT, answer).await.ok()?.ok()?.ok()?.pop()?;
    Some((found.revision, schema::read(&found).ok()?))
}

/// Keeps the mark ahead of world time for as long as the node lives, and tells when the host's clock is set. One node of
/// a process does it for all; when that one ends, the next one goes on.
pub(crate) async fn keep(clock: Arc<WorldClock>, store: Arc<dyn Store>) {
    let mut revision = clock.mark.lock().await;
    let mut watch = Watch::default();
    loop {
        let mut is_kept = true;
        if let Some(wanted) = clock.wanted() {
            is_kept = clock.write(&*store, wanted, &mut revision).await;
        }
        watch.look(&clock);
        sleep(if is_kept { LOOK_EVERY } else { pause() }).await;
    }
}

/// With some chance in it, from the digits of a clock that nobody chooses.
fn pause() -> Duration {
    let chance = clock_gettime(MONOTONIC).tv_nsec.unsigned_abs() / 1000 % RETRY_PAUSE_MS;
    Duration::from_millis(RETRY_PAUSE_MS + chance)
}

/// What was said last about the clock.
#[derive(Default)]
struct Watch {
    disagreed: bool,
    /// Since when the store has not known how far world time has come.
    unleased: Option<WorldTime>,
}

impl Watch {
    fn look(&mut self, clock: &WorldClock) {
        let now = clock.now();
        let (disagrees, is_over) = {
            let state = clock.state();
            (state.clock.disagrees(), state.lease.is_over(now))
        };
        let skew_ms = clock.answer().skew_ms;
        match (self.disagreed, disagrees) {
            (false, true) => tracing::warn!(
                skew_ms,
                "the clock of this host was set: world time goes on as before, and follows it slowly"
            ),
            (true, false) => {
                tracing::info!(skew_ms, "the clock of this host and world time agree again");
            }
            _ => {}
        }
        self.disagreed = disagrees;
        match (self.unleased, is_over) {
            (None, true) => {
                tracing::warn!(
                    "world time has run past what the store knows of it: its mark cannot be written"
                );
                self.unleased = Some(now);
            }
            (Some(since), false) => {
                let for_ms = now.since(since);
                tracing::info!(for_ms, "the store knows world time again");
                self.unleased = None;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::unix_ms;
    use pelago_store::{CommitDone, Memory, StoreLayer};
    use std::sync::atomic::AtomicBool;

    const HOUR_MS: i64 = 3_600_000;

    /// What a host has in its store and shows of it when its clock says so much less than now.
    fn opened(store: &Memory, behind_ms: i64) -> Arc<WorldClock> {
        // Setting the epoch forward is the same as setting the host's clock back.
        let epoch_unix_ms = unix_ms() - 100 * HOUR_MS + behind_ms;
        WorldClock::open(epoch_unix_ms, &store.get(&Key::clock())).unwrap()
    }

    fn stored(store: &Memory) -> ClockDocument {
        schema::read(&store.get(&Key::clock())).unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_restart_never_goes_back_and_its_offset_is_kept() {
        let store = Memory::default();
        let clock = opened(&store, 0);
        clock.enter(&store).await;
        let killed_at = clock.now();
        let mark = stored(&store);
        assert!(mark.mark > killed_at && mark.offset_ms == 0);
        // The host's clock is a day behind; the process before was killed.
        let clock = opened(&store, 24 * HOUR_MS);
        assert!(clock.now() >= mark.mark);
        let offset_ms = clock.answer().offset_ms;
        assert!((24 * HOUR_MS..25 * HOUR_MS).contains(&offset_ms), "{offset_ms}");
        clock.enter(&store).await;
        clock.leave(&store).await;
        let given_back = stored(&store);
        assert_eq!(given_back.offset_ms, offset_ms);
        assert!(given_back.mark <= clock.now(), "what was not used is given back");
        // The next start goes on there, also because of the offset.
        let again = opened(&store, 24 * HOUR_MS);
        assert!(again.now() >= given_back.mark && again.answer().offset_ms == offset_ms);
        // Once the host's clock is right, nothing is left of it.
        assert_eq!(opened(&store, -HOUR_MS).answer().offset_ms, 0);
    }

    #[tokio::test]
    async fn of_several_nodes_the_last_one_gives_back_what_is_leased() {
        let store = Memory::default();
        let clock = opened(&store, 0);
        clock.enter(&store).await;
        clock.enter(&store).await;
        clock.leave(&store).await;
        assert!(stored(&store).mark > clock.now());
        clock.leave(&store).await;
        assert!(stored(&store).mark <= clock.now());
    }

    /// A store that takes nothing while it is full.
    struct Full {
        store: Memory,
        is_full: AtomicBool,
    }

    impl StoreLayer for Full {
        fn beneath(&self) -> &dyn Store {
            &self.store
        }

        fn commit(&self, transaction: Transaction, done: CommitDone) {
            if self.is_full.load(Relaxed) {
                done(CommitOutcome::Failed);
            } else {
                self.store.commit(transaction, done);
            }
        }
    }

    #[tokio::test]
    async fn a_mark_that_cannot_be_written_is_an_alarm_and_is_tried_again() {
        let store = Arc::new(Full { store: Memory::default(), is_full: AtomicBool::new(true) });
        let clock = WorldClock::open(unix_ms(), &Document::ABSENT).unwrap();
        clock.enter(&*store).await;
        let keeping = tokio::spawn(keep(clock.clone(), store.clone()));
        let until = async |leased: bool| {
            let standing = clock.standing();
            for _ in 0..3000 {
                let before = clock.now();
                if standing.leased.load(Relaxed) == leased && before.0 > 200 {
                    return;
                }
                sleep(Duration::from_millis(10)).await;
            }
            panic!("the lease never became {leased}");
        };
        until(false).await;
        store.is_full.store(false, Relaxed);
        until(true).await;
        keeping.abort();
    }
}
