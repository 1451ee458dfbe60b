//! Serials of new avatars: leased by the hundred, so that nodes need not meet at one document for each newcomer.

use super::commits::MET_OTHERS;
use crate::documents::avatar::{SERIALS_SCHEMA, SerialsDocument};
use crate::documents::schema::read;
use pelago_game::json;
use pelago_model::{Document, Key, Retry, WorldTime, Write};
use pelago_world::ClientId;
use std::collections::BTreeSet;
use std::ops::Range;

/// Serials that a node leases at once.
pub const SERIAL_LEASE: u64 = 256;

/// Serials that are leased and not given yet, and the logins that wait for one. There are no more of those than
/// logins.
#[derive(Debug, Default)]
pub(super) struct Serials {
    free: Range<u64>,
    waiting: BTreeSet<ClientId>,
    /// The lease that is under way, and its attempts.
    lease: Option<Retry>,
    /// When the lease goes on that waits for its next attempt.
    again: Option<WorldTime>,
}

/// A lease that is to be committed.
pub(super) struct Lease {
    pub(super) first: u64,
    pub(super) write: Write,
}

impl Serials {
    /// A login needs a serial. It gets one by [`give`](Self::give).
    pub(super) fn wait(&mut self, client: ClientId) {
        self.waiting.insert(client);
    }

    /// A login waits no more.
    pub(super) fn leave(&mut self, client: ClientId) {
        self.waiting.remove(&client);
    }

    /// The login that is next to get a serial, if there is one left.
    pub(super) fn first(&self) -> Option<ClientId> {
        self.waiting.first().filter(|_| !self.free.is_empty()).copied()
    }

    /// Gives a serial to a login that waits.
    pub(super) fn give(&mut self, client: ClientId) -> Option<u64> {
        self.waiting.remove(&client);
        self.free.next()
    }

    /// Whether a lease is to be begun: somebody waits, and none is under way. It counts as under way from now on.
    pub(super) fn begins_lease(&mut self) -> bool {
        let begins = self.lease.is_none() && self.free.is_empty() && !self.waiting.is_empty();
        if begins {
            self.lease = Some(Retry::new(MET_OTHERS));
        }
        begins
    }

    /// What to write to lease the serials after those that the document says are leased.
    pub(super) fn lease(document: &Document) -> Result<Lease, String> {
        let serials: Option<SerialsDocument> = read(document)?;
        let first = serials.map_or(1, |serials| serials.next);
        let end = first.checked_add(SERIAL_LEASE).ok_or("there are no more serials")?;
        let next = SerialsDocument { next: end };
        let value = json::encode(&next).map_err(|error| error.to_string())?;
        let write = Write {
            key: Key::serials(),
            expected: document.revision,
            schema: SERIALS_SCHEMA,
            value: Some(value),
        };
        Ok(Lease { first, write })
    }

    /// The lease is certain.
    pub(super) fn leased(&mut self, first: u64) {
        self.lease = None;
        self.free = first..first.saturating_add(SERIAL_LEASE);
    }

    /// The lease was not committed, or nobody knows whether it was: its serials are never used. Whether it is to be
    /// tried again, after a pause.
    pub(super) fn tries_again(&mut self, now: WorldTime, chance: u64) -> bool {
        let pause = self.lease.as_mut().and_then(|lease| lease.failed(chance));
        match pause.filter(|_| !self.waiting.is_empty()) {
            Some(pause_ms) => {
                self.again = Some(now.plus(pause_ms));
                true
            }
            None => false,
        }
    }

    /// The lease has to wait until then.
    pub(super) fn wait_until(&mut self, time: WorldTime) {
        self.again = Some(time);
    }

    /// When the lease is to go on.
    pub(super) fn next_wake(&self) -> Option<WorldTime> {
        self.again
    }

    /// Whether a lease goes on now that has waited. It ends if nobody waits for it any more.
    pub(super) fn goes_on(&mut self, now: WorldTime) -> bool {
        if self.again.take_if(|again| *again <= now).is_none() {
            return false;
        }
        if self.waiting.is_empty() {
            self.lease = None;
        }
        self.lease.is_some()
    }

    /// There is no lease. Returns those who waited for it.
    pub(super) fn failed(&mut self) -> BTreeSet<ClientId> {
        (self.lease, self.again) = (None, None);
        std::mem::take(&mut self.waiting)
    }

    /// How many logins wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
