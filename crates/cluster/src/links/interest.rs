//! What this node wants to read, and what its parts publish.

use super::{Links, LinksEffect};
use crate::aliases::Stream;
use crate::link::{LinkId, NotSent};
use crate::rendezvous::first;
use crate::subjects::{Subject, SubjectNumber};
use crate::table::Table;
use pelago_model::{IslandId, Key, Limit, NodeId, PublisherId};
use pelago_wire::frame::{Frame, Snapshot, StreamKind};
use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::sync::Arc;

/// What this node reads from itself, without a link.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// With the number under which its parts were last asked to answer from the beginning.
    served: Table<NonZeroU64>,
    /// Streams of which the answer has come.
    open: BTreeSet<Stream>,
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

    fn end(&mut self, subject: SubjectNumber) -> bool {
        let open: Vec<_> = self.open.range(Stream::all_of(subject)).copied().collect();
        for stream in open {
            self.open.remove(&stream);
        }
        self.served.remove(subject.0).is_some()
    }
}

impl Links {
    pub(super) fn interest(
        &mut self,
        subject: Subject,
        wanted: bool,
        effects: &mut Vec<LinksEffect>,
    ) {
        let number = self.subjects.number(&subject);
        let interested = number.filter(|number| self.interests.contains(number.0));
        match (interested, wanted) {
            (None, true) => self.begin_interest(subject, effects),
            (Some(number), false) => self.end_interest(number, subject, effects),
            _ => {}
        }
    }

    fn begin_interest(&mut self, subject: Subject, effects: &mut Vec<LinksEffect>) {
        let steward = self.steward_of(&subject);
        let number = self.subjects.take(subject);
        self.interests.insert(number.0, steward);
        for link in self.links.values_mut().filter(|link| link.is_established()) {
            if is_read_from(&subject, steward, link.node, &link.islands) {
                link.want(number, subject, true);
            }
        }
        self.reconcile_own(number, self.is_own(&subject, steward), effects);
    }

    fn end_interest(
        &mut self,
        number: SubjectNumber,
        subject: Subject,
        effects: &mut Vec<LinksEffect>,
    ) {
        for link in self.links.values_mut().filter(|link| link.is_established()) {
            link.want(number, subject, false);
        }
        self.reconcile_own(number, false, effects);
        self.interests.remove(number.0);
        self.subjects.release(number);
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

    fn reconcile_own(
        &mut self,
        number: SubjectNumber,
        wanted: bool,
        effects: &mut Vec<LinksEffect>,
    ) {
        if wanted && !self.own.served.contains(number.0) {
            self.serve_own(number, effects);
        } else if !wanted
            && self.own.end(number)
            && let Some(subject) = self.subjects.subject(number)
        {
            effects.push(LinksEffect::Unsubscribe { reader: self.config.node, subject });
        }
    }

    fn serve_own(&mut self, number: SubjectNumber, effects: &mut Vec<LinksEffect>) {
        let Some(subject) = self.subjects.subject(number) else { return };
        let serve = self.next_serve();
        self.own.served.insert(number.0, serve);
        let (reader, version) = (self.config.node, serve.get());
        effects.push(LinksEffect::Subscribe { reader, subject, version });
    }

    /// Asks the parts of this node to answer a link's reader.
    pub(super) fn serve(
        &mut self,
        id: LinkId,
        number: SubjectNumber,
        effects: &mut Vec<LinksEffect>,
    ) {
        let version = self.next_serve().get();
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(reader) = link.node else { return };
        let Some(subject) = self.subjects.subject(number) else { return };
        link.served.asked(number, version);
        effects.push(LinksEffect::Subscribe { reader, subject, version });
    }

    /// Never the same again.
    fn next_serve(&mut self) -> NonZeroU64 {
        let next = self.next_serve.saturating_add(1);
        std::mem::replace(&mut self.next_serve, next)
    }

    pub(super) fn resync(
        &mut self,
        subject: Subject,
        publisher: PublisherId,
        effects: &mut Vec<LinksEffect>,
    ) {
        let Some(number) = self.subjects.number(&subject) else { return };
        if publisher.node() == self.config.node {
            if self.own.served.contains(number.0) {
                self.serve_own(number, effects);
            }
            return;
        }
        let link = self.peers.get(&publisher.node()).and_then(|link| self.links.get_mut(link));
        if let Some(link) = link
            && link.wanted.contains(number, &subject)
        {
            link.want(number, subject, true);
        }
    }

    /// The members have changed, and with them perhaps the stewards.
    pub(super) fn reconcile_all(&mut self, effects: &mut Vec<LinksEffect>) {
        let interests: Vec<SubjectNumber> =
            self.interests.iter().map(|(number, _)| SubjectNumber(number)).collect();
        for number in interests {
            let Some(subject) = self.subjects.subject(number) else { continue };
            let steward = self.steward_of(&subject);
            self.interests.insert(number.0, steward);
            self.reconcile_own(number, self.is_own(&subject, steward), effects);
        }
        for link in self.peers.values().copied().collect::<Vec<_>>() {
            self.reconcile(link);
        }
    }

    /// Makes what is read on a link what is to be read on it. What this node has no interest in is not read on any.
    pub(super) fn reconcile(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        for (number, steward) in self.interests.iter() {
            let number = SubjectNumber(number);
            let Some(subject) = self.subjects.subject(number) else { continue };
            let wanted = is_read_from(&subject, *steward, link.node, &link.islands);
            if wanted != link.wanted.contains(number, &subject) {
                link.want(number, subject, wanted);
            }
        }
    }

    pub(super) fn publish(&mut self, frames: Vec<Arc<Frame>>, effects: &mut Vec<LinksEffect>) {
        // What has no number is not read by anybody.
        let number = |frame: Arc<Frame>| {
            Some((self.subjects.number(&(frame.channel, frame.stream))?, frame))
        };
        let frames: Vec<(SubjectNumber, Arc<Frame>)> =
            frames.into_iter().filter_map(number).collect();
        let mut anew: Vec<(LinkId, SubjectNumber)> = Vec::new();
        for link in self.links.values_mut().filter(|link| link.is_established()) {
            let numbered = frames.iter().map(|(number, frame)| (*number, &**frame));
            let NotSent { left_out, too_large } = link.publish(numbered);
            self.counters.left_out += left_out;
            self.counters.too_large += too_large.len() as u64;
            self.counters.limits.add(Limit::FrameBytes, too_large.len() as u64);
            anew.extend(too_large.into_iter().map(|subject| (link.id, subject)));
        }
        for (link, subject) in anew {
            self.serve(link, subject, effects);
        }
        let own = frames.into_iter().filter_map(|(number, frame)| {
            let stream = Stream::new(number, frame.publisher.part());
            self.own.open.contains(&stream).then_some(frame)
        });
        let own: Vec<Arc<Frame>> = own.collect();
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
        let number = self.subjects.number(&(snapshot.channel, snapshot.stream));
        let Some(number) = number else { return };
        if to != self.config.node {
            if let Some(link) = self.peers.get(&to).and_then(|link| self.links.get_mut(link))
                && !link.answer(number, &snapshot)
            {
                self.counters.too_large += 1;
                self.counters.limits.note(Limit::FrameBytes);
            }
            return;
        }
        let asked = self.own.served.get(number.0);
        if asked.is_some_and(|asked| asked.get() <= snapshot.answers) {
            self.own.open.insert(Stream::new(number, snapshot.publisher.part()));
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
