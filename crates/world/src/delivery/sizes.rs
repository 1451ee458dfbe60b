//! How much a lane's delivery holds.

use super::client::ClientOut;
use super::{Delivery, MAX_FRAMES, MAX_WAITING_BYTES};
use pelago_model::Size;
use pelago_model::limits::MAX_SLOTS;

/// Lanes of all nodes that can have streams at once, and as many that are no more.
const MAX_PUBLISHERS: usize = 65_536;

impl Delivery {
    /// How full everything is that can grow. Of what there is once per client, the fullest counts.
    pub fn sizes(&self) -> Vec<Size> {
        let waiting = self.clients.iter().flatten().map(ClientOut::waiting_bytes).max();
        vec![
            Size::table("clients of a lane", self.seats.len(), MAX_SLOTS, MAX_SLOTS),
            Size::queue("bytes that wait for a client", waiting.unwrap_or(0), MAX_WAITING_BYTES),
            Size::queue("frames to be delivered", self.frames.len(), MAX_FRAMES),
            Size::table("publishers", self.publishers.len(), MAX_PUBLISHERS, MAX_PUBLISHERS),
        ]
    }

    /// Streams that clients read or would: of entities by publisher, of objects by chunk.
    pub fn streams(&self) -> usize {
        self.channels.values().map(|table| table.names().len()).sum()
    }
}
