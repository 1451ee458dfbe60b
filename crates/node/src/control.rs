//! Control: what a node's parts have in common: links, subscriptions, calls, clients before they have a lane.

mod calling;
mod clients;

use crate::effect::{Effect, Level, Message};
use crate::grant::Grant;
use crate::lane::{LaneInput, LiveCommand};
use crate::rate_limits::{ClientLimits, ProtocolViolation};
use crate::steward::{DurableCommand, DurableResult, StewardInput};
use bytes::{Bytes, BytesMut};
use calling::{durable_answer, live_answer};
pub(crate) use clients::{content, too_much_content};
use pelago_cluster::{IncomingCall, Links, LinksEffect, LinksInput, Member, Subject};
use pelago_game::{ContentHash, Refusal};
use pelago_model::{
    Bucket, ChannelId, EntityId, Epoch, IslandId, Limit, LimitCounts, Machine, NodeId, PublisherId,
    Size, WorldTime,
};
use pelago_wire::client::{ServerMessage, server_message};
use pelago_wire::frame::{Frame, Snapshot, StreamKind};
use pelago_wire::message::put_control;
use pelago_wire::peer::answer;
use pelago_world::ClientId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long a call to another node may take, in ms.
const CALL_MS: u32 = 5000;

/// Chunks that one client can be the only one to watch.
const MAX_CHANNELS_PER_CLIENT: usize = 64;
/// Calls that somebody waits for: the links end each of them, and take no more.
const MAX_WAITING_CALLS: usize = 65_536;

/// What can wake control.
#[derive(Debug)]
pub enum ControlInput {
    /// Something of the links, from the shell.
    Links(LinksInput),
    /// A client's connection is open.
    Connected {
        /// Who.
        client: ClientId,
    },
    /// A client sent a message.
    Received {
        /// Who.
        client: ClientId,
        /// Which kind.
        kind: u8,
        /// Its payload.
        payload: Bytes,
    },
    /// A client's bytes did what no message may do. Nothing more is read of them.
    Violated {
        /// Who.
        client: ClientId,
        /// What.
        violation: ProtocolViolation,
    },
    /// A client's connection is gone.
    Disconnected {
        /// Who.
        client: ClientId,
    },
    /// A client takes no more bytes for now.
    ClientBlocked {
        /// Who.
        client: ClientId,
    },
    /// A client takes bytes again.
    ClientWritable {
        /// Who.
        client: ClientId,
    },
    /// A client has a lane.
    Placed {
        /// Who.
        client: ClientId,
        /// Which.
        lane: u8,
    },
    /// A session has ended.
    Left {
        /// Whose.
        client: ClientId,
    },
    /// A client is not let in.
    LoginRefused {
        /// Who.
        client: ClientId,
        /// Why.
        refusal: Refusal,
    },
    /// A lane watches a channel, or no more.
    Interest {
        /// Which lane.
        lane: u8,
        /// What.
        channel: ChannelId,
        /// Whether.
        wanted: bool,
    },
    /// A lane needs a stream from its beginning.
    Resync {
        /// What.
        channel: ChannelId,
        /// By whom.
        publisher: PublisherId,
    },
    /// Frames of a part, for all who read them.
    Publish {
        /// The frames.
        frames: Vec<Arc<Frame>>,
    },
    /// A part's answer to a subscription.
    Snapshot {
        /// Who subscribed.
        to: NodeId,
        /// The answer.
        snapshot: Arc<Snapshot>,
    },
    /// A lane has a durable command.
    CallDurable {
        /// Which lane.
        lane: u8,
        /// Its number of the call.
        number: u64,
        /// The command.
        command: DurableCommand,
    },
    /// A lane has a live command for a real elsewhere.
    CallLive {
        /// Which lane.
        lane: u8,
        /// Its number of the call.
        number: u64,
        /// Who publishes the real.
        publisher: PublisherId,
        /// The command.
        command: LiveCommand,
    },
    /// An operator has something to be granted. The end comes as [`Effect::GrantEnded`].
    Grant {
        /// The shell's number of the request.
        number: u64,
        /// What.
        grant: Grant,
    },
    /// The session of an avatar is to be told something.
    Notify {
        /// Where it is.
        node: NodeId,
        /// Whose.
        avatar: EntityId,
        /// Its epoch.
        epoch: Epoch,
        /// The game's (JSON).
        payload: Bytes,
    },
    /// The stewards have decided a command of another node.
    DurableEnded {
        /// Of that node.
        call: IncomingCall,
        /// How.
        result: DurableResult,
    },
    /// A lane has decided a live command of another node.
    LiveEnded {
        /// Of that node.
        call: IncomingCall,
        /// How.
        result: Result<Bytes, Refusal>,
    },
    /// An avatar has a new session here.
    Superseded {
        /// Which.
        avatar: EntityId,
        /// Its epoch.
        epoch: Epoch,
    },
    /// The address book as it stands.
    Book(Vec<Member>),
    /// The clock.
    Wake,
}

/// What control is made of.
pub struct ControlConfig {
    /// This node.
    pub node: NodeId,
    /// Its lanes.
    pub lanes: u8,
    /// The islands on which it has lanes.
    pub islands: BTreeSet<IslandId>,
    /// Clients at once; more are refused as `full`.
    pub max_clients: usize,
    /// What each of them may do.
    pub limits: ClientLimits,
    /// What clients may fetch by hash.
    pub content: Arc<BTreeMap<ContentHash, Bytes>>,
}

enum ClientState {
    /// Has said nothing yet; must within its time.
    New { until: WorldTime, fetches: Bucket },
    /// Is being logged in.
    Arriving,
    /// Is on a lane.
    On(u8),
}

/// Who waits for the end of a call.
enum Waiting {
    Durable { lane: u8, number: u64 },
    Grant { number: u64 },
    Live { lane: u8, number: u64 },
    Nobody,
}

/// The control machine of a node.
pub struct Control {
    config: ControlConfig,
    links: Links,
    clients: BTreeMap<ClientId, ClientState>,
    /// The lanes that watch each channel.
    watching: BTreeMap<ChannelId, BTreeSet<u8>>,
    waiting: BTreeMap<u64, Waiting>,
    next_call: u64,
    links_effects: Vec<LinksEffect>,
    malformed: u64,
    limits: LimitCounts,
}

impl Control {
    /// Control of a node that knows nobody.
    pub fn new(config: ControlConfig, links: Links) -> Self {
        Self {
            config,
            links,
            clients: BTreeMap::new(),
            watching: BTreeMap::new(),
            waiting: BTreeMap::new(),
            next_call: 0,
            links_effects: Vec::new(),
            malformed: 0,
            limits: LimitCounts::default(),
        }
    }

    /// The links.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// Connections of clients.
    pub fn connections(&self) -> usize {
        self.clients.len()
    }

    /// How full everything is that can grow, the links included.
    pub fn sizes(&self) -> Vec<Size> {
        let limit = self.config.max_clients;
        let channels = limit.saturating_mul(MAX_CHANNELS_PER_CLIENT);
        let mut sizes = vec![
            Size::table("clients of a node", self.clients.len(), limit, limit),
            Size::table("channels of a node", self.watching.len(), channels, channels),
            Size::queue("calls that somebody waits for", self.waiting.len(), MAX_WAITING_CALLS),
        ];
        sizes.extend(self.links.sizes());
        sizes
    }

    /// Channels that lanes of this node watch.
    pub fn watched(&self) -> usize {
        self.watching.len()
    }

    /// Messages of clients without a lane that could not be understood.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// How often limits were met, here and by the links.
    pub fn limits(&self) -> LimitCounts {
        let mut counts = self.limits;
        counts.merge(&self.links.counters().limits);
        counts
    }

    fn link(&mut self, now: WorldTime, input: LinksInput, effects: &mut Vec<Effect>) {
        let mut produced = std::mem::take(&mut self.links_effects);
        self.links.handle(now, input, &mut produced);
        for effect in produced.drain(..) {
            self.linked(now, effect, effects);
        }
        self.links_effects = produced;
    }

    fn linked(&mut self, now: WorldTime, effect: LinksEffect, effects: &mut Vec<Effect>) {
        match effect {
            LinksEffect::Dial { node, address } => effects.push(Effect::Dial { node, address }),
            LinksEffect::Hangup { link, reason } => effects.push(Effect::Hangup { link, reason }),
            LinksEffect::Send { link, bytes } => effects.push(Effect::SendLink { link, bytes }),
            LinksEffect::Subscribe { reader, subject: (channel, StreamKind::Objects), version } => {
                let input = StewardInput::Subscribe { reader, channel, version };
                effects.push(Effect::To(Message::Steward(input)));
            }
            LinksEffect::Subscribe {
                reader,
                subject: (channel, StreamKind::Entities),
                version,
            } => {
                self.to_lanes(effects, || LaneInput::Subscribe { reader, channel, version });
            }
            LinksEffect::Unsubscribe { reader, subject: (channel, StreamKind::Objects) } => {
                let input = StewardInput::Unsubscribe { reader, channel };
                effects.push(Effect::To(Message::Steward(input)));
            }
            LinksEffect::Unsubscribe { reader, subject: (channel, StreamKind::Entities) } => {
                self.to_lanes(effects, || LaneInput::Unsubscribe { reader, channel });
            }
            LinksEffect::Frames(frames) => self.distribute(frames, effects),
            LinksEffect::Snapshot(snapshot) => {
                for lane in self.watching.get(&snapshot.channel).into_iter().flatten() {
                    let input = LaneInput::Snapshot(snapshot.clone());
                    effects.push(Effect::To(Message::Lane(*lane, input)));
                }
            }
            LinksEffect::PeerLost { node } => {
                effects.push(log(Level::Warn, format!("node {node} is out of reach")));
                self.to_lanes(effects, || LaneInput::PeerLost { node });
            }
            LinksEffect::PeerUp { node } => {
                effects.push(log(Level::Info, format!("node {node} is within reach")));
            }
            LinksEffect::Incoming { call, body, trace } => {
                self.incoming(now, call, body, trace, effects);
            }
            LinksEffect::Ended { number, result } => self.ended(number, result, effects),
        }
    }

    fn to_lanes(&self, effects: &mut Vec<Effect>, input: impl Fn() -> LaneInput) {
        let lanes = 0..self.config.lanes;
        effects.extend(lanes.map(|lane| Effect::To(Message::Lane(lane, input()))));
    }

    /// Hands frames to the lanes that watch their channels.
    fn distribute(&self, mut frames: Vec<Arc<Frame>>, effects: &mut Vec<Effect>) {
        let watches = |lane: u8, frame: &Arc<Frame>| {
            self.watching.get(&frame.channel).is_some_and(|lanes| lanes.contains(&lane))
        };
        let to_lane = |lane, frames| Effect::To(Message::Lane(lane, LaneInput::Frames(frames)));
        let last = self.config.lanes - 1;
        for lane in 0..last {
            let frames: Vec<_> = frames.iter().filter(|it| watches(lane, it)).cloned().collect();
            if !frames.is_empty() {
                effects.push(to_lane(lane, frames));
            }
        }
        // The last gets the vector itself: with one lane it goes round without being copied.
        frames.retain(|frame| watches(last, frame));
        if !frames.is_empty() {
            effects.push(to_lane(last, frames));
        }
    }

    fn interest(
        &mut self,
        now: WorldTime,
        lane: u8,
        channel: ChannelId,
        wanted: bool,
        effects: &mut Vec<Effect>,
    ) {
        let lanes = self.watching.entry(channel).or_default();
        let before = !lanes.is_empty();
        if wanted {
            lanes.insert(lane);
        } else {
            lanes.remove(&lane);
        }
        let after = !lanes.is_empty();
        if !after {
            self.watching.remove(&channel);
        }
        for kind in [StreamKind::Entities, StreamKind::Objects] {
            let subject: Subject = (channel, kind);
            if before != after {
                self.link(now, LinksInput::Interest { subject, wanted }, effects);
            } else if wanted {
                // The node reads it already; the new lane needs it from the beginning.
                for wanted in [false, true] {
                    self.link(now, LinksInput::Interest { subject, wanted }, effects);
                }
            }
        }
    }

    fn wake(&mut self, now: WorldTime, effects: &mut Vec<Effect>) {
        self.link(now, LinksInput::Present(self.config.islands.clone()), effects);
        let silent =
            |state: &ClientState| matches!(state, ClientState::New { until, .. } if *until <= now);
        let silent: Vec<ClientId> =
            self.clients.iter().filter(|(_, s)| silent(s)).map(|(client, _)| *client).collect();
        for client in silent {
            self.limits.note(Limit::HelloTime);
            self.refuse(client, &Refusal::new("idle", "Nothing was said."), effects);
        }
    }
}

impl Machine for Control {
    type Input = ControlInput;
    type Effect = Effect;

    fn handle(&mut self, now: WorldTime, input: ControlInput, effects: &mut Vec<Effect>) {
        match input {
            ControlInput::Links(input) => self.link(now, input, effects),
            ControlInput::Connected { client } if self.clients.len() >= self.config.max_clients => {
                self.limits.note(Limit::Clients);
                self.refuse(client, &Refusal::new("full", "The server is full."), effects);
            }
            ControlInput::Connected { client } => {
                let until = now.plus(self.config.limits.hello_ms);
                let fetches = Bucket::full(self.config.limits.fetches, now);
                self.clients.insert(client, ClientState::New { until, fetches });
            }
            ControlInput::Received { client, kind, payload } => {
                self.received(now, client, kind, payload, effects);
            }
            ControlInput::Violated { client, violation } => {
                self.violated(client, violation, effects);
            }
            ControlInput::Disconnected { client } => self.disconnected(client, effects),
            ControlInput::ClientBlocked { client } => {
                self.on_lane(client, LaneInput::Blocked { client }, effects);
            }
            ControlInput::ClientWritable { client } => {
                self.on_lane(client, LaneInput::Writable { client }, effects);
            }
            ControlInput::Placed { client, lane } => self.placed(client, lane, effects),
            ControlInput::Left { client } => {
                self.clients.remove(&client);
            }
            ControlInput::LoginRefused { client, refusal } => {
                if self.clients.contains_key(&client) {
                    self.refuse(client, &refusal, effects);
                }
            }
            ControlInput::Interest { lane, channel, wanted } => {
                self.interest(now, lane, channel, wanted, effects);
            }
            ControlInput::Resync { channel, publisher } => {
                let subject = (channel, StreamKind::Entities);
                self.link(now, LinksInput::Resync { subject, publisher }, effects);
            }
            ControlInput::Publish { frames } => {
                self.link(now, LinksInput::Publish(frames), effects);
            }
            ControlInput::Snapshot { to, snapshot } => {
                self.link(now, LinksInput::Snapshot { to, snapshot }, effects);
            }
            ControlInput::CallDurable { lane, number, command } => {
                self.call_durable(now, (lane, number), command, effects);
            }
            ControlInput::CallLive { lane, number, publisher, command } => {
                self.call_live(now, (lane, number), publisher, command, effects);
            }
            ControlInput::Grant { number, grant } => self.grant(now, number, grant, effects),
            ControlInput::Notify { node, avatar, epoch, payload } => {
                self.notify(now, node, (avatar, epoch), payload, effects);
            }
            ControlInput::DurableEnded { call, result } => {
                let body = answer::Body::Durable(durable_answer(result));
                self.link(now, LinksInput::Reply { call, body }, effects);
            }
            ControlInput::LiveEnded { call, result } => {
                let body = answer::Body::Live(live_answer(result));
                self.link(now, LinksInput::Reply { call, body }, effects);
            }
            ControlInput::Superseded { avatar, epoch } => {
                self.superseded(now, avatar, epoch, effects);
            }
            ControlInput::Book(members) => self.link(now, LinksInput::Book(members), effects),
            ControlInput::Wake => self.wake(now, effects),
        }
    }

    fn next_wake(&self) -> Option<WorldTime> {
        self.links.next_wake()
    }
}

fn send(client: ClientId, body: server_message::Body) -> Effect {
    let mut bytes = BytesMut::new();
    put_control(&mut bytes, &ServerMessage { body: Some(body) });
    Effect::SendClient { client, bytes: bytes.freeze() }
}

fn log(level: Level, text: String) -> Effect {
    Effect::Log { level, trace: 0, text }
}
