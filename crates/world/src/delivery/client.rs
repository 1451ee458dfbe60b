//! The output for one client.

use super::ClientId;
use super::alias::{Alias, Seat};
use bytes::BytesMut;
use pelago_model::{ChannelId, Numbers, Tick};
use pelago_wire::client_stream::{put_close, put_frames};
use pelago_wire::frame::Frame;
use std::sync::Arc;

/// Chunks that come into sight with a step: the list of what a client watches grows by as many.
const CHANNELS_PER_STEP: usize = 3;

/// A frame of a delivery for a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forward {
    pub(super) seat: Seat,
    /// The client's name of the stream.
    pub(super) alias: u32,
    /// Its index among the frames of the delivery.
    pub(super) frame: u32,
    /// The sections that belong to it, a bit for each direction.
    pub(super) sections: u8,
}

impl Forward {
    /// The body as this client gets it: the stamp, its sections, the records for everybody.
    fn slices(self, frames: &[Arc<Frame>]) -> impl Iterator<Item = &[u8]> + Clone {
        let frame = &frames[self.frame as usize];
        let (stamp, records) = frame.core.split_at(1);
        let sections = frame.sections.iter().enumerate();
        let sections = sections
            .filter(move |(direction, _)| self.sections & (1 << direction) != 0)
            .map(|(_, section)| &section[..]);
        std::iter::once(stamp).chain(sections).chain(std::iter::once(records))
    }
}

/// What a client gets besides frames.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Snapshots of this delivery.
    pub(super) snapshots: BytesMut,
    /// Aliases to be closed.
    closing: Vec<u32>,
    /// Control messages that wait until the client is writable.
    pub(super) waiting: BytesMut,
}

/// The outgoing side of a client.
#[derive(Debug)]
pub(super) struct ClientOut {
    pub(super) client: ClientId,
    watching: Vec<ChannelId>,
    /// Boxed: most clients have nothing most of the time.
    pending: Option<Box<Pending>>,
    pub(super) blocked: bool,
    /// Whether it gets something with this delivery.
    pub(super) touched: bool,
    last_tick: Tick,
    aliases: Numbers,
}

impl ClientOut {
    pub(super) fn new(client: ClientId, tick: Tick) -> Self {
        Self {
            client,
            watching: Vec::new(),
            pending: None,
            blocked: false,
            touched: false,
            last_tick: tick,
            aliases: Numbers::default(),
        }
    }

    /// The channels that it watches.
    pub(super) fn watching(&self) -> &[ChannelId] {
        &self.watching
    }

    /// Notes that it watches a channel; `false` if it does already.
    pub(super) fn watch(&mut self, channel: ChannelId) -> bool {
        let is_new = !self.watching.contains(&channel);
        if is_new {
            if self.watching.len() == self.watching.capacity() {
                self.watching.reserve_exact(CHANNELS_PER_STEP);
            }
            self.watching.push(channel);
        }
        is_new
    }

    /// Notes that it watches a channel no more.
    pub(super) fn unwatch(&mut self, channel: ChannelId) {
        self.watching.retain(|other| *other != channel);
        self.watching.shrink_to(self.watching.len() + CHANNELS_PER_STEP - 1);
    }

    /// What it gets besides frames.
    pub(super) fn pending(&mut self) -> &mut Pending {
        self.pending.get_or_insert_default()
    }

    /// How many bytes of control messages wait.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.pending.as_ref().map_or(0, |pending| pending.waiting.len())
    }

    /// Notes that it gets something.
    pub(super) fn touch(&mut self, seat: Seat, touched: &mut Vec<Seat>) {
        if !self.touched {
            self.touched = true;
            touched.push(seat);
        }
    }

    /// Closes an alias, if the client knows it.
    pub(super) fn close(&mut self, alias: Alias, seat: Seat, touched: &mut Vec<Seat>) {
        if let Alias::Open(number) | Alias::Stale(number) = alias {
            self.pending().closing.push(number);
            self.touch(seat, touched);
        }
    }

    pub(super) fn take_alias(&mut self) -> u32 {
        self.aliases.take()
    }

    /// Moves what goes out with this delivery to the end of `bytes`. Closes come last, their aliases are free in the
    /// next.
    pub(super) fn take(
        &mut self,
        tick: Tick,
        forwards: &[Forward],
        frames: &[Arc<Frame>],
        bytes: &mut BytesMut,
    ) {
        self.touched = false;
        if self.blocked {
            return;
        }
        let pending = self.pending.take();
        if let Some(pending) = &pending {
            bytes.extend_from_slice(&pending.waiting);
        }
        if !forwards.is_empty() {
            let parts = forwards.iter().map(|forward| (forward.alias, forward.slices(frames)));
            put_frames(bytes, tick.0.saturating_sub(self.last_tick.0), parts);
            self.last_tick = tick;
        }
        if let Some(pending) = pending {
            bytes.extend_from_slice(&pending.snapshots);
            if !pending.closing.is_empty() {
                put_close(bytes, &pending.closing);
                pending.closing.iter().for_each(|alias| self.aliases.give_back(*alias));
            }
        }
    }
}
