//! What a client is made of: who it is, where it may go, and how patient it is.

use bytes::Bytes;
use pelago_model::Secret;
use pelago_wire::client::Arrival;

/// How often a client asks for the time, in ms, unless told otherwise. Nodes answer two pings in a second.
pub const PING_EVERY_MS: i64 = 1_000;
/// After how long without a pong a connection counts as lost, in ms, unless told otherwise. It begins with the last
/// pong, so that pings have to be more frequent than that: see [`Settings::ping_every_ms`].
pub const PONG_TIMEOUT_MS: i64 = 3_000;

/// The player and the avatar, as a hello names them.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Of the avatar, at most 48 bytes.
    pub name: String,
    /// Proves that the name is its own: 16 to 64 random bytes. The first login of a name binds it.
    pub token: Secret,
    /// Where an avatar that is new appears.
    pub arrival: Arrival,
}

/// A durable command that has been sent and not answered: whether it happened is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// Its number. A repetition has the same one.
    pub sequence: u64,
    /// The game's bytes.
    pub payload: Bytes,
}

/// What a client is given when it is made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The player and the avatar.
    pub identity: Identity,
    /// Nodes, as the shell understands them. The first is tried first; after a failure the next one is.
    pub addresses: Vec<String>,
    /// Decides the pauses between attempts. Clients that lose their node together should not have the same.
    pub seed: u64,
    /// Program and version, for the logs of nodes.
    pub program: String,
    /// What an earlier client of the same avatar left unanswered; it is repeated under its number.
    pub unanswered: Option<Unanswered>,
    /// How often the time is asked for, in ms. A client to which nothing comes asks three times within
    /// `pong_timeout_ms`, however rarely it does so otherwise.
    pub ping_every_ms: i64,
    /// After how long without a pong a connection counts as lost, in ms.
    pub pong_timeout_ms: i64,
    /// Planted bugs.
    pub sabotage: ClientSabotage,
}

impl Settings {
    /// The usual ones.
    pub fn new(identity: Identity, addresses: Vec<String>, seed: u64) -> Self {
        Self {
            identity,
            addresses,
            seed,
            program: concat!("pelago-client ", env!("CARGO_PKG_VERSION")).to_owned(),
            unanswered: None,
            ping_every_ms: PING_EVERY_MS,
            pong_timeout_ms: PONG_TIMEOUT_MS,
            sabotage: ClientSabotage::default(),
        }
    }
}

/// Bugs that can be planted, so that the simulator can show that it finds them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientSabotage {
    /// A client that resumes repeats its unanswered command under the next number instead of the same one.
    pub repeat_under_new_number: bool,
}
