//! Serials of new avatars: leased by the hundred, so that nodes need not meet at one document for each newcomer.

use crate::documents::avatar::{SERIALS_SCHEMA, SerialsDocument};
use crate::documents::schema::read;
use pelago_game::json;
use pelago_model::{Document, Key, Write};
use pelago_world::ClientId;
use std::collections::BTreeSet;
use std::ops::Range;

/// Serials that a node leases at once.
pub const SERIAL_LEASE: u64 = 256;
/// How often a lease is tried anew after a commit that failed; then those who wait for it are refused.
const MAX_ATTEMPTS: usize = 12;

/// Serials that are leased and not given yet, and the logins that wait for one. There are no more of those than
/// logins.
#[derive(Debug, Default)]
pub(super) struct Serials {
    free: Range<u64>,
    waiting: BTreeSet<ClientId>,
    /// The lease that is under way: how often it was tried.
    attempts: Option<usize>,
}

/// A lease that is to be committed.
pub(super) struct Lease {
    pub(super) first: u64,
    pub(super) write: Write,
}

impl Serials {
    /// A login needs a serial. It gets one by [`next`](Self::next).
    pub(super) fn wait(&mut self, client: ClientId) {
        self.waiting.insert(client);
    }

    /// A login waits no more.
    pub(super) fn leave(&mut self, client: ClientId) {
        self.waiting.remove(&client);
    }

    /// The next login that gets a serial, if there is one left.
    pub(super) fn next(&mut self) -> Option<(ClientId, u64)> {
        if self.free.is_empty() {
            return None;
        }
        Some((self.waiting.pop_first()?, self.free.next()?))
    }

    /// Whether a lease is to be begun: somebody waits, and none is under way. It counts as under way from now on.
    pub(super) fn begins_lease(&mut self) -> bool {
        let begins = self.attempts.is_none() && self.free.is_empty() && !self.waiting.is_empty();
        if begins {
            self.attempts = Some(1);
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
        self.attempts = None;
        self.free = first..first.saturating_add(SERIAL_LEASE);
    }

    /// The lease was not committed, or nobody knows whether it was: its serials are never used. Whether it is to be
    /// tried again.
    pub(super) fn tries_again(&mut self) -> bool {
        let attempts = self.attempts.get_or_insert(0);
        *attempts += 1;
        *attempts <= MAX_ATTEMPTS && !self.waiting.is_empty()
    }

    /// There is no lease. Returns those who waited for it.
    pub(super) fn failed(&mut self) -> BTreeSet<ClientId> {
        self.attempts = None;
        std::mem::take(&mut self.waiting)
    }

    /// How many logins wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
