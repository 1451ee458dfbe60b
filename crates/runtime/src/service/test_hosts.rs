//! Instances of services over a store in memory, to test them with.

use bytes::Bytes;
use pelago_game::Game;
use pelago_model::attendance::ATTENDANCE_MS;
use pelago_model::{
    CommitOutcome, Document, Incarnation, IslandClock, Key, Machine, NodeId, PublisherId, Role,
    WorldTime,
};
use pelago_node::call::{CallError, Rejection};
use pelago_node::service::{
    ServiceCall, ServiceEffect, ServiceHost, ServiceInput, ServiceKind, ServiceSeat,
};
use pelago_node::{CallTarget, Caller, LogLine, MachineId, OutgoingCall, StoreAnswer};
use pelago_store::{Memory, Store};
use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};

/// Steps of one [`TestHosts::run`]; a service that asks for more runs in a circle.
const MAX_STEPS: usize = 100_000;
/// One in so many commits ends as [`CommitOutcome::Unknown`] in a stormy run, and one in so many does not happen, too.
const UNKNOWN_ONE_IN: u64 = 4;

/// What a call of a test was answered: the body, or the code of a rejection.
pub type ServiceAnswer = Result<Bytes, String>;

/// Nodes with one instance of each service, all of which believe that they are preferred for every key, and one store.
///
/// Nothing happens by itself: [`TestHosts::call`] asks an instance, and [`TestHosts::run`] carries out what the instances
/// ask for, one after the other, until they ask for nothing. Time stands still until [`TestHosts::pass`].
pub struct TestHosts {
    hosts: Vec<ServiceHost>,
    store: Memory,
    now: WorldTime,
    /// What the hosts have asked for.
    waiting: Vec<(usize, ServiceEffect)>,
    answers: BTreeMap<u64, ServiceAnswer>,
    log: Vec<LogLine>,
    next_call: u64,
    /// The state of the random numbers of a stormy run.
    random: Option<u64>,
}

impl TestHosts {
    /// So many nodes with these services, numbered from 0.
    pub fn new(game: Arc<dyn Game>, kinds: &[ServiceKind], nodes: usize) -> Self {
        let host = |number: usize| {
            let node = NodeId(number as u16 + 1);
            let seat = ServiceSeat {
                node,
                publisher: PublisherId::service(node, 0, Incarnation(1)),
                game: game.clone(),
                lands: Arc::default(),
                clock: IslandClock::IDENTITY,
                secret: [7; 32],
            };
            ServiceHost::new(&seat, kinds)
        };
        Self {
            hosts: (0..nodes).map(host).collect(),
            store: Memory::default(),
            now: WorldTime(1_000_000),
            waiting: Vec::new(),
            answers: BTreeMap::new(),
            log: Vec::new(),
            next_call: 0,
            random: None,
        }
    }

    /// Asks the instance of a node. Returns the number of the call, for [`TestHosts::answer`].
    pub fn call(&mut self, node: usize, role: Role, key: &Key, body: impl Into<Bytes>) -> u64 {
        self.next_call += 1;
        let number = self.next_call;
        let (caller, key, body) = (Caller::Operator { number }, key.clone(), body.into());
        let call = ServiceCall { caller, key, body, trace: 0 };
        self.tell(node, ServiceInput::Call { role, call });
        number
    }

    /// What became of a call; `None` if it has not been answered yet.
    pub fn answer(&self, call: u64) -> Option<&ServiceAnswer> {
        self.answers.get(&call)
    }

    /// Carries out what the instances ask for, the oldest first: those that were asked at once load before any commits.
    ///
    /// # Panics
    /// If they never stop asking.
    pub fn run(&mut self) {
        for _ in 0..MAX_STEPS {
            if self.waiting.is_empty() {
                return;
            }
            let next = self.choose(self.waiting.len() as u64);
            let (node, effect) = self.waiting.remove(next as usize);
            self.carry_out(node, effect);
        }
        panic!("the services have not come to rest after {MAX_STEPS} steps");
    }

    /// The same in an order that the seed chooses, in which the ends of some commits are not known.
    pub fn run_stormy(&mut self, seed: u64) {
        self.random = Some(seed);
        self.run();
        self.random = None;
    }

    /// Lets time pass, and wakes those that want to be woken by then, as often as a node does: a host that is not looked
    /// after for a second takes that for a pause of its process.
    pub fn pass(&mut self, ms: i64) {
        let end = self.now.plus(ms);
        loop {
            self.now = self.now.plus(ATTENDANCE_MS).min(end);
            for node in 0..self.hosts.len() {
                if self.hosts[node].next_wake().is_some_and(|at| at <= self.now) {
                    self.tell(node, ServiceInput::Wake);
                }
            }
            if self.now >= end {
                return;
            }
        }
    }

    /// World time.
    pub fn now(&self) -> WorldTime {
        self.now
    }

    /// A document as it stands.
    pub fn document(&self, key: &Key) -> Document {
        let (sender, receiver) = mpsc::channel();
        // The store in memory answers before the call returns.
        self.store.load(vec![key.clone()], Box::new(move |found| drop(sender.send(found))));
        let found = receiver.try_recv().ok().and_then(Result::ok).unwrap_or_default();
        found.into_iter().next().unwrap_or(Document::ABSENT)
    }

    /// A node, for its sizes and counters.
    pub fn host(&self, node: usize) -> &ServiceHost {
        &self.hosts[node]
    }

    /// What was noted in the log.
    pub fn log(&self) -> &[LogLine] {
        &self.log
    }

    fn tell(&mut self, node: usize, input: ServiceInput) {
        let mut effects = Vec::new();
        self.hosts[node].handle(self.now, input, &mut effects);
        self.waiting.extend(effects.into_iter().map(|effect| (node, effect)));
    }

    /// A number below `limit`: 0 unless the run is stormy.
    fn choose(&mut self, limit: u64) -> u64 {
        let Some(state) = &mut self.random else { return 0 };
        // SplitMix64 (Steele, Lea and Flood, 2014).
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn carry_out(&mut self, node: usize, effect: ServiceEffect) {
        match effect {
            ServiceEffect::Load { request, keys } => {
                let documents = keys.iter().map(|key| self.document(key)).collect();
                let answer = StoreAnswer::Loaded(Some(documents));
                self.tell(node, ServiceInput::Stored { request, answer });
            }
            ServiceEffect::Commit { request, transaction } => {
                let is_unknown = self.random.is_some() && self.choose(UNKNOWN_ONE_IN) == 0;
                let outcome = if is_unknown && self.choose(2) == 0 {
                    CommitOutcome::Unknown
                } else {
                    let (sender, receiver) = mpsc::channel();
                    self.store.commit(transaction, Box::new(move |end| drop(sender.send(end))));
                    let outcome = receiver.try_recv().unwrap_or(CommitOutcome::Unknown);
                    if is_unknown { CommitOutcome::Unknown } else { outcome }
                };
                let answer = StoreAnswer::Committed(outcome);
                self.tell(node, ServiceInput::Stored { request, answer });
            }
            ServiceEffect::Run { request, run } => {
                self.tell(node, ServiceInput::Ran { request, end: run.run() });
            }
            ServiceEffect::Call { number, call } => self.service_call(node, number, call),
            ServiceEffect::Reply { caller, reply } => {
                let reply = reply.map_err(|Rejection(code)| code);
                match caller {
                    Caller::Operator { number } => drop(self.answers.insert(number, reply)),
                    Caller::Machine { machine: MachineId::Service(to), number } => {
                        let result = reply.map_err(CallError::Rejected);
                        self.tell(to.into(), ServiceInput::Answered { number, result });
                    }
                    _ => {}
                }
            }
            ServiceEffect::Refused { request, answer } => {
                self.tell(node, ServiceInput::Stored { request, answer });
            }
            ServiceEffect::Log(line) => self.log.push(line),
            // Here rules are run at once: none is under way.
            ServiceEffect::Abandon { .. } | ServiceEffect::RulesLost { .. } => {}
            // Nobody reads or hears here: what lanes show is tested with a cluster.
            ServiceEffect::TellEverybody(_)
            | ServiceEffect::Frames { .. }
            | ServiceEffect::Publish(_)
            | ServiceEffect::Snapshot { .. } => {}
        }
    }

    /// A call of a service. Every node believes that it is preferred itself.
    fn service_call(&mut self, node: usize, number: u64, call: OutgoingCall) {
        let asked = match call.target {
            CallTarget::Preferred { role, key } => Some((node, role, key)),
            CallTarget::Node { node, role, key } => {
                let node = usize::from(node.0).checked_sub(1);
                node.filter(|node| *node < self.hosts.len()).map(|node| (node, role, key))
            }
            CallTarget::Lane { .. } | CallTarget::Lanes { .. } => None,
        };
        // Machines of other nodes have the numbers of those nodes here.
        let machine = MachineId::Service(node as u8);
        let caller = if number == 0 { Caller::Nobody } else { Caller::Machine { machine, number } };
        match asked {
            Some((to, role, key)) => {
                let call = ServiceCall { caller, key, body: call.body, trace: call.trace };
                self.tell(to, ServiceInput::Call { role, call });
            }
            None if number == 0 => {}
            None => {
                let result = Err(CallError::Unreachable);
                self.tell(node, ServiceInput::Answered { number, result });
            }
        }
    }
}
