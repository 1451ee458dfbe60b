//! What happens in a simulation, one after the other.

use crate::schedule::PlannedFault;
use bytes::Bytes;
use pelago_client::core::ConnectionNumber;
use pelago_cluster::LinkId;
use pelago_model::{Incarnation, NodeId, Transaction};
use pelago_node::{ClientEvent, MachineId, MachineInput, RequestId};
use pelago_world::ClientId;

/// Something that happens at a time.
#[derive(Debug)]
pub(super) enum Event {
    Wake(NodeId),
    Link {
        to: (NodeId, LinkId),
        kind: u8,
        payload: Bytes,
    },
    LinkOpened {
        end: (NodeId, LinkId),
        toward: Option<NodeId>,
    },
    LinkClosed {
        end: (NodeId, LinkId),
    },
    DialFailed {
        from: NodeId,
        to: NodeId,
    },
    LinkWritable {
        end: (NodeId, LinkId),
    },
    ToNode {
        node: NodeId,
        life: Incarnation,
        input: Box<MachineInput>,
    },
    OfClient {
        node: NodeId,
        life: Incarnation,
        client: ClientId,
        event: ClientEvent,
    },
    /// Mailboxes that were left for later.
    ServeMailboxes(NodeId),
    /// A machine is served again.
    Resume {
        node: NodeId,
        life: Incarnation,
        machine: MachineId,
    },
    /// The mailboxes of a node have their usual room again.
    Relieve {
        node: NodeId,
        life: Incarnation,
    },
    ToPlayer {
        player: usize,
        client: ClientId,
        bytes: Bytes,
    },
    PlayerCut {
        player: usize,
        client: ClientId,
    },
    PlayerDials {
        player: usize,
        connection: ConnectionNumber,
        node: NodeId,
    },
    PlayerWake(usize),
    PlayerWritable {
        player: usize,
        client: ClientId,
    },
    Disconnected {
        node: NodeId,
        life: Incarnation,
        client: ClientId,
    },
    Commit {
        node: NodeId,
        life: Incarnation,
        from: (MachineId, RequestId),
        transaction: Transaction,
    },
    Play(usize),
    WriteMail,
    AskFor(usize),
    PlannedFault(PlannedFault),
    Calm,
    Crash {
        node: NodeId,
        back_ms: u32,
    },
    Restart(NodeId),
    Check,
}
