//! How much the links of a node hold.

use super::Links;
use crate::calls::{MAX_INCOMING, MAX_OUTGOING};
use crate::link::{Link, MAX_WAITING_BYTES};
use crate::subscriptions::MAX_SUBSCRIPTIONS;
use pelago_model::{NodeId, Size};

use super::peers::MAX_STRANGERS;

/// Bytes of a control message that one more input may add before a link is found to be too slow.
const MAX_ADDED_BYTES: usize = pelago_model::limits::MAX_MESSAGE_BYTES;

impl Links {
    /// How full everything is that can grow. Of what there is once per link, the fullest counts.
    pub fn sizes(&self) -> Vec<Size> {
        let most = |held: fn(&Link) -> usize| self.links.values().map(held).max().unwrap_or(0);
        let peers = self.members.len().saturating_sub(1);
        let served: usize = self.links.values().map(|link| link.served.len()).sum();
        let named = self.interests.len() + served;
        vec![
            Size::table("links", self.links.len(), self.members.len() + MAX_STRANGERS, peers),
            Size::table("dialled nodes", self.dialling.len(), self.members.len(), peers),
            Size::queue("calls", self.calls.len(), MAX_OUTGOING),
            Size::queue("calls of a link", most(|link| link.incoming.len()), MAX_INCOMING),
            Size::queue(
                "bytes that wait for a link",
                most(Link::waiting_bytes),
                MAX_WAITING_BYTES + MAX_ADDED_BYTES,
            ),
            Size::queue("answers that wait for a link", most(Link::unanswered), MAX_SUBSCRIPTIONS),
            Size::queue(
                "changes of subscriptions",
                most(|link| link.wanted.untold()),
                2 * MAX_SUBSCRIPTIONS,
            ),
            Size::table(
                "subscriptions to a link",
                most(|link| link.wanted.told()),
                MAX_SUBSCRIPTIONS,
                self.interests.len(),
            ),
            Size::table("subjects with a number", self.subjects.len(), named, named),
        ]
    }

    /// The streams that are open on the link with a node: those read, and those served. What one side reads the other
    /// serves, once nothing is on its way.
    pub fn streams(&self, node: NodeId) -> Option<(usize, usize)> {
        let link = self.links.get(self.peers.get(&node)?)?;
        Some((link.in_streams.len(), link.out_streams()))
    }
}
