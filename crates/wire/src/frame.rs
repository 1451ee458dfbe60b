//! Frames and snapshots as the parts of a node hand them around: encoded once by their
//! publisher, decoded once per node, shared from then on.

use crate::Malformed;
use crate::peer_stream::{PeerFrame, PeerSnapshot};
use crate::record::{Base, Record, decode_records};
use crate::tick_stamp::TickStamp;
use bytes::Bytes;
use pelago_model::{ChannelId, IslandClock, PublisherId, Tick};

/// Which of a chunk's streams: what moves, or what players changed about what stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamKind {
    /// Entities, published by lanes.
    Entities,
    /// Objects, published by the steward of the chunk's document.
    Objects,
}

/// One publisher's changes in one channel in one tick.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// The publisher.
    pub publisher: PublisherId,
    /// Where.
    pub channel: ChannelId,
    /// Of what.
    pub stream: StreamKind,
    /// The tick at whose start the changes were published.
    pub tick: Tick,
    /// Counts every frame of this publisher on this channel and stream.
    pub sequence: u64,
    /// A stamp and the records for every reader, as they go to clients.
    pub core: Bytes,
    /// By direction: the records for readers who do not hold that neighbour.
    pub sections: [Bytes; 8],
    /// The records of the core, decoded.
    pub records: Vec<Record>,
    /// The records of all sections, decoded.
    pub edge_records: Vec<Record>,
}

impl Frame {
    /// Decodes what a publisher encoded, be it of this node or of another.
    ///
    /// # Errors
    /// [`Malformed`] if any record is.
    pub fn decode(
        (publisher, channel, stream): (PublisherId, ChannelId, StreamKind),
        tick: Tick,
        clock: &IslandClock,
        bytes: PeerFrame,
    ) -> Result<Self, Malformed> {
        let base = base(&channel, tick, clock);
        let mut frame = Self {
            publisher,
            channel,
            stream,
            tick,
            sequence: bytes.sequence,
            core: bytes.core,
            sections: bytes.sections,
            records: Vec::new(),
            edge_records: Vec::new(),
        };
        if frame.core.is_empty() {
            return Err(Malformed::Truncated);
        }
        let records = frame.core.slice(1..);
        frame.records = decode_records(&records, base).collect::<Result<_, _>>()?;
        for section in frame.sections.iter().filter(|section| !section.is_empty()) {
            for record in decode_records(section, base) {
                frame.edge_records.push(record?);
            }
        }
        Ok(frame)
    }

    /// Whether every reader gets it; otherwise only those who need one of its sections.
    pub fn has_core(&self) -> bool {
        self.core.len() > 1
    }

    /// The bytes for a peer.
    pub fn to_peer(&self, alias: u32) -> PeerFrame {
        PeerFrame {
            alias,
            sequence: self.sequence,
            core: self.core.clone(),
            sections: self.sections.clone(),
        }
    }
}

/// Everything of one publisher in one channel after a frame: the answer to a subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The publisher.
    pub publisher: PublisherId,
    /// Where.
    pub channel: ChannelId,
    /// Of what.
    pub stream: StreamKind,
    /// The tick of the last frame that it includes.
    pub tick: Tick,
    /// The number of that frame.
    pub sequence: u64,
    /// The stamp of that frame.
    pub stamp: TickStamp,
    /// The version of the subscription that it answers.
    pub answers: u64,
    /// Its records as they go over the wire.
    pub bytes: Bytes,
    /// The same, decoded.
    pub records: Vec<Record>,
}

impl Snapshot {
    /// Decodes what a publisher encoded.
    ///
    /// # Errors
    /// [`Malformed`] if any record is.
    pub fn decode(bytes: PeerSnapshot, clock: &IslandClock) -> Result<Self, Malformed> {
        let base = base(&bytes.channel, bytes.tick, clock);
        let records = decode_records(&bytes.records, base).collect::<Result<_, _>>()?;
        Ok(Self {
            publisher: bytes.publisher,
            channel: bytes.channel,
            stream: if bytes.objects { StreamKind::Objects } else { StreamKind::Entities },
            tick: bytes.tick,
            sequence: bytes.sequence,
            stamp: bytes.stamp,
            answers: bytes.answers,
            bytes: bytes.records,
            records,
        })
    }

    /// The bytes for a peer.
    pub fn to_peer(&self, alias: u32) -> PeerSnapshot {
        PeerSnapshot {
            alias,
            objects: self.stream == StreamKind::Objects,
            channel: self.channel,
            publisher: self.publisher,
            tick: self.tick,
            sequence: self.sequence,
            answers: self.answers,
            stamp: self.stamp,
            records: self.bytes.clone(),
        }
    }
}

/// What the records of a channel and tick are relative to.
pub fn base(channel: &ChannelId, tick: Tick, clock: &IslandClock) -> Base {
    Base {
        t0: clock.at(tick.starts()),
        corner: channel.chunk.corner(),
        world: channel.island.world(),
    }
}
