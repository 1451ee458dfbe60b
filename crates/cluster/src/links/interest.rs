//! What this node wants to read, and what its parts publish.

use super::{Links, LinksEffect};
use crate::link::{LinkId, NotSent};
use crate::rendezvous::first;
use crate::subscriptions::Subject;
use pelago_model::{IslandId, Key, Limit, NodeId, PublisherId};
use pelago_wire::frame::{Frame, Snapshot, StreamKind};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What this node reads from itself, without a link.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Subject to the number under which its parts were last asked to answer from the beginning.
    served: BTreeMap<Subject, u64>,
    /// Streams of which the answer has come.
    open: BTreeSet<(Subject, PublisherId)>,
}

impl Own {
    /// Subjects that this node reads from itself.
    pub(super) fn served(&self) -> usize {
        self.served.len()
    }

    /// Streams of them that are open.
    pub(super) fn streams(&self) -> usize {
        self.open.len()
    }

    fn end(&mut self, subject: Subject) -> bool {
        let of_subject = (subject, PublisherId(0))..=(subject, PublisherId(u64::MAX));
        let open: Vec<_> = self.open.range(of_subject).copied().collect();
        for stream in open {
            self.open.remove(&stream);
        }
        self.served.remove(&subject).is_some()
    }
}

impl Links {
    pub(super) fn interest(
        &mut self,
        subject: Subject,
        wanted: bool,
        effects: &mut Vec<LinksEffect>,
    ) {
        if wanted == self.interests.contains_key(&subject) {
            return;
        }
        let steward = self.steward_of(&subject);
        if wanted {
            self.interests.insert(subject, steward);
        } else {
            self.interests.remove(&subject);
        }
        for link in self.links.values_mut().filter(|link| link.is_established()) {
            if !wanted {
                link.want(subject, false);
            } else if is_read_from(&subject, steward, link.node, &link.islands) {
                link.want(subject, true);
            }
        }
        self.reconcile_own(subject, wanted && self.is_own(&subject, steward), effects);
    }

    /// The steward of the chunk's document; entities have none.
    fn steward_of(&self, subject: &Subject) -> Option<NodeId> {
        match subject.1 {
            StreamKind::Entities => None,
            StreamKind::Objects => {
                first(&Key::chunk(subject.0.island, subject.0.chunk), self.steward_nodes())
            }
        }
    }

    fn is_own(&self, subject: &Subject, steward: Option<NodeId>) -> bool {
        subject.1 == StreamKind::Entities || steward == Some(self.config.node)
    }

    fn reconcile_own(&mut self, subject: Subject, wanted: bool, effects: &mut Vec<LinksEffect>) {
        if wanted && !self.own.served.contains_key(&subject) {
            self.serve_own(subject, effects);
        } else if !wanted && self.own.end(subject) {
            effects.push(LinksEffect::Unserve { reader: self.config.node, subject });
        }
    }

    fn serve_own(&mut self, subject: Subject, effects: &mut Vec<LinksEffect>) {
        self.next_serve += 1;
        self.own.served.insert(subject, self.next_serve);
        let (reader, version) = (self.config.node, self.next_serve);
        effects.push(LinksEffect::Serve { reader, subject, version });
    }

    /// Asks the parts of this node to answer a link's reader.
    pub(super) fn serve(&mut self, id: LinkId, subject: Subject, effects: &mut Vec<LinksEffect>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(reader) = link.node else { return };
        self.next_serve += 1;
        link.served.asked(&subject, self.next_serve);
        effects.push(LinksEffect::Serve { reader, subject, version: self.next_serve });
    }

    pub(super) fn again(
        &mut self,
        subject: Subject,
        publisher: PublisherId,
        effects: &mut Vec<LinksEffect>,
    ) {
        if publisher.node() == self.config.node {
            if self.own.served.contains_key(&subject) {
                self.serve_own(subject, effects);
            }
            return;
        }
        let link = self.peers.get(&publisher.node()).and_then(|link| self.links.get_mut(link));
        if let Some(link) = link
            && link.wanted.contains(&subject)
        {
            link.want(subject, true);
        }
    }

    /// The members have changed, and with them perhaps the stewards.
    pub(super) fn reconcile_all(&mut self, effects: &mut Vec<LinksEffect>) {
        for subject in self.interests.keys().copied().collect::<Vec<_>>() {
            let steward = self.steward_of(&subject);
            self.interests.insert(subject, steward);
            self.reconcile_own(subject, self.is_own(&subject, steward), effects);
        }
        for link in self.peers.values().copied().collect::<Vec<_>>() {
            self.reconcile(link);
        }
    }

    /// Makes what is read on a link what is to be read on it.
    pub(super) fn reconcile(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let wanted = |(subject, steward): &(&Subject, &Option<NodeId>)| {
            is_read_from(subject, **steward, link.node, &link.islands)
        };
        let desired = self.interests.iter().filter(wanted).map(|(subject, _)| *subject).collect();
        link.reconcile(&desired);
    }

    pub(super) fn publish(&mut self, mut frames: Vec<Arc<Frame>>, effects: &mut Vec<LinksEffect>) {
        let mut anew: Vec<(LinkId, Subject)> = Vec::new();
        for link in self.links.values_mut().filter(|link| link.is_established()) {
            let NotSent { left_out, too_large } = link.publish(frames.iter().map(|frame| &**frame));
            self.counters.left_out += left_out;
            self.counters.too_large += too_large.len() as u64;
            self.counters.limits.add(Limit::FrameBytes, too_large.len() as u64);
            anew.extend(too_large.into_iter().map(|subject| (link.id, subject)));
        }
        for (link, subject) in anew {
            self.serve(link, subject, effects);
        }
        frames.retain(|frame| {
            self.own.open.contains(&((frame.channel, frame.stream), frame.publisher))
        });
        if !frames.is_empty() {
            effects.push(LinksEffect::Frames(frames));
        }
    }

    pub(super) fn answer(
        &mut self,
        to: NodeId,
        snapshot: Arc<Snapshot>,
        effects: &mut Vec<LinksEffect>,
    ) {
        if to != self.config.node {
            if let Some(link) = self.peers.get(&to).and_then(|link| self.links.get_mut(link))
                && !link.answer(&snapshot)
            {
                self.counters.too_large += 1;
                self.counters.limits.note(Limit::FrameBytes);
            }
            return;
        }
        let subject = (snapshot.channel, snapshot.stream);
        if self.own.served.get(&subject).is_some_and(|number| *number <= snapshot.answers) {
            self.own.open.insert((subject, snapshot.publisher));
            effects.push(LinksEffect::Snapshot(snapshot));
        }
    }
}

/// Entities are read from all who have somebody on the island, objects from the steward.
fn is_read_from(
    subject: &Subject,
    steward: Option<NodeId>,
    node: Option<NodeId>,
    islands: &BTreeSet<IslandId>,
) -> bool {
    match subject.1 {
        StreamKind::Entities => islands.contains(&{ subject.0.island }),
        StreamKind::Objects => node.is_some() && steward == node,
    }
}
