//! Instances of the chat over one store. What they ask for is carried out one by one, in the order that a test chooses.

use pelago_frontier::Frontier;
use pelago_game::{Game, json};
use pelago_model::{
    CommitOutcome, EntityId, Epoch, Incarnation, IslandClock, IslandId, IslandTime, Key, Machine,
    NodeId, Position, PublisherId, Role, Transaction, WorldTime, Write,
};
use pelago_node::chat::{self, ChatSabotage};
use pelago_node::chat_call::chat_result;
use pelago_node::documents::avatar::{
    AVATAR_SCHEMA, AvatarDocument, NAME_SCHEMA, NameDocument, Place, read,
};
use pelago_node::documents::lines::Speaker;
use pelago_node::documents::mailbox::MailboxDocument;
use pelago_node::documents::room::RoomDocument;
use pelago_node::documents::token::TokenHash;
use pelago_node::service::{ServiceCall, ServiceEffect, ServiceHost, ServiceInput, ServiceSeat};
use pelago_node::{CallTarget, Caller, ChatCall, LaneCall, MachineId, StoreAnswer};
use pelago_store::Memory;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub(crate) const ISLAND: IslandId = IslandId(1);
pub(crate) const NOW: WorldTime = WorldTime(1_000_000);
/// The node of the first instance; the others follow.
pub(crate) const NODE: NodeId = NodeId(1);
/// Longer than any pause between attempts, and shorter than the time of a call.
const LONGEST_PAUSE_MS: i64 = 800;
/// The node that the avatars of tests were last played on.
pub(crate) const OWNER: NodeId = NodeId(9);

/// Instances of the chat, each on a node of its own, and all that came of what they asked for.
pub(crate) struct Chats {
    pub(crate) store: Memory,
    pub(crate) now: WorldTime,
    pub(crate) hosts: Vec<ServiceHost>,
    /// How the next commits end, the first last, and whether they happen.
    pub(crate) faults: Vec<(CommitOutcome, bool)>,
    pub(crate) commits: Vec<CommitOutcome>,
    /// How calls ended, by their numbers: the code of a refusal.
    pub(crate) answers: BTreeMap<u64, Result<(), String>>,
    /// What all lanes were told, or those of one node.
    pub(crate) told: Vec<(Option<NodeId>, LaneCall)>,
    /// What instances have asked for and nobody has carried out yet.
    pub(crate) pending: Vec<(usize, ServiceEffect)>,
    calls: u64,
}

impl Chats {
    /// So many instances over an empty store.
    pub(crate) fn new(instances: u16) -> Self {
        Self::with(instances, ChatSabotage::default())
    }

    pub(crate) fn with(instances: u16, sabotage: ChatSabotage) -> Self {
        let kind = chat::kind(sabotage);
        let host = |number| {
            let node = NodeId(NODE.0 + number);
            let seat = ServiceSeat {
                node,
                publisher: PublisherId::service(node, 0, Incarnation(1)),
                game: Arc::new(Frontier),
                lands: Arc::default(),
                clock: IslandClock::IDENTITY,
                secret: [7; 32],
            };
            ServiceHost::new(&seat, std::slice::from_ref(&kind))
        };
        Self {
            store: Memory::default(),
            now: NOW,
            hosts: (0..instances).map(host).collect(),
            faults: Vec::new(),
            commits: Vec::new(),
            answers: BTreeMap::new(),
            told: Vec::new(),
            pending: Vec::new(),
            calls: 0,
        }
    }

    /// Writes an avatar that is played under an epoch, and its name.
    pub(crate) fn write_avatar(&mut self, avatar: u64, epoch: u64, game: serde_json::Value) {
        let place = Place { island: ISLAND, position: Position::new(0, 0), at: IslandTime(0) };
        let document = AvatarDocument::new(name(avatar), place, game);
        let document = AvatarDocument { epoch: Epoch(epoch), owner: OWNER, ..document };
        let avatar_key = Key::avatar(EntityId(avatar));
        self.write(avatar_key, AVATAR_SCHEMA, json::encode(&document).unwrap());
        let token = TokenHash::of("anybody", &pelago_model::Secret::new(&[1; 16][..]));
        let document = NameDocument { avatar: EntityId(avatar), token };
        self.write(Key::name(&name(avatar)), NAME_SCHEMA, json::encode(&document).unwrap());
    }

    /// Writes avatars 1 to `count`, each under epoch 1.
    pub(crate) fn write_avatars(&mut self, count: u64) {
        for avatar in 1..=count {
            self.write_avatar(avatar, 1, Frontier.new_avatar("Anna"));
        }
    }

    fn write(&mut self, key: Key, schema: u16, value: bytes::Bytes) {
        let expected = self.store.get(&key).revision;
        let write = Write { key, expected, schema, value: Some(value) };
        let outcome = self.store.apply(Transaction { checks: Vec::new(), writes: vec![write] });
        assert_eq!(outcome, CommitOutcome::Committed);
    }

    pub(crate) fn room(&self) -> RoomDocument {
        read(&self.store.get(&Key::room(ISLAND))).unwrap().unwrap_or_default()
    }

    pub(crate) fn mailbox(&self, avatar: u64) -> MailboxDocument {
        read(&self.store.get(&Key::mailbox(EntityId(avatar)))).unwrap().unwrap_or_default()
    }

    /// Calls an instance; what it asks for is pending. The number of the call comes back.
    pub(crate) fn begin(&mut self, at: usize, call: ChatCall) -> u64 {
        self.calls += 1;
        let caller = Caller::Machine { machine: MachineId::Lane(0), number: self.calls };
        let (key, body) = (call.key(), call.encode());
        let call = ServiceCall { caller, key, body, trace: 0 };
        self.tell(at, ServiceInput::Call { role: Role::chat(), call });
        self.calls
    }

    pub(crate) fn tell(&mut self, at: usize, input: ServiceInput) {
        let mut effects = Vec::new();
        self.hosts[at].handle(self.now, input, &mut effects);
        self.pending.extend(effects.into_iter().map(|effect| (at, effect)));
    }

    /// Carries out one of the things that are pending.
    pub(crate) fn step(&mut self, which: usize) {
        let (at, effect) = self.pending.remove(which);
        let input = match effect {
            ServiceEffect::Load { request, keys } => {
                let documents = keys.iter().map(|key| self.store.get(key)).collect();
                ServiceInput::Stored { request, answer: StoreAnswer::Loaded(Some(documents)) }
            }
            ServiceEffect::Commit { request, transaction } => {
                let outcome = match self.faults.pop() {
                    Some((outcome, happens)) => {
                        if happens {
                            self.store.apply(transaction);
                        }
                        outcome
                    }
                    None => self.store.apply(transaction),
                };
                self.commits.push(outcome.clone());
                ServiceInput::Stored { request, answer: StoreAnswer::Committed(outcome) }
            }
            ServiceEffect::Run { request, run } => ServiceInput::Ran { request, end: run.run() },
            ServiceEffect::Reply { caller: Caller::Machine { number, .. }, reply } => {
                let result = chat_result(Ok(reply.unwrap()));
                let result = result.map_err(|refusal| refusal.code.into_owned());
                assert_eq!(self.answers.insert(number, result), None, "answered once");
                return;
            }
            ServiceEffect::TellEverybody(call) => return self.told.push((None, call)),
            ServiceEffect::Call { call, .. } => {
                let CallTarget::Lanes { node } = call.target else { panic!("{call:?}") };
                return self.told.push((Some(node), LaneCall::decode(&call.body).unwrap()));
            }
            // Rules are run at once here: none is under way.
            ServiceEffect::Log(_) | ServiceEffect::Abandon { .. } => return,
            other => panic!("{other:?}"),
        };
        self.tell(at, input);
    }

    /// Carries out everything in order, pauses between attempts included.
    pub(crate) fn settle(&mut self) {
        loop {
            while !self.pending.is_empty() {
                self.step(0);
            }
            if !self.pass_a_pause() {
                return;
            }
        }
    }

    /// Lets time pass until an instance wants to be woken, if that is soon. False if it is not.
    pub(crate) fn pass_a_pause(&mut self) -> bool {
        let soon = self.now.plus(LONGEST_PAUSE_MS);
        let wakes =
            self.hosts.iter().enumerate().filter_map(|(at, host)| Some((host.next_wake()?, at)));
        let Some((wake, at)) = wakes.min().filter(|(wake, _)| *wake <= soon) else { return false };
        self.now = self.now.max(wake);
        self.tell(at, ServiceInput::Wake);
        true
    }

    /// Calls the first instance and carries out everything: the code of the refusal.
    pub(crate) fn ask(&mut self, call: ChatCall) -> Result<(), String> {
        let number = self.begin(0, call);
        self.settle();
        self.answers.remove(&number).unwrap()
    }

    /// Says something to the island.
    pub(crate) fn say(&mut self, avatar: u64, number: u64, text: &str) -> Result<(), String> {
        let speaker = self.speaker(avatar, number);
        self.ask(ChatCall::Say { speaker, island: ISLAND, text: text.into() })
    }

    pub(crate) fn whisper(&mut self, from: u64, number: u64, to: u64) -> Result<(), String> {
        let speaker = self.speaker(from, number);
        self.ask(ChatCall::Whisper { speaker, name: name(to), text: "psst".into() })
    }

    pub(crate) fn speaker(&self, avatar: u64, number: u64) -> Speaker {
        Speaker { avatar: EntityId(avatar), epoch: Epoch(1), number, asked: self.now }
    }

    /// Nothing is left of what was asked of the instances.
    pub(crate) fn check_at_rest(&self) {
        for size in self.hosts.iter().flat_map(ServiceHost::sizes) {
            assert!(size.held <= size.rest, "{size:?}");
        }
        assert!(self.hosts.iter().all(|host| host.next_wake().is_none()));
    }
}

pub(crate) fn name(avatar: u64) -> String {
    format!("player {avatar}")
}

/// The texts of a room or a mailbox.
pub(crate) fn texts(lines: &VecDeque<pelago_node::documents::lines::Line>) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}
