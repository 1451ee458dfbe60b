//! What a replay must know of the node whose machine was recorded.

use crate::rate_limits::{AddressLimits, ClientLimits};
use pelago_game::IslandSpec;
use pelago_model::{Allowance, ByOrigin, Incarnation, IslandClock, IslandId, NodeId, Role};
use serde::{Deserialize, Serialize};

/// The head of a recording: JSON, for people to read it, too. The world's secret is not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlightHeader {
    /// Program and version.
    pub build: String,
    /// The name of the game.
    pub game: String,
    /// The node.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// Its lanes.
    pub lanes: u8,
    /// Its hosts of services.
    pub services: u8,
    /// How many lanes share the players who arrive in one chunk.
    pub spread: u8,
    /// The number of the world.
    pub world: u32,
    /// Where new avatars appear.
    pub home: IslandId,
    /// What the islands are made from.
    pub islands: Vec<IslandSpec>,
    /// Island time.
    pub clock: IslandClock,
    /// Turns of one commit.
    pub batch_turns: usize,
    /// Clients at once.
    pub max_clients: usize,
    /// What each of them may do.
    pub limits: RecordedLimits,
    /// The services of the node, those of the studio included.
    pub roles: Vec<Role>,
    /// The machine, by its number.
    pub machine: u16,
    /// Whether the recording holds everything since the machine was made.
    pub whole: bool,
    /// Inputs in it.
    pub inputs: u64,
}

/// The limits on clients, as [`ClientLimits`](crate::ClientLimits) has them: times in ms, allowances as (per second,
/// burst).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in ClientLimits")]
pub struct RecordedLimits {
    pub hello_ms: i64,
    pub idle_ms: i64,
    pub blocked_ms: i64,
    /// Absent in recordings of older builds: as it is by default.
    #[serde(default = "RecordedLimits::account_logins")]
    pub account_logins: (u32, u32),
    /// Logins, new names and wrong tokens of an address of the machine itself, and of another one; absent as above.
    #[serde(default = "RecordedLimits::of_address")]
    pub of_address: [[(u32, u32); 3]; 2],
    pub durable: (u32, u32),
    pub live: (u32, u32),
    pub speech: (u32, u32),
    pub moves: (u32, u32),
    pub pings: (u32, u32),
}

impl RecordedLimits {
    fn account_logins() -> (u32, u32) {
        pair(ClientLimits::default().account_logins)
    }

    fn of_address() -> [[(u32, u32); 3]; 2] {
        Self::recorded_of_address(&ClientLimits::default().of_address)
    }

    pub(crate) fn recorded_of_address(limits: &ByOrigin<AddressLimits>) -> [[(u32, u32); 3]; 2] {
        [limits.loopback, limits.others].map(|of| [of.logins, of.names, of.wrong_tokens].map(pair))
    }
}

/// An allowance as it is recorded.
pub(crate) fn pair(allowance: Allowance) -> (u32, u32) {
    (allowance.per_second, allowance.burst)
}
