//! Names of the limits at which something happens to somebody, and how often it did.
//!
//! `docs/limits.md` has a row for each; a test of the server compares.

/// A limit that something can meet at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// Clients of a node at once.
    Clients,
    /// Connections of a node at once, those that have said nothing included.
    Connections,
    /// Connections of one address at once.
    AddressConnections,
    /// Connections of one address that are not logged in.
    AddressStrangers,
    /// New connections of one address, by rate.
    AddressConnects,
    /// Logins of one address, by rate.
    AddressLogins,
    /// New names of one address, by rate.
    AddressNames,
    /// Wrong tokens of one address, by rate.
    AddressTokens,
    /// Logins of one avatar, by rate.
    AccountLogins,
    /// Files that the connections of a process may take.
    OpenFiles,
    /// WebSocket handshakes at once.
    Handshakes,
    /// The time of a WebSocket handshake.
    HandshakeTime,
    /// The time until a client says hello.
    HelloTime,
    /// The time for which a client may say nothing.
    IdleTime,
    /// The time from the first to the last byte of a message.
    MessageTime,
    /// The time for which a client may read nothing.
    BlockedTime,
    /// The time in which a closed connection may read what was left.
    CloseTime,
    /// Bytes of a message.
    MessageBytes,
    /// Bytes of control messages that wait for a blocked client.
    WaitingControl,
    /// Bytes that wait for a socket.
    PendingBytes,
    /// Bytes of a WebSocket's own answers that wait for a socket.
    PendingPongs,
    /// WebSocket frames without data between two messages.
    EmptyFrames,
    /// Messages of a client, by rate.
    Messages,
    /// Durable commands of a client, by rate.
    Durable,
    /// Live commands of a client, by rate.
    Live,
    /// Utterances of a client, by rate.
    Speech,
    /// Moves of a client, by rate.
    Moves,
    /// Pings of a client, by rate.
    Pings,
    /// KiB of content that a client fetches, by rate.
    Fetches,
    /// Bytes of a command.
    CommandBytes,
    /// Bytes of an utterance.
    SpeechBytes,
    /// Logins under way.
    Logins,
    /// Attempts of a login that meets conflicts.
    LoginAttempts,
    /// Time of a login.
    LoginTime,
    /// Entities of a lane, those gone a moment ago included.
    Slots,
    /// Ticks until a frame is delivered.
    FrameAge,
    /// Commands that wait for one key.
    StewardQueue,
    /// Attempts of a turn that meets conflicts.
    TurnAttempts,
    /// The time until a turn is decided.
    TurnTime,
    /// Documents that the stewards remember.
    Remembered,
    /// Lines that wait for one room or mailbox.
    ChatQueue,
    /// Attempts of a line that meets conflicts.
    ChatAttempts,
    /// The time until a line is on disk.
    ChatTime,
    /// Speakers that a room or a mailbox remembers.
    ChatSpeakers,
    /// Whispers that wait for somebody who is away.
    MailboxLines,
    /// Links that have not said who they are.
    Strangers,
    /// The time for which a link may say nothing.
    LinkTime,
    /// Bytes that wait for a blocked link.
    LinkWaiting,
    /// Subscriptions of a node.
    Subscriptions,
    /// Calls of another node under way.
    IncomingCalls,
    /// Calls to other nodes under way.
    OutgoingCalls,
    /// Bytes of a frame between nodes.
    FrameBytes,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 52] = [
        Self::Clients,
        Self::Connections,
        Self::AddressConnections,
        Self::AddressStrangers,
        Self::AddressConnects,
        Self::AddressLogins,
        Self::AddressNames,
        Self::AddressTokens,
        Self::AccountLogins,
        Self::OpenFiles,
        Self::Handshakes,
        Self::HandshakeTime,
        Self::HelloTime,
        Self::IdleTime,
        Self::MessageTime,
        Self::BlockedTime,
        Self::CloseTime,
        Self::MessageBytes,
        Self::WaitingControl,
        Self::PendingBytes,
        Self::PendingPongs,
        Self::EmptyFrames,
        Self::Messages,
        Self::Durable,
        Self::Live,
        Self::Speech,
        Self::Moves,
        Self::Pings,
        Self::Fetches,
        Self::CommandBytes,
        Self::SpeechBytes,
        Self::Logins,
        Self::LoginAttempts,
        Self::LoginTime,
        Self::Slots,
        Self::FrameAge,
        Self::StewardQueue,
        Self::TurnAttempts,
        Self::TurnTime,
        Self::Remembered,
        Self::ChatQueue,
        Self::ChatAttempts,
        Self::ChatTime,
        Self::ChatSpeakers,
        Self::MailboxLines,
        Self::Strangers,
        Self::LinkTime,
        Self::LinkWaiting,
        Self::Subscriptions,
        Self::IncomingCalls,
        Self::OutgoingCalls,
        Self::FrameBytes,
    ];

    /// As `/metrics` and `docs/limits.md` call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Connections => "connections",
            Self::AddressConnections => "address_connections",
            Self::AddressStrangers => "address_strangers",
            Self::AddressConnects => "address_connects",
            Self::AddressLogins => "address_logins",
            Self::AddressNames => "address_names",
            Self::AddressTokens => "address_tokens",
            Self::AccountLogins => "account_logins",
            Self::OpenFiles => "open_files",
            Self::Handshakes => "handshakes",
            Self::HandshakeTime => "handshake_time",
            Self::HelloTime => "hello_time",
            Self::IdleTime => "idle_time",
            Self::MessageTime => "message_time",
            Self::BlockedTime => "blocked_time",
            Self::CloseTime => "close_time",
            Self::MessageBytes => "message_bytes",
            Self::WaitingControl => "waiting_control",
            Self::PendingBytes => "pending_bytes",
            Self::PendingPongs => "pending_pongs",
            Self::EmptyFrames => "empty_frames",
            Self::Messages => "messages",
            Self::Durable => "durable",
            Self::Live => "live",
            Self::Speech => "speech",
            Self::Moves => "moves",
            Self::Pings => "pings",
            Self::Fetches => "fetches",
            Self::CommandBytes => "command_bytes",
            Self::SpeechBytes => "speech_bytes",
            Self::Logins => "logins",
            Self::LoginAttempts => "login_attempts",
            Self::LoginTime => "login_time",
            Self::Slots => "slots",
            Self::FrameAge => "frame_age",
            Self::StewardQueue => "steward_queue",
            Self::TurnAttempts => "turn_attempts",
            Self::TurnTime => "turn_time",
            Self::Remembered => "remembered",
            Self::ChatQueue => "chat_queue",
            Self::ChatAttempts => "chat_attempts",
            Self::ChatTime => "chat_time",
            Self::ChatSpeakers => "chat_speakers",
            Self::MailboxLines => "mailbox_lines",
            Self::Strangers => "strangers",
            Self::LinkTime => "link_time",
            Self::LinkWaiting => "link_waiting",
            Self::Subscriptions => "subscriptions",
            Self::IncomingCalls => "incoming_calls",
            Self::OutgoingCalls => "outgoing_calls",
            Self::FrameBytes => "frame_bytes",
        }
    }
}

/// How often limits were met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitCounts([u64; Limit::ALL.len()]);

impl Default for LimitCounts {
    fn default() -> Self {
        Self([0; Limit::ALL.len()])
    }
}

impl LimitCounts {
    /// A limit was met.
    pub fn note(&mut self, limit: Limit) {
        self.add(limit, 1);
    }

    /// A limit was met some times.
    pub fn add(&mut self, limit: Limit, times: u64) {
        self.0[limit as usize] += times;
    }

    /// How often it was met.
    pub fn of(&self, limit: Limit) -> u64 {
        self.0[limit as usize]
    }

    /// Adds what others have counted.
    pub fn merge(&mut self, others: &Self) {
        for (own, other) in self.0.iter_mut().zip(others.0) {
            *own += other;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_a_place_and_a_name_of_its_own() {
        let mut counts = LimitCounts::default();
        for (index, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, index);
            counts.add(limit, index as u64 + 1);
        }
        counts.merge(&counts.clone());
        for (index, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(counts.of(limit), 2 * (index as u64 + 1));
        }
        let names: std::collections::BTreeSet<_> = Limit::ALL.iter().map(|it| it.name()).collect();
        assert_eq!(names.len(), Limit::ALL.len());
    }
}
