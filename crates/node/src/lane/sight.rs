//! Sight: which channels a client watches as its avatar moves.

use super::{Lane, LaneEffect};
use pelago_model::{ChannelId, Tick, WorldTime};
use pelago_world::ClientId;

impl Lane {
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
