//! The answers of nodes, as JSON says them.

use crate::clock::ClockAnswer;
use crate::readiness::{Alarm, Readiness};
use pelago_cluster::LinksCounters;
use pelago_model::{IslandId, NodeId, Role, WorldTime};
use pelago_net::Traffic;
use pelago_node::lane::LaneCounters;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::atomic::Ordering::Relaxed;

/// Where a node is and how it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusAnswer {
    /// Its number.
    pub id: NodeId,
    /// Where it listens for clients over TCP.
    pub tcp: String,
    /// Where it listens for clients over WebSocket, as a URL.
    pub ws: String,
    /// Whether players can be sent to it.
    pub ready: bool,
    /// Why, or why not.
    pub readiness: Readiness,
    /// What to look at.
    pub alarms: Vec<Alarm>,
    /// Its lanes.
    pub lanes: usize,
    /// Connections of clients.
    pub connections: usize,
    /// Players on all its lanes.
    pub players: usize,
    /// Members of the cluster that it knows, itself included.
    pub members: usize,
    /// The world it runs.
    pub world: WorldAnswer,
}

/// The world of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorldAnswer {
    /// Its number.
    pub number: u32,
    /// The name of its game.
    pub game: String,
    /// World time on the node.
    pub time_ms: WorldTime,
    /// The same beside the clock of the node's host.
    pub clock: ClockAnswer,
}

/// An island of the world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IslandAnswer {
    /// Its id.
    pub id: IslandId,
    /// From which its land is made.
    pub seed: u64,
    /// Chunks along its side.
    pub chunks: u16,
    /// The version of the generator of its land.
    pub generator: u32,
    /// The hash of the list of its tiles.
    pub manifest: String,
}

/// How full a queue or a table is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldAnswer {
    /// Of which lane; of the node itself if there is none.
    pub lane: Option<u8>,
    /// What is counted.
    pub of: String,
    /// How many, or how many bytes, there are.
    pub held: usize,
    /// There are never more.
    pub limit: usize,
}

/// The counters of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountersAnswer {
    /// Connections of clients.
    pub connections: usize,
    /// Commands that wait for the stewards.
    pub backlog: usize,
    /// Of the stewards.
    pub stewards: StewardCounts,
    /// Of all services, those of the platform included.
    pub services: Vec<ServiceCount>,
    /// Of the links.
    pub links: LinkCounts,
    /// Of each lane.
    pub lanes: Vec<LaneCounts>,
    /// Of the connections of clients.
    pub clients: TrafficCounts,
    /// Of the connections of other nodes.
    pub peers: TrafficCounts,
}

/// What stewards count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StewardCounts {
    /// Batches that were committed.
    pub commits: u64,
    /// Turns of those batches.
    pub turns: u64,
}

/// What a service counts, over all its instances of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceCount {
    /// The role of the service.
    pub role: Role,
    /// What is counted.
    pub name: String,
    /// How often it happened, or how many there are.
    pub count: u64,
}

/// What links count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkCounts {
    /// Gaps in streams.
    pub gaps: u64,
    /// Frames read from other nodes.
    pub frames: u64,
    /// Calls tried at another node.
    pub retried: u64,
    /// Links hung up for what they sent.
    pub malformed: u64,
}

/// What a lane counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneCounts {
    /// Players on it.
    pub players: usize,
    /// Nanoseconds it has worked.
    pub busy_ns: u64,
    /// Frames published.
    pub frames: u64,
    /// Writes to clients at ticks.
    pub deliveries: u64,
    /// Bytes delivered at ticks.
    pub delivered_bytes: u64,
    /// Durable commands acknowledged.
    pub durable_acknowledged: u64,
    /// Commands refused.
    pub refused: u64,
    /// Messages not understood.
    pub malformed: u64,
    /// Moves accepted.
    pub moves: u64,
    /// Moves refused.
    pub moves_refused: u64,
}

/// What passed through connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficCounts {
    /// Bytes read.
    pub received: u64,
    /// Bytes written.
    pub sent: u64,
    /// Writes.
    pub writes: u64,
    /// Writes that were not taken whole.
    pub blocked: u64,
}

/// How a grant has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantAnswer {
    /// It is on disk, now or since an earlier time.
    Done {
        /// What the game says about it.
        effects: Value,
    },
    /// It is not carried out; as `unknown`, nobody knows.
    Refused {
        /// A public code.
        code: String,
        /// A sentence for the operator.
        sentence: String,
    },
}

/// How a call to a service of the studio has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceCallAnswer {
    /// The service has answered.
    Answered {
        /// Its answer.
        answer: Value,
    },
    /// The service has not answered; as `unknown`, nobody knows what it did.
    Failed {
        /// A public code.
        code: String,
        /// A sentence for the operator.
        sentence: String,
    },
}

impl From<&LinksCounters> for LinkCounts {
    fn from(links: &LinksCounters) -> Self {
        let LinksCounters { gaps, frames, retried, malformed, .. } = *links;
        Self { gaps, frames, retried, malformed }
    }
}

impl LaneCounts {
    pub(crate) fn new(players: usize, busy_ns: u64, counters: &LaneCounters) -> Self {
        Self {
            players,
            busy_ns,
            frames: counters.frames,
            deliveries: counters.deliveries,
            delivered_bytes: counters.delivered_bytes,
            durable_acknowledged: counters.durable_acknowledged,
            refused: counters.refused,
            malformed: counters.malformed,
            moves: counters.moves,
            moves_refused: counters.moves_refused,
        }
    }
}

impl From<&Traffic> for TrafficCounts {
    fn from(traffic: &Traffic) -> Self {
        Self {
            received: traffic.received.load(Relaxed),
            sent: traffic.sent.load(Relaxed),
            writes: traffic.writes.load(Relaxed),
            blocked: traffic.blocked.load(Relaxed),
        }
    }
}

/// What became of a request to write recordings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordAnswer {
    /// They are written.
    Written {
        /// One for each machine.
        files: Vec<RecordedFile>,
    },
    /// They could not be written, or not all of them.
    Failed {
        /// Why.
        problem: String,
    },
}

/// A recording of one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedFile {
    /// The machine.
    pub machine: String,
    /// Where it is, on the machine of the node.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Inputs in it.
    pub inputs: u64,
    /// Whether it begins with the machine's start.
    pub whole: bool,
}
