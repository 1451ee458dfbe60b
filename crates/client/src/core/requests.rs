//! What the application asks for.

use super::commands::{Durable, MAX_FETCHES, MAX_LIVE};
use super::dialing::Pause;
use super::effects::{Effect, LocalTime, RequestError};
use super::loss::Loss;
use super::{Client, Phase};
use bytes::Bytes;
use pelago_model::{IslandTime, Position};
use pelago_wire::client::{self, ChatChannel, client_message};

/// A move that has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Its number, which a refusal repeats.
    pub number: u32,
    /// When it leaves the path before it.
    pub at: IslandTime,
}

impl Client {
    /// Leaves the present path for a straight or bent one. The new one is predicted at once.
    ///
    /// On a connection that takes no bytes only the last move waits.
    ///
    /// # Errors
    /// [`RequestError`]: nothing was sent, and the path is as before.
    pub fn walk(
        &mut self,
        now: LocalTime,
        speed: u16,
        points: &[Position],
        effects: &mut Vec<Effect>,
    ) -> Result<Walk, RequestError> {
        self.is_here()?;
        let world = self.world_time(now);
        let at = self.clock.at(world).max(self.path.start_time());
        self.path = self.path.turned(at, speed, points)?;
        self.moves = self.moves.wrapping_add(1);
        let request = client::Move {
            number: self.moves,
            at_ms: world.0,
            speed: speed.into(),
            waypoints: points.iter().flat_map(|point| [point.x, point.y]).collect(),
        };
        if self.blocked {
            self.waiting_move = Some(request);
        } else {
            self.send(client_message::Body::Move(request), effects);
        }
        Ok(Walk { number: self.moves, at })
    }

    /// Sends a durable command, now or when there is a session again. Its outcome comes once it is on disk.
    ///
    /// # Errors
    /// [`RequestError::Busy`] while another one is under way.
    pub fn act(&mut self, payload: Bytes, effects: &mut Vec<Effect>) -> Result<(), RequestError> {
        if self.phase == Phase::Over {
            return Err(RequestError::Over);
        }
        if self.commands.durable.is_some() {
            return Err(RequestError::Busy);
        }
        let sequence = self.commands.next_sequence();
        let pause = Pause::FIRST;
        self.commands.durable =
            Some(Durable { sequence, payload, sent: false, waits: false, repeat_at: None, pause });
        self.send_durable(effects);
        Ok(())
    }

    /// Sends a live command and returns its number. It is not repeated: if the connection ends before its outcome comes,
    /// it is answered as `unavailable`.
    ///
    /// # Errors
    /// [`RequestError::Busy`] if [`MAX_LIVE`] have no answer or the connection takes no bytes.
    pub fn act_live(
        &mut self,
        payload: Bytes,
        effects: &mut Vec<Effect>,
    ) -> Result<u64, RequestError> {
        self.has_room()?;
        if self.commands.live.len() >= MAX_LIVE {
            return Err(RequestError::Busy);
        }
        self.commands.live_number += 1;
        let number = self.commands.live_number;
        self.commands.live.insert(number);
        self.send(client_message::Body::Act(client::Act { sequence: 0, payload, number }), effects);
        Ok(number)
    }

    /// Speaks to those who are near.
    ///
    /// # Errors
    /// [`RequestError`]: nothing was sent.
    pub fn say(&mut self, text: &str, effects: &mut Vec<Effect>) -> Result<(), RequestError> {
        self.has_room()?;
        let say = client::Say { text: text.to_owned(), ..client::Say::default() };
        self.send(client_message::Body::Say(say), effects);
        Ok(())
    }

    /// Speaks to everybody on the island and returns the number of the line, which its outcome has. It is not repeated: if
    /// the connection ends before its outcome comes, it is answered as `unavailable`, and may have been said.
    ///
    /// # Errors
    /// [`RequestError::Busy`] while another line or whisper has no answer, or the connection takes no bytes.
    pub fn say_island(
        &mut self,
        text: &str,
        effects: &mut Vec<Effect>,
    ) -> Result<u64, RequestError> {
        let number = self.begin_line()?;
        let (text, channel) = (text.to_owned(), ChatChannel::ChatIsland.into());
        self.send(client_message::Body::Say(client::Say { text, channel, number }), effects);
        Ok(number)
    }

    /// Whispers to one player, who may be anywhere or away; otherwise as [`Client::say_island`].
    ///
    /// # Errors
    /// As [`Client::say_island`].
    pub fn whisper(
        &mut self,
        name: &str,
        text: &str,
        effects: &mut Vec<Effect>,
    ) -> Result<u64, RequestError> {
        let number = self.begin_line()?;
        let (name, text) = (name.to_owned(), text.to_owned());
        self.send(client_message::Body::Whisper(client::Whisper { number, name, text }), effects);
        Ok(number)
    }

    /// Lines of one player are said in order: one at a time.
    fn begin_line(&mut self) -> Result<u64, RequestError> {
        self.has_room()?;
        if self.commands.line.is_some() || self.commands.live.len() >= MAX_LIVE {
            return Err(RequestError::Busy);
        }
        self.commands.live_number += 1;
        let number = self.commands.live_number;
        self.commands.line = Some(number);
        self.commands.live.insert(number);
        Ok(number)
    }

    /// Asks for content by its hash. What is being fetched already is not asked for twice; what the end of a connection
    /// left unanswered is asked for again by the next one.
    ///
    /// # Errors
    /// [`RequestError::Busy`] if [`MAX_FETCHES`] are under way or the connection takes no bytes.
    pub fn fetch(&mut self, hash: Bytes, effects: &mut Vec<Effect>) -> Result<(), RequestError> {
        self.has_room()?;
        if self.commands.fetches.contains(&hash) {
            return Ok(());
        }
        if self.commands.fetches.len() >= MAX_FETCHES {
            return Err(RequestError::Busy);
        }
        self.commands.fetches.insert(hash.clone());
        self.send_fetch(hash, effects);
        Ok(())
    }

    /// Asks for the time, besides the pings that the client sends by itself.
    ///
    /// # Errors
    /// [`RequestError`]: nothing was sent.
    pub fn ping(&mut self, now: LocalTime, effects: &mut Vec<Effect>) -> Result<(), RequestError> {
        self.has_room()?;
        self.send_ping(now, effects);
        Ok(())
    }

    /// Leaves for good.
    pub fn bye(&mut self, effects: &mut Vec<Effect>) {
        if self.phase == Phase::Over {
            return;
        }
        if self.phase == Phase::Playing {
            self.send(client_message::Body::Bye(client::Bye {}), effects);
        }
        if self.is_connected() {
            effects.push(Effect::Hangup { connection: self.connection });
        }
        self.ended(Loss::Left, effects);
    }

    fn is_here(&self) -> Result<(), RequestError> {
        match self.phase {
            Phase::Playing => Ok(()),
            Phase::Over => Err(RequestError::Over),
            _ => Err(RequestError::Away),
        }
    }

    /// What is worth nothing later is not kept waiting.
    fn has_room(&self) -> Result<(), RequestError> {
        self.is_here()?;
        if self.blocked { Err(RequestError::Busy) } else { Ok(()) }
    }
}
