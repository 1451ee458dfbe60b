//! The lease of the world: of two processes with one store, one runs the world and the other does not start.
//!
//! The lease is a document that its holder renews every few seconds. A process that finds it held watches it: if it is
//! renewed, the process gives up and names the holder; if it is not, the process takes it, with the next fence. The
//! fence is a document, too, whose revision grows with every holder. Each engine compares it at every commit
//! ([`Store::fence`]), so that a holder that stood still and was replaced stores nothing any more when it goes on,
//! whatever it believes. Nothing here compares the clocks of two processes.
//!
//! An engine that only one process can open needs no lease.

mod watch;

use pelago_game::json;
use pelago_model::{Backoff, CommitOutcome, Key, Retry, Revision, Transaction, Write};
use pelago_node::documents::lease::{LEASE_SCHEMA, LeaseDocument};
use pelago_node::documents::schema::{Unreadable, read};
use pelago_store::{Fence, ReadError, Store, commit_now, load_now};
use std::hash::{BuildHasher, RandomState};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};
use watch::{Verdict, Watch};

pub use watch::LEASE_TIME;

/// How often a holder renews its lease: several times within [`LEASE_TIME`].
pub const RENEW_EVERY: Duration = Duration::from_secs(2);
/// How often a lease is looked at that somebody else holds.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A store that cannot be read or written while the lease is taken is tried again.
const TAKE: Backoff = Backoff { first_ms: 200, longest_ms: 2000, attempts: 8 };
/// A holder tries to renew for as long as it runs: its fence, not its own clock, says whether it still may write.
const RENEW: Backoff = Backoff { first_ms: 500, longest_ms: 2000, attempts: Backoff::ENDLESS };

/// Why the lease was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another process runs this world.
    #[error(
        "this world is run by another process: {holder} (instance {instance}, fence {fence}) has just renewed its \
         lease, after {} ms; stop it first", .after.as_millis()
    )]
    Held {
        /// Host and process.
        holder: String,
        /// Its random id.
        instance: String,
        /// Under which it commits.
        fence: u64,
        /// For how long it was not seen to renew before it did.
        after: Duration,
    },
    /// The store does not answer.
    #[error("the lease of the world cannot be read: {0}")]
    Read(#[from] ReadError),
    /// The lease is damaged, or a newer build has written it.
    #[error("the lease of the world: {0}")]
    Document(#[from] Unreadable),
    /// The store takes no commits.
    #[error("the lease of the world could not be taken: the store takes no commits")]
    NotStored,
    /// There is no randomness for an id, or no thread to renew the lease.
    #[error("the lease of the world could not be taken: {0}")]
    System(String),
}

/// The lease, held by this process and renewed until it is released.
pub struct WorldLease {
    store: Arc<dyn Store>,
    shared: Arc<Held>,
    /// Guards the thread that renews; dropping the sender ends it.
    renewing: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

/// What the holder knows of its lease.
struct Held {
    lease: LeaseDocument,
    /// Guards the revision that the lease's document had last.
    revision: Mutex<Revision>,
    /// Guards why the lease is not this process's any more, once that is known.
    lost: Mutex<Option<String>>,
}

/// The documents of the lease as they stand.
struct Found {
    lease: Option<LeaseDocument>,
    lease_revision: Revision,
    fence_revision: Revision,
}

impl WorldLease {
    /// Takes the lease of a store's world; `None` if its engine needs none. It waits for a holder that has fallen silent,
    /// [`LEASE_TIME`] at most while the store answers. Blocks: not for threads that others wait for.
    ///
    /// # Errors
    /// [`LeaseError::Held`] if another process renews it, and others if the store cannot be used.
    pub fn take(store: Arc<dyn Store>) -> Result<Option<Self>, LeaseError> {
        if store.capabilities().exclusive {
            return Ok(None);
        }
        Self::take_from(store).map(Some)
    }

    fn take_from(store: Arc<dyn Store>) -> Result<Self, LeaseError> {
        let (lease, revision) = acquire(&*store, &instance()?, &holder())?;
        store.fence(Fence { key: Key::world_fence(), revision: Revision(lease.fence) });
        let (revision, lost) = (Mutex::new(revision), Mutex::new(None));
        let shared = Arc::new(Held { lease, revision, lost });
        let (stop, stopped) = channel();
        let (held, renewed) = (shared.clone(), store.clone());
        let thread = std::thread::Builder::new()
            .name("world-lease".to_owned())
            .spawn(move || {
                let mut retry = Retry::new(RENEW);
                let mut wait = RENEW_EVERY;
                while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                    wait = match held.renew(&*renewed) {
                        Renewal::Renewed => {
                            retry.succeeded();
                            RENEW_EVERY
                        }
                        Renewal::Again => retry.pause(RandomState::new().hash_one(())),
                        Renewal::Lost => return,
                    };
                }
            })
            .map_err(|error| LeaseError::System(error.to_string()))?;
        Ok(Self { store, shared, renewing: Mutex::new(Some((stop, thread))) })
    }

    /// Why the world is another process's now, if it is: this one should end.
    pub fn lost(&self) -> Option<String> {
        self.shared.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets go of the lease, so that the next process need not wait for its end. Nothing may be committed afterwards.
    /// Blocks; only the first call does anything.
    pub fn release(&self) {
        let renewing = self.renewing.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((stop, thread)) = renewing else { return };
        drop(stop);
        // The engine bounds how long a commit takes that the thread may be waiting for.
        if thread.join().is_err() {
            tracing::error!("the thread that renews the lease of the world panicked");
        }
        if self.lost().is_none() {
            let released = LeaseDocument { released: true, ..self.shared.lease.clone() };
            let expected = *self.shared.revision.lock().unwrap_or_else(PoisonError::into_inner);
            let outcome = write(&released, expected).map(|write| commit(&*self.store, vec![write]));
            if outcome != Some(CommitOutcome::Committed) {
                tracing::warn!("the lease of the world was not released: it ends by itself");
            }
        }
    }
}

impl Drop for WorldLease {
    fn drop(&mut self) {
        self.release();
    }
}

enum Renewal {
    Renewed,
    Again,
    Lost,
}

impl Held {
    fn renew(&self, store: &dyn Store) -> Renewal {
        let mut revision = self.revision.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(write) = write(&self.lease, *revision) else { return Renewal::Again };
        match commit(store, vec![write]) {
            CommitOutcome::Committed => {
                *revision = revision.next();
                return Renewal::Renewed;
            }
            CommitOutcome::Failed if store.broken().is_none() => return Renewal::Again,
            // The documents tell.
            CommitOutcome::Failed | CommitOutcome::Unknown | CommitOutcome::Conflict { .. } => {}
        }
        match find(store) {
            Ok(Found { lease: Some(lease), lease_revision, .. })
                if lease.instance == self.lease.instance =>
            {
                *revision = lease_revision;
                Renewal::Again
            }
            Ok(found) => {
                let reason = match found.lease {
                    Some(lease) => format!(
                        "this world is run by {} now (instance {}, fence {}): this process was silent for too long",
                        lease.holder, lease.instance, lease.fence
                    ),
                    None => "the lease of the world was deleted".to_owned(),
                };
                tracing::error!(%reason, "the lease of the world is lost");
                *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
                Renewal::Lost
            }
            Err(_) => Renewal::Again,
        }
    }
}

/// Takes the lease as soon as nobody holds it: the document, and its revision.
fn acquire(
    store: &dyn Store,
    instance: &str,
    holder: &str,
) -> Result<(LeaseDocument, Revision), LeaseError> {
    let (mut watch, mut retry) = (Watch::default(), Retry::new(TAKE));
    let (began, mut told) = (Instant::now(), false);
    loop {
        let found = match find(store) {
            Ok(found) => found,
            Err(LeaseError::Read(error)) => {
                pause(&mut retry).ok_or(error)?;
                continue;
            }
            Err(error) => return Err(error),
        };
        let lease = LeaseDocument {
            instance: instance.to_owned(),
            holder: holder.to_owned(),
            fence: found.fence_revision.next().0,
            released: false,
        };
        match &found.lease {
            // A commit of ours whose end nobody knew.
            Some(held) if held.instance == instance => {
                return Ok((held.clone(), found.lease_revision));
            }
            Some(held) if !held.released => {
                if !told {
                    told = true;
                    tracing::info!(
                        holder = held.holder,
                        instance = held.instance,
                        fence = held.fence,
                        "another process holds the lease of this world: if it is not renewed within {} s it is taken over",
                        LEASE_TIME.as_secs()
                    );
                }
                match watch.look(began.elapsed(), found.lease_revision) {
                    Verdict::Wait => {
                        sleep(LOOK_EVERY);
                        continue;
                    }
                    Verdict::Renewed { after } => {
                        let LeaseDocument { holder, instance, fence, .. } = held.clone();
                        return Err(LeaseError::Held { holder, instance, fence, after });
                    }
                    Verdict::Silent { time } => tracing::warn!(
                        holder = held.holder,
                        instance = held.instance,
                        fence = held.fence,
                        next = lease.fence,
                        "the lease of this world was not renewed for {:.1} s: it is taken over",
                        time.as_secs_f32()
                    ),
                }
            }
            Some(_) | None => {}
        }
        let fence = encode(&lease).map(|value| Write {
            key: Key::world_fence(),
            expected: found.fence_revision,
            schema: LEASE_SCHEMA,
            value: Some(value),
        });
        let writes = fence.into_iter().chain(write(&lease, found.lease_revision)).collect();
        match commit(store, writes) {
            CommitOutcome::Committed => {
                tracing::debug!(instance, fence = lease.fence, "the lease of the world is taken");
                return Ok((lease, found.lease_revision.next()));
            }
            // Somebody was faster, or it may be ours: the documents tell.
            CommitOutcome::Conflict { .. } | CommitOutcome::Unknown | CommitOutcome::Failed => {
                pause(&mut retry).ok_or(LeaseError::NotStored)?;
            }
        }
    }
}

fn find(store: &dyn Store) -> Result<Found, LeaseError> {
    let documents = load_now(store, vec![Key::world_lease(), Key::world_fence()])?;
    let [lease, fence] = &documents[..] else { return Err(ReadError::Busy.into()) };
    Ok(Found {
        lease: read(lease)?,
        lease_revision: lease.revision,
        fence_revision: fence.revision,
    })
}

fn encode(lease: &LeaseDocument) -> Option<bytes::Bytes> {
    json::encode(lease).ok()
}

fn write(lease: &LeaseDocument, expected: Revision) -> Option<Write> {
    let (key, value) = (Key::world_lease(), Some(encode(lease)?));
    Some(Write { key, expected, schema: LEASE_SCHEMA, value })
}

fn commit(store: &dyn Store, writes: Vec<Write>) -> CommitOutcome {
    commit_now(store, Transaction { checks: Vec::new(), writes })
}

/// Waits before the next attempt; `None` if there is none.
fn pause(retry: &mut Retry) -> Option<()> {
    let pause_ms = retry.failed(RandomState::new().hash_one(()))?;
    sleep(Duration::from_millis(pause_ms.unsigned_abs()));
    Some(())
}

/// Random bits that no other process has.
fn instance() -> Result<String, LeaseError> {
    let mut bits = [0; 8];
    getrandom::fill(&mut bits).map_err(|error| LeaseError::System(error.to_string()))?;
    Ok(format!("{:016x}", u64::from_be_bytes(bits)))
}

/// This process, for people.
fn holder() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let host = if host.is_empty() { "an unknown host" } else { host };
    format!("process {} on {host}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelago_store::{Memory, StoreLayer};

    /// A store of several processes: each has a fence of its own over the same documents.
    struct Process {
        database: Arc<Memory>,
        fence: Mutex<Option<Fence>>,
    }

    impl Process {
        fn of(database: &Arc<Memory>) -> Arc<Self> {
            Arc::new(Self { database: database.clone(), fence: Mutex::new(None) })
        }

        fn is_fenced(&self) -> bool {
            let fence = self.fence.lock().unwrap();
            fence.as_ref().is_some_and(|it| self.database.get(&it.key).revision != it.revision)
        }

        fn write(&self, name: &str) -> CommitOutcome {
            let key = Key::parse(name).unwrap();
            let expected = self.database.get(&key).revision;
            commit(self, vec![Write { key, expected, schema: 1, value: Some("1".into()) }])
        }
    }

    impl StoreLayer for Process {
        fn beneath(&self) -> &dyn Store {
            &*self.database
        }

        fn commit(&self, transaction: Transaction, done: pelago_store::CommitDone) {
            if self.is_fenced() {
                return done(CommitOutcome::Failed);
            }
            self.beneath().commit(transaction, done);
        }

        fn fence(&self, fence: Fence) {
            *self.fence.lock().unwrap() = Some(fence);
        }

        fn broken(&self) -> Option<String> {
            self.is_fenced().then(|| "fenced".to_owned())
        }
    }

    fn until(what: &str, holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < Duration::from_secs(60), "{what}");
            sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn a_second_process_is_refused_by_name_for_as_long_as_the_first_renews() {
        let database = Arc::<Memory>::default();
        let lease = WorldLease::take_from(Process::of(&database)).unwrap();
        let error = WorldLease::take_from(Process::of(&database)).err().unwrap().to_string();
        assert!(error.contains(&format!("process {} on", std::process::id())), "{error}");
        assert!(
            error.contains(&lease.shared.lease.instance) && error.contains("fence 1"),
            "{error}"
        );
        assert_eq!(lease.lost(), None);
        lease.release();
        // Nobody has to be waited for.
        let began = Instant::now();
        let next = WorldLease::take_from(Process::of(&database)).unwrap();
        assert!(began.elapsed() < LEASE_TIME);
        assert_eq!(next.shared.lease.fence, 2);
    }

    #[test]
    fn a_holder_that_fell_silent_is_replaced_and_stores_nothing_any_more() {
        let database = Arc::<Memory>::default();
        let first = Process::of(&database);
        let lease = WorldLease::take_from(first.clone()).unwrap();
        assert_eq!(first.write("a/1"), CommitOutcome::Committed);
        // It stands still: nobody renews, though it will go on believing that it runs the world.
        let (stop, thread) = lease.renewing.lock().unwrap().take().unwrap();
        drop(stop);
        thread.join().unwrap();
        let second = Process::of(&database);
        let taken = WorldLease::take_from(second.clone()).unwrap();
        assert_eq!(taken.shared.lease.fence, 2);
        assert_eq!(second.write("a/1"), CommitOutcome::Committed);
        assert_eq!(first.write("a/2"), CommitOutcome::Failed);
        // It goes on, and finds out.
        assert!(matches!(lease.shared.renew(&*first), Renewal::Lost));
        let reason = lease.lost().unwrap();
        assert!(
            reason.contains("fence 2") && reason.contains(&taken.shared.lease.instance),
            "{reason}"
        );
        until("the second renews", || taken.shared.revision.lock().unwrap().0 > 3);
        drop(lease);
        assert_eq!((taken.lost(), second.write("a/1")), (None, CommitOutcome::Committed));
    }
}
