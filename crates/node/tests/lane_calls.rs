//! What a lane asks of stewards and other lanes on behalf of its players, and what it is asked.
#![allow(clippy::unwrap_used, reason = "tests")]

mod players;

use bytes::Bytes;
use pelago_frontier::Frontier;
use pelago_game::{Arrival, Game, Land, Refusal};
use pelago_model::{
    EntityId, Epoch, IslandClock, IslandTime, Key, Machine, NodeId, Reader, Role, Sequence, Tick,
    WorldTime,
};
use pelago_node::call::CallError;
use pelago_node::lane_call::{live_answer, live_result, released_place};
use pelago_node::{
    CallResult, CallTarget, Caller, DurableCommand, DurableResult, Lane, LaneCall, LaneEffect,
    LaneInput, LiveCommand, MachineId, OutgoingCall, Reply, StewardCall,
};
use pelago_wire::client::{Act, Outcome, client_message, server_message};
use players::{NODE, controls, home, join, lane, says, spec};
use std::sync::Arc;

const NOW: WorldTime = WorldTime(1_000_050);

/// A lane with a player on it.
struct Stage {
    lane: Lane,
    now: WorldTime,
    effects: Vec<LaneEffect>,
}

impl Stage {
    fn new(number: u8, player: u64, land: &Arc<Land>) -> Self {
        let (now, effects) = (NOW, Vec::new());
        let mut stage = Self { lane: lane(number, land), now, effects };
        let position = Frontier.spawn(land, Arrival::Home, 1);
        stage.handle(join(player, position, now));
        stage.effects.clear();
        stage
    }

    fn handle(&mut self, input: LaneInput) {
        self.lane.handle(self.now, input, &mut self.effects);
    }

    fn act(&mut self, player: u64, sequence: u64, number: u64, payload: &str) {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        self.handle(says(player, client_message::Body::Act(Act { sequence, number, payload })));
    }

    /// The call that it has asked for since this was asked last.
    fn call(&mut self) -> Option<(u64, OutgoingCall)> {
        let calls = self.effects.extract_if(.., |effect| matches!(effect, LaneEffect::Call { .. }));
        calls.last().map(|effect| match effect {
            LaneEffect::Call { number, call } => (number, call),
            other => panic!("{other:?}"),
        })
    }

    /// What its player was told since.
    fn told(&mut self) -> Vec<server_message::Body> {
        let told = self.effects.drain(..).filter_map(|effect| match effect {
            LaneEffect::Send { bytes, .. } => Some(controls(bytes)),
            _ => None,
        });
        told.flatten().collect()
    }

    fn outcome(&mut self) -> Outcome {
        match self.told().pop() {
            Some(server_message::Body::Outcome(outcome)) => outcome,
            other => panic!("{other:?}"),
        }
    }
}

fn land() -> Arc<Land> {
    Arc::new(Land::new(&Frontier, spec(5)))
}

const EAT: &str = r#"{"eat":{"item":"berries"}}"#;

#[test]
fn a_durable_command_is_a_call_to_the_steward_of_its_key() {
    let mut stage = Stage::new(0, 1, &land());
    stage.act(1, 1, 0, EAT);
    let (number, call) = stage.call().unwrap();
    let key = Key::avatar(EntityId(1));
    assert_eq!(call.target, CallTarget::Preferred { role: Role::steward(), key: key.clone() });
    assert!(call.repeatable);
    let Some(StewardCall::Command(DurableCommand { actor, payload, trace, .. })) =
        StewardCall::decode(&key, &call.body, call.trace)
    else {
        panic!("{call:?}");
    };
    assert_eq!((actor.avatar, actor.epoch, actor.sequence), (EntityId(1), Epoch(1), Sequence(1)));
    assert_eq!(actor.received, IslandClock::IDENTITY.at(NOW));
    assert_eq!((payload, trace), (Bytes::from_static(EAT.as_bytes()), number));
    // The same again is answered by the same outcome, another one has to wait.
    stage.act(1, 1, 0, EAT);
    assert!(stage.effects.is_empty());
    stage.act(1, 2, 0, EAT);
    assert_eq!((stage.outcome().code.as_str(), stage.call()), ("busy", None));
    let done = DurableResult::Done { effects: Bytes::from_static(b"{}"), chain: [7; 32] };
    stage.handle(LaneInput::Answered { number, result: Ok(done.encode()) });
    let outcome = stage.outcome();
    assert_eq!(
        (outcome.sequence, &outcome.chain[..], outcome.code.as_str()),
        (1, &[7; 32][..], "")
    );
    assert_eq!(stage.lane.counters().durable_acknowledged, 1);
    // An answer that comes twice is nobody's.
    stage.handle(LaneInput::Answered { number, result: Err(CallError::LinkLost) });
    assert!(stage.effects.is_empty());
}

#[test]
fn how_a_call_to_a_steward_ends_is_told_and_the_command_may_be_repeated() {
    let refused = DurableResult::Refused(Refusal::new("empty", "There is nothing left."));
    let ends: [(CallResult, &str); 5] = [
        (Ok(refused.encode()), "empty"),
        (Err(CallError::Rejected("busy".into())), "busy"),
        (Err(CallError::Rejected("role".into())), "unavailable"),
        (Err(CallError::DeadlineExceeded), "unavailable"),
        (Ok(Bytes::from_static(&[0xff; 3])), "internal"),
    ];
    let mut stage = Stage::new(0, 1, &land());
    for (result, code) in ends {
        stage.act(1, 1, 0, EAT);
        let (number, _) = stage.call().unwrap();
        stage.handle(LaneInput::Answered { number, result });
        let outcome = stage.outcome();
        assert_eq!((outcome.sequence, outcome.code.as_str()), (1, code));
    }
}

#[test]
fn a_session_that_a_steward_does_not_know_any_more_is_superseded() {
    let mut stage = Stage::new(0, 1, &land());
    stage.act(1, 1, 0, EAT);
    let (number, _) = stage.call().unwrap();
    let refusal = Refusal::new("superseded", "You are playing from somewhere else.");
    let result = Ok(DurableResult::Refused(refusal).encode());
    stage.handle(LaneInput::Answered { number, result });
    assert!(matches!(stage.effects.last(), Some(LaneEffect::Close { .. })));
    assert_eq!((stage.lane.population(), stage.lane.reals().count()), (0, 0));
}

#[test]
fn a_live_command_is_run_by_the_lane_of_its_target() {
    let land = land();
    let (mut actor, mut target) = (Stage::new(0, 1, &land), Stage::new(3, 2, &land));
    let wave = format!(r#"{{"wave":"{}"}}"#, EntityId(2));
    actor.act(1, 0, 5, &wave);
    assert_eq!(actor.outcome().code, "not_here");
    // The actor's lane reads the target's.
    let shown = target.lane.reals().next().unwrap();
    let here = shown.trajectory.position_at(IslandTime(NOW.0)).chunk();
    let channel = pelago_model::ChannelId::whole(home(), here);
    target.handle(LaneInput::Subscribe { reader: Reader::Lane(0), channel, version: 0 });
    (actor.now, target.now) = (Tick::at(NOW).next().starts(), Tick::at(NOW).next().starts());
    target.handle(LaneInput::Wake);
    let snapshot = target.effects.drain(..).find_map(|effect| match effect {
        LaneEffect::Snapshot { to: Reader::Lane(0), snapshot } => Some(snapshot),
        _ => None,
    });
    actor.handle(LaneInput::Snapshot(snapshot.unwrap()));
    actor.act(1, 0, 6, &wave);
    let (number, call) = actor.call().unwrap();
    assert_eq!(call.target, CallTarget::Lane { node: NODE, lane: 3 });
    assert!(!call.repeatable);
    let Some(LaneCall::Live(command)) = LaneCall::decode(&call.body) else { panic!("{call:?}") };
    assert_eq!((command.actor, command.actor_epoch), (EntityId(1), Epoch(1)));
    let caller = Caller::Machine { machine: MachineId::Lane(0), number };
    target.handle(LaneInput::Call { caller, call: LaneCall::Live(command) });
    let reply: Reply = match target.effects.remove(0) {
        LaneEffect::Reply { caller: to, reply } if to == caller => reply,
        other => panic!("{other:?}"),
    };
    assert_eq!(target.lane.reals().next().unwrap().stance, 1);
    actor.effects.clear();
    actor.handle(LaneInput::Answered { number, result: Ok(reply.unwrap()) });
    let outcome = actor.outcome();
    assert_eq!((outcome.number, outcome.code.as_str()), (6, ""));
    assert_eq!(outcome.effects, r#"{"stance":1}"#);
    // Waving ends by itself.
    for _ in 0..25 {
        target.now = Tick::at(target.now).next().starts();
        target.handle(LaneInput::Wake);
    }
    assert_eq!(target.lane.reals().next().unwrap().stance, 0);
}

#[test]
fn a_live_command_for_a_real_of_the_same_lane_leaves_no_call_behind() {
    let mut stage = Stage::new(0, 1, &land());
    stage.act(1, 0, 9, &format!(r#"{{"wave":"{}"}}"#, EntityId(1)));
    assert_eq!(stage.call(), None);
    let outcome = stage.outcome();
    assert_eq!((outcome.number, outcome.effects), (9, Bytes::from_static(br#"{"stance":1}"#)));
    let calls = stage.lane.sizes().into_iter().find(|size| size.of == "calls of a lane").unwrap();
    assert_eq!(calls.held, 0);
}

#[test]
fn whoever_asks_a_lane_is_answered_unless_nobody_waits() {
    let mut stage = Stage::new(0, 1, &land());
    let elsewhere = LaneCall::Live(LiveCommand {
        trace: 4,
        actor: EntityId(8),
        actor_epoch: Epoch(1),
        actor_position: pelago_model::Position::new(0, 0),
        target: EntityId(9),
        payload: Bytes::new(),
    });
    let notice = |epoch| LaneCall::Notify {
        avatar: EntityId(1),
        epoch: Epoch(epoch),
        payload: Bytes::from_static(b"{}"),
    };
    let operator = Caller::Operator { number: 1 };
    stage.handle(LaneInput::Call { caller: operator, call: elsewhere });
    let Some(LaneEffect::Reply { reply: Ok(body), .. }) = stage.effects.pop() else { panic!() };
    let refusal = Refusal::new("not_here", "Nobody like that is here.");
    assert_eq!(live_result(Ok(body.clone())), Err(refusal.clone()));
    assert_eq!(live_answer(Err(refusal)), body);
    // A notice is for one session and no other.
    for (epoch, notices) in [(2, 0), (1, 1)] {
        stage.handle(LaneInput::Call { caller: operator, call: notice(epoch) });
        let is_reply = |effect: &LaneEffect| matches!(effect, LaneEffect::Reply { reply: Ok(body), .. } if body.is_empty());
        assert!(stage.effects.iter().any(is_reply));
        let told = stage.told();
        let notice = |body: &&server_message::Body| matches!(body, server_message::Body::Notice(_));
        assert_eq!(told.iter().filter(notice).count(), notices);
    }
    // An older session is left alone, a newer one takes over.
    for (epoch, left) in [(1, 1), (2, 0)] {
        let call = LaneCall::Superseded { avatar: EntityId(1), epoch: Epoch(epoch) };
        stage.handle(LaneInput::Call { caller: Caller::Nobody, call });
        let is_reply = |effect: &LaneEffect| matches!(effect, LaneEffect::Reply { .. });
        assert!(!stage.effects.iter().any(is_reply));
        assert_eq!(stage.lane.population(), left);
    }
    assert_eq!(stage.lane.counters().superseded, 1);
}

#[test]
fn a_lane_lets_go_of_an_avatar_and_tells_where_it_is() {
    let mut stage = Stage::new(0, 1, &land());
    let caller = Caller::Operator { number: 1 };
    // Somebody else, and a session that is newer than whoever asks knows, may be meant for another lane.
    for (avatar, epoch) in [(9, 1), (1, 0)] {
        let call = LaneCall::Release { avatar: EntityId(avatar), epoch: Epoch(epoch) };
        stage.handle(LaneInput::Call { caller, call: call.clone() });
        let passed = stage.effects.pop();
        assert!(matches!(passed, Some(LaneEffect::PassOn { call: it, .. }) if it == call));
    }
    let shown = stage.lane.reals().next().unwrap();
    let here = shown.trajectory.position_at(IslandTime(stage.now.0));
    let call = LaneCall::Release { avatar: EntityId(1), epoch: Epoch(1) };
    stage.handle(LaneInput::Call { caller, call });
    let place = stage.effects.iter().find_map(|effect| match effect {
        LaneEffect::Reply { reply: Ok(body), .. } => released_place(&Ok(body.clone())),
        _ => None,
    });
    assert_eq!(place.map(|place| place.position), Some(here));
    assert_eq!(stage.lane.population(), 0);
    assert_eq!(stage.lane.reals().count(), 0);
}

#[test]
fn a_channel_is_asked_for_once_and_the_lane_reads_itself_without_leaving() {
    let mut stage = Stage::new(2, 1, &land());
    stage.handle(join(7, Frontier.spawn(&land(), Arrival::Home, 1), NOW));
    let interests = |stage: &mut Stage, wanted: bool| {
        let is_it = |effect: &LaneEffect| matches!(effect, LaneEffect::Interest { wanted: it, .. } if *it == wanted);
        stage.effects.extract_if(.., |effect| is_it(effect)).count()
    };
    assert_eq!(interests(&mut stage, true), 0, "the first player's lane reads all of it already");
    for _ in 0..3 {
        stage.now = Tick::at(stage.now).next().starts();
        stage.handle(LaneInput::Wake);
    }
    let mut ghosts: Vec<_> = stage.lane.ghosts().iter().map(|(_, ghost)| ghost.id.0).collect();
    ghosts.sort_unstable();
    assert_eq!(ghosts, [1, 7]);
    let leaves = |effect: &LaneEffect| match effect {
        LaneEffect::Frames { .. } | LaneEffect::Snapshot { .. } => true,
        LaneEffect::Publish(frames) => !frames.is_empty(),
        _ => false,
    };
    assert!(!stage.effects.iter().any(leaves));
    // What another node reads is sent to it, and only then.
    let others = Reader::Node(NodeId(2));
    let channel = stage.lane.watched().nth(4).unwrap();
    stage.handle(LaneInput::Subscribe { reader: others, channel, version: 3 });
    stage.effects.clear();
    stage.now = Tick::at(stage.now).next().starts();
    stage.handle(LaneInput::Wake);
    let answers = |effect: &LaneEffect| matches!(effect, LaneEffect::Snapshot { to, snapshot } if *to == others && snapshot.answers == 3);
    assert_eq!(stage.effects.iter().filter(|effect| answers(effect)).count(), 1);
    stage.handle(LaneInput::Shutdown);
    assert_eq!(interests(&mut stage, false), 9);
    assert_eq!(stage.lane.ghosts().iter().count(), 0);
}
