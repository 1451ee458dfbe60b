//! What the tasks of a node note for operators.

use crate::address_book::membership::Standing;
use crate::clock::ClockStanding;
use crate::probe_clock::ProbeClock;
use crate::store_probe::StoreProbe;
use crate::task_meter::TaskMeter;
use pelago_cluster::LinksCounters;
use pelago_model::{LimitCounts, Role, Size};
use pelago_net::{OpenFiles, Traffic};
use pelago_node::lane::LaneCounters;
use pelago_node::{MachineId, NodeMachine};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// What the services of a host count, by role and name.
type ServiceCounts = Vec<(Role, &'static str, u64)>;

/// What a node tells operators.
#[derive(Debug, Default)]
pub(crate) struct Status {
    /// Connections of clients.
    pub(crate) connections: AtomicUsize,
    /// What the services of each host count, by role and name.
    pub(crate) services: Mutex<BTreeMap<u8, ServiceCounts>>,
    /// Whether every member is within reach.
    pub(crate) linked: AtomicBool,
    /// How often limits were met by machines that are no lanes.
    pub(crate) limits: Mutex<BTreeMap<MachineId, LimitCounts>>,
    /// Numbers of the links.
    pub(crate) links: Mutex<LinksCounters>,
    /// How full everything of machines that are no lanes is.
    pub(crate) sizes: Mutex<BTreeMap<MachineId, Vec<Size>>>,
    /// Of each lane.
    pub(crate) lanes: Vec<LaneStatus>,
    /// Bytes to and from clients.
    pub(crate) traffic: Arc<Traffic>,
    /// Bytes to and from other nodes.
    pub(crate) peer_traffic: Arc<Traffic>,
    /// How it stands with the address book.
    pub(crate) standing: Arc<Standing>,
    /// Whether the store commits.
    pub(crate) store: Arc<StoreProbe>,
    /// How it stands with the clock.
    pub(crate) clock: Arc<ClockStanding>,
    /// By which readiness is measured.
    pub(crate) probe_clock: ProbeClock,
    /// Whether world time stands still.
    pub(crate) time_stands: AtomicBool,
    /// Of all tasks of the node, once they have started.
    pub(crate) meters: OnceLock<Vec<Arc<TaskMeter>>>,
}

/// What a lane tells operators.
#[derive(Debug)]
pub(crate) struct LaneStatus {
    /// When it has ticked last, by the clock of the probes.
    pub(crate) ticked: AtomicI64,
    /// Players on it.
    pub(crate) players: AtomicUsize,
    /// Its numbers.
    pub(crate) counters: Mutex<LaneCounters>,
    /// How full everything of it is.
    pub(crate) sizes: Mutex<Vec<Size>>,
}

impl Default for LaneStatus {
    fn default() -> Self {
        Self {
            ticked: AtomicI64::new(NEVER),
            players: AtomicUsize::default(),
            counters: Mutex::default(),
            sizes: Mutex::default(),
        }
    }
}

/// No time at all, far enough from the ends of its range to be reckoned with.
const NEVER: i64 = i64::MIN / 2;

impl Status {
    /// Of a node with so many lanes, whose clients' connections share these files.
    pub(crate) fn new(lanes: u8, files: OpenFiles, clock: Arc<ClockStanding>) -> Self {
        Self {
            clock,
            lanes: (0..lanes).map(|_| LaneStatus::default()).collect(),
            traffic: Arc::new(Traffic::sharing(files)),
            ..Self::default()
        }
    }

    /// Notes what a machine shows after a batch of inputs. `woken`: the clock was told.
    pub(crate) fn note(&self, machine: &NodeMachine, woken: bool) {
        if !matches!(machine.id(), MachineId::Lane(_)) {
            lock(&self.limits).insert(machine.id(), machine.limits());
        }
        if let Some(links) = machine.as_links() {
            self.linked.store(links.is_complete(), Relaxed);
            *lock(&self.links) = links.counters();
        } else if let Some(arrivals) = machine.as_arrivals() {
            self.connections.store(arrivals.connections(), Relaxed);
        } else if let (MachineId::Lane(number), Some(lane)) = (machine.id(), machine.as_lane())
            && let Some(status) = self.lanes.get(usize::from(number))
        {
            if woken {
                status.ticked.store(self.probe_clock.now_ms(), Relaxed);
            }
            status.players.store(lane.population(), Relaxed);
            *lock(&status.counters) = lane.counters();
        }
    }

    /// Notes what it takes longer to find out: how full everything of a machine and of its mailbox is.
    pub(crate) fn look(&self, machine: &NodeMachine, mailbox: Vec<Size>) {
        let sizes = [machine.sizes(), mailbox].concat();
        match machine.id() {
            MachineId::Lane(lane) => {
                if let Some(status) = self.lanes.get(usize::from(lane)) {
                    *lock(&status.sizes) = sizes;
                }
            }
            id => {
                lock(&self.sizes).insert(id, sizes);
            }
        }
        if let (MachineId::Service(number), Some(host)) = (machine.id(), machine.as_service()) {
            lock(&self.services).insert(number, host.counters().collect());
        }
    }

    /// What all services count, by role and name, over their instances.
    pub(crate) fn service_counts(&self) -> BTreeMap<(Role, &'static str), u64> {
        let mut counts = BTreeMap::new();
        for (role, name, count) in lock(&self.services).values().flatten() {
            *counts.entry((*role, *name)).or_default() += count;
        }
        counts
    }

    /// What a service counts under a name, over all its instances.
    pub(crate) fn count_of(&self, role: Role, name: &str) -> u64 {
        let services = lock(&self.services);
        let counters = services.values().flatten();
        counters
            .filter(|(of, named, _)| (*of, *named) == (role, name))
            .map(|(.., count)| count)
            .sum()
    }
}

/// Values under these locks are replaced whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
