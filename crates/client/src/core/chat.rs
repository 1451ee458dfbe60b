//! Lines to the island and whispers: each is told to the application once.

use super::Client;
use super::effects::{Effect, Event};
use pelago_wire::client::{ChatChannel, ChatLine, Heard, client_message};

/// The last lines that the application was told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chat {
    /// An island, and the number of the last line of its room.
    room: (u64, u64),
    /// The number of the last whisper.
    whisper: u64,
    /// The node is to be told which whisper was the last as soon as the connection takes bytes.
    waits: bool,
}

impl Client {
    /// A line came: for the first time, or again.
    pub(super) fn chat_line(&mut self, line: ChatLine, effects: &mut Vec<Effect>) {
        let island = self.welcome.island;
        if self.chat.room.0 != island {
            self.chat.room = (island, 0);
        }
        let last = match line.channel() {
            ChatChannel::ChatIsland => &mut self.chat.room.1,
            ChatChannel::ChatWhisper => &mut self.chat.whisper,
            // A later version may have more channels.
            ChatChannel::ChatNear => return,
        };
        let (is_new, is_whisper) =
            (line.number > *last, line.channel() == ChatChannel::ChatWhisper);
        if is_new {
            *last = line.number;
            effects.push(Effect::Event(Event::Line(line)));
        }
        if is_whisper {
            // Also of one that came again: the node has not heard that it was shown.
            self.send_heard(effects);
        }
    }

    /// The connection takes bytes again.
    pub(super) fn send_heard_that_waits(&mut self, effects: &mut Vec<Effect>) {
        if self.chat.waits {
            self.send_heard(effects);
        }
    }

    fn send_heard(&mut self, effects: &mut Vec<Effect>) {
        self.chat.waits = self.blocked;
        if !self.blocked {
            let number = self.chat.whisper;
            self.send(client_message::Body::Heard(Heard { number }), effects);
        }
    }
}
