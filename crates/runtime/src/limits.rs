//! The limits of a node, as its operators set them.

use pelago_model::{Allowance, ByOrigin};
use pelago_net::CrowdLimits;
use pelago_node::{ClientLimits, MAX_BATCH_TURNS};
use std::time::Duration;

/// The limits of a node: `docs/limits.md` describes each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLimits {
    /// Clients at once; one more is refused.
    pub max_clients: usize,
    /// Turns of one commit of a steward.
    pub batch_turns: usize,
    /// What each client may do.
    pub clients: ClientLimits,
    /// What each connection of a client may do.
    pub connections: ConnectionLimits,
    /// What the connections of one address may be. Nodes of one process share [`Origins`](pelago_net::Origins) instead.
    pub crowd: ByOrigin<CrowdLimits>,
}

/// The limits on each connection of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Messages; a client that sends more is closed as `flood`.
    pub messages: Allowance,
    /// KiB of content, a piece counting at least one; more is refused as `slow_down`.
    pub fetches: Allowance,
    /// How long a message may take; then the connection is closed as `stalled`.
    pub message_timeout: Duration,
    /// What the kernel keeps for a reader that lags.
    pub send_buffer_bytes: usize,
}

impl Default for NodeLimits {
    fn default() -> Self {
        Self {
            max_clients: 20_000,
            batch_turns: MAX_BATCH_TURNS,
            clients: ClientLimits::default(),
            connections: ConnectionLimits::default(),
            crowd: ByOrigin { loopback: CrowdLimits::LOOPBACK, others: CrowdLimits::OTHERS },
        }
    }
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            messages: Allowance::new(100, 400),
            fetches: Allowance::new(512, 4096),
            message_timeout: pelago_net::connection::MESSAGE_TIMEOUT,
            // A second of a crowd, and less than what a game can be behind and still be played.
            send_buffer_bytes: 64 * 1024,
        }
    }
}
