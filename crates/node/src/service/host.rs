//! A host: one instance of every service of a node. A node has several hosts, and a key has one of them.

use super::context::{Begun, ServiceContext};
use super::interface::{ServiceEffect, ServiceInput};
use super::runs::Runs;
use super::{Completion, Service, ServiceKind, ServiceSeat};
use crate::call::{CallError, Rejection, Reply};
use crate::store_request::{RequestId, Requests};
use pelago_model::{Attendance, LimitCounts, Machine, NodeId, PublisherId, Role, Size, WorldTime};
use std::collections::BTreeSet;

/// Requests of one host that may be under way: each belongs to something that its services have limits for.
const MAX_REQUESTS: usize = 1 << 20;
/// After a pause in which the host did not run, its services are told the clock this much later, in ms: what the store and
/// other nodes have answered meanwhile comes first.
const GRACE_MS: i64 = 1000;

/// One instance of every service.
pub struct ServiceHost {
    node: NodeId,
    publisher: PublisherId,
    services: Vec<Hosted>,
    requests: Requests<Begun>,
    /// When the calls under way end at the latest.
    deadlines: BTreeSet<(WorldTime, RequestId)>,
    attendance: Attendance,
    /// Nobody is told the clock before then.
    grace_until: WorldTime,
    runs: Runs,
}

/// An instance of a service.
struct Hosted {
    role: Role,
    is_platforms: bool,
    instance: Box<dyn Service>,
}

impl ServiceHost {
    /// Instances of these services.
    pub fn new(seat: &ServiceSeat, kinds: &[ServiceKind]) -> Self {
        Self {
            node: seat.node,
            publisher: seat.publisher,
            services: kinds.iter().map(|kind| Hosted::new(kind, seat)).collect(),
            requests: Requests::default(),
            deadlines: BTreeSet::new(),
            attendance: Attendance::default(),
            grace_until: WorldTime(i64::MIN),
            runs: Runs::default(),
        }
    }

    /// The roles that it has instances for.
    pub fn roles(&self) -> impl Iterator<Item = Role> + '_ {
        self.services.iter().map(|service| service.role)
    }

    /// How full everything is that can grow.
    pub fn sizes(&self) -> Vec<Size> {
        let own = Size::queue("requests of services", self.requests.len(), MAX_REQUESTS);
        let services = self.services.iter().flat_map(|service| service.instance.sizes());
        std::iter::once(own).chain(services).collect()
    }

    /// How often limits were met.
    pub fn limits(&self) -> LimitCounts {
        let mut counts = LimitCounts::default();
        self.services.iter().for_each(|service| counts.merge(&service.instance.limits()));
        counts
    }

    /// What its services count, by role and name.
    pub fn counters(&self) -> impl Iterator<Item = (Role, &'static str, u64)> + '_ {
        let of = |service: &Hosted| {
            let (role, counters) = (service.role, service.instance.counters());
            counters.into_iter().map(move |(name, count)| (role, name, count))
        };
        self.services.iter().flat_map(of)
    }

    /// Lets one service handle something.
    fn with(
        &mut self,
        now: WorldTime,
        service: usize,
        effects: &mut Vec<ServiceEffect>,
        handle: impl FnOnce(&mut dyn Service, &mut ServiceContext<'_>),
    ) {
        let Some(Hosted { role, is_platforms, instance }) = self.services.get_mut(service) else {
            return;
        };
        let mut cx = ServiceContext {
            now,
            node: self.node,
            publisher: self.publisher,
            service,
            role: *role,
            is_platforms: *is_platforms,
            runs: &mut self.runs,
            requests: &mut self.requests,
            deadlines: &mut self.deadlines,
            effects,
        };
        handle(&mut **instance, &mut cx);
    }

    fn of_role(&self, role: Role) -> Option<usize> {
        self.services.iter().position(|service| service.role == role)
    }

    fn completed(
        &mut self,
        now: WorldTime,
        request: RequestId,
        end: Completion,
        effects: &mut Vec<ServiceEffect>,
    ) {
        if let Some(Begun { service, overdue }) = self.requests.end(request) {
            if let Some(overdue) = overdue {
                self.deadlines.remove(&(overdue, request));
            }
            self.with(now, service, effects, |it, cx| it.completed(cx, request, end));
        }
    }

    /// Wakes those whose time has come. A deadline is due whatever else comes in.
    fn wake(&mut self, now: WorldTime, effects: &mut Vec<ServiceEffect>) {
        if now < self.grace_until {
            return;
        }
        self.end_overdue_calls(now, effects);
        if let Some(request) = self.runs.overdue(now) {
            effects.push(ServiceEffect::Abandon { request });
        }
        for service in 0..self.services.len() {
            if self.services[service].instance.next_wake().is_some_and(|at| at <= now) {
                self.with(now, service, effects, |it, cx| it.wake(cx));
            }
        }
    }
}

impl ServiceHost {
    /// Ends calls that nobody has answered. The links do that for calls that went over them, but a service of this node
    /// that does not answer would be waited for without end.
    fn end_overdue_calls(&mut self, now: WorldTime, effects: &mut Vec<ServiceEffect>) {
        while let Some((deadline, request)) = self.deadlines.first().copied()
            && deadline <= now
        {
            self.deadlines.pop_first();
            let end = Completion::Answered(Err(CallError::DeadlineExceeded));
            self.completed(now, request, end, effects);
        }
    }
}

impl Machine for ServiceHost {
    type Input = ServiceInput;
    type Effect = ServiceEffect;

    fn handle(&mut self, now: WorldTime, input: ServiceInput, effects: &mut Vec<ServiceEffect>) {
        if self.attendance.pause_ms(now, self.next_wake()) > 0 {
            self.grace_until = now.plus(GRACE_MS);
        }
        self.wake(now, effects);
        match input {
            ServiceInput::Call { role, call } => match self.of_role(role) {
                Some(service) => self.with(now, service, effects, |it, cx| it.call(cx, call)),
                None => {
                    let reply: Reply = Err(Rejection("role".into()));
                    effects.push(ServiceEffect::Reply { caller: call.caller, reply });
                }
            },
            ServiceInput::Subscribe { role, reader, channel, version } => {
                if let Some(service) = self.of_role(role) {
                    self.with(now, service, effects, |it, cx| {
                        it.subscribe(cx, reader, channel, version);
                    });
                }
            }
            ServiceInput::Unsubscribe { role, reader, channel } => {
                if let Some(service) = self.of_role(role) {
                    self.with(now, service, effects, |it, cx| it.unsubscribe(cx, reader, channel));
                }
            }
            ServiceInput::Stored { request, answer } => {
                self.completed(now, request, Completion::Stored(answer), effects);
            }
            ServiceInput::Answered { number, result } => {
                self.completed(now, RequestId(number), Completion::Answered(result), effects);
            }
            ServiceInput::Ran { request, end } => {
                self.runs.ended(now, request);
                self.completed(now, request, Completion::Ran(end), effects);
            }
            ServiceInput::Abandoned { request, step } => {
                self.runs.ended(now, request);
                self.completed(now, request, Completion::Abandoned { step }, effects);
            }
            ServiceInput::Wake => {}
        }
    }

    fn next_wake(&self) -> Option<WorldTime> {
        let services = self.services.iter().filter_map(|service| service.instance.next_wake());
        let overdue = self.deadlines.first().map(|(deadline, _)| *deadline);
        let first = services.chain(self.runs.deadline()).chain(overdue).min();
        first.map(|at| self.attendance.wake_before(at).max(self.grace_until))
    }
}

impl Hosted {
    fn new(kind: &ServiceKind, seat: &ServiceSeat) -> Self {
        Self { role: kind.role, is_platforms: kind.is_platforms, instance: kind.make(seat) }
    }
}
