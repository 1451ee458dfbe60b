//! What stewards tell readers: which natural objects a commit changed.

use crate::service::ServiceContext;
use bytes::{Bytes, BytesMut};
use pelago_game::ObjectView;
use pelago_model::{ChannelId, IslandClock, PublisherId, Reader, Revision, Tick};
use pelago_wire::frame::{Frame, Snapshot, StreamKind, base};
use pelago_wire::peer_stream::{PeerFrame, PeerSnapshot};
use pelago_wire::record::{ObjectRecord, Record};
use pelago_wire::tick_stamp::TickStamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Default)]
struct Served {
    readers: BTreeSet<Reader>,
    sequence: u64,
}

/// The voice of an instance of the stewards on channels. A channel has one order, because all turns about a chunk have one
/// key ([`Key::steward_key`](pelago_model::Key::steward_key)), and a key has one instance in a node.
pub(super) struct ObjectPublisher {
    id: PublisherId,
    clock: IslandClock,
    /// There are as many as readers subscribe to: links and lanes have limits for that.
    channels: BTreeMap<ChannelId, Served>,
}

impl ObjectPublisher {
    pub(super) fn new(id: PublisherId, clock: IslandClock) -> Self {
        Self { id, clock, channels: BTreeMap::new() }
    }

    /// Opens the stream for a reader. The snapshot is empty: the reader reads the document itself,
    /// once it has the stream, so that nothing falls between.
    pub(super) fn subscribe(
        &mut self,
        cx: &mut ServiceContext<'_>,
        reader: Reader,
        channel: ChannelId,
        version: u64,
    ) {
        let served = self.channels.entry(channel).or_default();
        served.readers.insert(reader);
        let tick = Tick::at(cx.now());
        let bytes = PeerSnapshot {
            alias: 0,
            objects: true,
            channel,
            publisher: self.id,
            tick,
            sequence: served.sequence,
            answers: version,
            stamp: TickStamp::new(tick, 0),
            records: Bytes::new(),
        };
        if let Ok(snapshot) = Snapshot::decode(bytes, &self.clock) {
            cx.snapshot(reader, Arc::new(snapshot));
        }
    }

    /// Whether anybody reads a channel here.
    pub(super) fn has_readers(&self, channel: &ChannelId) -> bool {
        self.channels.contains_key(channel)
    }

    pub(super) fn unsubscribe(&mut self, reader: Reader, channel: ChannelId) {
        if let Some(served) = self.channels.get_mut(&channel) {
            served.readers.remove(&reader);
            if served.readers.is_empty() {
                self.channels.remove(&channel);
            }
        }
    }

    /// Publishes the difference between two states of a chunk.
    pub(super) fn changed(
        &mut self,
        cx: &mut ServiceContext<'_>,
        channel: ChannelId,
        revision: Revision,
        old: &[ObjectView],
        new: &[ObjectView],
    ) {
        let Some(served) = self.channels.get_mut(&channel) else { return };
        let tick = Tick::at(cx.now());
        let mut core = BytesMut::new();
        core.extend_from_slice(&[TickStamp::new(tick, 0).to_byte()]);
        let base = base(&channel, tick, &self.clock);
        let put = |slot: u16, payload: Bytes, core: &mut BytesMut| {
            Record::Object(ObjectRecord { slot, revision, payload }).put(&base, core);
        };
        for view in new.iter().filter(|view| !old.contains(view)) {
            put(view.slot, view.payload.clone(), &mut core);
        }
        // What is no longer named is as nature made it: an empty payload.
        for gone in old.iter().filter(|view| new.iter().all(|other| other.slot != view.slot)) {
            put(gone.slot, Bytes::new(), &mut core);
        }
        if core.len() == 1 {
            return;
        }
        served.sequence += 1;
        let sections = std::array::from_fn(|_| Bytes::new());
        let bytes =
            PeerFrame { alias: 0, sequence: served.sequence, core: core.freeze(), sections };
        let whose = (self.id, channel, StreamKind::Objects);
        let frame = Frame::decode(whose, tick, &self.clock, bytes)
            .expect("what a publisher encodes can be decoded");
        cx.publish(Arc::new(frame), served.readers.iter().copied());
    }
}
