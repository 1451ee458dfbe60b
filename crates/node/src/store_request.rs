//! Requests to the store, by number.

use pelago_model::{CommitOutcome, Document};
use std::collections::BTreeMap;

/// The number of a request to the store, per machine; it comes back with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What the store answers.
#[derive(Debug)]
pub enum StoreAnswer {
    /// Documents in the order of the request; `None` if the store could not read them.
    Loaded(Option<Vec<Document>>),
    /// The end of a commit.
    Committed(CommitOutcome),
}

/// Requests that are under way, each with what it is for. A number is never used again.
#[derive(Debug)]
pub struct Requests<T> {
    under_way: BTreeMap<RequestId, T>,
    next: u64,
}

impl<T> Default for Requests<T> {
    fn default() -> Self {
        Self { under_way: BTreeMap::new(), next: 0 }
    }
}

impl<T> Requests<T> {
    /// Notes a request and numbers it.
    pub fn begin(&mut self, what_for: T) -> RequestId {
        self.next += 1;
        self.under_way.insert(RequestId(self.next), what_for);
        RequestId(self.next)
    }

    /// What an ended request was for; `None` if it is not known any more.
    pub fn end(&mut self, request: RequestId) -> Option<T> {
        self.under_way.remove(&request)
    }

    /// How many are under way.
    pub fn len(&self) -> usize {
        self.under_way.len()
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }
}
