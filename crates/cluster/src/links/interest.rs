//! Interest: what the lanes of this node want to read, and what its lanes and services publish.

use super::{Links, LinksEffect};
use crate::link::{Link, LinkId, NotSent};
use crate::subjects::{Subject, SubjectNumber};
use crate::table::Table;
use pelago_model::{ChannelId, IslandId, Key, LaneSet, Limit, NodeId, PublisherId, Reader, Role};
use pelago_wire::frame::{Frame, Snapshot, StreamKind};
use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::sync::Arc;

/// The readers of a subject at this node, and the nodes that it is read from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interest {
    /// The lanes that read it.
    lanes: LaneSet,
    /// The steward of the chunk's documents; entities have none.
    steward: Option<NodeId>,
}

/// The lanes that read a subject.
pub(super) fn lanes_of(interests: &Table<Interest>, number: SubjectNumber) -> LaneSet {
    interests.get(number.0).map_or(LaneSet::EMPTY, |interest| interest.lanes)
}

impl Links {
    pub(super) fn interest(
        &mut self,
        lane: u8,
        subject: Subject,
        wanted: bool,
        effects: &mut Vec<LinksEffect>,
    ) {
        let number = self.subjects.number(&subject);
        let known = number.and_then(|number| Some((number, *self.interests.get(number.0)?)));
        match (known, wanted) {
            (None, true) => self.begin_interest(lane, subject, effects),
            (Some((number, interest)), true) if !interest.lanes.contains(lane) => {
                self.join_interest(number, interest, lane, subject, effects);
            }
            (Some((number, interest)), false) if interest.lanes.contains(lane) => {
                self.leave_interest(number, interest, lane, subject, effects);
            }
            _ => {}
        }
    }

    fn begin_interest(&mut self, lane: u8, subject: Subject, effects: &mut Vec<LinksEffect>) {
        let steward = self.steward_of(&subject);
        let number = self.subjects.take(subject);
        let mut lanes = LaneSet::EMPTY;
        lanes.insert(lane);
        self.interests.insert(number.0, Interest { lanes, steward });
        for link in self.links.values_mut().filter(|link| link.is_established()) {
            if is_read_from(&subject, steward, link.node, &link.islands) {
                link.want(number, subject, true);
            }
        }
        if self.is_own(steward) {
            self.read_own(lane, subject, effects);
        }
    }

    /// One more lane reads what this node reads already.
    fn join_interest(
        &mut self,
        number: SubjectNumber,
        mut interest: Interest,
        lane: u8,
        subject: Subject,
        effects: &mut Vec<LinksEffect>,
    ) {
        let sibling = interest.lanes.first();
        interest.lanes.insert(lane);
        self.interests.insert(number.0, interest);
        if subject.1 == StreamKind::Entities
            && let Some(from) = sibling
        {
            effects.push(LinksEffect::Introduce { from, to: lane, channel: subject.0 });
        }
        if self.is_own(interest.steward) {
            self.read_own(lane, subject, effects);
        }
    }

    fn leave_interest(
        &mut self,
        number: SubjectNumber,
        mut interest: Interest,
        lane: u8,
        subject: Subject,
        effects: &mut Vec<LinksEffect>,
    ) {
        if self.is_own(interest.steward) {
            effects.push(LinksEffect::Unsubscribe { reader: Reader::Lane(lane), subject });
        }
        interest.lanes.remove(lane);
        self.interests.insert(number.0, interest);
        if !interest.lanes.is_empty() {
            return;
        }
        for link in self.links.values_mut().filter(|link| link.is_established()) {
            link.want(number, subject, false);
        }
        self.interests.remove(number.0);
        self.subjects.release(number);
    }

    /// The steward of the chunk's document; entities have none.
    fn steward_of(&self, subject: &Subject) -> Option<NodeId> {
        match subject.1 {
            StreamKind::Entities => None,
            StreamKind::Objects => {
                let key = Key::chunk(subject.0.island, subject.0.chunk);
                self.directory.first(Role::steward(), &key)
            }
        }
    }

    /// Whether this node is the steward itself: its lanes read from it without a link.
    fn is_own(&self, steward: Option<NodeId>) -> bool {
        steward == Some(self.config.node)
    }

    fn read_own(&mut self, lane: u8, subject: Subject, effects: &mut Vec<LinksEffect>) {
        let (reader, version) = (Reader::Lane(lane), self.next_subscription().get());
        effects.push(LinksEffect::Subscribe { reader, subject, version });
    }

    /// Asks the lanes or the steward of this node to answer a link's reader.
    pub(super) fn serve(
        &mut self,
        id: LinkId,
        number: SubjectNumber,
        effects: &mut Vec<LinksEffect>,
    ) {
        let version = self.next_subscription().get();
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(reader) = link.node.map(Reader::Node) else { return };
        let Some(subject) = self.subjects.subject(number) else { return };
        link.served.asked(number, version);
        effects.push(LinksEffect::Subscribe { reader, subject, version });
    }

    /// Never the same again.
    fn next_subscription(&mut self) -> NonZeroU64 {
        let next = self.next_subscription.saturating_add(1);
        std::mem::replace(&mut self.next_subscription, next)
    }

    pub(super) fn resync(&mut self, subject: Subject, publisher: Option<PublisherId>) {
        let Some(number) = self.subjects.number(&subject) else { return };
        let of = publisher.map(PublisherId::node);
        for link in self.links.values_mut() {
            let is_meant = of.is_none() || link.node == of;
            if is_meant && link.is_established() && link.wanted.contains(number, &subject) {
                link.want(number, subject, true);
            }
        }
    }

    /// The members have changed, and with them perhaps the stewards.
    pub(super) fn reconcile_all(&mut self, effects: &mut Vec<LinksEffect>) {
        let interests: Vec<SubjectNumber> =
            self.interests.iter().map(|(number, _)| SubjectNumber(number)).collect();
        for number in interests {
            let Some(subject) = self.subjects.subject(number) else { continue };
            let Some(mut interest) = self.interests.get(number.0).copied() else { continue };
            let before = self.is_own(interest.steward);
            interest.steward = self.steward_of(&subject);
            self.interests.insert(number.0, interest);
            match (before, self.is_own(interest.steward)) {
                (false, true) => {
                    interest.lanes.iter().for_each(|lane| self.read_own(lane, subject, effects));
                }
                (true, false) => {
                    effects.extend(interest.lanes.iter().map(|lane| LinksEffect::Unsubscribe {
                        reader: Reader::Lane(lane),
                        subject,
                    }))
                }
                _ => {}
            }
        }
        for link in self.peers.values().copied().collect::<Vec<_>>() {
            self.reconcile(link);
        }
    }

    /// Makes what is read on a link what is to be read on it. What this node has no interest in is not read on any.
    pub(super) fn reconcile(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        for (number, interest) in self.interests.iter() {
            let number = SubjectNumber(number);
            let Some(subject) = self.subjects.subject(number) else { continue };
            let wanted = is_read_from(&subject, interest.steward, link.node, &link.islands);
            if wanted != link.wanted.contains(number, &subject) {
                link.want(number, subject, wanted);
            }
        }
    }

    pub(super) fn publish(&mut self, frames: Vec<Arc<Frame>>, effects: &mut Vec<LinksEffect>) {
        // A subject without a number has no reader.
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
    }

    /// Answers all who read these channels anew.
    pub(super) fn missed(&mut self, channels: &[ChannelId], effects: &mut Vec<LinksEffect>) {
        let kinds = [StreamKind::Entities, StreamKind::Objects];
        let subjects = channels.iter().flat_map(|channel| kinds.map(|kind| (*channel, kind)));
        for number in subjects.filter_map(|it| self.subjects.number(&it)).collect::<Vec<_>>() {
            let reads = |link: &&Link| link.is_established() && link.served.contains(number);
            let links: Vec<LinkId> = self.links.values().filter(reads).map(|it| it.id).collect();
            links.into_iter().for_each(|link| self.serve(link, number, effects));
        }
    }

    pub(super) fn answer(&mut self, to: NodeId, snapshot: &Snapshot) {
        let number = self.subjects.number(&(snapshot.channel, snapshot.stream));
        let link = self.peers.get(&to).and_then(|link| self.links.get_mut(link));
        if let (Some(number), Some(link)) = (number, link)
            && !link.answer(number, snapshot)
        {
            self.counters.too_large += 1;
            self.counters.limits.note(Limit::FrameBytes);
        }
    }

    /// Hands what other nodes publish to the lanes that read it. `lanes` are the readers of each of `frames`.
    pub(super) fn distribute(
        mut frames: Vec<Arc<Frame>>,
        lanes: &[LaneSet],
        effects: &mut Vec<LinksEffect>,
    ) {
        let mut readers = lanes.iter().copied().fold(LaneSet::EMPTY, LaneSet::union);
        while let Some(lane) = readers.first() {
            readers.remove(lane);
            let mut reads = lanes.iter().map(|lanes| lanes.contains(lane));
            if readers.is_empty() {
                // The last gets the vector itself: with one lane it goes round without being copied.
                frames.retain(|_| reads.next().unwrap_or(false));
                return effects.push(LinksEffect::Frames { lane, frames });
            }
            let read = frames.iter().zip(reads).filter(|(_, reads)| *reads);
            let frames = read.map(|(frame, _)| frame.clone()).collect();
            effects.push(LinksEffect::Frames { lane, frames });
        }
    }
}

/// Entities are read from all nodes that have avatars on the island, objects from the steward.
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
