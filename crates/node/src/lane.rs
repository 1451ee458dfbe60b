//! A lane: the single-threaded machine that holds reals, sessions and connections.
//!
//! At each tick it publishes what its reals did; 20 ms later it delivers to its clients what everybody did. In between it
//! takes in what clients ask for and what others publish. A message of a client is answered by the lane itself: nothing
//! stands between the two but the client's socket.

mod chat;
mod checkpoint;
mod commands;
mod connection;
mod interface;
mod introductions;
mod joining;
mod left;
mod live;
mod movement;
mod near;
mod outgoing;
mod real;
mod session;
mod sight;
mod sizes;
mod streams;
mod ticks;

pub use chat::{MAILBOX_LOOK_MS, ROOM_LOOK_MS};
pub use interface::{LaneEffect, LaneInput};
pub use introductions::{INTRODUCTION_MS, MAX_HELD_FRAMES};
pub use near::{SPEAKER_KNOWN_MS, SPEAKER_PATIENCE_MS};

use crate::rate_limits::ClientLimits;
use crate::store_request::{RequestId, Requests, StoreAnswer};
use chat::Room;
use connection::Connection;
use introductions::Introductions;
use left::Left;
use pelago_game::{Game, Land};
use pelago_model::{
    Attendance, ChannelId, Document, EntityId, Epoch, IslandClock, IslandId, Limit, LimitCounts,
    Machine, NodeId, PublisherId, WorldTime,
};
use pelago_wire::record::Slot;
use pelago_world::{ClientId, Delivery, Ghosts, Objects, Publisher, Shown, TimerWheel};
use real::Reals;
use session::Session;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How often an avatar's place is checkpointed, in ms.
pub const CHECKPOINT_MS: i64 = 5000;
/// Checkpoints of those who came at once are spread over this many ms times 50.
const CHECKPOINT_SPREAD_MS: i64 = 100;
/// How long a call may take before the player is told `unavailable`, in ms.
pub const CALL_DEADLINE_MS: u32 = 5000;

/// The configuration of a lane.
#[derive(Clone)]
pub struct LaneConfig {
    /// This node.
    pub node: NodeId,
    /// The lane's index.
    pub lane: u8,
    /// Its id as a publisher.
    pub publisher: PublisherId,
    /// The island that clients take as meant if no other is named.
    pub home: IslandId,
    /// The land of every island.
    pub lands: Arc<BTreeMap<IslandId, Arc<Land>>>,
    /// The rules.
    pub game: Arc<dyn Game>,
    /// Island time.
    pub clock: IslandClock,
    /// The rates and times of clients.
    pub limits: ClientLimits,
}

/// Numbers for operators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneCounters {
    /// Frames published.
    pub frames: u64,
    /// Bytes handed to clients, without control messages.
    pub delivered_bytes: u64,
    /// Deliveries to clients: writes.
    pub deliveries: u64,
    /// Moves accepted.
    pub moves: u64,
    /// Moves refused.
    pub moves_refused: u64,
    /// Durable commands acknowledged.
    pub durable_acknowledged: u64,
    /// Commands refused, durable and live.
    pub refused: u64,
    /// Messages from clients that could not be understood.
    pub malformed: u64,
    /// Sessions ended because a newer one has begun.
    pub superseded: u64,
    /// Limits that were met.
    pub limits: LimitCounts,
}

/// The purpose of a request to the store. Those about a place are of a session, which may be over when they end.
#[derive(Debug)]
enum Request {
    ReadChunk(ChannelId),
    WritePlace { avatar: EntityId, epoch: Epoch },
    ReadPlace { avatar: EntityId, epoch: Epoch },
    ReadRoom(IslandId),
    ReadSpeaker { avatar: EntityId, epoch: Epoch },
    ReadMailbox { avatar: EntityId, epoch: Epoch },
}

/// A call under way on behalf of a client.
#[derive(Debug)]
struct PendingCall {
    client: ClientId,
    /// The number that the client gave: a sequence or, for live commands, its own.
    number: u64,
    kind: CallKind,
}

/// The purpose of a call under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CallKind {
    /// A durable command, its number being the sequence.
    Durable,
    /// A live command.
    Live {
        /// On whom.
        target: EntityId,
    },
    /// A line to the island, or a whisper.
    Speech,
    /// Whispers leave a mailbox, its number being that of the last one.
    Taken,
}

/// A lane.
pub struct Lane {
    config: LaneConfig,
    publisher: Publisher,
    ghosts: Ghosts,
    objects: Objects,
    delivery: Delivery,
    reals: Reals,
    /// By avatar.
    sessions: BTreeMap<EntityId, Session>,
    left: Left,
    connections: BTreeMap<ClientId, Connection>,
    /// Of the islands on which somebody is played here.
    rooms: BTreeMap<IslandId, Room>,
    introductions: Introductions,
    /// When the sight, the checkpoint or a time limit of each client is due.
    client_timers: TimerWheel<ClientId>,
    due: Vec<ClientId>,
    /// When the stance of each real is over.
    stance_timers: TimerWheel<Slot>,
    due_stances: Vec<Slot>,
    /// When lines of these avatars have waited for long enough to be said without their document.
    speakers: BTreeSet<(WorldTime, EntityId)>,
    /// By the lane's number of the call.
    calls: BTreeMap<u64, PendingCall>,
    next_call: u64,
    requests: Requests<Request>,
    attendance: Attendance,
    next_publish: WorldTime,
    next_delivery: WorldTime,
    counters: LaneCounters,
}

impl Lane {
    /// A lane that nobody is on.
    pub fn new(config: LaneConfig) -> Self {
        Self {
            publisher: Publisher::new(config.publisher, config.clock),
            ghosts: Ghosts::new(config.clock),
            objects: Objects::default(),
            delivery: Delivery::new(config.home, config.clock),
            reals: Reals::default(),
            sessions: BTreeMap::new(),
            left: Left::default(),
            connections: BTreeMap::new(),
            rooms: BTreeMap::new(),
            introductions: Introductions::default(),
            client_timers: TimerWheel::default(),
            due: Vec::new(),
            stance_timers: TimerWheel::default(),
            due_stances: Vec::new(),
            speakers: BTreeSet::new(),
            calls: BTreeMap::new(),
            next_call: 0,
            requests: Requests::default(),
            attendance: Attendance::default(),
            next_publish: WorldTime(0),
            next_delivery: WorldTime(0),
            counters: LaneCounters::default(),
            config,
        }
    }

    /// Its numbers.
    pub fn counters(&self) -> LaneCounters {
        let mut counters = self.counters;
        counters.limits.add(Limit::FrameAge, self.delivery.late_frames());
        counters
    }

    /// Players on it.
    pub fn population(&self) -> usize {
        self.connections.len()
    }

    /// The ghosts of all reals in sight, its own included.
    pub fn ghosts(&self) -> &Ghosts {
        &self.ghosts
    }

    /// The objects that players changed in the chunks in sight.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Its reals: the epoch of each and what is shown of it.
    pub fn reals(&self) -> impl Iterator<Item = &Shown> + '_ {
        self.reals.slots().filter_map(|slot| self.publisher.shown(slot))
    }

    /// Whether its clients watch a channel.
    pub fn watches(&self, channel: ChannelId) -> bool {
        self.delivery.is_watched(channel)
    }

    /// The channels that its clients watch.
    pub fn watched(&self) -> impl Iterator<Item = ChannelId> + '_ {
        self.delivery.watched()
    }

    fn stored(
        &mut self,
        now: WorldTime,
        request: RequestId,
        answer: StoreAnswer,
        effects: &mut Vec<LaneEffect>,
    ) {
        match (self.requests.end(request), answer) {
            (Some(Request::ReadChunk(channel)), StoreAnswer::Loaded(documents)) => {
                self.chunk_read(now, channel, documents.as_deref(), effects);
            }
            (Some(Request::ReadPlace { avatar, epoch }), StoreAnswer::Loaded(documents)) => {
                let document = documents.as_deref().and_then(<[Document]>::first);
                self.place_read((avatar, epoch), document, effects);
            }
            (Some(Request::ReadRoom(island)), StoreAnswer::Loaded(documents)) => {
                let document = documents.as_deref().and_then(<[Document]>::first);
                self.room_read(now, island, document, effects);
            }
            (Some(Request::ReadSpeaker { avatar, epoch }), StoreAnswer::Loaded(documents)) => {
                let document = documents.as_deref().and_then(<[Document]>::first);
                self.speaker_read(now, (avatar, epoch), document, effects);
            }
            (Some(Request::ReadMailbox { avatar, epoch }), StoreAnswer::Loaded(documents)) => {
                let document = documents.as_deref().and_then(<[Document]>::first);
                self.mailbox_read(now, (avatar, epoch), document, effects);
            }
            (Some(Request::WritePlace { avatar, epoch }), StoreAnswer::Committed(outcome)) => {
                self.place_written((avatar, epoch), &outcome, effects);
            }
            // The request is not known any more, or another one was answered.
            _ => {}
        }
    }

    /// Says goodbye to everybody.
    fn shut_down(&mut self, now: WorldTime, effects: &mut Vec<LaneEffect>) {
        for client in self.connections.keys().copied().collect::<Vec<_>>() {
            let sentence = "The server is going down.";
            self.close_with_checkpoint(now, client, "shutdown", sentence, effects);
        }
    }
}

impl Machine for Lane {
    type Input = LaneInput;
    type Effect = LaneEffect;

    fn handle(&mut self, now: WorldTime, input: LaneInput, effects: &mut Vec<LaneEffect>) {
        let pause_ms = self.attendance.pause_ms(now, self.next_wake());
        if pause_ms > 0 {
            // What clients said meanwhile has not been read yet.
            self.connections.values_mut().for_each(|connection| connection.forgive(now, pause_ms));
        }
        match input {
            LaneInput::Join(session) => self.join(now, &session, effects),
            LaneInput::Client { client, event } => self.client_event(now, client, event, effects),
            LaneInput::Subscribe { reader, channel, version } => {
                self.publisher.subscribe(reader, channel, version);
            }
            LaneInput::Unsubscribe { reader, channel } => {
                self.publisher.unsubscribe(reader, channel);
            }
            LaneInput::Frames(frames) => self.frames(frames, effects),
            LaneInput::Snapshot(snapshot) => self.snapshot(&snapshot, effects),
            LaneInput::Introduce { to, channel } => self.introduce(to, channel, effects),
            LaneInput::AwaitIntroduction { channel } => {
                self.await_introduction(now, channel, effects);
            }
            LaneInput::Introduced { channel, complete } => {
                self.introduced(channel, complete, effects);
            }
            LaneInput::Missed { channels } => self.missed(&channels, effects),
            LaneInput::PeerLost { node } => self.peer_lost(now, node),
            LaneInput::Call { caller, call } => self.called(now, caller, call, effects),
            LaneInput::Answered { number, result } => self.answered(number, result, effects),
            LaneInput::Stored { request, answer } => self.stored(now, request, answer, effects),
            LaneInput::Shutdown => self.shut_down(now, effects),
            LaneInput::Wake => self.wake(now, effects),
        }
    }

    fn next_wake(&self) -> Option<WorldTime> {
        Some(self.next_publish.min(self.next_delivery))
    }
}
