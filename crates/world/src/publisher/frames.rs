//! The frames of a tick, made of its records, in memory that the frames of earlier ticks have left.

use bytes::{Bytes, BytesMut};
use pelago_model::{ChannelId, ChunkId, Direction, IslandClock, IslandId, PublisherId, Tick};
use pelago_wire::frame::{Frame, StreamKind, base};
use pelago_wire::record::{Record, decode_records};
use pelago_wire::tick_stamp::TickStamp;
use std::sync::Arc;

/// Frames whose memory is used again once all readers have let go of them; those beyond are freed by their last reader.
const MAX_LENT: usize = 8192;

/// A record for a channel.
#[derive(Debug)]
pub(super) struct Put {
    pub(super) channel: ChannelId,
    /// For those who do not hold the neighbour there; `None`: for everybody.
    pub(super) side: Option<Direction>,
    /// Of the record in its tick.
    pub(super) number: u32,
    pub(super) record: Record,
}

/// Frames that were given out, and those that came back.
#[derive(Debug, Default)]
pub(super) struct FramePool {
    /// What all frames of a tick are written into.
    bytes: BytesMut,
    /// The most that a tick has taken of it.
    most_bytes: usize,
    lent: Vec<Arc<Frame>>,
    free: Vec<Arc<Frame>>,
    /// A vector to give frames out in.
    spare: Vec<Arc<Frame>>,
}

impl FramePool {
    /// Takes back a vector of frames.
    pub(super) fn take_back(&mut self, mut frames: Vec<Arc<Frame>>) {
        frames.clear();
        if frames.capacity() > self.spare.capacity() {
            self.spare = frames;
        }
    }

    /// Makes one frame per channel. `count` says how many frames of a channel there were with this one, and how
    /// many of them with a core, modulo 16.
    pub(super) fn encode(
        &mut self,
        puts: &mut Vec<Put>,
        (publisher, tick, clock): (PublisherId, Tick, &IslandClock),
        mut count: impl FnMut(ChannelId, bool) -> (u64, u64),
    ) -> Vec<Arc<Frame>> {
        self.collect();
        // One piece for all of them: the memory of the last tick, now that its frames are gone.
        self.bytes.reserve(self.most_bytes);
        let mut used = 0;
        let mut frames = std::mem::take(&mut self.spare);
        let side = |put: &Put| put.side.map_or(0, |side| side as u8 + 1);
        puts.sort_unstable_by_key(|put| (put.channel, side(put), put.number));
        let mut puts = puts.drain(..).peekable();
        while let Some(channel) = puts.peek().map(|put| put.channel) {
            let mut frame = self.free.pop().unwrap_or_else(|| Arc::new(empty(publisher)));
            let target = Arc::get_mut(&mut frame).expect("free frames are nobody's");
            let has_core = puts.peek().is_some_and(|put| put.side.is_none());
            let (sequence, core_sequence) = count(channel, has_core);
            (target.channel, target.tick, target.sequence) = (channel, tick, sequence);
            let base = base(&channel, tick, clock);
            self.bytes.extend_from_slice(&[TickStamp::new(tick, core_sequence).to_byte()]);
            let mut next = |side| puts.next_if(|put| put.channel == channel && put.side == side);
            while let Some(put) = next(None) {
                put.record.put(&base, &mut self.bytes);
                target.records.push(put.record);
            }
            target.core = self.bytes.split().freeze();
            for side in Direction::ALL {
                while let Some(put) = next(Some(side)) {
                    put.record.put(&base, &mut self.bytes);
                    target.edge_records.push(put.record);
                }
                if !self.bytes.is_empty() {
                    target.sections[side as usize] = self.bytes.split().freeze();
                }
            }
            used += target.core.len() + target.sections.iter().map(Bytes::len).sum::<usize>();
            debug_assert!(is_decoded(target, clock), "records are what a reader decodes");
            if self.lent.len() < MAX_LENT {
                self.lent.push(frame.clone());
            }
            frames.push(frame);
        }
        self.most_bytes = self.most_bytes.max(used);
        frames
    }

    /// Makes those frames free that nobody else has any more.
    fn collect(&mut self) {
        let mut place = 0;
        while let Some(frame) = self.lent.get_mut(place) {
            if let Some(frame) = Arc::get_mut(frame) {
                // Their bytes keep the memory that the next ones are written into.
                frame.core = Bytes::new();
                frame.sections = Default::default();
                frame.records.clear();
                frame.edge_records.clear();
                self.free.push(self.lent.swap_remove(place));
            } else {
                place += 1;
            }
        }
    }
}

fn empty(publisher: PublisherId) -> Frame {
    Frame {
        publisher,
        channel: ChannelId::whole(IslandId(0), ChunkId::new(0, 0)),
        stream: StreamKind::Entities,
        tick: Tick(0),
        sequence: 0,
        core: Bytes::new(),
        sections: Default::default(),
        records: Vec::new(),
        edge_records: Vec::new(),
    }
}

/// Compared one by one: a check that allocates would hide what else does.
fn is_decoded(frame: &Frame, clock: &IslandClock) -> bool {
    let base = base(&frame.channel, frame.tick, clock);
    let known = |records: &[Record], bytes: &Bytes, decoded: &mut usize| {
        decode_records(bytes, base).all(|record| {
            *decoded += 1;
            record.is_ok_and(|record| records.get(*decoded - 1) == Some(&record))
        })
    };
    let (mut core, mut edge) = (0, 0);
    known(&frame.records, &frame.core.slice(1..), &mut core)
        && frame.sections.iter().all(|bytes| known(&frame.edge_records, bytes, &mut edge))
        && (core, edge) == (frame.records.len(), frame.edge_records.len())
}
