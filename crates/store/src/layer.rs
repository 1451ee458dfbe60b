//! Layers: stores that hand on what they are asked to another one, except for what they are there for.

use crate::{
    Capabilities, Change, CommitDone, FeedError, FeedPosition, Fence, LoadDone, ReadError, Store,
    StoreCounters,
};
use pelago_model::{Document, Key, Transaction};
use std::ops::ControlFlow;

/// A [`Store`] on top of another one. Each method is the one of [`Store`] with its name, and asks the store beneath.
#[expect(missing_docs, reason = "the methods are those of `Store`")]
pub trait StoreLayer: Send + Sync {
    /// The store beneath.
    fn beneath(&self) -> &dyn Store;

    fn load(&self, keys: Vec<Key>, done: LoadDone) {
        self.beneath().load(keys, done);
    }

    fn commit(&self, transaction: Transaction, done: CommitDone) {
        self.beneath().commit(transaction, done);
    }

    fn restore(&self, documents: Vec<(Key, Document)>, done: CommitDone) {
        self.beneath().restore(documents, done);
    }

    #[expect(clippy::missing_errors_doc, reason = "as of `Store`")]
    fn forget(&self, keys: &[Key]) -> Result<(), ReadError> {
        self.beneath().forget(keys)
    }

    #[expect(clippy::missing_errors_doc, reason = "as of `Store`")]
    fn scan_after(
        &self,
        prefix: &str,
        after: Option<&Key>,
        visit: &mut dyn FnMut(Key, Document) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        self.beneath().scan_after(prefix, after, visit)
    }

    #[expect(clippy::missing_errors_doc, reason = "as of `Store`")]
    fn feed(&self, after: FeedPosition, limit: usize) -> Result<Vec<Change>, FeedError> {
        self.beneath().feed(after, limit)
    }

    #[expect(clippy::missing_errors_doc, reason = "as of `Store`")]
    fn feed_end(&self) -> Result<FeedPosition, ReadError> {
        self.beneath().feed_end()
    }

    fn fence(&self, fence: Fence) {
        self.beneath().fence(fence);
    }

    fn broken(&self) -> Option<String> {
        self.beneath().broken()
    }
}

impl<T: StoreLayer> Store for T {
    fn load(&self, keys: Vec<Key>, done: LoadDone) {
        StoreLayer::load(self, keys, done);
    }

    fn commit(&self, transaction: Transaction, done: CommitDone) {
        StoreLayer::commit(self, transaction, done);
    }

    fn restore(&self, documents: Vec<(Key, Document)>, done: CommitDone) {
        StoreLayer::restore(self, documents, done);
    }

    fn forget(&self, keys: &[Key]) -> Result<(), ReadError> {
        StoreLayer::forget(self, keys)
    }

    fn scan_after(
        &self,
        prefix: &str,
        after: Option<&Key>,
        visit: &mut dyn FnMut(Key, Document) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        StoreLayer::scan_after(self, prefix, after, visit)
    }

    fn feed(&self, after: FeedPosition, limit: usize) -> Result<Vec<Change>, FeedError> {
        StoreLayer::feed(self, after, limit)
    }

    fn feed_end(&self) -> Result<FeedPosition, ReadError> {
        StoreLayer::feed_end(self)
    }

    fn fence(&self, fence: Fence) {
        StoreLayer::fence(self, fence);
    }

    fn capabilities(&self) -> Capabilities {
        self.beneath().capabilities()
    }

    fn counters(&self) -> StoreCounters {
        self.beneath().counters()
    }

    fn broken(&self) -> Option<String> {
        StoreLayer::broken(self)
    }

    fn close(&self) {
        self.beneath().close();
    }
}
