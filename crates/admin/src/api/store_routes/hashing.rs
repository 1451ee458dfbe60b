//! The world hash, read behind the answers: it takes as long as reading everything does, and no connection lasts so
//! long.
//!
//! A client that asks waits a while for the end. If that does not come in time, it is told how far the reading has come
//! and the reading's number, and asks again with that number. A client that asks without a number, or with one that is
//! forgotten, begins a reading or joins the one that is under way. Either way the reading ends after the question: if
//! nothing changed meanwhile, its hash is that of the world at the question, too.

use pelago_store::{HashReading, ReadError, Store};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::watch::{Receiver, channel};
use tokio::time::timeout;

/// The readings of a store: one at once, since each reads everything.
pub(super) struct Hashing {
    /// How long a question waits for the end.
    wait: Duration,
    /// Guards the last reading for the moment in which it is looked up or begun.
    last: Mutex<Option<Reading>>,
}

/// How far a reading has come.
#[derive(Debug)]
pub(super) enum Progress {
    UnderWay(UnderWay),
    Ended(Result<HashReading, ReadError>),
}

/// A reading that has not ended, as it is told.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct UnderWay {
    /// What to ask with.
    pub reading: u64,
    /// Documents that were read.
    pub documents: u64,
}

#[derive(Clone)]
struct Reading {
    /// Counts, from 1.
    number: u64,
    /// Documents that were read. The reader ends when nobody else holds this any more, because then the server ends.
    documents: Arc<AtomicU64>,
    end: Receiver<Option<Result<HashReading, ReadError>>>,
}

impl Hashing {
    pub(super) fn new(wait: Duration) -> Self {
        Self { wait, last: Mutex::new(None) }
    }

    /// Waits for the end of a reading: of that with this number, or else of one that ends from now on.
    pub(super) async fn ask(&self, store: &Arc<dyn Store>, number: Option<u64>) -> Progress {
        let mut reading = self.reading(store, number);
        let broke_off = || Err(ReadError::Engine("the reading broke off".to_owned()));
        match timeout(self.wait, reading.end.wait_for(Option::is_some)).await {
            Ok(Ok(end)) => Progress::Ended(end.clone().unwrap_or_else(broke_off)),
            Ok(Err(_)) => Progress::Ended(broke_off()),
            Err(_) => Progress::UnderWay(UnderWay {
                reading: reading.number,
                documents: reading.documents.load(Ordering::Relaxed),
            }),
        }
    }

    fn reading(&self, store: &Arc<dyn Store>, number: Option<u64>) -> Reading {
        // Nothing is left half done under the lock.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(last) if last.is_under_way() || number == Some(last.number) => last.clone(),
            _ => {
                let number = last.as_ref().map_or(1, |last| last.number + 1);
                last.insert(Reading::begin(store.clone(), number)).clone()
            }
        }
    }
}

impl Reading {
    fn begin(store: Arc<dyn Store>, number: u64) -> Self {
        let documents = Arc::<AtomicU64>::default();
        let counted = Arc::downgrade(&documents);
        let (told, end) = channel(None);
        tokio::task::spawn_blocking(move || {
            let read = HashReading::take(&*store, &mut || count(&counted));
            told.send_replace(Some(read));
        });
        Self { number, documents, end }
    }

    /// The reader has neither told the end nor gone away without telling it.
    fn is_under_way(&self) -> bool {
        self.end.borrow().is_none() && self.end.has_changed().is_ok()
    }
}

fn count(documents: &Weak<AtomicU64>) -> ControlFlow<()> {
    let Some(documents) = documents.upgrade() else { return ControlFlow::Break(()) };
    documents.fetch_add(1, Ordering::Relaxed);
    ControlFlow::Continue(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelago_model::{CommitOutcome, Document, Key, Revision};
    use pelago_store::{Memory, restore_now, world_hash};

    fn put(store: &dyn Store, name: &str) {
        let document = Document { schema: 1, revision: Revision(1), value: Some("{}".into()) };
        let documents = vec![(Key::parse(name).unwrap(), document)];
        assert_eq!(restore_now(store, documents), CommitOutcome::Committed);
    }

    async fn ended(hashing: &Hashing, store: &Arc<dyn Store>, number: Option<u64>) -> HashReading {
        match hashing.ask(store, number).await {
            Progress::Ended(read) => read.unwrap(),
            Progress::UnderWay(_) => panic!("it waits for the end"),
        }
    }

    #[tokio::test]
    async fn an_ended_reading_is_told_to_whom_it_belongs_and_others_begin_anew() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let hashing = Hashing::new(Duration::from_secs(30));
        let empty = ended(&hashing, &store, None).await;
        put(&*store, "a");
        assert_eq!(ended(&hashing, &store, Some(1)).await, empty);
        let hash = world_hash(&*store).unwrap();
        for number in [None, Some(1), Some(9)] {
            assert_eq!(ended(&hashing, &store, number).await, HashReading { hash, quiet: true });
        }
    }

    #[test]
    fn a_reading_ends_with_those_who_could_ask_for_it() {
        let documents = Arc::<AtomicU64>::default();
        let counted = Arc::downgrade(&documents);
        assert_eq!(count(&counted), ControlFlow::Continue(()));
        assert_eq!(documents.load(Ordering::Relaxed), 1);
        drop(documents);
        assert_eq!(count(&counted), ControlFlow::Break(()));
    }
}
