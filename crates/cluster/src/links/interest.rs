//! What this node wants to read, and what its parts publish.

use super::{Links, LinksEffect};
use crate::link::Subject;
use pelago_model::{NodeId, PublisherId};
use pelago_wire::frame::{Frame, Snapshot, StreamKind};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Links {
    pub(super) fn interest(
        &mut self,
        subject: Subject,
        wanted: bool,
        effects: &mut Vec<LinksEffect>,
    ) {
        let changed =
            if wanted { self.interests.insert(subject) } else { self.interests.remove(&subject) };
        if !changed {
            return;
        }
        let steward = match subject.1 {
            StreamKind::Objects => self.steward_of(&subject.0),
            StreamKind::Entities => None,
        };
        for link in self.links.values_mut().filter(|link| link.is_established()) {
            let here = match subject.1 {
                StreamKind::Entities => link.islands.contains(&subject.0.island),
                StreamKind::Objects => link.node == steward,
            };
            if here || !wanted {
                link.want(subject, wanted);
            }
        }
        let ours = subject.1 == StreamKind::Entities || steward == Some(self.config.node);
        if wanted && ours {
            self.serve_own(subject, effects);
        } else if !wanted && self.own.remove(&subject).is_some() {
            effects.push(LinksEffect::Unserve { reader: self.config.node, subject });
        }
    }

    pub(super) fn serve_own(&mut self, subject: Subject, effects: &mut Vec<LinksEffect>) {
        self.own_version += 1;
        self.own.insert(subject, self.own_version);
        let (reader, version) = (self.config.node, self.own_version);
        effects.push(LinksEffect::Serve { reader, subject, version });
    }

    pub(super) fn again(
        &mut self,
        subject: Subject,
        publisher: PublisherId,
        effects: &mut Vec<LinksEffect>,
    ) {
        if !self.interests.contains(&subject) {
            return;
        }
        if publisher.node() == self.config.node {
            if self.own.contains_key(&subject) {
                self.serve_own(subject, effects);
            }
            return;
        }
        let link = self.peers.get(&publisher.node()).and_then(|link| self.links.get_mut(link));
        if let Some(link) = link
            && link.wanted.contains_key(&subject)
        {
            link.want(subject, true);
        }
    }

    /// After a change of members or of presence: everybody is asked for what they have.
    pub(super) fn reconcile_all(&mut self, effects: &mut Vec<LinksEffect>) {
        for node in self.peers.keys().copied().collect::<Vec<_>>() {
            self.reconcile(node);
        }
        let own_node = self.config.node;
        for subject in self.interests.iter().copied().collect::<Vec<_>>() {
            let ours =
                subject.1 == StreamKind::Entities || self.steward_of(&subject.0) == Some(own_node);
            if ours && !self.own.contains_key(&subject) {
                self.serve_own(subject, effects);
            } else if !ours && self.own.remove(&subject).is_some() {
                effects.push(LinksEffect::Unserve { reader: own_node, subject });
            }
        }
    }

    pub(super) fn reconcile(&mut self, node: NodeId) {
        let Some(link) = self.peers.get(&node).and_then(|link| self.links.get(link)) else {
            return;
        };
        let desired: BTreeSet<Subject> = self
            .interests
            .iter()
            .filter(|subject| self.is_wanted_from(subject, node, &link.islands))
            .copied()
            .collect();
        if let Some(link) = self.peers.get(&node).and_then(|link| self.links.get_mut(link)) {
            link.reconcile(&desired);
        }
    }

    pub(super) fn publish(&mut self, frames: &[Arc<Frame>], effects: &mut Vec<LinksEffect>) {
        for link in self.links.values_mut().filter(|link| link.is_established()) {
            self.counters.left_out += link.publish(frames.iter().map(|frame| &**frame));
        }
        let own = |frame: &&Arc<Frame>| self.own.contains_key(&(frame.channel, frame.stream));
        let own: Vec<Arc<Frame>> = frames.iter().filter(own).cloned().collect();
        if !own.is_empty() {
            effects.push(LinksEffect::Frames(own));
        }
    }

    pub(super) fn answer(
        &mut self,
        to: NodeId,
        snapshot: Arc<Snapshot>,
        effects: &mut Vec<LinksEffect>,
    ) {
        if to != self.config.node {
            if let Some(link) = self.peers.get(&to).and_then(|link| self.links.get_mut(link)) {
                link.answer(&snapshot);
            }
        } else if self
            .own
            .get(&(snapshot.channel, snapshot.stream))
            .is_some_and(|version| *version <= snapshot.answers)
        {
            effects.push(LinksEffect::Snapshot(snapshot));
        }
    }
}
