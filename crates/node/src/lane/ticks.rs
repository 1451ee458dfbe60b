//! Ticks: at each this lane publishes what its reals did, and a moment later it delivers what everybody did.

use super::{Lane, LaneEffect};
use pelago_model::time::{DELIVERY_DELAY_MS, TICK_MS};
use pelago_model::{Reader, Tick, WorldTime};
use pelago_wire::frame::Frame;
use pelago_world::{ClientId, Published};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Every so many ticks everything is swept.
const SWEEP_TICKS: u64 = 10;

/// Ticks are aligned to world time, on all nodes alike.
const _: () = assert!(DELIVERY_DELAY_MS < TICK_MS);

impl Lane {
    pub(super) fn wake(&mut self, now: WorldTime, effects: &mut Vec<LaneEffect>) {
        if self.next_publish <= now {
            let tick = Tick::at(now);
            self.next_publish = tick.next().starts();
            self.next_delivery = tick.starts().plus(DELIVERY_DELAY_MS).max(now);
            self.publish(now, tick, effects);
        }
        if self.next_delivery <= now {
            self.next_delivery = WorldTime(i64::MAX);
            self.deliver(now, effects);
        }
    }

    /// Tells the world what this lane's reals did since the last tick, and looks after everybody whose time has come.
    fn publish(&mut self, now: WorldTime, tick: Tick, effects: &mut Vec<LaneEffect>) {
        self.end_stances(now, tick);
        self.say_overdue(now, effects);
        let mut due = std::mem::take(&mut self.due);
        self.client_timers.take(tick, &mut due);
        for client in &due {
            self.release_move(now, *client, effects);
        }
        let published = self.publisher.publish(tick);
        self.counters.frames += published.frames.len() as u64;
        self.distribute(published, effects);
        let moved = self.publisher.moved().iter().filter_map(|slot| self.reals.get(*slot));
        due.extend(moved.filter_map(|real| self.client_of(real.entity)));
        due.sort_unstable();
        due.dedup();
        for client in due.drain(..) {
            self.look_after(now, tick, client, effects);
        }
        self.due = due;
        if tick.0.is_multiple_of(SWEEP_TICKS) {
            self.sweep(now, effects);
        }
    }

    /// Hands frames to their readers. Frames that this lane reads itself it takes in at once.
    fn distribute(&mut self, published: Published, effects: &mut Vec<LaneEffect>) {
        let own = self.config.lane;
        let Published { mut frames, snapshots } = published;
        let mut for_siblings: BTreeMap<u8, Vec<Arc<Frame>>> = BTreeMap::new();
        let mut for_nodes = Vec::new();
        for frame in frames.drain(..) {
            let (lanes, is_read_by_nodes) = self.publisher.readers(frame.channel);
            for sibling in lanes.iter().filter(|lane| *lane != own) {
                for_siblings.entry(sibling).or_default().push(frame.clone());
            }
            if is_read_by_nodes {
                for_nodes.push(frame.clone());
            }
            if lanes.contains(own) {
                self.frame(frame, effects);
            }
        }
        self.publisher.recycle(frames);
        let for_siblings = for_siblings.into_iter();
        effects.extend(for_siblings.map(|(to, frames)| LaneEffect::Frames { to, frames }));
        for (to, snapshot) in snapshots {
            if to == Reader::Lane(own) {
                self.snapshot(&snapshot, effects);
            } else {
                effects.push(LaneEffect::Snapshot { to, snapshot });
            }
        }
        // Also when there is nothing to tell: links are flushed when all lanes have published.
        effects.push(LaneEffect::Publish(for_nodes));
    }

    fn look_after(
        &mut self,
        now: WorldTime,
        tick: Tick,
        client: ClientId,
        effects: &mut Vec<LaneEffect>,
    ) {
        if self.close_if_overdue(now, client, effects) {
            return;
        }
        if let Some(connection) = self.connections.get_mut(&client) {
            // What was noted for this tick has been taken.
            connection.planned = connection.planned.filter(|planned| *planned > tick);
        }
        self.look_around(now, client, effects);
        self.checkpoint_if_due(now, client, effects);
        if let Some(avatar) = self.connections.get(&client).map(|connection| connection.avatar) {
            if let Some(session) = self.sessions.get_mut(&avatar) {
                session.near.forget(now);
            }
            self.read_mailbox_if_due(now, avatar, effects);
        }
        self.plan(client);
    }

    /// Notes when a client is to be looked after, whatever happens.
    pub(super) fn plan(&mut self, client: ClientId) {
        let Some(connection) = self.connections.get_mut(&client) else { return };
        let mut soonest = connection.next_look(&self.config.limits, self.next_publish);
        if let Some(session) = self.sessions.get(&connection.avatar) {
            soonest = soonest.min(session.checkpoint.due).min(session.talk.due);
        }
        // The first tick that begins then or later.
        let tick = Tick::at(soonest.plus(TICK_MS - 1));
        if connection.planned.is_none_or(|planned| planned > tick) {
            connection.planned = Some(self.client_timers.put(tick, client));
        }
    }

    /// Gives every client what happened in its sight.
    fn deliver(&mut self, now: WorldTime, effects: &mut Vec<LaneEffect>) {
        let counters = &mut self.counters;
        self.delivery.deliver(Tick::at(now), &mut self.ghosts, &self.objects, |client, bytes| {
            counters.deliveries += 1;
            counters.delivered_bytes += bytes.len() as u64;
            effects.push(LaneEffect::Send { client, bytes });
        });
    }
}
