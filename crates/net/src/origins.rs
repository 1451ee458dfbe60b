//! Connections by the address that they come from: how many of one address may be open, and how fast they may come.
//!
//! [`Crowd`] decides and knows no clock. [`Origins`] is it with a clock and a lock, shared by all listeners of a process.

use pelago_model::{Allowance, Budgets, ByOrigin, Limit, Origin, WorldTime};
use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// Addresses whose rate of new connections is remembered. Beyond it, those who used least of it are forgotten.
pub const MAX_REMEMBERED: usize = 65_536;

/// What the connections of one address may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrowdLimits {
    /// Connections of players at once; one more is closed.
    pub connections: usize,
    /// Connections of players that are not logged in; one more is closed.
    pub strangers: usize,
    /// New connections; more are closed.
    pub connects: Allowance,
}

impl CrowdLimits {
    /// For an address that may be a household, a school or a village.
    pub const OTHERS: Self =
        Self { connections: 256, strangers: 64, connects: Allowance::new(20, 400) };

    /// For addresses of this machine: bots and benchmarks come from there.
    pub const LOOPBACK: Self =
        Self { connections: 65_536, strangers: 4096, connects: Allowance::new(10_000, 100_000) };
}

/// The kinds of connections that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counted {
    /// A connection of a player.
    Connection,
    /// A connection of a player that is not logged in.
    Stranger,
}

impl Counted {
    fn limit(self, limits: &CrowdLimits) -> (usize, Limit) {
        match self {
            Self::Connection => (limits.connections, Limit::AddressConnections),
            Self::Stranger => (limits.strangers, Limit::AddressStrangers),
        }
    }
}

/// Who is there, by origin. It holds an entry for each origin that has a connection, of which there are never more than
/// connections, and the rates of [`MAX_REMEMBERED`] origins.
#[derive(Debug)]
pub struct Crowd {
    limits: ByOrigin<CrowdLimits>,
    there: BTreeMap<(Origin, Counted), usize>,
    connects: Budgets<Origin>,
}

impl Crowd {
    /// Nobody yet.
    pub fn new(limits: ByOrigin<CrowdLimits>) -> Self {
        Self { limits, there: BTreeMap::new(), connects: Budgets::new(MAX_REMEMBERED) }
    }

    /// Somebody has connected.
    ///
    /// # Errors
    /// The limit that was met: the connection is to be closed.
    pub fn connects(&mut self, now: WorldTime, origin: Origin) -> Result<(), Limit> {
        let allowance = self.limits.of(origin).connects;
        let may = self.connects.take(now, origin, allowance, 1);
        may.then_some(()).ok_or(Limit::AddressConnects)
    }

    /// One more is there.
    ///
    /// # Errors
    /// The limit that was met.
    pub fn enter(&mut self, origin: Origin, counted: Counted) -> Result<(), Limit> {
        let (most, limit) = counted.limit(self.limits.of(origin));
        let there = self.there.entry((origin, counted)).or_default();
        if *there >= most {
            if *there == 0 {
                self.there.remove(&(origin, counted));
            }
            return Err(limit);
        }
        *there += 1;
        Ok(())
    }

    /// One of them has gone.
    pub fn leave(&mut self, origin: Origin, counted: Counted) {
        if let Some(there) = self.there.get_mut(&(origin, counted)) {
            *there -= 1;
            if *there == 0 {
                self.there.remove(&(origin, counted));
            }
        }
    }
}

/// The crowd of a process; cheap to clone.
#[derive(Clone, Debug)]
pub struct Origins {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Turns addresses into numbers that nobody can turn back.
    numbers: RandomState,
    began: Instant,
    /// Guards who is there. Held for one step.
    crowd: Mutex<Crowd>,
}

/// Counts a connection until dropped.
#[derive(Debug)]
pub struct Admitted {
    shared: Arc<Shared>,
    origin: Origin,
    counted: Counted,
}

impl Origins {
    /// Nobody yet. Needs a tokio runtime.
    pub fn new(limits: ByOrigin<CrowdLimits>) -> Self {
        let (numbers, began) = (RandomState::new(), Instant::now());
        Self { shared: Arc::new(Shared { numbers, began, crowd: Mutex::new(Crowd::new(limits)) }) }
    }

    /// The origin of an address: of IPv6 its /64, which is what one household is given.
    pub fn of(&self, address: IpAddr) -> Origin {
        let address = address.to_canonical();
        let network = match address {
            IpAddr::V4(address) => u128::from(u32::from(address)),
            IpAddr::V6(address) if address.is_loopback() => 1 << 64,
            // Below it are 64 bits of zeros, so that none is an address of IPv4.
            IpAddr::V6(address) => u128::from(address) >> 64 << 64 | 1 << 63,
        };
        let number = self.shared.numbers.hash_one(network);
        Origin { number, is_loopback: address.is_loopback() }
    }

    /// Admits a new connection.
    ///
    /// # Errors
    /// The limit that was met: the connection is to be closed.
    pub fn admit(&self, origin: Origin, counted: Counted) -> Result<Admitted, Limit> {
        let ms = i64::try_from(self.shared.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.shared.crowd().connects(WorldTime(ms), origin)?;
        self.count(origin, counted)
    }

    /// Counts a connection that has been admitted already as one of another kind, too.
    ///
    /// # Errors
    /// The limit that was met.
    pub fn count(&self, origin: Origin, counted: Counted) -> Result<Admitted, Limit> {
        self.shared.crowd().enter(origin, counted)?;
        Ok(Admitted { shared: self.shared.clone(), origin, counted })
    }
}

impl Default for Origins {
    /// With the usual limits.
    fn default() -> Self {
        Self::new(ByOrigin { loopback: CrowdLimits::LOOPBACK, others: CrowdLimits::OTHERS })
    }
}

impl Shared {
    fn crowd(&self) -> MutexGuard<'_, Crowd> {
        // Nothing is left half done under the lock.
        self.crowd.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.shared.crowd().leave(self.origin, self.counted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: CrowdLimits =
        CrowdLimits { connections: 3, strangers: 2, connects: Allowance::new(1, 2) };
    const NEAR: Origin = Origin { number: 1, is_loopback: false };
    const FAR: Origin = Origin { number: 2, is_loopback: false };

    #[test]
    fn each_address_has_limits_of_its_own_for_each_kind() {
        let mut crowd = Crowd::new(ByOrigin { loopback: CrowdLimits::LOOPBACK, others: LIMITS });
        let kinds = [
            (Counted::Connection, 3, Limit::AddressConnections),
            (Counted::Stranger, 2, Limit::AddressStrangers),
        ];
        for (counted, most, limit) in kinds {
            for _ in 0..most {
                assert_eq!(crowd.enter(NEAR, counted), Ok(()));
            }
            assert_eq!(crowd.enter(NEAR, counted), Err(limit));
            assert_eq!(crowd.enter(FAR, counted), Ok(()), "another address is served");
            crowd.leave(NEAR, counted);
            assert_eq!(crowd.enter(NEAR, counted), Ok(()));
            for _ in 0..most {
                crowd.leave(NEAR, counted);
            }
            crowd.leave(FAR, counted);
        }
        assert!(crowd.there.is_empty(), "nothing is kept of who has gone");
        assert_eq!(
            [(); 3].map(|()| crowd.connects(WorldTime(0), NEAR).is_ok()),
            [true, true, false]
        );
        assert_eq!(crowd.connects(WorldTime(0), FAR), Ok(()));
        assert_eq!(crowd.connects(WorldTime(1000), NEAR), Ok(()));
        for _ in 0..100 {
            assert_eq!(crowd.connects(WorldTime(0), Origin::LOOPBACK), Ok(()));
        }
    }

    #[tokio::test]
    async fn a_household_of_ipv6_is_one_and_no_address_is_taken_for_another() {
        let origins = Origins::default();
        let of = |address: &str| origins.of(address.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_ne!(of("::c000:201"), of("192.0.2.1"));
        for address in ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"] {
            assert!(of(address).is_loopback, "{address}");
        }
        assert!(!of("192.0.2.1").is_loopback && !of("::2").is_loopback);
        assert_ne!(Origins::default().of("192.0.2.1".parse().unwrap()), of("192.0.2.1"));
    }

    #[tokio::test]
    async fn a_connection_counts_until_it_is_dropped() {
        let limits = CrowdLimits { connects: Allowance::new(1, 100), ..LIMITS };
        let origins = Origins::new(ByOrigin { loopback: limits, others: limits });
        let first = origins.admit(NEAR, Counted::Stranger).unwrap();
        let _second = origins.admit(NEAR, Counted::Stranger).unwrap();
        let third = origins.admit(NEAR, Counted::Stranger);
        assert_eq!(third.err(), Some(Limit::AddressStrangers));
        drop(first);
        assert!(origins.admit(NEAR, Counted::Stranger).is_ok());
    }
}
