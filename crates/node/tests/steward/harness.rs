//! Instances of the stewards over one store. What they ask for is carried out one by one, in the order that a test chooses.

use bytes::Bytes;
use pelago_frontier::{Frontier, Wild};
use pelago_game::{Actor, Game, Land, json};
use pelago_model::{
    CommitOutcome, EntityId, Epoch, Incarnation, IslandClock, IslandId, IslandTime, Key, Machine,
    NodeId, Position, PublisherId, Reader, Role, Sequence, Transaction, WorldTime, Write,
};
use pelago_node::documents::avatar::{AVATAR_SCHEMA, AvatarDocument, Place, read};
use pelago_node::service::{
    ServiceCall, ServiceEffect, ServiceHost, ServiceInput, ServiceKind, ServiceSeat,
};
use pelago_node::{
    CallTarget, Caller, DurableCommand, DurableResult, LaneCall, MachineId, RequestId, StewardCall,
    StoreAnswer, steward,
};
use pelago_store::Memory;
use pelago_wire::frame::{Frame, Snapshot};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

pub(crate) const ISLAND: IslandId = IslandId(1);
pub(crate) const NOW: WorldTime = WorldTime(1_000_000);
/// The node of the first instance; the others follow.
pub(crate) const NODE: NodeId = NodeId(1);

/// Instances of the stewards, each on a node of its own, and all that came of what they asked for.
pub(crate) struct Stewards {
    pub(crate) store: Memory,
    pub(crate) land: Arc<Land>,
    pub(crate) now: WorldTime,
    pub(crate) hosts: Vec<ServiceHost>,
    /// How the next commits end, the first last, and whether they happen.
    pub(crate) faults: Vec<(CommitOutcome, bool)>,
    /// How many documents each commit wrote, and how it ended.
    pub(crate) commits: Vec<(usize, CommitOutcome)>,
    /// What was asked of the store.
    pub(crate) loaded: BTreeSet<Key>,
    /// The answers, by the number of the call.
    pub(crate) answers: Vec<(u64, DurableResult)>,
    /// The codes of calls that were not begun.
    pub(crate) rejected: Vec<String>,
    /// What sessions were to be told.
    pub(crate) told: Vec<(NodeId, EntityId, Epoch, Bytes)>,
    /// What was published, and for whom: the lane of the node, or other nodes.
    pub(crate) frames: Vec<(Option<u8>, Arc<Frame>)>,
    pub(crate) snapshots: Vec<(Reader, Arc<Snapshot>)>,
    pub(crate) log: Vec<String>,
    /// Which stewards were told that somebody else has changed what they publish, and how.
    pub(crate) told_of_changes: Vec<(Key, Bytes)>,
    /// The runs that were to be abandoned.
    pub(crate) abandoned: Vec<RequestId>,
    /// What threads were lost to.
    pub(crate) lost: Vec<String>,
    calls: u64,
}

impl Stewards {
    /// So many instances of a kind over an empty store.
    pub(crate) fn new(land: Land, instances: u16, kind: &ServiceKind) -> Self {
        let land = Arc::new(land);
        let host = |number| {
            let node = NodeId(NODE.0 + number);
            let seat = ServiceSeat {
                node,
                publisher: PublisherId::service(node, 0, Incarnation(1)),
                game: Arc::new(Wild::default()),
                lands: Arc::new(BTreeMap::from([(land.spec().id, land.clone())])),
                clock: IslandClock::IDENTITY,
                secret: [7; 32],
            };
            ServiceHost::new(&seat, std::slice::from_ref(kind))
        };
        Self {
            store: Memory::default(),
            hosts: (0..instances).map(host).collect(),
            land,
            now: NOW,
            faults: Vec::new(),
            commits: Vec::new(),
            loaded: BTreeSet::new(),
            answers: Vec::new(),
            rejected: Vec::new(),
            told: Vec::new(),
            frames: Vec::new(),
            snapshots: Vec::new(),
            log: Vec::new(),
            told_of_changes: Vec::new(),
            abandoned: Vec::new(),
            lost: Vec::new(),
            calls: 0,
        }
    }

    /// Stewards as they are used, without a planted bug.
    pub(crate) fn kind() -> ServiceKind {
        steward::kind(steward::MAX_BATCH_TURNS, steward::StewardSabotage::default())
    }

    pub(crate) fn write(&mut self, key: Key, schema: u16, value: Bytes) {
        let expected = self.store.get(&key).revision;
        let write = Write { key, expected, schema, value: Some(value) };
        let outcome = self.store.apply(Transaction { checks: Vec::new(), writes: vec![write] });
        assert_eq!(outcome, CommitOutcome::Committed);
    }

    /// Writes the document of an avatar that is played under an epoch.
    pub(crate) fn write_avatar(&mut self, avatar: EntityId, place: Place, game: serde_json::Value) {
        let document = AvatarDocument::new("Anna".into(), place, game);
        let document = AvatarDocument { epoch: Epoch(1), ..document };
        self.write(Key::avatar(avatar), AVATAR_SCHEMA, json::encode(&document).unwrap());
    }

    pub(crate) fn avatar(&self, avatar: EntityId) -> AvatarDocument {
        read(&self.store.get(&Key::avatar(avatar))).unwrap().unwrap()
    }

    /// Tells an instance something; what it asks for comes back undone.
    pub(crate) fn tell(&mut self, at: usize, input: ServiceInput) -> Vec<ServiceEffect> {
        let mut effects = Vec::new();
        self.hosts[at].handle(self.now, input, &mut effects);
        effects
    }

    /// Calls an instance; what it asks for comes back undone.
    pub(crate) fn call(&mut self, at: usize, call: StewardCall) -> Vec<ServiceEffect> {
        let (key, trace) = (call.key(), call.trace());
        self.call_with(at, key, call.encode(), trace)
    }

    pub(crate) fn call_with(
        &mut self,
        at: usize,
        key: Key,
        body: Bytes,
        trace: u64,
    ) -> Vec<ServiceEffect> {
        self.calls += 1;
        let caller = Caller::Machine { machine: MachineId::Lane(0), number: self.calls };
        let call = ServiceCall { caller, key, body, trace };
        self.tell(at, ServiceInput::Call { role: Role::steward(), call })
    }

    /// Carries out one thing that an instance asked for, and says what the instance asks for then.
    pub(crate) fn carry_out(&mut self, at: usize, effect: ServiceEffect) -> Vec<ServiceEffect> {
        let input = match effect {
            ServiceEffect::Load { request, keys } => {
                let documents = keys.iter().map(|key| self.store.get(key)).collect();
                self.loaded.extend(keys);
                ServiceInput::Stored { request, answer: StoreAnswer::Loaded(Some(documents)) }
            }
            ServiceEffect::Commit { request, transaction } => {
                assert!(transaction.keeps_history());
                let writes = transaction.writes.len();
                let outcome = match self.faults.pop() {
                    Some((outcome, happens)) => {
                        if happens {
                            self.store.apply(transaction);
                        }
                        outcome
                    }
                    None => self.store.apply(transaction),
                };
                self.commits.push((writes, outcome.clone()));
                ServiceInput::Stored { request, answer: StoreAnswer::Committed(outcome) }
            }
            ServiceEffect::Run { request, run } => ServiceInput::Ran { request, end: run.run() },
            other => {
                self.note(other);
                return Vec::new();
            }
        };
        self.tell(at, input)
    }

    /// Notes what nobody answers.
    fn note(&mut self, effect: ServiceEffect) {
        match effect {
            ServiceEffect::Reply { caller, reply } => {
                let Caller::Machine { number, .. } = caller else { panic!("{caller:?}") };
                match reply {
                    Ok(body) => self.answers.push((number, DurableResult::of_call(Ok(body)))),
                    Err(rejection) => self.rejected.push(rejection.0),
                }
            }
            ServiceEffect::Call { call, .. } => {
                let node = match call.target {
                    CallTarget::Lanes { node } => node,
                    CallTarget::Preferred { role, key } => {
                        assert_eq!(role, Role::steward());
                        return self.told_of_changes.push((key, call.body));
                    }
                    other => panic!("{other:?}"),
                };
                let Some(LaneCall::Notify { avatar, epoch, payload }) =
                    LaneCall::decode(&call.body)
                else {
                    panic!("{call:?}")
                };
                self.told.push((node, avatar, epoch, payload));
            }
            ServiceEffect::Frames { to, frames } => {
                self.frames.extend(frames.into_iter().map(|frame| (Some(to), frame)));
            }
            ServiceEffect::Publish(frames) => {
                self.frames.extend(frames.into_iter().map(|frame| (None, frame)));
            }
            ServiceEffect::TellEverybody(call) => panic!("{call:?}"),
            ServiceEffect::Snapshot { to, snapshot } => self.snapshots.push((to, snapshot)),
            ServiceEffect::Log(line) => self.log.push(line.text),
            ServiceEffect::Load { .. }
            | ServiceEffect::Commit { .. }
            | ServiceEffect::Refused { .. }
            | ServiceEffect::Run { .. } => panic!("{effect:?}"),
            ServiceEffect::Abandon { request } => self.abandoned.push(request),
            ServiceEffect::RulesLost { what } => self.lost.push(what),
        }
    }

    /// Carries out everything that follows, pauses between attempts included.
    pub(crate) fn finish(&mut self, at: usize, effects: Vec<ServiceEffect>) {
        let mut queue = VecDeque::from(effects);
        loop {
            while let Some(effect) = queue.pop_front() {
                queue.extend(self.carry_out(at, effect));
            }
            match self.pass_a_pause(at) {
                Some(effects) => queue.extend(effects),
                None => return,
            }
        }
    }

    /// If an instance pauses before it tries again, lets that time pass: what it asks for then.
    pub(crate) fn pass_a_pause(&mut self, at: usize) -> Option<Vec<ServiceEffect>> {
        let mut sizes = self.hosts[at].sizes().into_iter();
        sizes.find(|size| size.of == "batches that pause" && size.held > 0)?;
        self.now = self.now.max(self.hosts[at].next_wake()?);
        Some(self.tell(at, ServiceInput::Wake))
    }

    /// Calls an instance and carries out everything that follows: the answer, or the code of the refusal.
    pub(crate) fn ask(&mut self, at: usize, call: StewardCall) -> Result<Bytes, String> {
        let effects = self.call(at, call);
        self.finish(at, effects);
        let (number, result) = self.answers.pop().unwrap();
        assert_eq!(number, self.calls, "the last call is answered last");
        effects_or_code(result)
    }

    /// What an instance counts under a name.
    pub(crate) fn counter(&self, at: usize, name: &str) -> u64 {
        self.hosts[at].counters().find(|(_, other, _)| *other == name).unwrap().2
    }

    /// Nothing is left of what was asked of the instances.
    pub(crate) fn check_at_rest(&self) {
        for size in self.hosts.iter().flat_map(ServiceHost::sizes) {
            assert!(size.held <= size.rest, "{size:?}");
        }
        assert!(self.hosts.iter().all(|host| host.next_wake().is_none()));
    }
}

/// What a player or an operator gets to see.
pub(crate) fn effects_or_code(result: DurableResult) -> Result<Bytes, String> {
    match result {
        DurableResult::Done { effects, .. } => Ok(effects),
        DurableResult::Refused(refusal) => Err(refusal.code.into_owned()),
        DurableResult::Failed { .. } => Err("failed".to_owned()),
    }
}

/// A command of an avatar's session at a place.
pub(crate) fn command(
    key: Key,
    (avatar, epoch, sequence): (EntityId, Epoch, Sequence),
    position: Position,
    payload: impl Into<Bytes>,
) -> DurableCommand {
    let received = IslandTime(NOW.0 + sequence.0 as i64);
    let actor = Actor { avatar, epoch, sequence, island: ISLAND, position, received };
    DurableCommand { key, actor, payload: payload.into(), trace: 9 }
}

/// The state of a new avatar that was given some wood.
pub(crate) fn with_wood(wood: u64) -> serde_json::Value {
    let mut game = Frontier.new_avatar("Anna");
    game["held"]["wood"] = wood.into();
    game["granted"] = serde_json::json!({"wood": wood});
    game
}
