//! What nodes of a test publish, and what their lanes read.

use super::Cluster;
use bytes::Bytes;
use pelago_cluster::{LinksEffect, LinksInput, Subject};
use pelago_model::{ChannelId, IslandClock, NodeId, PublisherId, Reader, Tick};
use pelago_wire::frame::{Frame, Snapshot, StreamKind};
use pelago_wire::peer_stream::{PeerFrame, PeerSnapshot};
use pelago_wire::tick_stamp::TickStamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a node publishes: like a lane, it forgets a subject that nobody reads, and counts from 0 again.
#[derive(Default)]
pub(super) struct Voice {
    pub(super) readers: BTreeMap<Subject, BTreeSet<Reader>>,
    pub(super) sequences: BTreeMap<Subject, u64>,
    pub(super) answers: Vec<(Reader, Subject, u64)>,
}

impl Cluster {
    pub(super) fn shown(&mut self, node: NodeId, lane: u8, snapshot: &Snapshot) {
        let Some(host) = self.hosts.get_mut(&node) else { return };
        let stream = (lane, (snapshot.channel, snapshot.stream), snapshot.publisher);
        host.view.insert(stream, snapshot.sequence);
    }

    pub(super) fn read_frame(&mut self, node: NodeId, lane: u8, frame: &Frame) {
        let Some(host) = self.hosts.get_mut(&node) else { return };
        let stream = (lane, (frame.channel, frame.stream), frame.publisher);
        let known = host.view.insert(stream, frame.sequence);
        // A lane that begins to read objects which others read already has read the documents, and takes any frame.
        let is_begun = known.is_some() || frame.stream == StreamKind::Entities;
        if is_begun {
            assert_eq!(known, Some(frame.sequence - 1), "a gap that nobody noticed");
        }
    }

    /// A lane is shown at once what its sibling knows.
    pub(super) fn introduce(&mut self, node: NodeId, from: u8, to: u8, channel: ChannelId) {
        let Some(host) = self.hosts.get_mut(&node) else { return };
        let of = (channel, StreamKind::Entities);
        let known =
            host.view.iter().filter(|((lane, subject, _), _)| (*lane, *subject) == (from, of));
        let known: Vec<_> = known
            .map(|((_, subject, publisher), last)| ((to, *subject, *publisher), *last))
            .collect();
        host.view.extend(known);
    }

    /// A node's publisher answers those who are new: lanes of its own without a detour.
    pub(super) fn answer(&mut self, node: NodeId) {
        let Some(host) = self.hosts.get_mut(&node) else { return };
        let publisher = PublisherId::new(node, 0, host.life);
        for (to, subject, version) in std::mem::take(&mut host.voice.answers) {
            let host = &self.hosts[&node];
            let sequence = host.voice.sequences.get(&subject).copied().unwrap_or(0);
            let snapshot = Arc::new(snapshot(publisher, subject, sequence, version));
            match to {
                Reader::Node(to) => self.tell(node.0, LinksInput::Snapshot { to, snapshot }),
                Reader::Lane(lane) => self.shown(node, lane, &snapshot),
            }
        }
    }

    /// The only lane of a node begins or ceases to read.
    pub(crate) fn want(&mut self, node: u16, subject: Subject, wanted: bool) {
        self.want_by(node, 0, subject, wanted);
    }

    pub(crate) fn want_by(&mut self, node: u16, lane: u8, subject: Subject, wanted: bool) {
        if !wanted && let Some(host) = self.hosts.get_mut(&NodeId(node)) {
            host.view.retain(|(by, of, _), _| (*by, *of) != (lane, subject));
        }
        self.tell(node, LinksInput::Interest { lane, subject, wanted });
    }

    /// A node publishes one frame of each of these subjects that is read.
    pub(crate) fn publish(&mut self, node: u16, subjects: &[Subject]) {
        let Some(host) = self.hosts.get_mut(&NodeId(node)) else { return };
        let publisher = PublisherId::new(NodeId(node), 0, host.life);
        let (mut frames, mut own) = (Vec::new(), Vec::new());
        for subject in subjects {
            let Some(readers) = host.voice.readers.get(subject) else { continue };
            let sequence = host.voice.sequences.entry(*subject).or_default();
            *sequence += 1;
            let frame = Arc::new(frame(publisher, *subject, *sequence, 1));
            for reader in readers {
                // A lane that has not been answered yet ignores what comes before.
                if let Reader::Lane(lane) = reader
                    && host.view.contains_key(&(*lane, *subject, publisher))
                {
                    own.push((*lane, frame.clone()));
                }
            }
            frames.push(frame);
        }
        for (lane, frame) in own {
            self.read_frame(NodeId(node), lane, &frame);
        }
        self.tell(node, LinksInput::Publish(frames));
    }

    /// Who reads what from a node's publishers.
    pub(crate) fn serving(&self) -> BTreeSet<(NodeId, Reader, Subject)> {
        let mut serving = BTreeSet::new();
        for (node, host) in &self.hosts {
            for (subject, readers) in &host.voice.readers {
                serving.extend(readers.iter().map(|reader| (*node, *reader, *subject)));
            }
        }
        serving
    }

    /// Whether what a lane knows of a node's subject is the newest.
    pub(crate) fn is_fresh(&self, to: u16, lane: u8, from: u16, subject: Subject) -> bool {
        let host = &self.hosts[&NodeId(from)];
        let publisher = PublisherId::new(NodeId(from), 0, host.life);
        let newest = host.voice.sequences.get(&subject);
        let view = &self.hosts[&NodeId(to)].view;
        newest.is_some() && view.get(&(lane, subject, publisher)) == newest
    }

    /// How many frames and snapshots of `from` the only lane of `to` has been given.
    pub(crate) fn read(&self, to: u16, from: u16) -> (usize, usize) {
        self.read_by(to, 0, from)
    }

    pub(crate) fn read_by(&self, to: u16, lane: u8, from: u16) -> (usize, usize) {
        let of = |publisher: PublisherId| publisher.node() == NodeId(from);
        let mut counts = (0, 0);
        for (_, effect) in self.seen.iter().filter(|(node, _)| *node == NodeId(to)) {
            match effect {
                LinksEffect::Frames { lane: to, frames } if *to == lane => {
                    counts.0 += frames.iter().filter(|frame| of(frame.publisher)).count();
                }
                LinksEffect::Snapshot { lane: to, snapshot } if *to == lane => {
                    counts.1 += usize::from(of(snapshot.publisher));
                }
                _ => {}
            }
        }
        counts
    }

    /// Which lanes of a node were asked to show a channel to which others.
    pub(crate) fn introductions(&self, of: u16) -> Vec<(u8, u8, ChannelId)> {
        let introductions = self.seen.iter().filter_map(|(node, effect)| match effect {
            LinksEffect::Introduce { from, to, channel } if node.0 == of => {
                Some((*from, *to, *channel))
            }
            _ => None,
        });
        introductions.collect()
    }
}

/// A frame with this many records that say nothing much.
pub(crate) fn frame(
    publisher: PublisherId,
    (channel, stream): Subject,
    sequence: u64,
    records: usize,
) -> Frame {
    let stamp = TickStamp::new(Tick(5), sequence).to_byte();
    let leave = [0x01, 0x07].repeat(records);
    let core = Bytes::from([vec![stamp], leave].concat());
    let bytes = PeerFrame { alias: 0, sequence, core, sections: Default::default() };
    let whose = (publisher, channel, stream);
    Frame::decode(whose, Tick(5), &IslandClock::IDENTITY, bytes).unwrap()
}

pub(crate) fn snapshot(
    publisher: PublisherId,
    subject: Subject,
    sequence: u64,
    answers: u64,
) -> Snapshot {
    let bytes = PeerSnapshot {
        alias: 0,
        objects: subject.1 == StreamKind::Objects,
        channel: subject.0,
        publisher,
        tick: Tick(5),
        sequence,
        answers,
        stamp: TickStamp::new(Tick(5), sequence),
        records: Bytes::new(),
    };
    Snapshot::decode(bytes, &IslandClock::IDENTITY).unwrap()
}
