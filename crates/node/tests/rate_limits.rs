//! What a lane does about clients that do too little or too much.
#![allow(clippy::unwrap_used, reason = "tests")]

mod players;

use bytes::Bytes;
use pelago_frontier::Frontier;
use pelago_game::{Arrival, Game, IslandSpec, Land};
use pelago_model::{
    Allowance, EntityId, Epoch, Incarnation, IslandClock, IslandId, Limit, Machine, NodeId,
    Position, PublisherId, Revision, Sequence, WorldNumber, WorldTime,
};
use pelago_node::documents::avatar::Place;
use pelago_node::{
    ClientEvent, ClientLimits, Lane, LaneConfig, LaneEffect, LaneInput, NewSession,
    ProtocolViolation,
};
use pelago_wire::client::{Act, Move, Ping, Say, client_message, server_message};
use pelago_world::ClientId;
use players::{controls, says};
use std::collections::BTreeMap;
use std::sync::Arc;

const CLIENT: ClientId = ClientId(1);
/// In the middle of a tick.
const BEGIN: i64 = 1_000_050;

/// A lane with one player on it.
struct Stage {
    lane: Lane,
    now: i64,
    here: Position,
    /// Control messages to the player so far.
    told: Vec<server_message::Body>,
    closed: bool,
}

impl Stage {
    fn new(limits: ClientLimits) -> Self {
        Self::of_avatar(limits, i64::MAX)
    }

    /// The avatar has used nothing for so many ms.
    fn of_avatar(limits: ClientLimits, quiet_ms: i64) -> Self {
        let world = WorldNumber::new(1).unwrap();
        let home = IslandId::new(world, 1);
        let spec = IslandSpec { id: home, seed: 7, size: 8, generator: 1 };
        let land = Arc::new(Land::new(&Frontier, spec));
        let here = Frontier.spawn(&land, Arrival::Home, 1);
        let lane = Lane::new(LaneConfig {
            node: NodeId(1),
            lane: 0,
            publisher: PublisherId::lane(NodeId(1), 0, Incarnation(1)),
            home,
            lands: Arc::new(BTreeMap::from([(home, land)])),
            game: Arc::new(Frontier),
            clock: IslandClock::IDENTITY,
            limits,
        });
        let mut stage = Self { lane, now: BEGIN, here, told: Vec::new(), closed: false };
        let at = IslandClock::IDENTITY.at(WorldTime(BEGIN));
        stage.handle(LaneInput::Join(Box::new(NewSession {
            client: CLIENT,
            avatar: EntityId::new(world, 1),
            epoch: Epoch(1),
            name: "Anna".into(),
            sequence: Sequence(0),
            chain: [0; 32],
            state: Bytes::new(),
            place: Place { island: home, position: here, at },
            place_revision: Revision(1),
            quiet_ms,
        })));
        stage.told.clear();
        stage
    }

    fn handle(&mut self, input: LaneInput) {
        let mut effects = Vec::new();
        self.lane.handle(WorldTime(self.now), input, &mut effects);
        for effect in effects {
            match effect {
                LaneEffect::Send { bytes, .. } => self.told.extend(controls(bytes)),
                LaneEffect::Close { .. } => self.closed = true,
                _ => {}
            }
        }
    }

    fn event(&mut self, event: ClientEvent) {
        self.handle(LaneInput::Client { client: CLIENT, event });
    }

    fn say(&mut self, body: client_message::Body) {
        self.handle(says(CLIENT.0, body));
    }

    fn ping(&mut self) {
        self.say(client_message::Body::Ping(Ping { client_ms: 1 }));
    }

    /// Lets time pass.
    fn pass(&mut self, ms: i64) {
        let until = self.now + ms;
        while let Some(wake) = self.lane.next_wake().filter(|wake| wake.0 <= until) {
            self.now = self.now.max(wake.0);
            self.handle(LaneInput::Wake);
        }
        self.now = until;
    }

    fn met(&self, limit: Limit) -> u64 {
        self.lane.counters().limits.of(limit)
    }

    /// The code with which the session was closed.
    fn closing(&self) -> Option<&str> {
        match self.told.last() {
            Some(server_message::Body::Closing(closing)) if self.closed => Some(&closing.code),
            _ => None,
        }
    }
}

#[test]
fn the_time_in_which_the_lane_did_not_run_is_nobodys_silence() {
    let mut stage = Stage::new(ClientLimits { idle_ms: 3000, ..ClientLimits::default() });
    stage.pass(2000);
    stage.ping();
    stage.pass(1000);
    // The process is stopped for 150 s, and what was sent meanwhile is not read yet.
    stage.now += 150_000;
    stage.handle(LaneInput::Wake);
    stage.pass(1500);
    assert!(!stage.closed, "{:?}", stage.closing());
    stage.pass(700);
    assert_eq!(stage.closing(), Some("idle"));
}

#[test]
fn who_says_nothing_for_too_long_is_closed_as_idle() {
    let limits = ClientLimits { idle_ms: 3000, ..ClientLimits::default() };
    let mut stage = Stage::new(limits);
    stage.pass(2000);
    stage.ping();
    stage.pass(2800);
    assert!(!stage.closed);
    stage.pass(400);
    assert_eq!(stage.closing(), Some("idle"));
    assert_eq!(stage.met(Limit::IdleTime), 1);
    assert_eq!(stage.lane.population(), 0);
}

#[test]
fn who_reads_nothing_for_too_long_is_closed_as_slow_and_told_what_waited() {
    let limits = ClientLimits { blocked_ms: 3000, ..ClientLimits::default() };
    let mut stage = Stage::new(limits);
    stage.event(ClientEvent::Blocked);
    stage.ping();
    stage.pass(2800);
    assert!(stage.told.is_empty(), "{:?}", stage.told);
    stage.pass(400);
    assert_eq!(stage.closing(), Some("slow"));
    assert!(matches!(stage.told[0], server_message::Body::Pong(_)), "{:?}", stage.told);
    assert_eq!(stage.met(Limit::BlockedTime), 1);
}

#[test]
fn who_reads_again_in_time_stays() {
    let limits = ClientLimits { blocked_ms: 3000, ..ClientLimits::default() };
    let mut stage = Stage::new(limits);
    for _ in 0..3 {
        stage.event(ClientEvent::Blocked);
        stage.pass(2500);
        stage.event(ClientEvent::Writable);
        stage.pass(500);
    }
    stage.pass(5000);
    assert!(!stage.closed);
}

#[test]
fn more_control_messages_than_may_wait_close_a_blocked_client_as_slow() {
    let mut stage = Stage::new(ClientLimits::default());
    stage.event(ClientEvent::Blocked);
    let mut answered = 0;
    while !stage.closed {
        let payload = Bytes::from_static(b"?");
        stage.say(client_message::Body::Act(Act { sequence: 0, number: 1, payload }));
        answered += 1;
        assert!(answered < 65_536, "more waits than may");
    }
    assert_eq!(stage.closing(), Some("slow"));
    assert_eq!(stage.met(Limit::WaitingControl), 1);
}

#[test]
fn of_too_many_moves_the_last_one_counts_at_the_next_tick() {
    let limits = ClientLimits { moves: Allowance::new(10, 3), ..ClientLimits::default() };
    let mut stage = Stage::new(limits);
    let here = stage.here;
    for number in 1..=20 {
        let waypoints = vec![here.x + number, here.y];
        let walk = Move { number: number as u32, at_ms: stage.now, speed: 64, waypoints };
        stage.say(client_message::Body::Move(walk));
    }
    assert_eq!((stage.lane.counters().moves, stage.met(Limit::Moves)), (3, 17));
    stage.pass(200);
    assert_eq!(stage.lane.counters().moves, 4);
    let real = stage.lane.reals().next().unwrap();
    assert_eq!(real.trajectory.waypoints(), [Position::new(here.x + 20, here.y)]);
    assert!(stage.told.is_empty(), "{:?}", stage.told);
}

#[test]
fn what_comes_too_often_is_refused_and_is_allowed_again_later() {
    let limits = ClientLimits {
        durable: Allowance::new(1, 1),
        live: Allowance::new(1, 1),
        speech: Allowance::new(1, 1),
        pings: Allowance::new(1, 1),
        ..ClientLimits::default()
    };
    let mut stage = Stage::new(limits);
    let act = |sequence, number| Act { sequence, number, payload: Bytes::from_static(b"?") };
    let all = [
        client_message::Body::Act(act(1, 0)),
        client_message::Body::Act(act(0, 1)),
        client_message::Body::Say(Say { text: "Hello".into(), ..Say::default() }),
        client_message::Body::Ping(Ping { client_ms: 1 }),
    ];
    for round in 0..3 {
        stage.told.clear();
        for body in &all {
            stage.say(body.clone());
        }
        let codes: Vec<&str> = stage
            .told
            .iter()
            .map(|body| match body {
                server_message::Body::Outcome(outcome) => outcome.code.as_str(),
                _ => "other",
            })
            .collect();
        let expected = match round {
            // Speech that is said is not answered, and a ping that is not counts as one.
            0 | 2 => vec!["malformed", "malformed", "other"],
            _ => vec!["slow_down"; 3],
        };
        assert_eq!(codes, expected, "round {round}");
        stage.pass(if round == 1 { 3000 } else { 0 });
    }
    for limit in [Limit::Durable, Limit::Live, Limit::Speech, Limit::Pings] {
        assert_eq!(stage.met(limit), 1, "{limit:?}");
    }
}

#[test]
fn a_session_begins_with_what_has_come_together_since_the_last_one() {
    for (quiet_ms, expected) in [(i64::MAX, 20), (2000, 20), (700, 7), (0, 1), (-5, 1)] {
        let mut stage = Stage::of_avatar(ClientLimits::default(), quiet_ms);
        for _ in 0..30 {
            let payload = Bytes::from_static(b"?");
            stage.say(client_message::Body::Act(Act { sequence: 1, number: 0, payload }));
        }
        assert_eq!(30 - stage.met(Limit::Durable), expected, "after {quiet_ms} ms");
    }
}

#[test]
fn a_violation_closes_the_session_with_its_code() {
    for (violation, code) in [
        (ProtocolViolation::Flood, "flood"),
        (ProtocolViolation::EmptyFrames, "flood"),
        (ProtocolViolation::Stalled, "stalled"),
        (ProtocolViolation::TooLong, "malformed"),
        (ProtocolViolation::Malformed, "malformed"),
    ] {
        let mut stage = Stage::new(ClientLimits::default());
        stage.event(ClientEvent::Violated(violation));
        assert_eq!(stage.closing(), Some(code));
    }
}
