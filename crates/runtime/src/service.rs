//! What a studio's own service is written with: the trait and every type that its signatures name, so that the service
//! needs this crate alone, and [`TestHosts`] to test it with. `docs/services.md` explains it.
//!
//! A service is registered by [`NodeBuilder::service`](crate::NodeBuilder::service), or by `pelago::Server::service`.

mod test_hosts;

pub use test_hosts::{ServiceAnswer, TestHosts};

pub use bytes::Bytes;
pub use pelago_model::json;
pub use pelago_model::{
    ChannelId, Check, CommitOutcome, Document, EntityId, Epoch, IslandClock, IslandId, IslandTime,
    Key, Limit, LimitCounts, NodeId, PublisherId, Reader, Revision, Role, Size, Transaction,
    WorldTime, Write,
};
pub use pelago_node::call::CallError;
pub use pelago_node::lane_call::LaneCall;
pub use pelago_node::log::Level;
pub use pelago_node::service::{
    Completion, Service, ServiceCall, ServiceContext, ServiceKind, ServiceSeat,
};
pub use pelago_node::{
    CallResult, CallTarget, Caller, OutgoingCall, RequestId, RuleEnd, RuleRun, StoreAnswer,
};
