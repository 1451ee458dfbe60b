//! What players wait for asks for keys: no login, walk, command or goodbye scans the store or reads its feed.

use crate::harness::Cluster;
use pelago_bots::{Behavior, Plan};
use pelago_model::{Document, Key};
use pelago_store::{Change, FeedError, FeedPosition, Memory, ReadError, Store, StoreLayer};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// A store that counts what nobody may ask for while people play.
#[derive(Default)]
struct Watched {
    store: Memory,
    scans: AtomicU64,
    feeds: AtomicU64,
}

impl StoreLayer for Watched {
    fn beneath(&self) -> &dyn Store {
        &self.store
    }

    fn scan_after(
        &self,
        prefix: &str,
        after: Option<&Key>,
        visit: &mut dyn FnMut(Key, Document) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        self.scans.fetch_add(1, Ordering::Relaxed);
        self.store.scan_after(prefix, after, visit)
    }

    fn feed(&self, after: FeedPosition, limit: usize) -> Result<Vec<Change>, FeedError> {
        self.feeds.fetch_add(1, Ordering::Relaxed);
        self.store.feed(after, limit)
    }

    fn feed_end(&self) -> Result<FeedPosition, ReadError> {
        self.feeds.fetch_add(1, Ordering::Relaxed);
        self.store.feed_end()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_players_do_scans_the_store() {
    let store = Arc::new(Watched::default());
    let cluster = Cluster::start(store.clone()).await;
    let addresses = cluster.addresses();
    // A world that begins looks whether there is one.
    let counted = || (store.scans.load(Ordering::Relaxed), store.feeds.load(Ordering::Relaxed));
    let before = counted();
    // They arrive, walk, gather, are cut off, come back, and say goodbye; those who come again are known already.
    let (_stop, stopped) = watch::channel(false);
    let mut acknowledged = 0;
    for behavior in [Behavior::Gather, Behavior::Mixed] {
        let plan = Plan {
            duration: Some(Duration::from_secs(4)),
            kick_mean: Some(Duration::from_secs(2)),
            ..Plan::new(addresses.clone(), 12, behavior)
        };
        let report = pelago_bots::run(plan, stopped.clone()).await.unwrap();
        assert_eq!(report.connected, 12);
        acknowledged += report.commands.acked;
    }
    assert!(acknowledged > 0, "nobody did anything durable");
    let counters = store.counters();
    assert!(counters.loads > 24 && counters.committed > 24, "{counters:?}");
    assert_eq!(counted(), before, "something that players do depends on the size of the world");
    cluster.stop().await;
}
