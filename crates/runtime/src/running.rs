//! A node that runs.

mod builder;

pub use builder::{Listeners, NodeBuilder, StartError};

use crate::address_book::AddressBook;
use crate::address_book::membership::LEAVE_TIMEOUT;
use crate::admin_calls::NodeHandle;
use crate::door::Door;
use crate::readiness::{Alarm, Readiness, ReasonCode};
use crate::supervisor::Supervised;
use crate::tasks::Shared;
use pelago_cluster::Member;
use pelago_model::NodeId;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::time::timeout;

/// A node of this process. Dropping it ends its tasks without a goodbye, as a crash does; [`Node::stop`] ends it well.
pub struct Node {
    member: Member,
    addresses: Addresses,
    shared: Arc<Shared>,
    book: Arc<dyn AddressBook>,
    handle: NodeHandle,
    door: Door,
    supervised: Supervised,
}

/// Where a node listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// For clients over TCP.
    pub tcp: SocketAddr,
    /// For clients over WebSocket.
    pub websocket: SocketAddr,
    /// For other nodes.
    pub links: SocketAddr,
    /// Whether clients have to speak TLS.
    pub encrypted: bool,
}

impl Addresses {
    /// Where clients find the node by WebSocket.
    pub fn websocket_url(&self) -> String {
        let scheme = if self.encrypted { "wss" } else { "ws" };
        format!("{scheme}://{}/", self.websocket)
    }
}

impl Node {
    /// A node to be started.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    /// Its number.
    pub fn number(&self) -> NodeId {
        self.member.node
    }

    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The way to it for the questions of operators.
    pub fn handle(&self) -> NodeHandle {
        self.handle.clone()
    }

    /// The way in for clients whose WebSocket an HTTP server has opened.
    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// What it can do at present.
    pub fn readiness(&self) -> Readiness {
        let mut readiness = self.shared.status.readiness();
        // What a lane has noted last outlives it for a moment.
        if let Some(reason) = &*self.supervised.failure().borrow() {
            readiness.because(ReasonCode::Ended, reason.as_str());
        }
        readiness
    }

    /// Whether players can be sent to it.
    pub fn is_ready(&self) -> bool {
        self.readiness().is_ready()
    }

    /// What operators should look at, although it may serve players.
    pub fn alarms(&self) -> Vec<Alarm> {
        self.shared.status.alarms()
    }

    /// Waits until the node has ended by itself, which is a bug of its own: all its tasks have ended, since one of them
    /// has. Tells why. The process should end, too: what is left in it is of no use, and its supervisor starts it anew.
    ///
    /// It never ends if the node is stopped, and may be waited for while somebody else holds the node.
    pub fn failure(&self) -> impl Future<Output = String> + Send + 'static {
        let mut failure = self.supervised.failure();
        async move {
            loop {
                match failure.wait_for(Option::is_some).await.map(|reason| reason.clone()) {
                    Ok(Some(reason)) => return reason,
                    Ok(None) => {}
                    Err(_) => std::future::pending().await,
                }
            }
        }
    }

    /// Says goodbye to all players, keeps their places, ends all tasks and leaves the address book.
    pub async fn stop(self) {
        // A node that has ended by itself has nobody left to say it.
        if self.supervised.failure().borrow().is_none() {
            self.shared.say_goodbye().await;
        }
        self.supervised.stop().await;
        self.shared.clock.leave(self.shared.store()).await;
        let Member { node, incarnation, .. } = self.member;
        match timeout(LEAVE_TIMEOUT, self.book.leave(node, incarnation)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(node = node.0, %error, "not taken out of the book"),
            Err(_) => tracing::warn!(node = node.0, "the address book is slow; the lease runs out"),
        }
    }
}
