//! A lane: the players and reals of one single-threaded part of a node.
//!
//! At each tick it publishes what its reals did; 20 ms later it delivers to its clients what everybody did. In
//! between it takes in what clients ask for and what others publish.

mod commands;
mod players;
mod sizes;
mod streams;

pub(crate) use players::Player;
pub use players::Session;

use crate::avatar::PlaceDocument;
use crate::effect::{Effect, Level, Message, Part, RequestId};
use crate::rate_limits::{ClientLimits, ProtocolViolation};
use crate::schema::Unreadable;
use crate::steward::DurableResult;
use bytes::{Bytes, BytesMut};
use pelago_cluster::IncomingCall;
use pelago_game::{ContentHash, Game, Land, Refusal, objects_of};
use pelago_model::time::{DELIVERY_DELAY_MS, TICK_MS};
use pelago_model::{
    ChannelId, ChunkPage, CommitOutcome, Document, EntityId, Epoch, IslandClock, IslandId, Key,
    Limit, LimitCounts, Machine, NodeId, PublisherId, Revision, Tick, WorldTime,
};
use pelago_wire::client::{self, ServerMessage, server_message};
use pelago_wire::frame::{Frame, Snapshot};
use pelago_wire::message::put_control;
use pelago_wire::record::Slot;
use pelago_world::{ClientId, Delivery, Ghosts, Objects, Publisher, TimerWheel};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How often an avatar's place is checkpointed, in ms.
pub const CHECKPOINT_MS: i64 = 5000;
/// How long a call may take before the player is told `unavailable`, in ms.
pub const CALL_DEADLINE_MS: u32 = 5000;

/// What can wake a lane.
#[derive(Debug)]
pub enum LaneInput {
    /// A session begins here.
    Join(Box<Session>),
    /// A client sent a message.
    Received {
        /// Who.
        client: ClientId,
        /// Which kind.
        kind: u8,
        /// Its payload.
        payload: Bytes,
    },
    /// A client's bytes did what no message may do.
    Violated {
        /// Who.
        client: ClientId,
        /// What.
        violation: ProtocolViolation,
    },
    /// A client's connection is gone.
    Gone {
        /// Who.
        client: ClientId,
    },
    /// A client takes no more bytes for now.
    Blocked {
        /// Who.
        client: ClientId,
    },
    /// A client takes bytes again.
    Writable {
        /// Who.
        client: ClientId,
    },
    /// A node reads a channel from now on.
    Subscribe {
        /// Who.
        reader: NodeId,
        /// What.
        channel: ChannelId,
        /// To be named in the answer.
        version: u64,
    },
    /// A node reads a channel no more.
    Unsubscribe {
        /// Who.
        reader: NodeId,
        /// What.
        channel: ChannelId,
    },
    /// Frames of this node and of others.
    Frames(Vec<Arc<Frame>>),
    /// The answer to a subscription.
    Snapshot(Arc<Snapshot>),
    /// A node is out of reach.
    PeerLost {
        /// Which.
        node: NodeId,
    },
    /// A durable command has ended.
    DurableEnded {
        /// The lane's number of the call.
        number: u64,
        /// How.
        result: DurableResult,
    },
    /// A live command for a real of this lane.
    LiveCall(LiveCommand),
    /// A live command has ended.
    LiveEnded {
        /// The lane's number of the call.
        number: u64,
        /// The effects for the player, or why not.
        result: Result<Bytes, Refusal>,
    },
    /// An avatar has a newer session.
    Superseded {
        /// Which.
        avatar: EntityId,
        /// Its epoch there.
        epoch: Epoch,
    },
    /// Something that the session of an avatar is to be told.
    Notify {
        /// Whose.
        avatar: EntityId,
        /// Its epoch: another session has been told otherwise.
        epoch: Epoch,
        /// The game's (JSON).
        payload: Bytes,
    },
    /// Documents that were asked for; `None` if the store could not read them.
    Loaded {
        /// Of the request.
        request_id: RequestId,
        /// In the order of the request.
        documents: Option<Vec<Document>>,
    },
    /// The end of a commit.
    Committed {
        /// Of the request.
        request_id: RequestId,
        /// How it ended.
        outcome: CommitOutcome,
    },
    /// The server is shutting down: says goodbye to everybody.
    Shutdown,
    /// The clock.
    Wake,
}

/// Where the answer to a live command goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveCaller {
    /// To a lane of this node.
    Lane {
        /// The lane.
        lane: u8,
        /// The lane's number of the call.
        number: u64,
    },
    /// To whoever called this node.
    Call(IncomingCall),
}

/// A live command, stamped by the actor's lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveCommand {
    /// Where the answer goes.
    pub caller: LiveCaller,
    /// Who acts.
    pub actor: EntityId,
    /// Where the actor is.
    pub actor_position: pelago_model::Position,
    /// On whom.
    pub target: EntityId,
    /// The game's.
    pub payload: Bytes,
}

/// What a lane is made of.
#[derive(Clone)]
pub struct LaneConfig {
    /// This node.
    pub node: NodeId,
    /// The lane's index.
    pub lane: u8,
    /// Its voice on channels.
    pub publisher: PublisherId,
    /// The island that clients take as meant if no other is named.
    pub home: IslandId,
    /// The land of every island.
    pub lands: BTreeMap<IslandId, Arc<Land>>,
    /// The rules.
    pub game: Arc<dyn Game>,
    /// Island time.
    pub clock: IslandClock,
    /// What clients may fetch by hash.
    pub content: Arc<BTreeMap<ContentHash, Bytes>>,
    /// What clients may do.
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

enum Request {
    ReadChunk(ChannelId),
    Checkpoint(ClientId),
    ReadPlace(ClientId),
}

#[derive(Clone, Debug)]
struct PendingCall {
    client: ClientId,
    /// The number the client gave: a sequence or, for live commands, its own.
    number: u64,
    durable: bool,
}

/// A lane.
pub struct Lane {
    config: LaneConfig,
    publisher: Publisher,
    ghosts: Ghosts,
    objects: Objects,
    delivery: Delivery,
    players: BTreeMap<ClientId, Player>,
    /// Who is real under which slot.
    reals: BTreeMap<Slot, ClientId>,
    /// Whose sight, checkpoint or stance is due.
    timer_wheel: TimerWheel<ClientId>,
    due: Vec<ClientId>,
    avatars: BTreeMap<EntityId, ClientId>,
    calls: BTreeMap<u64, PendingCall>,
    next_call: u64,
    requests: BTreeMap<RequestId, Request>,
    next_request_id: u64,
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
            players: BTreeMap::new(),
            reals: BTreeMap::new(),
            timer_wheel: TimerWheel::default(),
            due: Vec::new(),
            avatars: BTreeMap::new(),
            calls: BTreeMap::new(),
            next_call: 0,
            requests: BTreeMap::new(),
            next_request_id: 0,
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
        self.players.len()
    }

    /// What it knows of others, itself included.
    pub fn ghosts(&self) -> &Ghosts {
        &self.ghosts
    }

    /// What it knows of changed nature.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Its reals: session epoch and what is shown of each.
    pub fn reals(&self) -> impl Iterator<Item = &pelago_world::Shown> + '_ {
        self.players.values().filter_map(|player| self.publisher.shown(player.slot))
    }

    /// Whether its clients watch a channel.
    pub fn watches(&self, channel: ChannelId) -> bool {
        self.delivery.is_watched(channel)
    }

    /// The channels that its clients watch.
    pub fn watched(&self) -> impl Iterator<Item = ChannelId> + '_ {
        self.delivery.watched()
    }

    fn wake(&mut self, now: WorldTime, effects: &mut Vec<Effect>) {
        if self.next_publish <= now {
            let tick = Tick::at(now);
            self.next_publish = tick.next().starts();
            self.next_delivery = tick.starts().plus(DELIVERY_DELAY_MS).max(now);
            self.publish(now, tick, effects);
        }
        if self.next_delivery <= now {
            self.next_delivery = WorldTime(i64::MAX);
            self.deliver(now, effects);
        }
    }

    /// Tells the world what this lane's reals did since the last tick.
    fn publish(&mut self, now: WorldTime, tick: Tick, effects: &mut Vec<Effect>) {
        let mut due = std::mem::take(&mut self.due);
        self.timer_wheel.take(tick, &mut due);
        for client in &due {
            self.end_stance(now, *client);
            self.release_move(now, *client, effects);
        }
        let published = self.publisher.publish(tick);
        self.counters.frames += published.frames.len() as u64;
        let control = |input| Effect::To(Message::Control(input));
        for (to, snapshot) in published.snapshots {
            effects.push(control(crate::control::ControlInput::Snapshot { to, snapshot }));
        }
        // Also when there is nothing to tell: control flushes its links when all lanes have published.
        let frames = published.frames;
        effects.push(control(crate::control::ControlInput::Publish { frames }));
        due.extend(self.publisher.moved().iter().filter_map(|slot| self.reals.get(slot)));
        due.sort_unstable();
        due.dedup();
        for client in due.drain(..) {
            if self.close_if_overdue(now, client, effects) {
                continue;
            }
            self.look_around(now, client, effects);
            self.checkpoint_if_due(now, client, effects);
            self.plan(client);
        }
        self.due = due;
        if tick.0.is_multiple_of(10) {
            self.sweep(now, effects);
        }
    }

    /// Gives every client what happened in its sight.
    fn deliver(&mut self, now: WorldTime, effects: &mut Vec<Effect>) {
        let counters = &mut self.counters;
        self.delivery.deliver(Tick::at(now), &mut self.ghosts, &self.objects, |client, bytes| {
            counters.deliveries += 1;
            counters.delivered_bytes += bytes.len() as u64;
            effects.push(Effect::SendClient { client, bytes });
        });
    }

    fn send(&mut self, client: ClientId, body: server_message::Body, effects: &mut Vec<Effect>) {
        let mut bytes = BytesMut::new();
        put_control(&mut bytes, &ServerMessage { body: Some(body) });
        match self.delivery.control(client, bytes.freeze()) {
            Ok(Some(bytes)) => effects.push(Effect::SendClient { client, bytes }),
            Ok(None) => {}
            Err(_) => {
                self.counters.limits.note(Limit::WaitingControl);
                self.close_slow(client, effects);
            }
        }
    }

    /// Ends a session from our side.
    fn close(&mut self, client: ClientId, code: &str, sentence: &str, effects: &mut Vec<Effect>) {
        let closing = client::Closing { code: code.into(), sentence: sentence.into() };
        let body = Some(server_message::Body::Closing(closing));
        let mut bytes = BytesMut::new();
        put_control(&mut bytes, &ServerMessage { body });
        let bytes = self.delivery.farewell(client, bytes.freeze());
        effects.push(Effect::SendClient { client, bytes });
        self.remove(client, effects);
        effects.push(Effect::CloseClient { client });
    }

    fn close_slow(&mut self, client: ClientId, effects: &mut Vec<Effect>) {
        self.close(client, "slow", "Your connection is too slow.", effects);
    }

    fn request_id(&mut self, request: Request) -> RequestId {
        self.next_request_id += 1;
        self.requests.insert(RequestId(self.next_request_id), request);
        RequestId(self.next_request_id)
    }

    fn part(&self) -> Part {
        Part::Lane(self.config.lane)
    }

    fn loaded(
        &mut self,
        now: WorldTime,
        request_id: RequestId,
        documents: Option<Vec<Document>>,
        effects: &mut Vec<Effect>,
    ) {
        match self.requests.remove(&request_id) {
            Some(Request::ReadChunk(channel)) => match documents {
                Some(documents) => self.chunk_read(now, channel, &documents),
                // Again with the next sweep: at once it would go round as fast as the store fails.
                None => self.objects.read_failed(channel, now),
            },
            Some(Request::ReadPlace(client)) => {
                let place = documents.as_deref().and_then(<[Document]>::first).map(|document| {
                    (document.revision, crate::schema::read::<PlaceDocument>(document))
                });
                self.place_read(client, place, effects);
            }
            Some(Request::Checkpoint(_)) | None => {}
        }
    }

    fn chunk_read(&mut self, now: WorldTime, channel: ChannelId, documents: &[Document]) {
        let game = &*self.config.game;
        let parts = parts(&self.config.lands, channel).zip(documents);
        let read = parts.map(|(part, it)| (part, it.revision, objects_of(game, part, it)));
        if self.objects.read(channel, read, now) {
            self.delivery.objects_replaced(channel);
        }
    }

    fn read_chunk(&mut self, channel: ChannelId, effects: &mut Vec<Effect>) {
        if self.delivery.is_watched(channel) {
            let request_id = self.request_id(Request::ReadChunk(channel));
            let key = |part| Key::chunk_page(channel.island, channel.chunk, part);
            let keys = parts(&self.config.lands, channel).map(key).collect();
            effects.push(Effect::Load { part: self.part(), request_id, keys });
        }
    }

    fn place_read(
        &mut self,
        client: ClientId,
        place: Option<(Revision, Result<Option<PlaceDocument>, Unreadable>)>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(player) = self.players.get_mut(&client) else { return };
        player.checkpointing = false;
        match place {
            Some((revision, Ok(Some(place)))) if place.epoch == player.epoch => {
                player.place_revision = revision;
            }
            Some((_, Ok(_))) => self.supersede(client, effects),
            Some((_, Err(error))) => {
                let text = error.to_string();
                effects.push(Effect::Log { level: Level::Error, trace: client.0, text });
            }
            // The store could not read: the next checkpoint finds out.
            None => {}
        }
    }
}

impl Machine for Lane {
    type Input = LaneInput;
    type Effect = Effect;

    fn handle(&mut self, now: WorldTime, input: LaneInput, effects: &mut Vec<Effect>) {
        match input {
            LaneInput::Join(session) => self.join(now, *session, effects),
            LaneInput::Received { client, kind, payload } => {
                self.received(now, client, kind, &payload, effects);
            }
            LaneInput::Gone { client } => self.remove_with_checkpoint(now, client, effects),
            LaneInput::Violated { client, violation } => {
                let Refusal { code, sentence } = violation.refusal();
                self.close_with_checkpoint(now, client, &code, &sentence, effects);
            }
            LaneInput::Blocked { client } => self.blocked(now, client),
            LaneInput::Writable { client } => self.writable(client),
            LaneInput::Subscribe { reader, channel, version } => {
                self.publisher.subscribe(reader, channel, version);
            }
            LaneInput::Unsubscribe { reader, channel } => {
                self.publisher.unsubscribe(reader, channel)
            }
            LaneInput::Frames(frames) => self.frames(frames, effects),
            LaneInput::Snapshot(snapshot) => self.snapshot(&snapshot, effects),
            LaneInput::PeerLost { node } => self.ghosts.lose(node, now),
            LaneInput::DurableEnded { number, result } => {
                self.durable_ended(number, result, effects);
            }
            LaneInput::LiveCall(command) => self.live_call(now, command, effects),
            LaneInput::LiveEnded { number, result } => self.live_ended(number, result, effects),
            LaneInput::Superseded { avatar, epoch } => {
                if let Some(client) = self.avatars.get(&avatar).copied()
                    && self.players.get(&client).is_some_and(|player| player.epoch < epoch)
                {
                    self.supersede(client, effects);
                }
            }
            LaneInput::Notify { avatar, epoch, payload } => {
                if let Some(client) = self.avatars.get(&avatar).copied()
                    && self.players.get(&client).is_some_and(|player| player.epoch == epoch)
                {
                    let notice = client::Notice { payload };
                    self.send(client, server_message::Body::Notice(notice), effects);
                }
            }
            LaneInput::Loaded { request_id, documents } => {
                self.loaded(now, request_id, documents, effects);
            }
            LaneInput::Committed { request_id, outcome } => {
                if let Some(Request::Checkpoint(client)) = self.requests.remove(&request_id) {
                    self.checkpointed(client, &outcome, effects);
                }
            }
            LaneInput::Shutdown => {
                for client in self.players.keys().copied().collect::<Vec<_>>() {
                    self.checkpoint(now, client, effects);
                    self.close(client, "shutdown", "The server is going down.", effects);
                }
            }
            LaneInput::Wake => self.wake(now, effects),
        }
    }

    fn next_wake(&self) -> Option<WorldTime> {
        Some(self.next_publish.min(self.next_delivery))
    }
}

/// The parts of a channel's chunk, each of which is a document.
fn parts(
    lands: &BTreeMap<IslandId, Arc<Land>>,
    channel: ChannelId,
) -> impl Iterator<Item = ChunkPage> {
    let ChannelId { island, chunk, .. } = channel;
    lands.get(&island).into_iter().flat_map(move |land| land.parts(chunk))
}

/// Ticks are aligned to world time, on all nodes alike.
const _: () = assert!(DELIVERY_DELAY_MS < TICK_MS);
