//! What passes between the core and its shell: inputs, effects, and events for the application.

use super::loss::Loss;
use super::settings::Unanswered;
use crate::view::Change;
use bytes::Bytes;
use pelago_model::WorldTime;
use pelago_wire::client::{ChatLine, Content, Outcome};

/// A time of the caller's monotonic clock, in ms. Only differences matter; it never steps back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalTime(pub i64);

impl LocalTime {
    /// The instant `ms` later, saturating.
    #[must_use]
    pub const fn plus(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this one, saturating.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The number of a connection. What a shell says of any but the last one is too late, and ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionNumber(pub u64);

/// What can wake the core.
#[derive(Clone, Debug)]
pub enum Input {
    /// The first connection is to be opened.
    Start,
    /// A connection is open.
    Opened {
        /// Which.
        connection: ConnectionNumber,
    },
    /// A connection could not be opened, or has ended.
    Closed {
        /// Which.
        connection: ConnectionNumber,
        /// Why, for people.
        reason: String,
    },
    /// A message came.
    Received {
        /// By which connection.
        connection: ConnectionNumber,
        /// The number of its kind.
        kind: u8,
        /// Its payload.
        payload: Bytes,
    },
    /// A connection takes no more bytes for now.
    Blocked {
        /// Which.
        connection: ConnectionNumber,
    },
    /// A connection takes bytes again.
    Writable {
        /// Which.
        connection: ConnectionNumber,
    },
    /// It is as late as the core wanted to be woken.
    Wake,
}

/// What the core asks its shell to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Open a connection; it is answered by `Opened` or `Closed`.
    Dial {
        /// By this number it is known from now on.
        connection: ConnectionNumber,
        /// One of those in the settings.
        address: String,
    },
    /// Send whole messages.
    Send {
        /// By which connection.
        connection: ConnectionNumber,
        /// With their heads.
        bytes: Bytes,
    },
    /// End a connection, or give up opening it, after what was sent. It is not answered.
    Hangup {
        /// Which.
        connection: ConnectionNumber,
    },
    /// Tell the application.
    Event(Event),
}

/// What the application is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The avatar is in the world, for the first time or again. What it saw before is forgotten.
    Welcomed,
    /// What is seen has changed.
    Changes(Vec<Change>),
    /// The answer to a command: to a durable one if it has a sequence, to a live one, a line to the island or a whisper if it
    /// has a number, otherwise to something that was said to those who are near.
    Outcome(Outcome),
    /// The node cannot tell whether a durable command happened. The client asks again by itself; an `Outcome` follows.
    Unsettled {
        /// Of the command.
        sequence: u64,
    },
    /// A move was refused; the predicted path has been replaced by the true one.
    MoveRefused {
        /// Of the move.
        number: u32,
        /// The public code.
        code: String,
    },
    /// Content that was asked for; empty with a code if it has to be asked for again.
    Content(Content),
    /// Somebody has said something to the island, or to this player. Every line is told once, in order; a line that a later
    /// connection brings again is left out. Lines of those who are near are among [`Event::Changes`].
    Line(ChatLine),
    /// The game tells this player alone.
    Notice(Bytes),
    /// A pong came.
    Pong {
        /// What the node said.
        world_time: WorldTime,
        /// In ms.
        round_trip_ms: i64,
    },
    /// A connection could not be opened or has ended. The client tries again, elsewhere if it knows another address.
    Disconnected(Loss),
    /// It is over: the client tries no more.
    Ended {
        /// Why.
        loss: Loss,
        /// What another client of the same avatar would have to repeat.
        unanswered: Option<Unanswered>,
    },
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// There is no session just now, and what was asked for would make no sense in the next one.
    #[error("there is no session")]
    Away,
    /// Something else is under way, or the connection takes no bytes: to be asked for later.
    #[error("one thing after the other")]
    Busy,
    /// The client has ended.
    #[error("the session is over")]
    Over,
    /// A path that nobody could walk.
    #[error(transparent)]
    Path(#[from] pelago_model::trajectory::InvalidTrajectory),
}
