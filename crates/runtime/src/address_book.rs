//! The address book: the members of the cluster and their addresses. It is a port, with one implementation per kind of
//! book.
//!
//! A book may be slow, and it may be gone for a while. So registration is a lease that can be lost and taken again, the
//! view is what was known last, with a word on whether it is fresh, and nothing that a node does for its players waits
//! for either.

mod in_process;
pub(crate) mod membership;

pub use in_process::InProcessBook;

use pelago_cluster::Member;
use pelago_model::{Incarnation, NodeId};
use std::any::Any;
use std::pin::Pin;
use tokio::sync::watch;

/// What a book answers, some time.
pub type BookFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, BookError>> + Send + 'a>>;

/// Where nodes register themselves and look for each other.
///
/// An implementation reconnects by itself, with pauses. Callers bound every wait on their side: a future that is
/// dropped is a request that is given up, and may still have happened.
pub trait AddressBook: Send + Sync + 'static {
    /// Registers a node under a lease, which the implementation renews for as long as the lease is held.
    ///
    /// # Errors
    /// [`BookError::Taken`] if somebody else holds the number, [`BookError::Unavailable`] if the book cannot be
    /// reached: the same may be asked again after a pause.
    fn register(&self, member: Member) -> BookFuture<'_, Lease>;

    /// The members as they are known, now and from now on. What is told while the book cannot be reached is what was
    /// known last, marked as [`stale`](BookView::stale). Every change replaces the one before: a slow reader sees the
    /// last one only.
    fn watch(&self) -> watch::Receiver<BookView>;

    /// Takes a life of a node out of the book at once, instead of when its lease runs out. A life that is not there is
    /// no error.
    ///
    /// # Errors
    /// [`BookError::Unavailable`]: the lease runs out by itself, once nobody holds it.
    fn leave(&self, node: NodeId, incarnation: Incarnation) -> BookFuture<'_, ()>;
}

/// The members of a cluster, as a book tells them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BookView {
    /// Everybody whose lease holds, in the order of their numbers.
    pub members: Vec<Member>,
    /// Whether the book cannot be reached at present: somebody may have come or gone since.
    pub stale: bool,
}

/// A registration that holds until it is dropped or lost. Once dropped it is renewed no more.
pub struct Lease {
    lost: watch::Receiver<bool>,
    /// What renews it, until dropped.
    _renewal: Box<dyn Any + Send + Sync>,
}

impl Lease {
    /// A lease that `renewal` keeps up until it is dropped. It is lost when `lost` becomes true or has no sender any
    /// more.
    pub fn new(lost: watch::Receiver<bool>, renewal: impl Any + Send + Sync) -> Self {
        Self { lost, _renewal: Box::new(renewal) }
    }

    /// Waits until the lease is lost: the node has to register again, and goes on with what it does meanwhile.
    pub async fn lost(&mut self) {
        // A sender that is gone renews nothing any more.
        drop(self.lost.wait_for(|lost| *lost).await);
    }
}

/// Why a book has not done what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BookError {
    /// Another life holds the number of the node.
    #[error("node {0} is registered already, by another life of it or by somebody else")]
    Taken(NodeId),
    /// The book cannot be reached, or does not answer.
    #[error("the address book is out of reach: {0}")]
    Unavailable(String),
}
