//! Players act, and hear of it: the shell of their clients' cores.

use super::{CALM_MS, Event, ISLAND, REST_MS, Simulation, TIME_IS_KNOWN_MS};
use crate::network::messages;
use crate::player::{self, SPEED};
use crate::violation::{Invariant, Violation};
use bytes::Bytes;
use pelago_client::core::{ConnectionNumber, Effect, Input, LocalTime};
use pelago_client::{Client, Event as Told, Loss};
use pelago_model::{NodeId, Origin, Position};
use pelago_node::ClientEvent;
use pelago_world::ClientId;

/// How long the way between a player and a node takes, in ms. All messages take as long, so that they keep their order.
const WAY_MS: i64 = 5;
/// How long somebody whose client has ended waits before starting it again, in ms.
const START_AGAIN_MS: i64 = 300;

impl Simulation {
    /// Bytes of a node have come to a player.
    pub(super) fn hear(
        &mut self,
        number: usize,
        client: ClientId,
        bytes: Bytes,
    ) -> Result<(), Violation> {
        for (kind, payload) in messages(&bytes) {
            let player = &mut self.players[number];
            if player.client != Some(client) {
                break;
            }
            let connection = player.connection;
            let effects = player.input(self.now, Input::Received { connection, kind, payload });
            self.perform_client(number, effects)?;
        }
        Ok(())
    }

    /// A player's connection has ended.
    pub(super) fn cut_off(&mut self, number: usize, client: ClientId) -> Result<(), Violation> {
        let player = &mut self.players[number];
        if player.client != Some(client) {
            return Ok(());
        }
        player.client = None;
        player.blocked = false;
        let (connection, reason) = (player.connection, "cut".to_owned());
        let effects = player.input(self.now, Input::Closed { connection, reason });
        self.perform_client(number, effects)
    }

    /// A player's core wants to be woken.
    pub(super) fn wake_player(&mut self, number: usize) -> Result<(), Violation> {
        let player = &mut self.players[number];
        if player.wake_at != Some(self.now) || player.gone {
            return Ok(());
        }
        player.wake_at = None;
        let effects = player.input(self.now, Input::Wake);
        self.perform_client(number, effects)
    }

    /// What a player has dialled answers, if it is there.
    pub(super) fn answer_dial(
        &mut self,
        number: usize,
        connection: ConnectionNumber,
        node: NodeId,
    ) -> Result<(), Violation> {
        let player = &mut self.players[number];
        if player.connection != connection || player.client.is_some() || player.gone {
            return Ok(());
        }
        let alive = self.nodes.get(&node).is_some_and(|host| host.node.is_some());
        let input = if alive && player.offline_until <= self.now {
            self.next_client += 1;
            let client = ClientId(self.next_client);
            self.clients.insert(client, (number, node));
            (player.node, player.client) = (node, Some(client));
            self.of_client(node, client, ClientEvent::Connected { origin: Origin::LOOPBACK });
            Input::Opened { connection }
        } else {
            Input::Closed { connection, reason: "nobody there".to_owned() }
        };
        let effects = self.players[number].input(self.now, input);
        self.perform_client(number, effects)
    }

    /// Carries out what a player's core wants.
    fn perform_client(&mut self, number: usize, effects: Vec<Effect>) -> Result<(), Violation> {
        for effect in effects {
            match effect {
                Effect::Dial { connection, address } => {
                    let player = &mut self.players[number];
                    player.connection = connection;
                    let node = NodeId(address.parse().unwrap_or(0));
                    self.after(WAY_MS, Event::PlayerDials { player: number, connection, node });
                }
                Effect::Send { bytes, .. } => {
                    for (kind, payload) in messages(&bytes) {
                        self.players[number].note_sent(&payload);
                        self.send(number, kind, payload);
                    }
                }
                Effect::Hangup { .. } => self.hang_up(number),
                Effect::Event(event) => self.told(number, event)?,
            }
        }
        let player = &mut self.players[number];
        let next = player.core.next_wake().filter(|_| !player.gone);
        let next = next.map(|at| pelago_model::WorldTime(at.0).max(self.now.plus(1)));
        if let Some(next) = next
            && player.wake_at.is_none_or(|planned| next < planned || planned <= self.now)
        {
            player.wake_at = Some(next);
            self.at(next, Event::PlayerWake(number));
        }
        Ok(())
    }

    fn hang_up(&mut self, number: usize) {
        let player = &mut self.players[number];
        player.blocked = false;
        let Some(client) = player.client.take() else { return };
        let node = player.node;
        let life = self.nodes[&node].config.incarnation;
        self.after(WAY_MS, Event::Disconnected { node, life, client });
    }

    /// What a player's core tells.
    fn told(&mut self, number: usize, event: Told) -> Result<(), Violation> {
        match event {
            Told::Welcomed => {
                let player = &mut self.players[number];
                player.avatar = Some(player.core.avatar());
                player.began = self.now;
                self.check_live_place(number)?;
            }
            // Also that a rule is broken is told once it is on disk.
            Told::Outcome(outcome)
                if outcome.sequence > 0
                    && (outcome.code.is_empty() || !outcome.chain.is_empty()) =>
            {
                self.players[number].acknowledged += 1;
                self.outcome.acknowledged += 1;
                let core = &self.players[number].core;
                let whose = (core.avatar(), core.welcome().epoch);
                self.check_acknowledged(whose, outcome.sequence, &outcome.chain)?;
                self.check_asked_once(&self.players[number])?;
            }
            Told::Outcome(outcome) if outcome.sequence == 0 => self.line_ended(number, &outcome)?,
            Told::MoveRefused { code, .. }
                if matches!(&*code, "early" | "late")
                    && self.now > self.end.plus(TIME_IS_KNOWN_MS - CALM_MS) =>
            {
                let text =
                    format!("{} still moves in another time: {code}", self.players[number].name);
                return Err(self.violation(Invariant::Time, text));
            }
            Told::Line(line) => self.line_shown(number, &line)?,
            Told::Disconnected(Loss::Malformed(malformed)) => {
                let text =
                    format!("{} cannot read its node: {malformed}", self.players[number].name);
                return Err(self.violation(Invariant::Protocol, text));
            }
            Told::Disconnected(_) => {
                let player = &mut self.players[number];
                player.gone |= player.twin;
            }
            Told::Ended { .. } => {
                let player = &mut self.players[number];
                player.gone |= player.twin;
                player.start_at = Some(self.now.plus(START_AGAIN_MS));
            }
            _ => {}
        }
        Ok(())
    }

    /// Hands the application's request to a player's core.
    pub(super) fn ask<T>(
        &mut self,
        number: usize,
        ask: impl FnOnce(&mut Client, LocalTime, &mut Vec<Effect>) -> T,
    ) -> Result<T, Violation> {
        let mut effects = Vec::new();
        let now = LocalTime(self.now.0);
        let asked = ask(&mut self.players[number].core, now, &mut effects);
        self.perform_client(number, effects)?;
        Ok(asked)
    }

    fn send(&mut self, number: usize, kind: u8, payload: Bytes) {
        let player = &self.players[number];
        let Some(client) = player.client else { return };
        let event = ClientEvent::Received { kind, payload };
        let Some(life) = self.nodes.get(&player.node).map(|host| host.config.incarnation) else {
            return;
        };
        let event = Event::OfClient { node: player.node, life, client, event };
        // In order, like what comes back.
        self.after(WAY_MS, event);
    }

    pub(super) fn play(&mut self, number: usize) -> Result<(), Violation> {
        if self.players[number].gone {
            return Ok(());
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
        if self.players[number].start_at.is_some_and(|at| at <= self.now) {
            return self.start_client(number, None);
        }
        if !self.players[number].core.is_playing() || self.now >= self.end.plus(-REST_MS) {
            return Ok(());
        }
        match self.players[number].below(8) {
            0..=2 => self.walk(number),
            3..=5 if !self.players[number].core.is_acting() => self.gather(number),
            3..=5 => Ok(()),
            6 => self.talk(number),
            _ => {
                let count = self.players.len() as u32;
                let other = self.players[number].below(count) as usize;
                let other = &self.players[other];
                let target = other.avatar.filter(|_| other.core.is_playing());
                let Some(target) = target else { return Ok(()) };
                let wave = |core: &mut Client, _: LocalTime, effects: &mut Vec<Effect>| {
                    core.act_live(player::wave(target), effects).is_ok()
                };
                self.ask(number, wave).map(drop)
            }
        }
    }

    /// A player starts its client, for the first time or again, at this node if one is given.
    pub(super) fn start_client(
        &mut self,
        number: usize,
        node: Option<NodeId>,
    ) -> Result<(), Violation> {
        let player = &mut self.players[number];
        player.start_again(node);
        let effects = player.input(self.now, Input::Start);
        self.perform_client(number, effects)
    }

    /// A guest has seen enough.
    fn leave(&mut self, number: usize, goodbye: bool) -> Result<(), Violation> {
        if goodbye {
            self.say_goodbye(number)?;
        } else {
            self.vanish(number, super::planned_faults::NOTICED_MS, 0)?;
        }
        self.players[number].gone = true;
        Ok(())
    }

    pub(super) fn say_goodbye(&mut self, number: usize) -> Result<(), Violation> {
        self.ask(number, |core, _, effects| core.bye(effects))
    }

    fn walk(&mut self, number: usize) -> Result<(), Violation> {
        let player = &mut self.players[number];
        let (dx, dy) = (player.below(2400) as i32 - 1200, player.below(2400) as i32 - 1200);
        let here = player.core.path().position_at(player.core.island_time(LocalTime(self.now.0)));
        let side = i32::from(ISLAND.size) * pelago_model::place::CHUNK_UNITS;
        // Towards the middle, so that players meet.
        let pull = |at: i32| (side / 2 - at) / 8;
        let there = Position::new(here.x + dx + pull(here.x), here.y + dy + pull(here.y));
        self.walk_to(number, there)
    }

    fn walk_to(&mut self, number: usize, there: Position) -> Result<(), Violation> {
        let walk = |core: &mut Client, now: LocalTime, effects: &mut Vec<Effect>| {
            core.walk(now, SPEED, &[there], effects).is_ok()
        };
        self.ask(number, walk).map(drop)
    }

    fn gather(&mut self, number: usize) -> Result<(), Violation> {
        let core = &self.players[number].core;
        let here = core.path().position_at(core.island_time(LocalTime(self.now.0)));
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
        let Some((distance, place, chunk, slot)) = nearest else { return Ok(()) };
        if distance > 150 * 150 {
            return self.walk_to(number, place);
        }
        let payload = match self.players[number].below(10) {
            0 | 1 => r#"{"eat":{"item":"berry"}}"#.to_owned(),
            2 => r#"{"feed":{}}"#.to_owned(),
            _ => player::gather(chunk, slot),
        };
        let payload = Bytes::from(payload);
        self.players[number].asked =
            player::Asked { payload: payload.clone(), ..player::Asked::default() };
        self.ask(number, |core, _, effects| core.act(payload, effects).is_ok()).map(drop)
    }
}
