//! A node, as machines: lanes, links, arrivals and services, composed from the cores.
//!
//! Nothing here waits, reads a clock or opens a socket: a server drives these machines with tokio, and the simulator
//! drives the very same with a queue of its own. Machines do not know each other: the composer alone turns the effects
//! of one into the inputs of another.

pub mod call;
pub mod chat_call;
pub mod client_event;
pub mod composer;
pub mod content;
pub mod documents;
pub mod grant;
pub mod lane_call;
pub mod log;
pub mod machine_id;
pub mod mailbox;
pub mod node;
pub mod placement;
pub mod rate_limits;
pub mod recorder;
pub mod replay;
pub mod rule_run;
pub mod session;
pub mod store_request;
pub mod turn;

pub mod arrivals;
pub mod chat;
pub mod lane;
pub mod service;
pub mod steward;

pub use arrivals::{Arrivals, ArrivalsConfig, ArrivalsEffect, ArrivalsInput};
pub use call::{CallResult, CallTarget, Caller, OutgoingCall, Rejection, Reply};
pub use chat::ChatSabotage;
pub use chat_call::ChatCall;
pub use client_event::ClientEvent;
pub use composer::{Composer, MachineInput, Output, ShellEffect};
pub use content::{Piece, Shelf};
pub use documents::world::{WorldDocument, bootstrap};
pub use grant::Grant;
pub use lane::{Lane, LaneConfig, LaneCounters, LaneEffect, LaneInput};
pub use lane_call::{LaneCall, LiveCommand};
pub use log::{Level, LogLine};
pub use machine_id::MachineId;
pub use mailbox::{Mailbox, MailboxLimits};
pub use node::{Node, NodeConfig, NodeMachine, Sabotage};
pub use rate_limits::{AddressLimits, ClientLimits, ProtocolViolation};
pub use recorder::{MalformedRecording, Recorder, RecorderLimits, Recording, SharedRecorder};
pub use replay::{Replay, ReplayError, ReplayParts};
pub use rule_run::{RuleEnd, RuleRun, RunProgress};
pub use session::NewSession;
pub use steward::{MAX_BATCH_TURNS, Steward, StewardConfig, StewardSabotage};
pub use store_request::{RequestId, Requests, StoreAnswer};
pub use turn::{DurableCommand, DurableResult, StewardCall, unavailable};
