//! Streams: what is published on the channels in sight, by this lane, by its siblings, by other nodes, by stewards.

use super::introductions::{End, Unknown};
use super::{Lane, LaneEffect, Request};
use crate::log::{Level, LogLine};
use pelago_game::{Land, objects_of};
use pelago_model::{
    ChannelId, ChunkPage, Document, IslandId, Key, NodeId, PublisherId, Reader, WorldTime,
};
use pelago_wire::frame::{Frame, Snapshot, StreamKind};
use pelago_world::ghosts::StreamId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The version of this lane's subscriptions to its own publisher: nobody compares it.
const OWN_VERSION: u64 = 1;

impl Lane {
    /// Frames of other publishers.
    pub(super) fn frames(&mut self, mut frames: Vec<Arc<Frame>>, effects: &mut Vec<LaneEffect>) {
        for frame in frames.drain(..) {
            self.frame(frame, effects);
        }
        self.publisher.recycle(frames);
    }

    /// A frame of any publisher, this lane's own included.
    pub(super) fn frame(&mut self, frame: Arc<Frame>, effects: &mut Vec<LaneEffect>) {
        if !self.delivery.is_watched(frame.channel) {
            return;
        }
        let known = match frame.stream {
            StreamKind::Entities => self.ghosts.apply_frame(&frame),
            StreamKind::Objects => self.objects.apply(&frame),
        };
        if known {
            return self.delivery.push(frame);
        }
        if frame.stream == StreamKind::Objects {
            return;
        }
        let channel = frame.channel;
        match self.introductions.hold(&frame) {
            Unknown::Held | Unknown::Asked => {}
            Unknown::TooMany => effects.push(LaneEffect::Resync { channel, publisher: None }),
            Unknown::Unexpected => self.resync(channel, frame.publisher, effects),
        }
    }

    /// Asks for a stream from its beginning.
    fn resync(
        &mut self,
        channel: ChannelId,
        publisher: PublisherId,
        effects: &mut Vec<LaneEffect>,
    ) {
        if publisher == self.config.publisher {
            return self.publisher.subscribe(self.as_reader(), channel, OWN_VERSION);
        }
        effects.push(LaneEffect::Resync { channel, publisher: Some(publisher) });
    }

    fn as_reader(&self) -> Reader {
        Reader::Lane(self.config.lane)
    }

    /// A publisher's answer to a subscription, or what a sibling knows of another node's stream.
    pub(super) fn snapshot(&mut self, snapshot: &Snapshot, effects: &mut Vec<LaneEffect>) {
        let channel = snapshot.channel;
        if !self.delivery.is_watched(channel) {
            return;
        }
        if snapshot.stream == StreamKind::Objects {
            // The steward's stream is open: what was committed before is in the documents.
            return self.read_chunk(channel, effects);
        }
        // Answers of other nodes have a version.
        if snapshot.answers == 0 && snapshot.publisher.node() != self.config.node {
            return self.shown_by_sibling(snapshot, effects);
        }
        let stream = (channel, snapshot.publisher);
        self.ghosts.apply_snapshot(snapshot);
        for frame in self.introductions.take(stream) {
            if frame.tick > snapshot.tick {
                self.ghosts.apply_frame(&frame);
            }
        }
        self.delivery.stream_replaced(stream, self.ghosts.is_inhabited(&stream));
    }

    /// What a sibling knows of a stream, and the frames that have come since. A stream that is known already was opened by
    /// its publisher meanwhile: that is newer.
    fn shown_by_sibling(&mut self, snapshot: &Snapshot, effects: &mut Vec<LaneEffect>) {
        let stream = (snapshot.channel, snapshot.publisher);
        if !self.introductions.expects(snapshot) || self.ghosts.knows(stream) {
            return;
        }
        let held = self.introductions.take(stream);
        if !self.ghosts.open_with(snapshot, &held) {
            self.resync(stream.0, stream.1, effects);
        }
        self.delivery.stream_replaced(stream, self.ghosts.is_inhabited(&stream));
    }

    /// A sibling begins to read a channel that this lane reads: it is told what other nodes publish there. What lanes of
    /// this node publish it is told by themselves.
    pub(super) fn introduce(&self, to: u8, channel: ChannelId, effects: &mut Vec<LaneEffect>) {
        let complete =
            self.delivery.is_watched(channel) && !self.introductions.is_under_way(channel);
        if complete {
            let streams = self.ghosts.streams_of(channel).filter(|stream| !self.is_own(*stream));
            let snapshots = streams.filter_map(|stream| self.ghosts.shared_snapshot(stream));
            effects.extend(snapshots.map(|snapshot| LaneEffect::Snapshot {
                to: Reader::Lane(to),
                snapshot: Arc::new(snapshot),
            }));
        }
        effects.push(LaneEffect::Introduced { to, channel, complete });
    }

    /// Whether a stream is of a lane of this node.
    fn is_own(&self, (_, publisher): StreamId) -> bool {
        publisher.node() == self.config.node
    }

    /// A sibling will show a channel. Frames that the links hand over from now on are newer than what it will show.
    pub(super) fn await_introduction(
        &mut self,
        now: WorldTime,
        channel: ChannelId,
        effects: &mut Vec<LaneEffect>,
    ) {
        let alone = self.introductions.begin(channel, now);
        if !self.delivery.is_watched(channel) {
            return self.introductions.void(channel);
        }
        // The ghosts of other nodes are of an earlier subscription, and may have a gap since.
        let streams = self.ghosts.streams_of(channel);
        for stream in streams.filter(|stream| !self.is_own(*stream)).collect::<Vec<_>>() {
            self.drop_stream(stream);
        }
        if !alone {
            effects.push(LaneEffect::Resync { channel, publisher: None });
        }
    }

    /// The sibling has shown what it knows.
    pub(super) fn introduced(
        &mut self,
        channel: ChannelId,
        complete: bool,
        effects: &mut Vec<LaneEffect>,
    ) {
        let end = self.introductions.end(channel);
        if !self.delivery.is_watched(channel) {
            return;
        }
        let (everything, unknown) = match end {
            End::Void => (false, Default::default()),
            End::Unexpected => (true, Default::default()),
            End::Shown(unknown) => (!complete, unknown),
        };
        if everything {
            effects.push(LaneEffect::Resync { channel, publisher: None });
        }
        for publisher in unknown {
            if !everything || self.is_own((channel, publisher)) {
                self.resync(channel, publisher, effects);
            }
        }
        // The steward's stream has been open for long: what was committed before is in the documents.
        self.read_chunk(channel, effects);
    }

    /// Frames on these channels were lost: everything is asked for anew.
    pub(super) fn missed(&mut self, channels: &[ChannelId], effects: &mut Vec<LaneEffect>) {
        for channel in channels.iter().copied() {
            if !self.delivery.is_watched(channel) {
                continue;
            }
            effects.push(LaneEffect::Resync { channel, publisher: None });
            let streams = self.ghosts.streams_of(channel);
            // What this lane publishes itself cannot get lost.
            let siblings = streams.map(|(_, publisher)| publisher).filter(|publisher| {
                self.is_own((channel, *publisher)) && *publisher != self.config.publisher
            });
            effects.extend(
                siblings
                    .map(|publisher| LaneEffect::Resync { channel, publisher: Some(publisher) }),
            );
            self.read_chunk(channel, effects);
        }
    }

    /// A node is out of reach.
    pub(super) fn peer_lost(&mut self, now: WorldTime, node: NodeId) {
        self.ghosts.lose(node, now);
        self.introductions.lose(node);
    }

    /// Somebody on this lane watches a channel, and nobody did before.
    pub(super) fn begin_to_read(&mut self, channel: ChannelId, effects: &mut Vec<LaneEffect>) {
        self.objects.watch(channel);
        self.publisher.subscribe(self.as_reader(), channel, OWN_VERSION);
        effects.push(LaneEffect::Interest { channel, wanted: true });
    }

    /// Nobody on this lane watches a channel any more.
    pub(super) fn let_go(&mut self, channel: ChannelId, effects: &mut Vec<LaneEffect>) {
        self.objects.unwatch(channel);
        self.introductions.void(channel);
        for stream in self.ghosts.streams_of(channel).collect::<Vec<_>>() {
            self.drop_stream(stream);
        }
        self.publisher.unsubscribe(self.as_reader(), channel);
        effects.push(LaneEffect::Interest { channel, wanted: false });
    }

    fn drop_stream(&mut self, stream: StreamId) {
        self.ghosts.drop_stream(stream);
        self.delivery.stream_dropped(stream);
    }

    /// Once a second: lets go of lost ghosts, reads old chunks again, gives up silent siblings, hands over to newer sessions.
    pub(super) fn sweep(&mut self, now: WorldTime, effects: &mut Vec<LaneEffect>) {
        for stream in self.ghosts.overdue(now) {
            self.drop_stream(stream);
        }
        for channel in self.objects.due(now) {
            self.read_chunk(channel, effects);
        }
        self.look_at_rooms(now, effects);
        for channel in self.introductions.overdue(now) {
            effects.push(LaneEffect::Resync { channel, publisher: None });
        }
        let newer = self.sessions.iter().filter(|(avatar, session)| {
            let ghost = self.ghosts.find(**avatar);
            ghost.is_some_and(|(_, ghost)| ghost.epoch > session.epoch)
        });
        for client in newer.map(|(_, session)| session.client).collect::<Vec<_>>() {
            self.supersede(client, effects);
        }
    }

    /// Asks for the documents of a chunk.
    fn read_chunk(&mut self, channel: ChannelId, effects: &mut Vec<LaneEffect>) {
        if self.delivery.is_watched(channel) {
            let request = self.requests.begin(Request::ReadChunk(channel));
            let key = |page| Key::chunk_page(channel.island, channel.chunk, page);
            let keys = pages(&self.config.lands, channel).map(key).collect();
            effects.push(LaneEffect::Load { request, keys });
        }
    }

    /// The documents of a chunk have been read; `None` if the store could not.
    pub(super) fn chunk_read(
        &mut self,
        now: WorldTime,
        channel: ChannelId,
        documents: Option<&[Document]>,
        effects: &mut Vec<LaneEffect>,
    ) {
        // It is read again with the next sweep: at once, it would be read as often as the store can fail.
        let Some(documents) = documents else { return self.objects.read_failed(channel, now) };
        let game = &*self.config.game;
        let pages = pages(&self.config.lands, channel).zip(documents);
        let mut panicked = None;
        let read = pages.filter_map(|(page, it)| match objects_of(game, page, it) {
            Ok(views) => Some((page, it.revision, views)),
            Err(panic) => {
                let key = Key::chunk_page(channel.island, channel.chunk, page);
                panicked = Some(format!("{key} is not shown: {panic}"));
                None
            }
        });
        let read: Vec<_> = read.collect();
        if let Some(text) = panicked {
            effects.push(LaneEffect::Log(LogLine::new(Level::Error, text)));
        }
        if self.objects.read(channel, read, now) {
            self.delivery.objects_replaced(channel);
        }
    }
}

/// The pages of a channel's chunk, each of which is a document.
fn pages(
    lands: &BTreeMap<IslandId, Arc<Land>>,
    channel: ChannelId,
) -> impl Iterator<Item = ChunkPage> {
    let ChannelId { island, chunk, .. } = channel;
    lands.get(&island).into_iter().flat_map(move |land| land.pages(chunk))
}
