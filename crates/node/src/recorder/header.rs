//! What a replay must know of the node whose machine was recorded.

use pelago_game::IslandSpec;
use pelago_model::{Incarnation, IslandClock, IslandId, NodeId, Role};
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
    pub durable: (u32, u32),
    pub live: (u32, u32),
    pub speech: (u32, u32),
    pub moves: (u32, u32),
    pub pings: (u32, u32),
}
