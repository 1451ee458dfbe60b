//! What was asked for and is not answered yet: at most one durable command, some live ones, some content.

use super::dialing::Pause;
use super::effects::LocalTime;
use super::settings::Unanswered;
use bytes::Bytes;
use std::collections::BTreeSet;

/// Live commands without an answer; beyond it the application is told that the client is busy.
pub const MAX_LIVE: usize = 64;
/// Pieces of content that are being fetched; beyond it the application is told that the client is busy.
pub const MAX_FETCHES: usize = 64;

/// A durable command.
#[derive(Clone, Debug)]
pub(super) struct Durable {
    pub(super) sequence: u64,
    pub(super) payload: Bytes,
    /// It has left this client at least once: its number is its own from then on.
    pub(super) sent: bool,
    /// It is to be sent as soon as the connection takes bytes.
    pub(super) waits: bool,
    /// When it is repeated because the node could not tell what became of it.
    pub(super) repeat_at: Option<LocalTime>,
    pub(super) pause: Pause,
}

/// What a welcome means for the durable command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resumed {
    /// There is none.
    Nothing,
    /// It is to be sent.
    Send,
    /// The avatar has not got that far, so that this number cannot be its next: the command will never happen.
    Impossible {
        /// The command's number.
        sequence: u64,
    },
}

/// Everything without an answer.
#[derive(Clone, Debug)]
pub(super) struct Commands {
    /// Of the avatar's last durable command that is known to have happened.
    pub(super) sequence: u64,
    pub(super) durable: Option<Durable>,
    /// Numbers of live commands and of the line under way, at most [`MAX_LIVE`].
    pub(super) live: BTreeSet<u64>,
    /// The number of the last live command, or of the last line.
    pub(super) live_number: u64,
    /// The number of the line that is under way.
    pub(super) line: Option<u64>,
    /// Hashes of content, at most [`MAX_FETCHES`].
    pub(super) fetches: BTreeSet<Bytes>,
    /// They are to be asked for again as soon as the connection takes bytes.
    pub(super) fetches_wait: bool,
}

impl Commands {
    pub(super) fn new(unanswered: Option<Unanswered>) -> Self {
        let durable = unanswered.map(|it| Durable {
            sequence: it.sequence,
            payload: it.payload,
            sent: true,
            waits: false,
            repeat_at: None,
            pause: Pause::FIRST,
        });
        Self {
            sequence: 0,
            durable,
            live: BTreeSet::new(),
            live_number: 0,
            line: None,
            fetches: BTreeSet::new(),
            fetches_wait: false,
        }
    }

    /// The number of the next durable command.
    pub(super) fn next_sequence(&self) -> u64 {
        self.sequence.saturating_add(1)
    }

    /// The avatar's last durable command had this number when it was welcomed.
    pub(super) fn welcomed(&mut self, sequence: u64, under_new_number: bool) -> Resumed {
        self.sequence = sequence;
        let next = self.next_sequence();
        let Some(durable) = &mut self.durable else { return Resumed::Nothing };
        durable.repeat_at = None;
        if !durable.sent || under_new_number {
            // A command that has never left this client may have any number.
            durable.sequence = next;
        } else if durable.sequence > next {
            let sequence = durable.sequence;
            self.durable = None;
            return Resumed::Impossible { sequence };
        }
        Resumed::Send
    }

    /// The durable command with this number has been answered: it is taken out.
    pub(super) fn settle(&mut self, sequence: u64) -> bool {
        self.durable.take_if(|it| it.sent && it.sequence == sequence).is_some()
    }

    /// What may have happened or not.
    pub(super) fn unanswered(&self) -> Option<Unanswered> {
        let durable = self.durable.as_ref().filter(|it| it.sent)?;
        Some(Unanswered { sequence: durable.sequence, payload: durable.payload.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(sequence: u64) -> Commands {
        Commands::new(Some(Unanswered { sequence, payload: Bytes::from_static(b"x") }))
    }

    #[test]
    fn a_command_that_was_sent_keeps_its_number_for_as_long_as_it_can_be_the_next() {
        for (last, resumed, number) in [
            (4, Resumed::Send, Some(5)),
            (5, Resumed::Send, Some(5)),
            (9, Resumed::Send, Some(5)),
            (3, Resumed::Impossible { sequence: 5 }, None),
            (u64::MAX, Resumed::Send, Some(5)),
        ] {
            let mut commands = sent(5);
            assert_eq!(commands.welcomed(last, false), resumed);
            assert_eq!(commands.unanswered().map(|it| it.sequence), number);
            assert_eq!(commands.sequence, last);
        }
    }

    #[test]
    fn a_command_that_was_never_sent_takes_the_number_that_is_next() {
        let mut commands = sent(5);
        commands.durable.as_mut().unwrap().sent = false;
        assert_eq!(commands.welcomed(8, false), Resumed::Send);
        assert_eq!(commands.durable.as_ref().unwrap().sequence, 9);
        assert_eq!(commands.unanswered(), None);
    }
}
