//! Services: what a cluster does for whoever asks by key.
//!
//! A service is a type with this trait, a message type of its own, and one line of registration ([`ServiceKind`]). Every
//! node with the service's role has instances of it, spread over the node's tasks by key. The directory says which node is
//! *preferred* for a key. That is a hint: two instances may both believe that they are it, so that whatever must be ordered,
//! unique or counted is a document.

mod context;
mod host;
mod interface;
mod runs;

pub use context::ServiceContext;
pub use host::ServiceHost;
pub use interface::{ServiceCall, ServiceEffect, ServiceInput};
pub use runs::RUN_LIMIT_MS;

use crate::call::CallResult;
use crate::rule_run::RuleEnd;
use crate::store_request::{RequestId, StoreAnswer};
use pelago_game::{Game, Land};
use pelago_model::{
    ChannelId, IslandClock, IslandId, LimitCounts, NodeId, PublisherId, Reader, Role, Size,
    WorldTime,
};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The end of something that a service began.
#[derive(Debug)]
pub enum Completion {
    /// The store has answered.
    Stored(StoreAnswer),
    /// A call has ended.
    Answered(CallResult),
    /// Rules have been run.
    Ran(RuleEnd),
    /// Rules have not returned in time, and never will as far as anybody is concerned.
    Abandoned {
        /// The step of the run that was under way.
        step: u32,
    },
}

/// An instance of a service. Like every machine it never waits: it begins something by its context and is told its end.
pub trait Service: Send {
    /// A call came. It is answered now or later, by [`ServiceContext::reply`].
    fn call(&mut self, cx: &mut ServiceContext<'_>, call: ServiceCall);

    /// Something that this instance began has ended.
    fn completed(&mut self, cx: &mut ServiceContext<'_>, request: RequestId, end: Completion);

    /// A reader reads what this service publishes on a channel from now on, or wants to be answered again.
    fn subscribe(
        &mut self,
        _cx: &mut ServiceContext<'_>,
        _reader: Reader,
        _channel: ChannelId,
        _version: u64,
    ) {
    }

    /// A reader reads it no more.
    fn unsubscribe(&mut self, _cx: &mut ServiceContext<'_>, _reader: Reader, _channel: ChannelId) {}

    /// The time of [`Service::next_wake`] has come, or passed a while ago.
    fn wake(&mut self, _cx: &mut ServiceContext<'_>) {}

    /// When it wants to be woken.
    fn next_wake(&self) -> Option<WorldTime> {
        None
    }

    /// How full everything is that can grow.
    fn sizes(&self) -> Vec<Size>;

    /// How often limits were met.
    fn limits(&self) -> LimitCounts {
        LimitCounts::default()
    }

    /// What it counts, for operators.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

/// What an instance of a service is made for.
#[derive(Clone)]
pub struct ServiceSeat {
    /// The node.
    pub node: NodeId,
    /// Its voice on channels.
    pub publisher: PublisherId,
    /// The rules.
    pub game: Arc<dyn Game>,
    /// The land of every island.
    pub lands: Arc<BTreeMap<IslandId, Arc<Land>>>,
    /// Island time.
    pub clock: IslandClock,
    /// A secret from which turns get their randomness: the server's, or one for a studio's service alone.
    pub secret: [u8; 32],
}

/// What makes an instance of a service.
type Make = dyn Fn(&ServiceSeat) -> Box<dyn Service> + Send + Sync;

/// A service as it is registered: its role, and how an instance of it is made.
#[derive(Clone)]
pub struct ServiceKind {
    /// The role.
    pub role: Role,
    /// Makes an instance.
    make: Arc<Make>,
    /// Whether it is one of the platform's own, which may read and write every document.
    is_platforms: bool,
}

impl ServiceKind {
    /// A studio's service with a role. It reads chunks and documents of the game's own kinds, and writes the latter:
    /// [`Key::is_open_to_rules`](pelago_model::Key::is_open_to_rules).
    pub fn new<S: Service + 'static>(
        role: Role,
        make: impl Fn(&ServiceSeat) -> S + Send + Sync + 'static,
    ) -> Self {
        Self { role, make: Arc::new(move |seat| Box::new(make(seat))), is_platforms: false }
    }

    /// A service of the platform.
    pub(crate) fn of_platform<S: Service + 'static>(
        role: Role,
        make: impl Fn(&ServiceSeat) -> S + Send + Sync + 'static,
    ) -> Self {
        Self { is_platforms: true, ..Self::new(role, make) }
    }

    /// An instance of it.
    pub fn make(&self, seat: &ServiceSeat) -> Box<dyn Service> {
        if self.is_platforms {
            return (self.make)(seat);
        }
        // From its own secret nobody finds the server's, nor what durable turns draw.
        let mut hasher = blake3::Hasher::new_keyed(&seat.secret);
        hasher.update(b"service ").update(self.role.as_str().as_bytes());
        let secret = *hasher.finalize().as_bytes();
        (self.make)(&ServiceSeat { secret, ..seat.clone() })
    }
}

impl fmt::Debug for ServiceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServiceKind").field(&self.role).finish()
    }
}
