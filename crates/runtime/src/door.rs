//! The way into a node for clients whose WebSocket an HTTP server has opened, so that players need one port only.

use pelago_model::NodeId;
use pelago_net::Upgraded;
use std::net::IpAddr;
use tokio::sync::mpsc;

/// Clients who wait to be let in; one more is turned away without a word.
const MAX_WAITING: usize = 256;

/// The way in. It may outlive the node.
#[derive(Clone, Debug)]
pub struct Door {
    node: NodeId,
    visitors: mpsc::Sender<Visitor>,
}

/// A client who comes in.
#[derive(Debug)]
pub(crate) struct Visitor {
    pub(crate) upgraded: Upgraded,
    /// Whose connection it is.
    pub(crate) address: IpAddr,
}

/// The way into a node, and its end.
pub(crate) fn door(node: NodeId) -> (Door, mpsc::Receiver<Visitor>) {
    let (visitors, end) = mpsc::channel(MAX_WAITING);
    (Door { node, visitors }, end)
}

impl Door {
    /// The number of the node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Lets a client in, whose address is that of its computer and not of a proxy. A node that has ended or is behind
    /// lets nobody in: the connection is closed.
    pub fn enter(&self, upgraded: Upgraded, address: IpAddr) {
        if self.visitors.try_send(Visitor { upgraded, address }).is_err() {
            tracing::debug!(node = self.node.0, "a client was turned away at the door");
        }
    }
}
