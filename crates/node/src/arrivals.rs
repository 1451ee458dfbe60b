//! Arrivals: the clients of a node from the opening of their connection until they have a lane.
//!
//! A client that has just come has to say hello within its time. By its hello it is logged in:
//! its name becomes an avatar, the avatar gets its next epoch, and the session that begins gets a lane. From then on
//! the client is only counted here.
//!
//! Strangers cannot make this machine work or grow without bound: clients, logins and requests to the store are
//! limited, and so is what one address may try. What a client asks for before its hello, content, is no business of this
//! machine.

mod applicant;
mod budgets;
mod clients;
mod commits;
mod company;
mod interface;
mod login;
mod opening;
mod serials;
mod sizes;

pub use interface::{ArrivalsConfig, ArrivalsEffect, ArrivalsInput};
pub use login::{LOGIN_TIME_MS, MAX_LOGINS, RELEASE_MS};
pub use serials::SERIAL_LEASE;

use crate::lane_call::released_place;
use crate::store_request::{RequestId, Requests, StoreAnswer};
use budgets::LoginBudgets;
use clients::Client;
use commits::Commits;
use company::Company;
use login::Login;
use pelago_model::{Attendance, LimitCounts, Machine, WorldTime};
use pelago_world::ClientId;
use serials::Serials;
use std::collections::{BTreeMap, BTreeSet};

/// The purpose of a request to the store.
enum Request {
    Login(ClientId),
    ReadSerials,
    LeaseSerials { first: u64 },
}

/// What lanes are asked.
#[derive(Debug)]
enum Asked {
    /// To let go of the avatar of this login.
    Release(ClientId),
    /// Where people are.
    Crowds(u8),
}

/// The machine of arrivals.
pub struct Arrivals {
    config: ArrivalsConfig,
    /// All clients of the node, those on lanes included: they are what the limit of clients counts.
    clients: BTreeMap<ClientId, Client>,
    /// Until when those have to say hello that have not.
    silent: BTreeSet<(WorldTime, ClientId)>,
    logins: BTreeMap<ClientId, Login>,
    /// When logins go on that pause, and when the time of each is over.
    login_wakes: BTreeSet<(WorldTime, ClientId)>,
    commits: Commits,
    requests: Requests<Request>,
    /// What lanes were asked.
    calls: Requests<Asked>,
    company: Company,
    /// Until when they wait.
    release_deadlines: BTreeSet<(WorldTime, ClientId)>,
    serials: Serials,
    budgets: LoginBudgets,
    /// In a replay tokens have been replaced by their hashes.
    tokens_are_hashes: bool,
    attendance: Attendance,
    /// Players who were given a lane so far.
    placed: u64,
    malformed: u64,
    limits: LimitCounts,
}

impl Arrivals {
    /// The arrivals of a node that nobody has come to.
    pub fn new(config: ArrivalsConfig) -> Self {
        Self {
            config,
            clients: BTreeMap::new(),
            silent: BTreeSet::new(),
            logins: BTreeMap::new(),
            login_wakes: BTreeSet::new(),
            commits: Commits::default(),
            requests: Requests::default(),
            calls: Requests::default(),
            company: Company::default(),
            release_deadlines: BTreeSet::new(),
            serials: Serials::default(),
            budgets: LoginBudgets::new(),
            tokens_are_hashes: false,
            attendance: Attendance::default(),
            placed: 0,
            malformed: 0,
            limits: LimitCounts::default(),
        }
    }

    /// The same for the replay of a recording, in which tokens are replaced by their hashes.
    pub(crate) fn for_replay(config: ArrivalsConfig) -> Self {
        Self { tokens_are_hashes: true, ..Self::new(config) }
    }

    /// Connections of clients, those of lanes included.
    pub fn connections(&self) -> usize {
        self.clients.len()
    }

    /// Messages of clients without a lane that could not be understood.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// How often limits were met.
    pub fn limits(&self) -> LimitCounts {
        self.limits
    }

    fn stored(
        &mut self,
        now: WorldTime,
        request: RequestId,
        answer: StoreAnswer,
        effects: &mut Vec<ArrivalsEffect>,
    ) {
        match (self.requests.end(request), answer) {
            (Some(Request::Login(client)), StoreAnswer::Loaded(documents)) => {
                self.login_loaded(now, client, documents.as_deref(), effects);
            }
            (Some(Request::Login(client)), StoreAnswer::Committed(outcome)) => {
                self.login_committed(now, client, &outcome, effects);
            }
            (Some(Request::ReadSerials), StoreAnswer::Loaded(documents)) => {
                self.serials_read(now, documents.as_deref().and_then(<[_]>::first), effects);
            }
            (Some(Request::LeaseSerials { first }), StoreAnswer::Committed(outcome)) => {
                self.serials_committed(now, first, &outcome, effects);
            }
            // A store answers what it was asked, and once.
            (Some(Request::ReadSerials), StoreAnswer::Committed(_))
            | (Some(Request::LeaseSerials { .. }), StoreAnswer::Loaded(_))
            | (None, _) => {}
        }
    }
}

impl Machine for Arrivals {
    type Input = ArrivalsInput;
    type Effect = ArrivalsEffect;

    fn handle(&mut self, now: WorldTime, input: ArrivalsInput, effects: &mut Vec<ArrivalsEffect>) {
        let pause_ms = self.attendance.pause_ms(now, self.next_wake());
        if pause_ms > 0 {
            self.forgive(pause_ms);
        }
        match input {
            ArrivalsInput::Client { client, event } => self.happened(now, client, event, effects),
            ArrivalsInput::Left { client } => self.left(client),
            ArrivalsInput::Stored { request, answer } => self.stored(now, request, answer, effects),
            ArrivalsInput::Answered { number, result } => match self.calls.end(RequestId(number)) {
                Some(Asked::Release(client)) => {
                    self.released(now, client, released_place(&result), effects);
                }
                Some(Asked::Crowds(lane)) => self.company.told(now, lane, &result),
                None => {}
            },
            ArrivalsInput::Wake => self.wake(now, effects),
        }
    }

    fn next_wake(&self) -> Option<WorldTime> {
        let silent = self.silent.first().map(|(until, _)| *until);
        let logins = self.login_wakes.first().map(|(at, _)| *at);
        let releases = self.release_deadlines.first().map(|(until, _)| *until);
        let of_others = [silent, logins, releases].into_iter().flatten().min();
        let attended = of_others.map(|until| self.attendance.wake_before(until));
        [attended, self.serials.next_wake()].into_iter().flatten().min()
    }
}
