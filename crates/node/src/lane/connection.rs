//! Connections: what a lane holds of each client, whatever is played through it.

use crate::rate_limits::{ClientLimits, RateLimits};
use pelago_model::{EntityId, Limit, Tick, WorldTime};
use pelago_wire::client::Move;
use pelago_world::Sight;

/// A client's connection. What it is sent is with [`pelago_world::Delivery`] under the client's id.
#[derive(Debug)]
pub(super) struct Connection {
    /// The avatar that is played through it.
    pub(super) avatar: EntityId,
    pub(super) sight: Sight,
    pub(super) rate_limits: RateLimits,
    /// The last of the moves that were too many, and when it came: it counts at the next tick.
    pub(super) held_move: Option<Box<(WorldTime, Move)>>,
    /// When the client last said something.
    pub(super) heard: WorldTime,
    /// Since when it takes no more bytes.
    pub(super) blocked: Option<WorldTime>,
    /// The tick for which it is noted to be looked at.
    pub(super) planned: Option<Tick>,
}

impl Connection {
    /// The connection of a client that has just come, whose avatar has used nothing for so many ms.
    pub(super) fn new(
        avatar: EntityId,
        limits: &ClientLimits,
        now: WorldTime,
        quiet_ms: i64,
    ) -> Self {
        Self {
            avatar,
            sight: Sight::default(),
            rate_limits: RateLimits::new(limits, now, quiet_ms),
            held_move: None,
            heard: now,
            blocked: None,
            planned: None,
        }
    }

    /// Whether the client may do something now; it is taken off its allowance.
    pub(super) fn may(
        &mut self,
        now: WorldTime,
        limits: &ClientLimits,
        what: Limit,
        cost: u32,
    ) -> bool {
        let left = &mut self.rate_limits;
        let (bucket, allowance) = match what {
            Limit::Durable => (&mut left.durable, limits.durable),
            Limit::Live => (&mut left.live, limits.live),
            Limit::Speech => (&mut left.speech, limits.speech),
            Limit::Moves => (&mut left.moves, limits.moves),
            Limit::Pings => (&mut left.pings, limits.pings),
            _ => return true,
        };
        bucket.take(now, allowance, cost)
    }

    /// The limit in time that the client has met, if any: it has read nothing, or said nothing, for too long.
    pub(super) fn overdue(&self, now: WorldTime, limits: &ClientLimits) -> Option<Limit> {
        if let Some(since) = self.blocked {
            // What it says may not be read until it reads.
            return (now.since(since) >= limits.blocked_ms).then_some(Limit::BlockedTime);
        }
        (now.since(self.heard) >= limits.idle_ms).then_some(Limit::IdleTime)
    }

    /// The lane did not run for so long: what the client did not do meanwhile does not count.
    pub(super) fn forgive(&mut self, now: WorldTime, pause_ms: i64) {
        self.heard = self.heard.plus(pause_ms).min(now);
        self.blocked = self.blocked.map(|since| since.plus(pause_ms).min(now));
    }

    /// When it is to be looked at next. A move that is held is due at `next_tick`.
    pub(super) fn next_look(&self, limits: &ClientLimits, next_tick: WorldTime) -> WorldTime {
        let overdue = match self.blocked {
            Some(since) => since.plus(limits.blocked_ms),
            None => self.heard.plus(limits.idle_ms),
        };
        let others = [self.held_move.as_ref().map(|_| next_tick), self.sight.next_release()];
        others.into_iter().flatten().fold(overdue, WorldTime::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WorldTime = WorldTime(1_000_000);

    #[test]
    fn a_connection_is_looked_at_when_the_first_of_its_times_is_over() {
        let limits = ClientLimits { idle_ms: 5000, blocked_ms: 3000, ..ClientLimits::default() };
        let next_tick = NOW.plus(40);
        let mut connection = Connection::new(EntityId(1), &limits, NOW, 0);
        assert_eq!(connection.next_look(&limits, next_tick), NOW.plus(5000));
        connection.blocked = Some(NOW.plus(100));
        assert_eq!(connection.next_look(&limits, next_tick), NOW.plus(3100));
        assert_eq!(connection.overdue(NOW.plus(3099), &limits), None);
        assert_eq!(connection.overdue(NOW.plus(3100), &limits), Some(Limit::BlockedTime));
        connection.blocked = None;
        assert_eq!(connection.overdue(NOW.plus(5000), &limits), Some(Limit::IdleTime));
        connection.blocked = Some(NOW.plus(1000));
        // The lane did not run from 2 s on, for 150 s.
        connection.forgive(NOW.plus(152_000), 150_000);
        assert_eq!(connection.overdue(NOW.plus(153_999), &limits), None);
        assert_eq!(connection.overdue(NOW.plus(154_000), &limits), Some(Limit::BlockedTime));
        connection.blocked = None;
        assert_eq!(connection.overdue(NOW.plus(154_999), &limits), None);
        assert_eq!(connection.overdue(NOW.plus(155_000), &limits), Some(Limit::IdleTime));
        connection.heard = NOW;
        connection.held_move = Some(Box::default());
        assert_eq!(connection.next_look(&limits, next_tick), next_tick);
    }
}
