//! The task that keeps a node in the address book, and tells the node of the other members.

use super::{AddressBook, BookView, Lease};
use pelago_cluster::Member;
use pelago_model::{Backoff, Retry};
use std::cmp::Reverse;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;
use tokio::sync::watch::Sender;
use tokio::time::{Instant, sleep, timeout};

/// How long a registration may take; then it is tried again.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long leaving may take; then the lease runs out by itself.
pub(crate) const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// The pauses after failures. It is tried for as long as the node lives: a node plays on without a book.
const AGAIN: Backoff = Backoff { first_ms: 100, longest_ms: 5_000, attempts: Backoff::ENDLESS };

/// How a node stands with its book, for operators.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// Whether its lease holds.
    pub(crate) registered: AtomicBool,
    /// Whether the book has ever taken this life of the node. Until then it is nobody: somebody else may have its number.
    entered: Sender<bool>,
    /// Whether what it knows of the others is fresh.
    pub(crate) fresh: AtomicBool,
    /// Members that it knows, itself included.
    pub(crate) members: AtomicUsize,
}

impl Standing {
    /// Whether the book has taken this life of the node, be it that its lease was lost since.
    pub(crate) fn has_entered(&self) -> bool {
        *self.entered.borrow()
    }

    /// Waits until the book has taken the node.
    pub(crate) async fn entered(&self) {
        // The sender is this very standing: it does not go away meanwhile.
        drop(self.entered.subscribe().wait_for(|entered| *entered).await);
    }

    pub(crate) fn note_lease(&self) {
        self.registered.store(true, Relaxed);
        self.entered.send_replace(true);
    }
}

/// Keeps `member` registered, and hands on the list of members whenever it changes, from
/// the first registration on. It never ends.
pub(crate) async fn run(
    book: Arc<dyn AddressBook>,
    member: Member,
    standing: Arc<Standing>,
    tell: impl Fn(Vec<Member>) + Send,
) {
    tokio::select! {
        never = register(&*book, &member, &standing) => match never {},
        never = watch(&*book, &member, &standing, tell) => match never {},
    }
}

/// An outcome that does not happen.
enum Never {}

async fn register(book: &dyn AddressBook, member: &Member, standing: &Standing) -> Never {
    let mut retry = Retry::new(AGAIN);
    loop {
        match timeout(REGISTER_TIMEOUT, book.register(member.clone())).await {
            Ok(Ok(lease)) => {
                standing.note_lease();
                let since = Instant::now();
                hold(lease).await;
                // A lease that was lost at once is no success: the book is not asked without a pause.
                if since.elapsed().as_millis() > AGAIN.longest_ms.unsigned_abs().into() {
                    retry.succeeded();
                }
                standing.registered.store(false, Relaxed);
                tracing::warn!(node = member.node.0, "the lease in the address book was lost");
            }
            Ok(Err(error)) => tracing::warn!(node = member.node.0, %error, "not registered"),
            Err(_) => tracing::warn!(node = member.node.0, "the address book is slow"),
        }
        pause(&mut retry).await;
    }
}

async fn hold(mut lease: Lease) {
    lease.lost().await;
}

async fn watch(
    book: &dyn AddressBook,
    member: &Member,
    standing: &Standing,
    tell: impl Fn(Vec<Member>) + Send,
) -> Never {
    standing.entered().await;
    let mut told = None;
    let mut retry = Retry::new(AGAIN);
    loop {
        let mut views = book.watch();
        loop {
            let view = views.borrow_and_update().clone();
            standing.fresh.store(!view.stale, Relaxed);
            let members = with(member, view);
            if told.as_ref() != Some(&members) {
                standing.members.store(members.len(), Relaxed);
                tell(members.clone());
                told = Some(members);
                retry.succeeded();
            }
            if views.changed().await.is_err() {
                break;
            }
        }
        // The sender of changes has gone. The members that are known remain in force.
        standing.fresh.store(false, Relaxed);
        pause(&mut retry).await;
    }
}

/// The members of a view and the node itself, which is there whether the book has heard of it or not. Of a node that is
/// there twice the later life counts, for its address as for its roles.
fn with(member: &Member, view: BookView) -> Vec<Member> {
    let mut members = view.members;
    members.retain(|other| other.node != member.node);
    members.push(member.clone());
    members.sort_by_key(|member| (member.node, Reverse(member.incarnation)));
    members.dedup_by_key(|member| member.node);
    members
}

async fn pause(retry: &mut Retry) {
    sleep(retry.pause(RandomState::new().hash_one(()))).await;
}

#[cfg(test)]
mod tests {
    use super::super::{BookError, BookFuture, InProcessBook};
    use super::*;
    use pelago_model::{Incarnation, NodeId};
    use std::collections::BTreeSet;
    use std::sync::Mutex;
    use tokio::sync::watch;

    fn member(node: u16) -> Member {
        let (node, incarnation) = (NodeId(node), Incarnation(1));
        Member { node, incarnation, address: "127.0.0.1:1".to_owned(), roles: BTreeSet::new() }
    }

    /// A book that answers late at first, is out of reach then, and works at last; nobody tells of its views any more.
    #[derive(Default)]
    struct Shaky {
        book: InProcessBook,
        asked: AtomicUsize,
        view: Mutex<Option<watch::Sender<BookView>>>,
    }

    impl AddressBook for Shaky {
        fn register(&self, member: Member) -> BookFuture<'_, Lease> {
            match self.asked.fetch_add(1, Relaxed) {
                0 => Box::pin(std::future::pending()),
                1 => Box::pin(async { Err(BookError::Unavailable("gone".to_owned())) }),
                _ => self.book.register(member),
            }
        }

        fn watch(&self) -> watch::Receiver<BookView> {
            let (sender, view) =
                watch::channel(BookView { members: vec![member(2)], stale: false });
            *self.view.lock().unwrap() = Some(sender);
            view
        }

        fn leave(&self, node: NodeId, incarnation: Incarnation) -> BookFuture<'_, ()> {
            self.book.leave(node, incarnation)
        }
    }

    struct Node {
        standing: Arc<Standing>,
        told: Arc<Mutex<Vec<Vec<u16>>>>,
    }

    fn start(book: Arc<dyn AddressBook>) -> Node {
        let (standing, told) = (Arc::<Standing>::default(), Arc::<Mutex<Vec<_>>>::default());
        let tell = {
            let told = told.clone();
            move |members: Vec<Member>| {
                told.lock().unwrap().push(members.iter().map(|member| member.node.0).collect());
            }
        };
        drop(tokio::spawn(run(book, member(1), standing.clone(), tell)));
        Node { standing, told }
    }

    async fn until(holds: impl Fn() -> bool) {
        let waited = async {
            while !holds() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(60), waited).await.expect("it happens");
    }

    #[tokio::test]
    async fn a_lost_lease_is_taken_again() {
        let book = InProcessBook::default();
        let node = start(Arc::new(book.clone()));
        until(|| node.standing.registered.load(Relaxed)).await;
        book.expire(NodeId(1));
        until(|| !node.standing.registered.load(Relaxed)).await;
        until(|| node.standing.registered.load(Relaxed)).await;
        // Its own loss is nothing to a node: it is a member of what it knows.
        assert_eq!(*node.told.lock().unwrap(), [[1]]);
        assert_eq!(book.watch().borrow().members.len(), 1);
    }

    #[tokio::test]
    async fn a_slow_book_is_asked_again_and_a_lost_watch_leaves_what_was_known() {
        let book = Arc::new(Shaky::default());
        let node = start(book.clone());
        until(|| node.standing.fresh.load(Relaxed)).await;
        assert_eq!(*node.told.lock().unwrap(), [[1, 2]]);
        assert_eq!(book.asked.load(Relaxed), 3, "a node that nobody has registered knows nobody");
        until(|| node.standing.registered.load(Relaxed)).await;
        *book.view.lock().unwrap() = None;
        until(|| !node.standing.fresh.load(Relaxed)).await;
        until(|| node.standing.fresh.load(Relaxed)).await;
        assert_eq!(*node.told.lock().unwrap(), [[1, 2]]);
        assert_eq!(node.standing.members.load(Relaxed), 2);
    }

    /// A book whose leases are lost at once.
    #[derive(Default)]
    struct Forgetful {
        view: watch::Sender<BookView>,
        asked: AtomicUsize,
    }

    impl AddressBook for Forgetful {
        fn register(&self, _: Member) -> BookFuture<'_, Lease> {
            self.asked.fetch_add(1, Relaxed);
            let (_, lost) = watch::channel(true);
            Box::pin(async { Ok(Lease::new(lost, ())) })
        }

        fn watch(&self) -> watch::Receiver<BookView> {
            self.view.subscribe()
        }

        fn leave(&self, _: NodeId, _: Incarnation) -> BookFuture<'_, ()> {
            Box::pin(async { Ok(()) })
        }
    }

    #[tokio::test]
    async fn a_book_that_loses_every_lease_is_asked_more_and_more_rarely() {
        let book = Arc::new(Forgetful::default());
        let _node = start(book.clone());
        // After 100, 200, 400 and 800 ms at the earliest; without growing pauses a dozen times.
        sleep(Duration::from_millis(1500)).await;
        assert!(book.asked.load(Relaxed) <= 5, "{:?}", book.asked);
        until(|| book.asked.load(Relaxed) > 2).await;
    }

    #[test]
    fn a_node_that_is_told_twice_is_there_once_in_its_later_life() {
        let life = |node, life| Member { incarnation: Incarnation(life), ..member(node) };
        let members = vec![life(2, 5), life(1, 9), life(2, 7), life(2, 6)];
        let known = with(&member(1), BookView { members, stale: false });
        assert_eq!(known, [member(1), life(2, 7)]);
    }
}
