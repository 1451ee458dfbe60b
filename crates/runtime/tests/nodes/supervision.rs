//! A task that ends when it should not: its node ends with it, and says why.

use crate::harness::{self, address, until};
use crate::player::{PATIENCE, Player};
use pelago_model::Key;
use pelago_runtime::{AddressBook, InProcessBook};
use pelago_store::{LoadDone, Memory, Store, StoreLayer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::timeout;

/// A store whose driver panics in the task that calls it, from a certain moment on.
#[derive(Default)]
struct Panicking {
    documents: Memory,
    panics: AtomicBool,
}

impl StoreLayer for Panicking {
    fn beneath(&self) -> &dyn Store {
        &self.documents
    }

    fn load(&self, keys: Vec<Key>, done: LoadDone) {
        assert!(!self.panics.load(Ordering::Relaxed), "a bug in the driver");
        self.documents.load(keys, done);
    }
}

#[tokio::test]
async fn a_task_that_panics_ends_its_node_and_no_other() {
    let (store, sound) = (Arc::new(Panicking::default()), Arc::new(Memory::default()));
    let book = InProcessBook::default();
    let start = async |number, store: Arc<dyn Store>| {
        let world = harness::world(&*store);
        harness::node(number, &world, &store, &book).start().await.unwrap()
    };
    let (first, second) = (start(1, store.clone()).await, start(2, sound).await);
    let members = || book.watch().borrow().members.len();
    until("both are members", || members() == 2 && first.is_ready() && second.is_ready()).await;
    let mut anna = Player::arrive(&address(&first), "Anna").await;

    store.panics.store(true, Ordering::Relaxed);
    let reason = timeout(PATIENCE, first.failure()).await.expect("the node ends");
    assert!(reason.contains("node 1") && reason.contains("a bug in the driver"), "{reason}");
    // It keeps neither its players nor its place in the book.
    let cut_off = async { while anna.take_in(harness::MOMENT).await {} };
    timeout(PATIENCE, cut_off).await.expect("its players are cut off");
    until("it is a member no more", || members() == 1).await;
    assert!(!first.is_ready());
    assert!(second.is_ready(), "the other node goes on");
    assert!(timeout(harness::MOMENT, second.failure()).await.is_err());
    first.stop().await;
    second.stop().await;
}
