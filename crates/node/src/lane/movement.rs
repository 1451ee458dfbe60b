//! Moves: a client's avatar is to go another way.

use super::{Lane, LaneEffect};
use pelago_model::limits::{MAX_SPEED, MAX_WAYPOINTS};
use pelago_model::{Limit, Position, WorldTime};
use pelago_wire::client::{self, server_message};
use pelago_world::{ClientId, MoveRefusal, MoveRequest, check_move};

impl Lane {
    /// Too many moves are one: the last of them, at the next tick.
    pub(super) fn asked_to_move(
        &mut self,
        now: WorldTime,
        client: ClientId,
        request: client::Move,
        effects: &mut Vec<LaneEffect>,
    ) {
        let may = self.may(now, client, Limit::Moves, 1);
        let Some(connection) = self.connections.get_mut(&client) else { return };
        if may {
            connection.held_move = None;
            self.moved(now, client, &request, effects);
        } else {
            connection.held_move = Some(Box::new((now, request)));
            self.plan(client);
        }
    }

    /// Looks at the move that was held until this tick.
    pub(super) fn release_move(
        &mut self,
        now: WorldTime,
        client: ClientId,
        effects: &mut Vec<LaneEffect>,
    ) {
        let Some(connection) = self.connections.get_mut(&client) else { return };
        if connection.held_move.is_some()
            && connection.may(now, &self.config.limits, Limit::Moves, 1)
            && let Some(held) = connection.held_move.take()
        {
            let (received, request) = *held;
            self.moved(received, client, &request, effects);
        }
    }

    fn moved(
        &mut self,
        now: WorldTime,
        client: ClientId,
        message: &client::Move,
        effects: &mut Vec<LaneEffect>,
    ) {
        match self.checked_move(now, client, message) {
            Ok(()) => self.counters.moves += 1,
            Err(refusal) => {
                self.counters.moves_refused += 1;
                let Some(shown) =
                    self.real_of(client).and_then(|real| self.publisher.shown(real.slot))
                else {
                    return;
                };
                let refused = client::MoveRefused {
                    number: message.number,
                    code: refusal.code().into(),
                    path: Some((&shown.trajectory).into()),
                };
                self.send(client, server_message::Body::MoveRefused(refused), effects);
            }
        }
    }

    fn checked_move(
        &mut self,
        now: WorldTime,
        client: ClientId,
        message: &client::Move,
    ) -> Result<(), MoveRefusal> {
        let real = self.real_of(client).ok_or(MoveRefusal::Malformed)?;
        let slot = real.slot;
        if !message.waypoints.len().is_multiple_of(2) {
            return Err(MoveRefusal::Malformed);
        }
        let request = MoveRequest {
            at: WorldTime(message.at_ms),
            speed: u16::try_from(message.speed).unwrap_or(MAX_SPEED + 1),
            waypoints: message
                .waypoints
                .chunks_exact(2)
                .take(MAX_WAYPOINTS + 1)
                .map(|point| Position::new(point[0], point[1]))
                .collect(),
        };
        let land = self.config.lands.get(&real.island).ok_or(MoveRefusal::Blocked)?;
        let shown = self.publisher.shown(slot).ok_or(MoveRefusal::Malformed)?;
        let max_speed = self.config.game.max_speed();
        let clock = &self.config.clock;
        let new = check_move(now, clock, land, max_speed, &shown.trajectory, &request)?;
        self.publisher.turn(slot, new, true);
        Ok(())
    }
}
