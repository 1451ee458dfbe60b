//! What a node says, and what the client makes of it.

use super::commands::Resumed;
use super::effects::{Effect, Event, LocalTime};
use super::estimate::Estimate;
use super::loss::Loss;
use super::{Client, Phase};
use crate::view::View;
use bytes::Bytes;
use pelago_model::{IslandClock, IslandId, Tick, Trajectory, WorldTime};
use pelago_wire::Malformed;
use pelago_wire::client::{Outcome, Pong, ServerMessage, Welcome, server_message};
use pelago_wire::message::{Kind, decode_control};

impl Client {
    /// Takes in a message.
    ///
    /// # Errors
    /// [`Malformed`]: the node is broken, and the connection has to end.
    pub(super) fn hear(
        &mut self,
        now: LocalTime,
        kind: u8,
        payload: &Bytes,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Malformed> {
        if kind == Kind::Control as u8 {
            let message: ServerMessage = decode_control(payload)?;
            return match message.body {
                Some(body) => self.told(now, body, effects),
                // A later version has it.
                None => Ok(()),
            };
        }
        if self.phase != Phase::Playing {
            // What is in sight comes after the welcome, which says what it refers to.
            return Err(Malformed::OutOfRange);
        }
        let mut changes = Vec::new();
        self.view.receive(kind, payload, &mut changes)?;
        if !changes.is_empty() {
            effects.push(Effect::Event(Event::Changes(changes)));
        }
        Ok(())
    }

    fn told(
        &mut self,
        now: LocalTime,
        body: server_message::Body,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Malformed> {
        match body {
            server_message::Body::Welcome(welcome) => {
                if matches!(self.phase, Phase::Greeting(_)) {
                    self.welcomed(now, welcome, effects)?;
                }
            }
            server_message::Body::Refused(refused) => {
                let loss = Loss::Refused { code: refused.code, sentence: refused.sentence };
                self.hang_up(now, loss, effects);
            }
            server_message::Body::Closing(closing) => {
                let loss = Loss::Closed { code: closing.code, sentence: closing.sentence };
                self.hang_up(now, loss, effects);
            }
            server_message::Body::Outcome(outcome) => self.outcome(now, outcome, effects),
            server_message::Body::MoveRefused(refused) => {
                let path = refused.path.as_ref().ok_or(Malformed::Trajectory)?;
                self.path = Trajectory::try_from(path)?;
                if matches!(&*refused.code, "early" | "late") {
                    self.ping_soon(now);
                }
                let event = Event::MoveRefused { number: refused.number, code: refused.code };
                effects.push(Effect::Event(event));
            }
            server_message::Body::Pong(pong) => self.pong(now, &pong, effects),
            server_message::Body::Content(content) => {
                self.commands.fetches.remove(&content.hash);
                effects.push(Effect::Event(Event::Content(content)));
            }
            server_message::Body::ChatLine(line) => self.chat_line(line, effects),
            server_message::Body::Notice(notice) => {
                effects.push(Effect::Event(Event::Notice(notice.payload)));
            }
        }
        Ok(())
    }

    fn welcomed(
        &mut self,
        now: LocalTime,
        welcome: Welcome,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Malformed> {
        let clock = match &welcome.clock {
            Some(clock) => IslandClock::try_from(clock)?,
            None => IslandClock::IDENTITY,
        };
        let path = welcome.path.as_ref().ok_or(Malformed::Trajectory)?;
        self.path = Trajectory::try_from(path)?;
        self.clock = clock;
        self.view = View::new(IslandId(welcome.island), clock, Tick(welcome.tick));
        self.estimate = Estimate::begin(now, self.greeted, WorldTime(welcome.world_time_ms));
        self.phase = Phase::Playing;
        self.liveness.begin(now);
        let under_new_number = self.settings.sabotage.repeat_under_new_number;
        let resumed = self.commands.welcomed(welcome.sequence, under_new_number);
        self.welcome = welcome;
        effects.push(Effect::Event(Event::Welcomed));
        match resumed {
            Resumed::Nothing => {}
            Resumed::Send => self.send_durable(effects),
            Resumed::Impossible { sequence } => {
                let sentence = "Something else has happened meanwhile.".to_owned();
                let code = "out_of_order".to_owned();
                let outcome = Outcome { sequence, code, sentence, ..Outcome::default() };
                effects.push(Effect::Event(Event::Outcome(outcome)));
            }
        }
        self.fetch_again(effects);
        self.send_ping(now, effects);
        Ok(())
    }

    fn outcome(&mut self, now: LocalTime, outcome: Outcome, effects: &mut Vec<Effect>) {
        let (sequence, number) = (outcome.sequence, outcome.number);
        if sequence == 0 {
            self.commands.line.take_if(|line| *line == number);
            // Without a number it is about something that was said.
            if number == 0 || self.commands.live.remove(&number) {
                effects.push(Effect::Event(Event::Outcome(outcome)));
            }
            return;
        }
        if outcome.code == "unavailable" {
            if let Some(durable) =
                self.commands.durable.as_mut().filter(|it| it.sent && it.sequence == sequence)
            {
                // Only the very same command under the same number tells whether it happened.
                durable.repeat_at = Some(durable.pause.end(now, &mut self.dialing.rng));
                effects.push(Effect::Event(Event::Unsettled { sequence }));
            }
            return;
        }
        if !self.commands.settle(sequence) {
            return;
        }
        let known = self.commands.sequence;
        let out_of_step = match outcome.code.as_str() {
            // This number is used up: by this command, or by another one if it is said to be repeated. A command whose rule
            // is broken has used it up if there is a chain after it.
            code if matches!(code, "" | "repeated") || !outcome.chain.is_empty() => {
                self.commands.sequence = known.max(sequence);
                false
            }
            "stale" | "out_of_order" => sequence > known,
            _ => false,
        };
        effects.push(Effect::Event(Event::Outcome(outcome)));
        if out_of_step {
            self.hang_up(now, Loss::OutOfStep, effects);
        }
    }

    fn pong(&mut self, now: LocalTime, pong: &Pong, effects: &mut Vec<Effect>) {
        let (sent, world_time) = (LocalTime(pong.client_ms), WorldTime(pong.world_time_ms));
        let Some(round_trip_ms) = self.estimate.pong(now, sent, world_time) else { return };
        if self.liveness.answered(now) {
            self.dialing.proved();
        }
        effects.push(Effect::Event(Event::Pong { world_time, round_trip_ms }));
    }
}
