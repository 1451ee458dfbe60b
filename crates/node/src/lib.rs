//! A node, as machines: lanes, stewards, login and control, composed from the cores.
//!
//! Nothing here waits, reads a clock or opens a socket: the server drives these machines with tokio, the
//! simulator drives the very same with a queue of its own.

pub mod audit;
pub mod avatar;
pub mod control;
pub mod effect;
pub mod grant;
pub mod lane;
pub mod login;
pub mod node;
pub mod placement;
pub mod rate_limits;
pub mod schema;
pub mod steward;
pub mod token;

pub use control::{Control, ControlConfig, ControlInput};
pub use effect::{Effect, Level, Message, Part, RequestId};
pub use grant::Grant;
pub use lane::{Lane, LaneConfig, LaneInput, Session};
pub use login::{Login, LoginConfig, LoginInput};
pub use node::{Hub, Node, NodeConfig, bootstrap};
pub use rate_limits::{ClientLimits, ProtocolViolation};
pub use steward::{
    Caller, DurableCommand, DurableResult, MAX_BATCH_TURNS, Steward, StewardConfig,
    StewardCounters, StewardInput, StewardSabotage,
};
