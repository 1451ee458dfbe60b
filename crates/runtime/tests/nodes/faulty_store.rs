//! A store that is slow, refuses writes, or is gone. Who is there walks, sees and speaks on; what would last waits
//! within a bound and is then refused with a public code; nothing that was acknowledged is lost; recovery is by itself.

use crate::harness::{Cluster, until, verify};
use crate::player::{PATIENCE, Player, goes_to};
use pelago_bots::{Behavior, Plan};
use pelago_model::{CommitOutcome, Key, Transaction};
use pelago_runtime::{Node, ReasonCode};
use pelago_store::{CommitDone, LoadDone, Memory, Store, StoreLayer};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::sleep;

/// What is wrong with the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    /// Everything takes so long.
    Slow(Duration),
    /// Nothing is written: it is read-only, or full.
    ReadOnly,
    /// Nothing is answered; what was asked happens when it is back.
    Gone,
}

/// A request that waits until the store is back.
type Held = Box<dyn FnOnce(&Memory) + Send>;

/// A store in trouble, as it is told.
struct FaultyStore {
    documents: Arc<Memory>,
    state: Arc<Mutex<(Trouble, Vec<Held>)>>,
    runtime: Handle,
}

impl FaultyStore {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            documents: Arc::default(),
            state: Arc::new(Mutex::new((Trouble::None, Vec::new()))),
            runtime: Handle::current(),
        })
    }

    fn set(&self, trouble: Trouble) {
        let held = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.0 = trouble;
            std::mem::take(&mut state.1)
        };
        held.into_iter().for_each(|request| request(&self.documents));
    }

    fn ask(&self, is_write: bool, request: Held, refuse: impl FnOnce() + Send + 'static) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let documents = self.documents.clone();
        match state.0 {
            Trouble::Gone => return state.1.push(request),
            Trouble::Slow(time) => {
                drop(self.runtime.spawn(async move {
                    sleep(time).await;
                    request(&documents);
                }));
                return;
            }
            Trouble::ReadOnly | Trouble::None => {}
        }
        let refused = state.0 == Trouble::ReadOnly && is_write;
        drop(state);
        if refused { refuse() } else { request(&documents) }
    }
}

impl StoreLayer for FaultyStore {
    fn beneath(&self) -> &dyn Store {
        &*self.documents
    }

    fn load(&self, keys: Vec<Key>, done: LoadDone) {
        self.ask(false, Box::new(move |documents| documents.load(keys, done)), || ());
    }

    fn commit(&self, transaction: Transaction, done: CommitDone) {
        let done = Arc::new(Mutex::new(Some(done)));
        let answer = |done: &Mutex<Option<CommitDone>>, outcome| {
            let taken = done.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(done) = taken {
                done(outcome);
            }
        };
        let (whole, refused) = (done.clone(), done);
        let request = move |documents: &Memory| answer(&whole, documents.apply(transaction));
        self.ask(true, Box::new(request), move || answer(&refused, CommitOutcome::Failed));
    }
}

/// How long a durable command may wait until it is answered, one way or the other: the longest pause of a client before it
/// asks again, the steward's deadline, and what it takes until that is noticed.
const LONGEST_WAIT: Duration = Duration::from_secs(16);

/// Asks for something durable, and returns the code of its refusal.
async fn durable(who: &mut Player) -> String {
    let began = Instant::now();
    let code = who.eat_nothing().await;
    assert!(began.elapsed() < LONGEST_WAIT, "answered after {:?}", began.elapsed());
    code
}

/// Whether a node says that it is not ready because of its store.
fn is_without_store(node: &Node) -> bool {
    let readiness = node.readiness();
    readiness.is_alive() && readiness.reasons.iter().any(|it| it.code == ReasonCode::Store)
}

/// People play on while the store is in trouble for a while, then everything is as before.
async fn outlasts(trouble: Trouble, time: Duration) {
    let store = FaultyStore::new();
    let cluster = Cluster::start(store.clone()).await;
    let addresses = cluster.addresses();
    let mut anna = Player::arrive(&addresses[0], "Anna").await;
    let mut bert = Player::arrive(&addresses[1], "Bert").await;
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let plan = Plan {
        journal: Some(journal.clone()),
        ..Plan::new(addresses.clone(), 30, Behavior::Gather)
    };
    let (end, ended) = watch::channel(false);
    let bots = tokio::spawn(pelago_bots::run(plan, ended));
    sleep(Duration::from_secs(4)).await;

    store.set(trouble);
    let began = Instant::now();
    let mut codes = BTreeSet::new();
    while began.elapsed() < time {
        let there = anna.walk().await;
        bert.until("Bert sees Anna walk", |bert| goes_to(bert, &anna.session, there)).await;
        let text = format!("still here after {:?}", began.elapsed());
        anna.session.say(&text).await.unwrap();
        bert.until_heard(&text).await;
        codes.insert(durable(&mut anna).await);
        // Whoever says more than two things in a second is asked to slow down.
        sleep(Duration::from_millis(600)).await;
    }
    // What is merely late is done: then there is nothing to eat.
    let known = ["nothing_held", "unavailable", "busy"];
    assert!(codes.iter().all(|code| known.contains(&&**code)), "{codes:?}");
    if trouble == Trouble::Gone {
        assert!(codes.contains("unavailable"), "{codes:?}");
        let error = Player::try_arrive(&addresses[1], "Dora").await.err();
        assert!(error.is_some(), "nobody is let in without a document");
    }

    let commits = || cluster.nodes.iter().all(|node| !is_without_store(node));
    if matches!(trouble, Trouble::Gone | Trouble::ReadOnly) {
        until("every node says what is wrong", || cluster.nodes.iter().all(is_without_store)).await;
    }
    store.set(Trouble::None);
    until("no node has anything to say of its store", commits).await;
    // By itself, and soon.
    let began = Instant::now();
    while durable(&mut bert).await != "nothing_held" {
        assert!(began.elapsed() < PATIENCE, "the world does not recover");
    }
    drop(Player::arrive(&addresses[0], "Cecilia").await);
    sleep(Duration::from_secs(3)).await;
    end.send_replace(true);
    bots.await.unwrap().unwrap();
    let verdict = verify(&cluster, &journal);
    assert!(verdict.objections.is_empty(), "{:?}", verdict.objections);
    assert!(verdict.acknowledged > 10, "{} commands at all", verdict.acknowledged);
    cluster.stop().await;
}

#[tokio::test]
async fn people_play_on_while_the_store_is_a_hundred_times_slower() {
    outlasts(Trouble::Slow(Duration::from_millis(500)), Duration::from_secs(10)).await;
}

#[tokio::test]
async fn people_play_on_while_the_store_takes_longer_than_anybody_waits() {
    outlasts(Trouble::Slow(Duration::from_secs(7)), Duration::from_secs(15)).await;
}

#[tokio::test]
async fn people_play_on_while_the_store_is_read_only_or_full() {
    outlasts(Trouble::ReadOnly, Duration::from_secs(10)).await;
}

#[tokio::test]
async fn people_play_on_while_the_store_is_gone_for_half_a_minute() {
    outlasts(Trouble::Gone, Duration::from_secs(30)).await;
}
