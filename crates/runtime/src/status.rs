//! What the tasks of a node note for operators.

use crate::address_book::membership::Standing;
use crate::store_probe::StoreProbe;
use pelago_cluster::LinksCounters;
use pelago_model::{LimitCounts, Size};
use pelago_net::{OpenFiles, Traffic};
use pelago_node::StewardCounters;
use pelago_node::lane::LaneCounters;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};

/// What a node tells operators.
#[derive(Debug, Default)]
pub(crate) struct Status {
    /// Connections of clients.
    pub(crate) connections: AtomicUsize,
    /// Commands that wait for the stewards.
    pub(crate) backlog: AtomicUsize,
    /// Numbers of the stewards.
    pub(crate) stewards: Mutex<StewardCounters>,
    /// Whether every member is within reach.
    pub(crate) linked: AtomicBool,
    /// How often limits were met by the hub.
    pub(crate) limits: Mutex<LimitCounts>,
    /// Numbers of the links.
    pub(crate) links: Mutex<LinksCounters>,
    /// How full everything of the hub is.
    pub(crate) sizes: Mutex<Vec<Size>>,
    /// Of each lane.
    pub(crate) lanes: Vec<LaneStatus>,
    /// Bytes to and from clients.
    pub(crate) traffic: Arc<Traffic>,
    /// Bytes to and from other nodes.
    pub(crate) peer_traffic: Arc<Traffic>,
    /// How it stands with the address book.
    pub(crate) standing: Arc<Standing>,
    /// Whether the store answers.
    pub(crate) store: Arc<StoreProbe>,
}

/// What a lane tells operators.
#[derive(Debug, Default)]
pub(crate) struct LaneStatus {
    /// World time of its last tick.
    pub(crate) ticked: AtomicI64,
    /// Players on it.
    pub(crate) players: AtomicUsize,
    /// Nanoseconds it has worked.
    pub(crate) busy_ns: AtomicU64,
    /// Its numbers.
    pub(crate) counters: Mutex<LaneCounters>,
    /// How full everything of it is.
    pub(crate) sizes: Mutex<Vec<Size>>,
}

impl Status {
    /// Of a node with so many lanes, whose clients' connections share these files.
    pub(crate) fn new(lanes: u8, files: OpenFiles) -> Self {
        Self {
            lanes: (0..lanes).map(|_| LaneStatus::default()).collect(),
            traffic: Arc::new(Traffic::sharing(files)),
            ..Self::default()
        }
    }
}
