//! Players act, and hear of it.

use super::{Event, ISLAND, REST_MS, Simulation};
use crate::network::messages;
use crate::player;
use crate::violation::Violation;
use bytes::Bytes;
use pelago_model::{NodeId, Position, Trajectory};
use pelago_node::ClientEvent;
use pelago_wire::client::server_message;
use pelago_world::ClientId;

impl Simulation {
    pub(super) fn hear(
        &mut self,
        number: usize,
        client: ClientId,
        bytes: Bytes,
    ) -> Result<(), Violation> {
        if self.players[number].client != Some(client) {
            return Ok(());
        }
        for (kind, payload) in messages(bytes) {
            let Some(body) = player::control(kind, &payload) else { continue };
            let player = &mut self.players[number];
            match body {
                server_message::Body::Welcome(welcome) => {
                    player.clock_ms = welcome.world_time_ms - self.now.0;
                    if let Some(again) = player.welcomed(&welcome) {
                        self.send(number, again);
                    }
                }
                server_message::Body::Outcome(outcome) if outcome.sequence > 0 => {
                    let expected = player
                        .pending
                        .as_ref()
                        .is_some_and(|pending| pending.sequence == outcome.sequence);
                    if !expected {
                        continue;
                    }
                    player.pending = None;
                    if outcome.code.is_empty() {
                        player.sequence = outcome.sequence;
                        player.acknowledged += 1;
                        self.outcome.acknowledged += 1;
                        if let Some(playing) = &self.players[number].playing {
                            let whose = (playing.avatar, playing.epoch);
                            self.check_acknowledged(whose, outcome.sequence, &outcome.chain)?;
                        }
                    } else if ["out_of_order", "repeated", "stale"].contains(&outcome.code.as_str())
                    {
                        // A twin has done something: the next welcome tells how far.
                        player.cut_off(self.now);
                        self.clients.remove(&client);
                        let node = self.players[number].node;
                        self.of_client(node, client, ClientEvent::Disconnected);
                    }
                }
                server_message::Body::MoveRefused(refused) => {
                    let path = refused.path.as_ref().map(Trajectory::try_from);
                    if let (Some(Ok(path)), Some(playing)) = (path, player.playing.as_mut()) {
                        playing.path = path;
                    }
                }
                server_message::Body::Closing(_) | server_message::Body::Refused(_) => {
                    player.cut_off(self.now);
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn send(&mut self, number: usize, payload: Bytes) {
        let player = &self.players[number];
        let Some(client) = player.client else { return };
        let kind = pelago_wire::message::Kind::Control as u8;
        let event = ClientEvent::Received { kind, payload };
        let Some(life) = self.nodes.get(&player.node).map(|host| host.config.incarnation) else {
            return;
        };
        let event = Event::OfClient { node: player.node, life, client, event };
        // In order, like what comes back.
        let time = self.now.plus(5);
        self.at(time, event);
    }

    pub(super) fn play(&mut self, number: usize) {
        if self.players[number].gone {
            return;
        }
        if let Some((leaves, goodbye)) = self.players[number].leaves
            && leaves <= self.now
        {
            return self.leave(number, goodbye);
        }
        let pause = if self.setup.steady {
            400 + 50 * (number as i64 % 5)
        } else {
            100 + i64::from(self.players[number].below(500))
        };
        self.after(pause, Event::Play(number));
        if self.players[number].client.is_none() {
            return self.connect(number);
        }
        if self.players[number].playing.is_none() || self.now >= self.end.plus(-REST_MS) {
            return;
        }
        match self.players[number].below(8) {
            0..=2 => self.walk(number),
            3..=5 if self.players[number].pending.is_none() => self.gather(number),
            3..=5 => {}
            6 => {
                self.outcome.spoken += 1;
                self.send(number, player::say("hello"));
            }
            _ => {
                let count = self.players.len() as u32;
                let other = self.players[number].below(count) as usize;
                let target = self.players[other].playing.as_ref().map(|playing| playing.avatar);
                if let Some(target) = target {
                    self.send(number, player::wave(target));
                }
            }
        }
    }

    pub(super) fn connect(&mut self, number: usize) {
        if self.now < self.players[number].next_act {
            return;
        }
        let alive: Vec<NodeId> = self
            .nodes
            .iter()
            .filter(|(_, host)| host.node.is_some())
            .map(|(node, _)| *node)
            .collect();
        if alive.is_empty() {
            return;
        }
        let node = if self.setup.steady {
            self.players[number].node
        } else {
            alive[self.players[number].below(alive.len() as u32) as usize]
        };
        self.connect_to(number, node);
    }

    pub(super) fn connect_to(&mut self, number: usize, node: NodeId) {
        self.next_client += 1;
        let client = ClientId(self.next_client);
        self.clients.insert(client, (number, node));
        let player = &mut self.players[number];
        (player.node, player.client) = (node, Some(client));
        let hello = player.hello();
        self.of_client(node, client, ClientEvent::Connected);
        self.send(number, hello);
    }

    pub(super) fn walk(&mut self, number: usize) {
        let player = &mut self.players[number];
        let (dx, dy) = (player.below(4000) as i32 - 2000, player.below(4000) as i32 - 2000);
        let now = self.now;
        let Some(playing) = &self.players[number].playing else { return };
        let here = playing.path.position_at(pelago_model::IslandTime(now.0));
        let side = i32::from(ISLAND.size) * pelago_model::place::CHUNK_UNITS;
        // Towards the middle, so that players meet.
        let pull = |at: i32| (side / 2 - at) / 4;
        let there = Position::new(here.x + dx + pull(here.x), here.y + dy + pull(here.y));
        if let Some(payload) = self.players[number].walk(now, there) {
            self.send(number, payload);
        }
    }

    pub(super) fn gather(&mut self, number: usize) {
        let Some(playing) = &self.players[number].playing else { return };
        let here = playing.path.position_at(pelago_model::IslandTime(self.now.0));
        let land = self.land();
        let things = |chunk| {
            let place = move |slot| Some((chunk, slot, land.natural(chunk, slot)?.1));
            (0..).map_while(place)
        };
        let nearest = here
            .chunk()
            .around(1)
            .flat_map(things)
            .map(|(chunk, slot, place)| (place.distance_squared(here), place, chunk, slot))
            .min_by_key(|(distance, ..)| *distance);
        let Some((distance, place, chunk, slot)) = nearest else { return };
        if distance > 150 * 150 {
            if let Some(payload) = self.players[number].walk(self.now, place) {
                self.send(number, payload);
            }
            return;
        }
        let payload = match self.players[number].below(10) {
            0 | 1 => r#"{"eat":{"item":"berry"}}"#.to_owned(),
            2 => r#"{"feed":{}}"#.to_owned(),
            _ => player::gather(chunk, slot),
        };
        let payload = self.players[number].command(payload);
        self.send(number, payload);
    }
}
