//! What others publish: ghosts, objects, and the frames to be delivered.

use super::{Effect, Lane};
use crate::control::ControlInput;
use crate::effect::Message;
use pelago_model::WorldTime;
use pelago_wire::frame::{Frame, Snapshot, StreamKind};
use std::sync::Arc;

impl Lane {
    pub(super) fn frames(&mut self, mut frames: Vec<Arc<Frame>>, effects: &mut Vec<Effect>) {
        for frame in frames.drain(..) {
            if !self.delivery.is_watched(frame.channel) {
                continue;
            }
            let known = match frame.stream {
                StreamKind::Entities => self.ghosts.apply_frame(&frame),
                StreamKind::Objects => self.objects.apply(&frame),
            };
            if known {
                self.delivery.push(frame);
            } else if frame.stream == StreamKind::Entities {
                // Another lane of this node read the channel before this one did.
                self.resync(&frame, effects);
            }
        }
        self.publisher.recycle(frames);
    }

    fn resync(&mut self, frame: &Frame, effects: &mut Vec<Effect>) {
        let (channel, publisher) = (frame.channel, frame.publisher);
        let input = ControlInput::Resync { channel, publisher };
        effects.push(Effect::To(Message::Control(input)));
    }

    pub(super) fn snapshot(&mut self, snapshot: &Snapshot, effects: &mut Vec<Effect>) {
        let channel = snapshot.channel;
        if !self.delivery.is_watched(channel) {
            return;
        }
        match snapshot.stream {
            StreamKind::Entities => {
                let stream = (channel, snapshot.publisher);
                self.ghosts.apply_snapshot(snapshot);
                self.delivery.stream_replaced(stream, self.ghosts.is_inhabited(&stream));
            }
            // The steward's stream is open: what was committed before is in the document.
            StreamKind::Objects => self.read_chunk(channel, effects),
        }
    }

    /// Once a second: lets go of lost ghosts, reads old chunks again, hands over to newer sessions.
    pub(super) fn sweep(&mut self, now: WorldTime, effects: &mut Vec<Effect>) {
        for stream in self.ghosts.overdue(now) {
            self.ghosts.drop_stream(stream);
            self.delivery.stream_dropped(stream);
        }
        for channel in self.objects.due(now) {
            self.read_chunk(channel, effects);
        }
        let newer = |(avatar, client): (&pelago_model::EntityId, &pelago_world::ClientId)| {
            let epoch = self.players.get(client)?.epoch;
            let (_, ghost) = self.ghosts.find(*avatar)?;
            (ghost.epoch > epoch).then_some(*client)
        };
        for client in self.avatars.iter().filter_map(newer).collect::<Vec<_>>() {
            self.supersede(client, effects);
        }
    }
}
