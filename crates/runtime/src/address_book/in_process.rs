//! An address book that the nodes of one process share.

use super::{AddressBook, BookError, BookFuture, BookView, Lease};
use pelago_cluster::Member;
use pelago_model::{Incarnation, NodeId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// The book of one process: always within reach, always fresh. Its clones are the same book. It holds no more members
/// than the process has nodes.
#[derive(Clone, Debug, Default)]
pub struct InProcessBook(Arc<Entries>);

#[derive(Debug, Default)]
struct Entries {
    /// Guards the members.
    members: Mutex<BTreeMap<NodeId, Entry>>,
    view: watch::Sender<BookView>,
}

#[derive(Debug)]
struct Entry {
    member: Member,
    /// Tells of the loss of its lease; two entries share none.
    lose: watch::Sender<bool>,
}

impl InProcessBook {
    /// Takes a member's lease away, as a book does that has not heard of it for too long. Nothing is left of the member
    /// until it registers again.
    pub fn expire(&self, node: NodeId) {
        self.0.remove(|entry| entry.member.node == node);
    }
}

impl Entries {
    fn add(&self, member: Member) -> Result<watch::Receiver<bool>, BookError> {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = members.get(&member.node)
            && there.member.incarnation != member.incarnation
        {
            return Err(BookError::Taken(member.node));
        }
        let (lose, lost) = watch::channel(false);
        members.insert(member.node, Entry { member, lose });
        self.publish(&members);
        Ok(lost)
    }

    fn remove(&self, is_it: impl Fn(&Entry) -> bool) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let before = members.len();
        members.retain(|_, entry| {
            let remains = !is_it(entry);
            if !remains {
                entry.lose.send_replace(true);
            }
            remains
        });
        if members.len() < before {
            self.publish(&members);
        }
    }

    /// Under the lock of the members, so that the last view that is told is the last that there was.
    fn publish(&self, members: &BTreeMap<NodeId, Entry>) {
        let members = members.values().map(|entry| entry.member.clone()).collect();
        self.view.send_replace(BookView { members, stale: false });
    }
}

/// Takes its entry out of the book when dropped: here a lease that nobody renews ends at once.
struct Renewal {
    book: Arc<Entries>,
    /// Of the entry that is meant; a later one of the same life has another.
    lost: watch::Receiver<bool>,
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.book.remove(|entry| entry.lose.subscribe().same_channel(&self.lost));
    }
}

impl AddressBook for InProcessBook {
    fn register(&self, member: Member) -> BookFuture<'_, Lease> {
        Box::pin(async move {
            let lost = self.0.add(member)?;
            Ok(Lease::new(lost.clone(), Renewal { book: self.0.clone(), lost }))
        })
    }

    fn watch(&self) -> watch::Receiver<BookView> {
        self.0.view.subscribe()
    }

    fn leave(&self, node: NodeId, incarnation: Incarnation) -> BookFuture<'_, ()> {
        Box::pin(async move {
            self.0.remove(|Entry { member, .. }| {
                (member.node, member.incarnation) == (node, incarnation)
            });
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn member(node: u16, life: u64) -> Member {
        let address = format!("127.0.0.1:{node}");
        let (node, incarnation) = (NodeId(node), Incarnation(life));
        Member { node, incarnation, address, roles: BTreeSet::new() }
    }

    fn seen(view: &watch::Receiver<BookView>) -> Vec<(u16, u64)> {
        let view = view.borrow();
        view.members.iter().map(|member| (member.node.0, member.incarnation.0)).collect()
    }

    #[tokio::test]
    async fn everybody_sees_who_comes_and_who_goes() {
        let book = InProcessBook::default();
        let view = book.watch();
        let second = book.register(member(2, 1)).await.unwrap();
        let _first = book.clone().register(member(1, 1)).await.unwrap();
        assert_eq!(seen(&view), [(1, 1), (2, 1)]);
        drop(second);
        assert_eq!(seen(&view), [(1, 1)]);
        // Another life of it is not meant.
        book.leave(NodeId(1), Incarnation(7)).await.unwrap();
        assert_eq!(seen(&view), [(1, 1)]);
        book.leave(NodeId(1), Incarnation(1)).await.unwrap();
        assert_eq!(seen(&view), []);
    }

    #[tokio::test]
    async fn a_number_belongs_to_one_life_at_a_time() {
        let book = InProcessBook::default();
        let first = book.register(member(1, 1)).await.unwrap();
        assert_eq!(book.register(member(1, 2)).await.err(), Some(BookError::Taken(NodeId(1))));
        drop(first);
        let _second = book.register(member(1, 2)).await.unwrap();
        assert_eq!(seen(&book.watch()), [(1, 2)]);
    }

    #[tokio::test]
    async fn a_lost_lease_is_told_and_can_be_taken_again() {
        let book = InProcessBook::default();
        let mut lease = book.register(member(1, 1)).await.unwrap();
        book.expire(NodeId(1));
        lease.lost().await;
        assert_eq!(seen(&book.watch()), []);
        let again = book.register(member(1, 1)).await.unwrap();
        // The lease that was lost takes nothing with it any more.
        drop(lease);
        assert_eq!(seen(&book.watch()), [(1, 1)]);
        drop(again);
        assert_eq!(seen(&book.watch()), []);
    }
}
