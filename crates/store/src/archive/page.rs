//! A page: some documents of a store, in the order of their keys, each once. What a source hands out at a time.

use crate::{FeedError, FeedPosition, ReadError, Store};
use pelago_model::{Document, Key};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Bytes of the documents of a page, exceeded by at most one of them.
pub const PAGE_BYTES: usize = 1024 * 1024;
/// Changes that one page of a feed tells: as many as the largest documents fit into a part.
pub const MAX_PAGE_CHANGES: usize = 256;

/// Documents of one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order of their keys, each key once.
    pub documents: Vec<(Key, Document)>,
    /// Up to where in the feed it tells; [`FeedPosition::START`] of documents that were scanned.
    pub position: FeedPosition,
    /// Whether there was nothing more when it was read.
    pub is_last: bool,
}

impl Page {
    /// The documents of a store that follow a key, as they are now.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn of_documents(store: &dyn Store, after: Option<&Key>) -> Result<Self, ReadError> {
        let mut page = Self { is_last: true, ..Self::default() };
        let mut bytes = 0;
        store.scan_after("", after, &mut |key, document| {
            if bytes >= PAGE_BYTES {
                page.is_last = false;
                return ControlFlow::Break(());
            }
            bytes += weight(&key, &document);
            page.documents.push((key, document));
            ControlFlow::Continue(())
        })?;
        Ok(page)
    }

    /// What up to `limit` changes after a position, at most [`MAX_PAGE_CHANGES`], have made of their documents.
    ///
    /// # Errors
    /// See [`FeedError`].
    pub fn of_changes(
        store: &dyn Store,
        after: FeedPosition,
        limit: usize,
    ) -> Result<Self, FeedError> {
        let limit = limit.clamp(1, MAX_PAGE_CHANGES);
        let changes = store.feed(after, limit)?;
        let is_last = changes.len() < limit;
        let position = changes.last().map_or(after, |change| change.position);
        let newest: BTreeMap<Key, Document> =
            changes.into_iter().map(|change| (change.key, change.document)).collect();
        Ok(Self { documents: newest.into_iter().collect(), position, is_last })
    }
}

/// About as many bytes as a document takes in a part.
pub(super) fn weight(key: &Key, document: &Document) -> usize {
    key.as_str().len() + document.value.as_ref().map_or(0, bytes::Bytes::len) + 17
}
