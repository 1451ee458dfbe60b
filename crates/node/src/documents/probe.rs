//! The document of a node's probe: that it was written shows that the store commits.

use serde::{Deserialize, Serialize};

/// The schema version of probe documents.
pub const PROBE_SCHEMA: u16 = 1;

/// What a node writes to see whether its store commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeDocument {
    /// How often it was written in the life of the node.
    pub count: u64,
}
