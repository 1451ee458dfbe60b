//! The network between nodes: ordered links with delay, that can be cut, held and blocked.

use bytes::Bytes;
use pelago_cluster::LinkId;
use pelago_model::{NodeId, WorldTime};
use pelago_wire::message::whole_messages;
use std::collections::{BTreeMap, BTreeSet};

/// One end of a link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) peer: (NodeId, LinkId),
    /// What is sent arrives no earlier than what was sent before.
    last_arrival: WorldTime,
    /// When everything written so far is on its way, if the link is slow.
    busy_until: WorldTime,
    /// Its node has written to it: before that it does not know the link perhaps, and nothing can block.
    pub(crate) written: bool,
    pub(crate) blocked: bool,
}

/// What the links of a node carry for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slow {
    pub(crate) delay_ms: i64,
    pub(crate) bytes_per_s: i64,
    pub(crate) until: WorldTime,
}

/// A slow link takes no more bytes when those that wait need longer than this, in ms.
const FULL_MS: i64 = 50;

/// All links, by node and number.
#[derive(Debug, Default)]
pub(crate) struct Network {
    pub(crate) ends: BTreeMap<(NodeId, LinkId), End>,
    next_link: u64,
    /// Pairs that cannot hear each other, smaller number first, and until when.
    pub(crate) partitions: BTreeMap<(NodeId, NodeId), WorldTime>,
    pub(crate) slow: BTreeMap<NodeId, Slow>,
}

impl Network {
    /// Opens a link between two nodes; returns the number of each end.
    pub(crate) fn open(&mut self, from: NodeId, to: NodeId) -> (LinkId, LinkId) {
        let (one, other) = (LinkId(self.next_link), LinkId(self.next_link + 1));
        self.next_link += 2;
        let end = |peer| End {
            peer,
            last_arrival: WorldTime(0),
            busy_until: WorldTime(0),
            written: false,
            blocked: false,
        };
        self.ends.insert((from, one), end((to, other)));
        self.ends.insert((to, other), end((from, one)));
        (one, other)
    }

    /// Takes a link away; returns both ends.
    pub(crate) fn cut(&mut self, end: (NodeId, LinkId)) -> Option<[(NodeId, LinkId); 2]> {
        let removed = self.ends.remove(&end)?;
        self.ends.remove(&removed.peer);
        Some([end, removed.peer])
    }

    /// Where and when what is sent now with this delay arrives; in a partition after it. If the link is slow and carries
    /// no more, also until when.
    pub(crate) fn arrival(
        &mut self,
        end: (NodeId, LinkId),
        now: WorldTime,
        delay_ms: i64,
        bytes: usize,
    ) -> Option<((NodeId, LinkId), WorldTime, Option<WorldTime>)> {
        let peer = self.ends.get(&end)?.peer;
        let held = self.held_until(end.0, peer.0).unwrap_or(now);
        let slow = [end.0, peer.0].map(|node| self.slow.get(&node).copied());
        let slow = slow.into_iter().flatten().filter(|slow| slow.until > now);
        let slow = slow.min_by_key(|slow| slow.bytes_per_s);
        let end = self.ends.get_mut(&end)?;
        let (mut sent, mut delay_ms) = (now, delay_ms);
        if let Some(slow) = slow {
            let carried_ms = bytes as i64 * 1000 / slow.bytes_per_s;
            sent = end.busy_until.max(now).plus(carried_ms).min(slow.until);
            delay_ms += slow.delay_ms;
            end.busy_until = sent;
        }
        end.last_arrival = end.last_arrival.max(sent.max(held).plus(delay_ms));
        let full = sent.since(now) > FULL_MS && !end.blocked;
        Some((peer, end.last_arrival, full.then_some(sent)))
    }

    /// Until when two nodes cannot hear each other.
    pub(crate) fn held_until(&self, one: NodeId, other: NodeId) -> Option<WorldTime> {
        self.partitions.get(&(one.min(other), one.max(other))).copied()
    }

    /// The links of a node.
    pub(crate) fn of(&self, node: NodeId) -> BTreeSet<(NodeId, LinkId)> {
        self.ends.keys().filter(|(other, _)| *other == node).copied().collect()
    }
}

/// The messages that a node or a client has sent: their kinds and payloads.
///
/// # Panics
/// If they are none, which is a bug of the sender.
pub(crate) fn messages(bytes: &Bytes) -> Vec<(u8, Bytes)> {
    whole_messages(bytes).expect("only whole messages are sent")
}
