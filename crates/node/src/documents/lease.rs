//! The lease of the world: which process runs it.

use serde::{Deserialize, Serialize};

/// The schema version of leases.
pub const LEASE_SCHEMA: u16 = 1;

/// The process that runs the world, as the documents of its lease and its fence say it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseDocument {
    /// The process's own: random bits, as hexadecimal digits.
    pub instance: String,
    /// For people: host and process.
    pub holder: String,
    /// The fence under which it commits: the revision that the fence's document got when it took the lease.
    pub fence: u64,
    /// Whether it has ended and needs the lease no more.
    #[serde(default)]
    pub released: bool,
}
