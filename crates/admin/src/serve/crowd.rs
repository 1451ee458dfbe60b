//! Who is connected: no address can take all places, and connections that never ask for anything make room for others.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use tokio::task::{AbortHandle, Id};

/// The bits of an address of IPv6 that its owner cannot choose: a network is as one address.
const NETWORK: u128 = !0 << 64;

/// The connections of a listener.
pub(super) struct Crowd {
    most: usize,
    most_of_one: usize,
    /// By address, the oldest first.
    present: BTreeMap<IpAddr, VecDeque<Present>>,
    addresses: HashMap<Id, IpAddr>,
}

struct Present {
    task: AbortHandle,
    /// Whether it has ever sent a request.
    has_asked: Arc<AtomicBool>,
}

impl Crowd {
    pub(super) fn new(most: usize, most_of_one: usize) -> Self {
        Self { most, most_of_one, present: BTreeMap::new(), addresses: HashMap::new() }
    }

    /// Whether one more may come from an address. Where there is no room, the oldest connection that has never asked for
    /// anything has to go: of the same address if that has its share already, otherwise of the address that has most.
    pub(super) fn make_room(&mut self, address: IpAddr, is_proxy: bool) -> bool {
        let address = network_of(address);
        let of_address = self.present.get(&address).map_or(0, VecDeque::len);
        if !is_proxy && of_address >= self.most_of_one {
            return self.turn_out(address);
        }
        if self.addresses.len() < self.most {
            return true;
        }
        let most = self.present.iter().max_by_key(|(_, present)| present.len());
        let most = most.map(|(address, _)| *address);
        most.is_some_and(|most| self.turn_out(most))
    }

    pub(super) fn enter(&mut self, address: IpAddr, task: AbortHandle, has_asked: Arc<AtomicBool>) {
        let address = network_of(address);
        self.addresses.insert(task.id(), address);
        self.present.entry(address).or_default().push_back(Present { task, has_asked });
    }

    pub(super) fn leave(&mut self, id: Id) {
        // One that was turned out has been taken out already.
        let Some(address) = self.addresses.remove(&id) else { return };
        if let Some(present) = self.present.get_mut(&address) {
            present.retain(|present| present.task.id() != id);
            if present.is_empty() {
                self.present.remove(&address);
            }
        }
    }

    fn turn_out(&mut self, address: IpAddr) -> bool {
        let Some(present) = self.present.get_mut(&address) else { return false };
        let idle = present.iter().position(|present| !present.has_asked.load(Relaxed));
        let Some(gone) = idle.and_then(|index| present.remove(index)) else { return false };
        gone.task.abort();
        self.addresses.remove(&gone.task.id());
        true
    }
}

fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn come(crowd: &mut Crowd, address: &str, has_asked: bool) -> Option<Id> {
        let address: IpAddr = address.parse().unwrap();
        crowd.make_room(address, false).then(|| {
            let task = tokio::spawn(std::future::pending::<()>()).abort_handle();
            let id = task.id();
            crowd.enter(address, task, Arc::new(AtomicBool::new(has_asked)));
            id
        })
    }

    #[tokio::test]
    async fn no_address_takes_all_places() {
        let mut crowd = Crowd::new(8, 2);
        let first = come(&mut crowd, "10.0.0.1", true).unwrap();
        assert!(come(&mut crowd, "10.0.0.1", true).is_some());
        assert_eq!(come(&mut crowd, "10.0.0.1", false), None, "both of them are busy");
        assert!(come(&mut crowd, "10.0.0.2", false).is_some());
        crowd.leave(first);
        assert!(come(&mut crowd, "10.0.0.1", false).is_some());
        // All addresses of a network of IPv6 are one.
        assert!(come(&mut crowd, "2001:db8::1", true).is_some());
        assert!(come(&mut crowd, "2001:db8::2", true).is_some());
        assert_eq!(come(&mut crowd, "2001:db8::3", true), None);
        assert!(come(&mut crowd, "2001:db8:0:1::3", true).is_some());
    }

    #[tokio::test]
    async fn those_who_never_ask_make_room_for_others() {
        let mut crowd = Crowd::new(4, 3);
        for _ in 0..10 {
            assert!(come(&mut crowd, "10.0.0.1", false).is_some(), "the oldest has made room");
        }
        assert_eq!(crowd.addresses.len(), 3);
        assert!(come(&mut crowd, "10.0.0.2", true).is_some());
        assert!(come(&mut crowd, "10.0.0.3", true).is_some(), "of the address with most");
        assert_eq!(crowd.addresses.len(), 4);
        let of_first = crowd.present[&"10.0.0.1".parse::<IpAddr>().unwrap()].len();
        assert_eq!(of_first, 2);
    }

    #[tokio::test]
    async fn a_trusted_proxy_may_have_all_places() {
        let mut crowd = Crowd::new(3, 1);
        let proxy: IpAddr = "127.0.0.1".parse().unwrap();
        for _ in 0..3 {
            assert!(crowd.make_room(proxy, true));
            let task = tokio::spawn(std::future::pending::<()>()).abort_handle();
            crowd.enter(proxy, task, Arc::new(AtomicBool::new(true)));
        }
        assert!(!crowd.make_room(proxy, true));
    }
}
