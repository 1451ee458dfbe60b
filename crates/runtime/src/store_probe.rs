//! A small commit now and then, so that a node knows whether its store commits: a full disk, a frozen one and a database
//! that only reads answer questions as if nothing were wrong.

use crate::probe_clock::ProbeClock;
use bytes::Bytes;
use pelago_model::{CommitOutcome, Document, Key, Transaction, Write};
use pelago_node::documents::probe::{PROBE_SCHEMA, ProbeDocument};
use pelago_store::Store;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// How often the store is asked to commit.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// A commit that has not ended for this long is given up, and another one is tried. Engines bound what waits for them.
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);
/// A store that has confirmed no commit for this long does not commit.
const STORE_SILENCE_MS: i64 = 5000;

/// What is known of the store's commits.
#[derive(Debug, Default)]
pub(crate) struct StoreProbe(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// When the last commit was confirmed, by the probes' clock; `None` if none ever was.
    confirmed: Option<i64>,
    /// Why the last one did not happen; `None` if it did, or nobody knows yet.
    problem: Option<String>,
}

impl StoreProbe {
    /// Why the node cannot rely on its store; `None` if it can.
    pub(crate) fn problem(&self, now: i64) -> Option<String> {
        let known = self.known();
        match (known.confirmed, &known.problem) {
            (_, Some(problem)) => Some(problem.clone()),
            (Some(confirmed), None) if now - confirmed < STORE_SILENCE_MS => None,
            (Some(confirmed), None) => {
                let seconds = (now - confirmed) / 1000;
                Some(format!("the store has confirmed no commit for {seconds} s"))
            }
            (None, None) => Some("the store has not confirmed a commit yet".to_owned()),
        }
    }

    pub(crate) fn note(&self, now: i64, end: Result<(), String>) {
        let mut known = self.known();
        match end {
            Ok(()) => *known = Known { confirmed: Some(now), problem: None },
            Err(problem) => known.problem = Some(problem),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the store commit the probe of a node, again and again. Never ends.
pub(crate) async fn run(
    probe: Arc<StoreProbe>,
    store: Arc<dyn Store>,
    node: u16,
    clock: ProbeClock,
) {
    let mut canary = Canary { key: Key::probe(node), store, count: 0 };
    loop {
        // It is no answer yet that another process with a node of this number, or one that has just died, has written.
        if let Ok(Some(end)) = timeout(PROBE_TIMEOUT, canary.commit()).await {
            probe.note(clock.now_ms(), end);
        }
        sleep(PROBE_EVERY).await;
    }
}

struct Canary {
    key: Key,
    store: Arc<dyn Store>,
    count: u64,
}

impl Canary {
    /// Reads and commits once: a store has a way for each. `None` if the document was not as expected.
    async fn commit(&mut self) -> Option<Result<(), String>> {
        let expected = match self.read().await {
            Ok(document) => document.revision,
            Err(problem) => return Some(Err(problem)),
        };
        self.count += 1;
        let value = serde_json::to_vec(&ProbeDocument { count: self.count });
        let value = value.ok().map(Bytes::from);
        let write = Write { key: self.key.clone(), expected, schema: PROBE_SCHEMA, value };
        let (done, ended) = oneshot::channel();
        let done = move |outcome| drop(done.send(outcome));
        let transaction = Transaction { checks: Vec::new(), writes: vec![write] };
        self.store.commit(transaction, Box::new(done));
        match ended.await {
            Ok(CommitOutcome::Committed) => Some(Ok(())),
            Ok(CommitOutcome::Conflict { .. }) => None,
            Ok(CommitOutcome::Failed) => Some(Err("the store does not commit".to_owned())),
            Ok(CommitOutcome::Unknown) => {
                Some(Err("the store does not say whether it has committed".to_owned()))
            }
            Err(_) => Some(Err("the store has given no answer".to_owned())),
        }
    }

    async fn read(&self) -> Result<Document, String> {
        let (done, ended) = oneshot::channel();
        let done = move |documents| drop(done.send(documents));
        self.store.load(vec![self.key.clone()], Box::new(done));
        match ended.await {
            Ok(Ok(mut documents)) => Ok(documents.pop().unwrap_or(Document::ABSENT)),
            Ok(Err(error)) => Err(format!("the store cannot read: {error}")),
            Err(_) => Err("the store has given no answer".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelago_store::{CommitDone, Memory, StoreLayer};
    use std::sync::atomic::{AtomicU8, Ordering::SeqCst};

    /// A store that reads, and commits unless it is told otherwise.
    #[derive(Default)]
    struct Sick {
        memory: Memory,
        /// 0: well, 1: it refuses, 2: it never answers.
        how: AtomicU8,
    }

    impl StoreLayer for Sick {
        fn beneath(&self) -> &dyn Store {
            &self.memory
        }

        fn commit(&self, transaction: Transaction, done: CommitDone) {
            match self.how.load(SeqCst) {
                0 => self.memory.commit(transaction, done),
                1 => done(CommitOutcome::Failed),
                _ => std::mem::forget(done),
            }
        }
    }

    async fn until(probe: &StoreProbe, clock: ProbeClock, holds: impl Fn(&Option<String>) -> bool) {
        let wait = async {
            while !holds(&probe.problem(clock.now_ms())) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(30), wait).await.expect("it did not happen");
    }

    #[tokio::test]
    async fn a_store_that_reads_and_does_not_commit_is_seen_and_so_is_its_recovery() {
        let (store, probe, clock) =
            (Arc::new(Sick::default()), Arc::new(StoreProbe::default()), ProbeClock::default());
        assert!(probe.problem(0).unwrap().contains("yet"));
        let task = tokio::spawn(run(probe.clone(), store.clone(), 3, clock));
        until(&probe, clock, Option::is_none).await;
        store.how.store(1, SeqCst);
        until(&probe, clock, |problem| {
            problem.as_deref().is_some_and(|problem| problem.contains("does not commit"))
        })
        .await;
        store.how.store(0, SeqCst);
        until(&probe, clock, Option::is_none).await;
        // Somebody else writes the same document.
        let key = Key::probe(3);
        let found = store.memory.get(&key);
        let write = Write { key, expected: found.revision, schema: 1, value: found.value };
        store.memory.apply(Transaction { checks: Vec::new(), writes: vec![write] });
        store.how.store(2, SeqCst);
        until(&probe, clock, |problem| {
            problem.as_deref().is_some_and(|problem| problem.contains("no commit for"))
        })
        .await;
        task.abort();
    }
}
