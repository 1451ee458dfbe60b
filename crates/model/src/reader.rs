//! Readers of a channel, as its publisher sees them.

use crate::id::NodeId;

/// A reader of what a lane or a service of a node publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reader {
    /// A lane of the same node: it gets what is published as shared memory. The index of the lane.
    Lane(u8),
    /// Another node: it gets what is published over its link.
    Node(NodeId),
}
