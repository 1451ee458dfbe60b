//! The arrivals of a node with their store, and what became of those who came.

use bytes::{Bytes, BytesMut};
use pelago_frontier::Frontier;
use pelago_game::{IslandSpec, Land};
use pelago_model::{
    CommitOutcome, EntityId, Epoch, IslandClock, IslandId, Key, Limit, Machine, NodeId, Origin,
    Transaction, WorldNumber, WorldTime,
};
use pelago_node::documents::avatar::Place;
use pelago_node::lane_call::{crowds_answer, released_answer};
use pelago_node::placement::company::Crowd;
use pelago_node::{
    Arrivals, ArrivalsConfig, ArrivalsEffect, ArrivalsInput, CallTarget, ClientEvent, ClientLimits,
    LaneCall, RequestId, StoreAnswer,
};
use pelago_store::Memory;
use pelago_wire::client::{ClientMessage, Hello, ServerMessage, client_message, server_message};
use pelago_wire::message::{Kind, decode_control, put_control, whole_messages};
use pelago_world::ClientId;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub(crate) const ANNAS: &[u8] = b"Anna's own token";
pub(crate) const OTHER: &[u8] = b"somebody else's!";

/// The avatar that was let in, or the public code.
pub(crate) type Answer = Result<EntityId, String>;

/// What lanes are told of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ForLanes {
    Release(NodeId, EntityId, Epoch),
    Superseded(EntityId, Epoch),
    Placed(u8, ClientId, EntityId, Epoch),
    Forwarded(u8, ClientId, ClientEvent),
}

/// What the store is asked.
#[derive(Debug)]
pub(crate) enum Asked {
    Load(RequestId, Vec<Key>),
    Commit(RequestId, Transaction),
}

/// What comes of the question to the node that has had an avatar.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Releases {
    /// It is answered at once, with the place if there is one.
    At(Option<Place>),
    /// It is not answered yet.
    Waiting,
}

pub(crate) struct Gate {
    pub(crate) arrivals: Arrivals,
    pub(crate) store: Memory,
    pub(crate) now: i64,
    clients: u64,
    /// What the store has not answered yet.
    pub(crate) asked: VecDeque<Asked>,
    /// Messages to clients.
    pub(crate) told: Vec<(ClientId, server_message::Body)>,
    pub(crate) closed: Vec<ClientId>,
    pub(crate) for_lanes: Vec<ForLanes>,
    pub(crate) releases: Releases,
    /// What every lane sees.
    pub(crate) crowds: Vec<Crowd>,
    /// The numbers of questions that are not answered yet.
    pub(crate) waiting: Vec<u64>,
    /// Where those who were placed begin.
    pub(crate) places: BTreeMap<ClientId, Place>,
    pub(crate) log: Vec<String>,
    /// For how long the avatars of the sessions so far had done nothing, in ms.
    pub(crate) quiet_ms: Vec<i64>,
}

/// Lanes of the node.
pub(crate) const LANES: u8 = 3;
/// Longer than any pause between attempts, and shorter than any time that a client is given.
const LONGEST_PAUSE_MS: i64 = 3500;
/// Clients that it takes, unless a test says otherwise.
const MAX_CLIENTS: usize = 10_000;

pub(crate) fn config() -> ArrivalsConfig {
    let home = IslandId::new(WorldNumber::new(1).unwrap(), 1);
    let spec = IslandSpec { id: home, seed: 7, size: 8, generator: 1 };
    ArrivalsConfig {
        node: NodeId(1),
        world: WorldNumber::new(1).unwrap(),
        lanes: LANES,
        spread: 2,
        game: Arc::new(Frontier),
        home,
        lands: Arc::new(BTreeMap::from([(home, Arc::new(Land::new(&Frontier, spec)))])),
        clock: IslandClock::IDENTITY,
        max_clients: MAX_CLIENTS,
        limits: ClientLimits::default(),
    }
}

impl Gate {
    pub(crate) fn new(config: ArrivalsConfig) -> Self {
        Self {
            arrivals: Arrivals::new(config),
            store: Memory::default(),
            now: 1000,
            clients: 0,
            asked: VecDeque::new(),
            told: Vec::new(),
            closed: Vec::new(),
            for_lanes: Vec::new(),
            releases: Releases::At(None),
            crowds: Vec::new(),
            waiting: Vec::new(),
            places: BTreeMap::new(),
            log: Vec::new(),
            quiet_ms: Vec::new(),
        }
    }

    /// Hands in an input. Whatever is asked of the store waits.
    pub(crate) fn tell(&mut self, input: ArrivalsInput) {
        let mut effects = Vec::new();
        self.arrivals.handle(WorldTime(self.now), input, &mut effects);
        effects.into_iter().for_each(|effect| self.perform(effect));
    }

    fn perform(&mut self, effect: ArrivalsEffect) {
        match effect {
            ArrivalsEffect::Send { client, bytes } => {
                self.told.extend(controls(bytes).into_iter().map(|body| (client, body)));
            }
            ArrivalsEffect::Close { client } => self.closed.push(client),
            ArrivalsEffect::Place { lane, session } => {
                let (client, avatar, epoch) = (session.client, session.avatar, session.epoch);
                self.quiet_ms.push(session.quiet_ms);
                self.places.insert(client, session.place);
                self.for_lanes.push(ForLanes::Placed(lane, client, avatar, epoch));
            }
            ArrivalsEffect::Forward { lane, client, event } => {
                self.for_lanes.push(ForLanes::Forwarded(lane, client, event));
            }
            ArrivalsEffect::Call { number, call } => {
                let CallTarget::Lane { node, lane } = call.target else { panic!("{call:?}") };
                let (avatar, epoch) = match LaneCall::decode(&call.body) {
                    Some(LaneCall::Release { avatar, epoch }) if lane == 0 => (avatar, epoch),
                    Some(LaneCall::Crowds) => {
                        let result = Ok(crowds_answer(&self.crowds));
                        return self.tell(ArrivalsInput::Answered { number, result });
                    }
                    _ => panic!("{call:?}"),
                };
                self.for_lanes.push(ForLanes::Release(node, avatar, epoch));
                match self.releases {
                    Releases::Waiting => self.waiting.push(number),
                    Releases::At(place) => {
                        let result = Ok(released_answer(place));
                        self.tell(ArrivalsInput::Answered { number, result });
                    }
                }
            }
            ArrivalsEffect::Superseded { avatar, epoch } => {
                self.for_lanes.push(ForLanes::Superseded(avatar, epoch));
            }
            ArrivalsEffect::Load { request, keys } => {
                self.asked.push_back(Asked::Load(request, keys));
            }
            ArrivalsEffect::Commit { request, transaction } => {
                self.asked.push_back(Asked::Commit(request, transaction));
            }
            ArrivalsEffect::Log(line) => self.log.push(line.text),
        }
    }

    pub(crate) fn happens(&mut self, client: ClientId, event: ClientEvent) {
        self.tell(ArrivalsInput::Client { client, event });
    }

    /// A client that has connected, from this machine.
    pub(crate) fn client(&mut self) -> ClientId {
        self.client_of(Origin::LOOPBACK)
    }

    /// A client that has connected, from elsewhere.
    pub(crate) fn client_of(&mut self, origin: Origin) -> ClientId {
        self.clients += 1;
        let client = ClientId(self.clients);
        self.happens(client, ClientEvent::Connected { origin });
        client
    }

    pub(crate) fn say(&mut self, client: ClientId, body: client_message::Body) {
        let mut message = BytesMut::new();
        put_control(&mut message, &ClientMessage { body: Some(body) });
        let (kind, payload) = whole_messages(&message.freeze()).unwrap().remove(0);
        self.happens(client, ClientEvent::Received { kind, payload });
    }

    pub(crate) fn say_hello(&mut self, client: ClientId, name: &str, token: &'static [u8]) {
        let hello = Hello {
            oldest_version: pelago_wire::PROTOCOL_OLDEST,
            newest_version: pelago_wire::PROTOCOL_NEWEST,
            name: name.to_owned(),
            token: Bytes::from_static(token),
            ..Hello::default()
        };
        self.say(client, client_message::Body::Hello(hello));
    }

    /// A new client says hello, and the store answers at once.
    pub(crate) fn hello(&mut self, name: &str, token: &'static [u8]) -> Answer {
        let client = self.client();
        self.say_hello(client, name, token);
        self.settle();
        self.answer(client).expect("an answer")
    }

    /// What became of a client that said hello, if anything did.
    pub(crate) fn answer(&self, client: ClientId) -> Option<Answer> {
        let avatar = self.for_lanes.iter().find_map(|told| match told {
            ForLanes::Placed(_, placed, avatar, _) if *placed == client => Some(*avatar),
            _ => None,
        });
        avatar.map(Ok).or_else(|| self.refusal(client).map(|code| Err(code.to_owned())))
    }

    /// The code with which a client was refused, if its connection was ended after that.
    pub(crate) fn refusal(&self, client: ClientId) -> Option<&str> {
        let last = self.told.iter().rev().find(|(to, _)| *to == client);
        match last {
            Some((_, server_message::Body::Refused(refused))) if self.closed.contains(&client) => {
                Some(&refused.code)
            }
            _ => None,
        }
    }

    /// The store answers the oldest request as it is. False if there is none.
    pub(crate) fn answer_one(&mut self) -> bool {
        let Some(asked) = self.asked.pop_front() else { return false };
        let (request, answer) = match asked {
            Asked::Load(request, keys) => {
                let documents = keys.iter().map(|key| self.store.get(key)).collect();
                (request, StoreAnswer::Loaded(Some(documents)))
            }
            Asked::Commit(request, transaction) => {
                (request, StoreAnswer::Committed(self.store.apply(transaction)))
            }
        };
        self.tell(ArrivalsInput::Stored { request, answer });
        true
    }

    /// The oldest request ends, which is a commit, as is said here.
    pub(crate) fn end_commit(&mut self, outcome: CommitOutcome) {
        let Some(Asked::Commit(request, _)) = self.asked.pop_front() else { panic!("no commit") };
        let answer = StoreAnswer::Committed(outcome);
        self.tell(ArrivalsInput::Stored { request, answer });
    }

    /// Until the store has nothing to answer, pauses between attempts included.
    pub(crate) fn settle(&mut self) {
        loop {
            while self.answer_one() {}
            if !self.pass_a_pause() {
                return;
            }
        }
    }

    /// Lets time pass until the machine wants to be woken, if a login pauses and that is soon. False if it is not.
    fn pass_a_pause(&mut self) -> bool {
        if self.held("logins") == self.held("logins that wait for a release") {
            return false;
        }
        let soon = self.now + LONGEST_PAUSE_MS;
        let Some(wake) = self.arrivals.next_wake().filter(|wake| wake.0 <= soon) else {
            return false;
        };
        self.pass((wake.0 - self.now).max(0));
        true
    }

    /// Every commit ends as is said here, and everything else is answered, for so long. When the commits were asked for.
    pub(crate) fn refuse_commits(&mut self, ms: i64, outcome: &CommitOutcome) -> Vec<i64> {
        let (until, mut commits) = (self.now + ms, Vec::new());
        loop {
            while let Some(asked) = self.asked.front() {
                if matches!(asked, Asked::Commit(..)) {
                    commits.push(self.now);
                    self.end_commit(outcome.clone());
                } else {
                    self.answer_one();
                }
            }
            let next = self.arrivals.next_wake().map_or(until, |wake| wake.0.min(until));
            if self.now >= until {
                return commits;
            }
            self.pass((next - self.now).max(0));
        }
    }

    /// Lets time pass, and wakes the machine whenever it wants that.
    pub(crate) fn pass(&mut self, ms: i64) {
        let until = self.now + ms;
        while let Some(wake) = self.arrivals.next_wake().filter(|wake| wake.0 <= until) {
            self.now = self.now.max(wake.0);
            self.tell(ArrivalsInput::Wake);
        }
        self.now = until;
    }

    pub(crate) fn met(&self, limit: Limit) -> u64 {
        self.arrivals.limits().of(limit)
    }

    /// How many there are of what the machine counts under this name.
    pub(crate) fn held(&self, of: &str) -> usize {
        self.arrivals.sizes().iter().find(|size| size.of == of).unwrap().held
    }
}

/// The control messages of a stream.
fn controls(bytes: Bytes) -> Vec<server_message::Body> {
    let of_control = whole_messages(&bytes)
        .unwrap()
        .into_iter()
        .filter(|(kind, _)| *kind == Kind::Control as u8);
    of_control
        .filter_map(|(_, bytes)| decode_control::<ServerMessage>(&bytes).unwrap().body)
        .collect()
}
