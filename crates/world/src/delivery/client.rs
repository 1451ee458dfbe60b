//! What goes out to one client.

use super::ClientId;
use super::readers::{Alias, Seat};
use bytes::BytesMut;
use pelago_model::{ChannelId, Tick};
use pelago_wire::client_stream::{put_close, put_frames};
use pelago_wire::frame::Frame;
use std::sync::Arc;

/// A frame of a delivery for a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forward {
    pub(super) seat: Seat,
    /// The client's name of the stream.
    pub(super) alias: u32,
    /// Its place among the frames of the delivery.
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

/// The outgoing side of a client.
#[derive(Debug)]
pub(super) struct ClientOut {
    pub(super) client: ClientId,
    pub(super) watching: Vec<ChannelId>,
    /// Snapshots of this delivery.
    pub(super) rest: BytesMut,
    /// Aliases to be closed.
    closing: Vec<u32>,
    /// Control messages that wait until the client is writable.
    pub(super) waiting: BytesMut,
    pub(super) blocked: bool,
    /// Whether it gets something with this delivery.
    pub(super) touched: bool,
    last_tick: Tick,
    free: Vec<u32>,
    next_alias: u32,
}

impl ClientOut {
    pub(super) fn new(client: ClientId, tick: Tick) -> Self {
        Self {
            client,
            watching: Vec::new(),
            rest: BytesMut::new(),
            closing: Vec::new(),
            waiting: BytesMut::new(),
            blocked: false,
            touched: false,
            last_tick: tick,
            free: Vec::new(),
            next_alias: 0,
        }
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
            self.closing.push(number);
            self.touch(seat, touched);
        }
    }

    pub(super) fn take_alias(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.next_alias += 1;
            self.next_alias - 1
        })
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
        if !self.waiting.is_empty() {
            bytes.extend_from_slice(&self.waiting);
            self.waiting = BytesMut::new();
        }
        if !forwards.is_empty() {
            let parts = forwards.iter().map(|forward| (forward.alias, forward.slices(frames)));
            put_frames(bytes, tick.0.saturating_sub(self.last_tick.0), parts);
            self.last_tick = tick;
        }
        if !self.rest.is_empty() {
            bytes.extend_from_slice(&self.rest);
            // Snapshots are rare and large.
            self.rest = BytesMut::new();
        }
        if !self.closing.is_empty() {
            put_close(bytes, &self.closing);
            self.free.append(&mut self.closing);
        }
    }
}
