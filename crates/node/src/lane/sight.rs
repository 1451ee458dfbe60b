//! Sight: which channels a client watches as its avatar moves.

use super::{Lane, LaneEffect};
use crate::placement::company::Crowd;
use pelago_model::{ChannelId, ChunkId, IslandId, Tick, WorldTime};
use pelago_world::ClientId;
use std::collections::BTreeMap;

/// Crowds that a lane tells of: those with the most people.
const MAX_CROWDS: usize = 256;

impl Lane {
    /// The people that this lane sees, by chunk.
    pub(super) fn crowds(&self, now: WorldTime) -> Vec<Crowd> {
        let at = self.config.clock.at(now);
        let mut crowds: BTreeMap<(IslandId, ChunkId), Crowd> = BTreeMap::new();
        for (_, ghost) in self.ghosts.iter() {
            let (island, somebody) = (ghost.channel.island, ghost.trajectory.position_at(at));
            let new = Crowd { island, somebody, people: 0 };
            crowds.entry((island, somebody.chunk())).or_insert(new).people += 1;
        }
        let mut crowds: Vec<Crowd> = crowds.into_values().collect();
        crowds.sort_by_key(|crowd| std::cmp::Reverse(crowd.people));
        crowds.truncate(MAX_CROWDS);
        crowds
    }

    /// Lets a client hold the chunks around its avatar.
    pub(super) fn look_around(
        &mut self,
        now: WorldTime,
        client: ClientId,
        effects: &mut Vec<LaneEffect>,
    ) {
        let Some(connection) = self.connections.get_mut(&client) else { return };
        let Some(real) = self.reals.of(connection.avatar) else { return };
        let Some(position) = self.publisher.position(real.slot, Tick::at(now)) else { return };
        let change = connection.sight.look(position.chunk(), now);
        let island = real.island;
        for chunk in change.entered {
            let channel = ChannelId::whole(island, chunk);
            if self.delivery.watch(client, channel, &self.ghosts, &self.objects) {
                self.begin_to_read(channel, effects);
            }
        }
        for chunk in change.left {
            let channel = ChannelId::whole(island, chunk);
            if self.delivery.unwatch(client, channel) {
                self.let_go(channel, effects);
            }
        }
    }
}
