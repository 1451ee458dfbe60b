//! The vocabulary that all crates share: identities, positions, time, state as functions of time, keys and documents,
//! and the limits on all of them. This crate knows no bytes on a wire, no game and no storage engine.

pub mod allowance;
pub mod attendance;
pub mod backoff;
pub mod budgets;
pub mod chunk_page;
pub mod clock;
pub mod document;
pub mod edit;
pub mod gauge;
pub mod id;
pub mod json;
pub mod key;
pub mod lane_set;
pub mod limit_counts;
pub mod limits;
pub mod machine;
pub mod name;
pub mod numbers;
pub mod origin;
pub mod place;
pub mod reader;
pub mod role;
pub mod secret;
pub mod size;
pub mod throttle;
pub mod time;
pub mod trajectory;

pub use allowance::{Allowance, Bucket};
pub use attendance::Attendance;
pub use backoff::{Backoff, Retry};
pub use budgets::Budgets;
pub use chunk_page::ChunkPage;
pub use clock::{ClockMark, ClockReading, ClockStart, DisciplinedClock, MarkLease};
pub use document::{Check, CommitOutcome, Document, Transaction, Write};
pub use gauge::Gauge;
pub use id::{
    EntityId, Epoch, Incarnation, IslandId, NodeId, PublisherId, Revision, Sequence, WorldNumber,
};
pub use key::{GrantKey, Key};
pub use lane_set::{LaneSet, MAX_LANES};
pub use limit_counts::{Limit, LimitCounts};
pub use machine::Machine;
pub use name::{Name, NoName, keys_of_name};
pub use numbers::Numbers;
pub use origin::{ByOrigin, Origin};
pub use place::{Cell, ChannelId, ChunkId, Direction, Position, Rate};
pub use reader::Reader;
pub use role::{MalformedRole, Role};
pub use secret::Secret;
pub use size::Size;
pub use throttle::Throttle;
pub use time::{IslandClock, IslandTime, Tick, WorldTime};
pub use trajectory::Trajectory;
