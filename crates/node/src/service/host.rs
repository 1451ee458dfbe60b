//! A host: one instance of every service of a node. A node has several hosts, and a key has one of them.

use super::context::ServiceContext;
use super::interface::{ServiceEffect, ServiceInput};
use super::{Completion, Service, ServiceKind, ServiceSeat};
use crate::call::{Rejection, Reply};
use crate::store_request::{RequestId, Requests};
use pelago_model::{LimitCounts, Machine, NodeId, PublisherId, Role, Size, WorldTime};

/// Requests of one host that may be under way: each belongs to something that its services have limits for.
const MAX_REQUESTS: usize = 1 << 20;

/// One instance of every service.
pub struct ServiceHost {
    node: NodeId,
    publisher: PublisherId,
    services: Vec<(Role, Box<dyn Service>)>,
    /// Which service began what is under way.
    requests: Requests<usize>,
}

impl ServiceHost {
    /// Instances of these services.
    pub fn new(seat: &ServiceSeat, kinds: &[ServiceKind]) -> Self {
        Self {
            node: seat.node,
            publisher: seat.publisher,
            services: kinds.iter().map(|kind| (kind.role, kind.make(seat))).collect(),
            requests: Requests::default(),
        }
    }

    /// The roles that it has instances for.
    pub fn roles(&self) -> impl Iterator<Item = Role> + '_ {
        self.services.iter().map(|(role, _)| *role)
    }

    /// How full everything is that can grow.
    pub fn sizes(&self) -> Vec<Size> {
        let own = Size::queue("requests of services", self.requests.len(), MAX_REQUESTS);
        let services = self.services.iter().flat_map(|(_, service)| service.sizes());
        std::iter::once(own).chain(services).collect()
    }

    /// How often limits were met.
    pub fn limits(&self) -> LimitCounts {
        let mut counts = LimitCounts::default();
        self.services.iter().for_each(|(_, service)| counts.merge(&service.limits()));
        counts
    }

    /// What its services count, by role and name.
    pub fn counters(&self) -> impl Iterator<Item = (Role, &'static str, u64)> + '_ {
        let of = |(role, service): &(Role, Box<dyn Service>)| {
            let role = *role;
            service.counters().into_iter().map(move |(name, count)| (role, name, count))
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
        let Some((_, instance)) = self.services.get_mut(service) else { return };
        let requests = &mut self.requests;
        let (node, publisher) = (self.node, self.publisher);
        let mut cx = ServiceContext { now, node, publisher, service, requests, effects };
        handle(&mut **instance, &mut cx);
    }

    fn of_role(&self, role: Role) -> Option<usize> {
        self.services.iter().position(|(other, _)| *other == role)
    }

    fn completed(
        &mut self,
        now: WorldTime,
        request: RequestId,
        end: Completion,
        effects: &mut Vec<ServiceEffect>,
    ) {
        if let Some(service) = self.requests.end(request) {
            self.with(now, service, effects, |it, cx| it.completed(cx, request, end));
        }
    }

    /// Wakes those whose time has come. A deadline is due whatever else comes in.
    fn wake(&mut self, now: WorldTime, effects: &mut Vec<ServiceEffect>) {
        for service in 0..self.services.len() {
            if self.services[service].1.next_wake().is_some_and(|at| at <= now) {
                self.with(now, service, effects, |it, cx| it.wake(cx));
            }
        }
    }
}

impl Machine for ServiceHost {
    type Input = ServiceInput;
    type Effect = ServiceEffect;

    fn handle(&mut self, now: WorldTime, input: ServiceInput, effects: &mut Vec<ServiceEffect>) {
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
                self.completed(now, request, Completion::Ran(end), effects);
            }
            ServiceInput::Wake => {}
        }
    }

    fn next_wake(&self) -> Option<WorldTime> {
        self.services.iter().filter_map(|(_, service)| service.next_wake()).min()
    }
}
