//! Control: what a node's parts have in common: links, subscriptions, calls, clients before they have a lane.

use crate::effect::{Effect, Level, Message};
use crate::lane::{LaneInput, LiveCaller, LiveCommand};
use crate::login::LoginInput;
use crate::steward::{Caller, DurableCommand, DurableResult, StewardInput};
use bytes::{Bytes, BytesMut};
use pelago_cluster::{
    CallError, CallTarget, IncomingCall, Links, LinksEffect, LinksInput, Member, Subject,
};
use pelago_game::{Actor, Arrival, ContentHash, Refusal};
use pelago_model::{
    ChannelId, EntityId, Epoch, IslandId, IslandTime, Key, Machine, NodeId, Position, PublisherId,
    Sequence, WorldTime,
};
use pelago_wire::client::{self, ClientMessage, ServerMessage, client_message, server_message};
use pelago_wire::frame::{Frame, Snapshot, StreamKind};
use pelago_wire::message::{Kind, decode_control, put_control};
use pelago_wire::peer::{
    Done, DurableAnswer, DurableCall, LiveAnswer, LiveCall, Rejected, Superseded, answer, call,
};
use pelago_wire::{PROTOCOL_NEWEST, PROTOCOL_OLDEST, negotiate};
use pelago_world::ClientId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long a client may take to say hello, in ms.
pub const HELLO_TIMEOUT_MS: i64 = 10_000;
/// How long a call to another node may take, in ms.
const CALL_MS: u32 = 5000;

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
    Again {
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
    /// Whether clients may read the books.
    pub audit: bool,
    /// What clients may fetch by hash.
    pub content: Arc<BTreeMap<ContentHash, Bytes>>,
}

enum ClientState {
    /// Has said nothing yet; must within its time.
    New { until: WorldTime },
    /// Is being logged in.
    Arriving,
    /// Is on a lane.
    On(u8),
}

/// Who waits for the end of a call.
enum Waiting {
    Durable { lane: u8, number: u64 },
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

    /// Messages of clients without a lane that could not be understood.
    pub fn malformed(&self) -> u64 {
        self.malformed
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
            LinksEffect::Serve { reader, subject: (channel, StreamKind::Objects), version } => {
                let input = StewardInput::Serve { reader, channel, version };
                effects.push(Effect::To(Message::Steward(input)));
            }
            LinksEffect::Serve { reader, subject: (channel, StreamKind::Entities), version } => {
                self.to_lanes(effects, || LaneInput::Serve { reader, channel, version });
            }
            LinksEffect::Unserve { reader, subject: (channel, StreamKind::Objects) } => {
                let input = StewardInput::Unserve { reader, channel };
                effects.push(Effect::To(Message::Steward(input)));
            }
            LinksEffect::Unserve { reader, subject: (channel, StreamKind::Entities) } => {
                self.to_lanes(effects, || LaneInput::Unserve { reader, channel });
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
    fn distribute(&self, frames: Vec<Arc<Frame>>, effects: &mut Vec<Effect>) {
        for lane in 0..self.config.lanes {
            let watches = |frame: &&Arc<Frame>| {
                self.watching.get(&frame.channel).is_some_and(|lanes| lanes.contains(&lane))
            };
            let frames: Vec<Arc<Frame>> = frames.iter().filter(watches).cloned().collect();
            if !frames.is_empty() {
                effects.push(Effect::To(Message::Lane(lane, LaneInput::Frames(frames))));
            }
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

    // --- clients --------------------------------------------------------------------------------

    fn received(&mut self, client: ClientId, kind: u8, payload: Bytes, effects: &mut Vec<Effect>) {
        match self.clients.get(&client) {
            Some(ClientState::On(lane)) => {
                let input = LaneInput::Received { client, kind, payload };
                effects.push(Effect::To(Message::Lane(*lane, input)));
            }
            Some(ClientState::New { .. }) => self.introduced(client, kind, &payload, effects),
            // What comes between hello and welcome was sent too early.
            Some(ClientState::Arriving) => {
                self.malformed += 1;
                let refusal = Refusal::new("malformed", "That comes after the welcome.");
                self.refuse(client, &refusal, effects);
                effects.push(Effect::To(Message::Login(LoginInput::Gone { client })));
            }
            None => {}
        }
    }

    fn introduced(
        &mut self,
        client: ClientId,
        kind: u8,
        payload: &Bytes,
        effects: &mut Vec<Effect>,
    ) {
        let message = (kind == Kind::Control as u8)
            .then(|| decode_control::<ClientMessage>(payload).ok())
            .flatten();
        match message.and_then(|message| message.body) {
            Some(client_message::Body::Hello(hello)) => self.hello(client, hello, effects),
            Some(client_message::Body::Fetch(fetch)) => {
                let hash = fetch.hash.as_ref().try_into().map(ContentHash).ok();
                let data = hash.and_then(|hash| self.config.content.get(&hash).cloned());
                let content = client::Content { hash: fetch.hash, data: data.unwrap_or_default() };
                effects.push(send(client, server_message::Body::Content(content)));
            }
            Some(client_message::Body::Audit(audit)) if self.config.audit => {
                effects.push(Effect::Audit { client, name: audit.name });
            }
            Some(client_message::Body::Audit(_)) => {
                let refusal = Refusal::new("forbidden", "The books are closed here.");
                self.refuse(client, &refusal, effects);
            }
            Some(client_message::Body::Bye(_)) => self.forget(client, effects),
            _ => {
                self.malformed += 1;
                let refusal = Refusal::new("malformed", "The server did not understand.");
                self.refuse(client, &refusal, effects);
            }
        }
    }

    fn hello(&mut self, client: ClientId, hello: client::Hello, effects: &mut Vec<Effect>) {
        let versions = (hello.oldest_version, hello.newest_version);
        if negotiate(versions, (PROTOCOL_OLDEST, PROTOCOL_NEWEST)).is_none() {
            let refusal = Refusal::new("version", "This client is too old or too new.");
            return self.refuse(client, &refusal, effects);
        }
        self.clients.insert(client, ClientState::Arriving);
        let arrival = match hello.arrival() {
            client::Arrival::Home => Arrival::Home,
            client::Arrival::Anywhere => Arrival::Anywhere,
        };
        let input = LoginInput::Hello { client, name: hello.name, arrival };
        effects.push(Effect::To(Message::Login(input)));
    }

    fn refuse(&mut self, client: ClientId, refusal: &Refusal, effects: &mut Vec<Effect>) {
        let refused = client::Refused {
            code: refusal.code.to_string(),
            sentence: refusal.sentence.to_string(),
            trace: client.0,
        };
        effects.push(send(client, server_message::Body::Refused(refused)));
        self.forget(client, effects);
    }

    fn forget(&mut self, client: ClientId, effects: &mut Vec<Effect>) {
        self.clients.remove(&client);
        effects.push(Effect::CloseClient { client });
    }

    fn disconnected(&mut self, client: ClientId, effects: &mut Vec<Effect>) {
        match self.clients.remove(&client) {
            Some(ClientState::On(lane)) => {
                effects.push(Effect::To(Message::Lane(lane, LaneInput::Gone { client })));
            }
            Some(ClientState::Arriving) => {
                effects.push(Effect::To(Message::Login(LoginInput::Gone { client })));
            }
            Some(ClientState::New { .. }) | None => {}
        }
    }

    fn placed(&mut self, client: ClientId, lane: u8, effects: &mut Vec<Effect>) {
        if let Some(state) = self.clients.get_mut(&client) {
            *state = ClientState::On(lane);
        } else {
            // It went while it was let in: the lane hears of it after its arrival.
            effects.push(Effect::To(Message::Lane(lane, LaneInput::Gone { client })));
        }
    }

    fn on_lane(&self, client: ClientId, input: LaneInput, effects: &mut Vec<Effect>) {
        if let Some(ClientState::On(lane)) = self.clients.get(&client) {
            effects.push(Effect::To(Message::Lane(*lane, input)));
        }
    }

    // --- calls ----------------------------------------------------------------------------------

    fn call(
        &mut self,
        now: WorldTime,
        waiting: Waiting,
        (target, body, repeatable, trace): (CallTarget, call::Body, bool, u64),
        effects: &mut Vec<Effect>,
    ) {
        self.next_call += 1;
        let number = self.next_call;
        self.waiting.insert(number, waiting);
        let input =
            LinksInput::Call { number, target, body, deadline_ms: CALL_MS, repeatable, trace };
        self.link(now, input, effects);
    }

    fn call_durable(
        &mut self,
        now: WorldTime,
        (lane, number): (u8, u64),
        command: DurableCommand,
        effects: &mut Vec<Effect>,
    ) {
        let stewards = self.links.stewards(&command.key);
        if stewards.first() == Some(&self.config.node) {
            // The usual way of a small cluster, without the detour over bytes.
            let caller = Caller::Lane { lane, number };
            let input = StewardInput::Command { caller, command };
            return effects.push(Effect::To(Message::Steward(input)));
        }
        let (actor, trace) = (command.actor, command.trace);
        let body = call::Body::Durable(DurableCall {
            key: command.key.to_string(),
            avatar: actor.avatar.0,
            epoch: actor.epoch.0,
            sequence: actor.sequence.0,
            payload: command.payload,
            island: actor.island.0,
            x: actor.position.x,
            y: actor.position.y,
            received_ms: actor.received.0,
        });
        let target = CallTarget::Steward(command.key);
        self.call(now, Waiting::Durable { lane, number }, (target, body, true, trace), effects);
    }

    fn call_live(
        &mut self,
        now: WorldTime,
        (lane, number): (u8, u64),
        publisher: PublisherId,
        command: LiveCommand,
        effects: &mut Vec<Effect>,
    ) {
        if publisher.node() == self.config.node {
            let input = LaneInput::LiveCall(command);
            return effects.push(Effect::To(Message::Lane(publisher.part(), input)));
        }
        let body = call::Body::Live(LiveCall {
            target: command.target.0,
            lane: publisher.part().into(),
            actor: command.actor.0,
            actor_epoch: 0,
            x: command.actor_position.x,
            y: command.actor_position.y,
            payload: command.payload,
        });
        let target = CallTarget::Node(publisher.node());
        self.call(now, Waiting::Live { lane, number }, (target, body, false, number), effects);
    }

    fn superseded(
        &mut self,
        now: WorldTime,
        avatar: EntityId,
        epoch: Epoch,
        effects: &mut Vec<Effect>,
    ) {
        self.to_lanes(effects, || LaneInput::Superseded { avatar, epoch });
        for node in self.links.peers().collect::<Vec<_>>() {
            let body = call::Body::Superseded(Superseded { avatar: avatar.0, epoch: epoch.0 });
            let target = CallTarget::Node(node);
            self.call(now, Waiting::Nobody, (target, body, true, 0), effects);
        }
    }

    fn incoming(
        &mut self,
        now: WorldTime,
        call: IncomingCall,
        body: call::Body,
        trace: u64,
        effects: &mut Vec<Effect>,
    ) {
        let answer = match body {
            call::Body::Durable(durable) => match durable_command(durable, trace) {
                Ok(command) => {
                    let caller = Caller::Call(call);
                    let input = StewardInput::Command { caller, command };
                    return effects.push(Effect::To(Message::Steward(input)));
                }
                Err(rejected) => rejected,
            },
            call::Body::Live(live) if live.lane < u32::from(self.config.lanes) => {
                let lane = live.lane as u8;
                let command = LiveCommand {
                    caller: LiveCaller::Call(call),
                    actor: EntityId(live.actor),
                    actor_position: Position::new(live.x, live.y),
                    target: EntityId(live.target),
                    payload: live.payload,
                };
                return effects.push(Effect::To(Message::Lane(lane, LaneInput::LiveCall(command))));
            }
            call::Body::Live(_) => answer::Body::Rejected(Rejected { code: "lane".into() }),
            call::Body::Superseded(superseded) => {
                let (avatar, epoch) = (EntityId(superseded.avatar), Epoch(superseded.epoch));
                self.to_lanes(effects, || LaneInput::Superseded { avatar, epoch });
                answer::Body::Done(Done {})
            }
        };
        self.link(now, LinksInput::Reply { call, body: answer }, effects);
    }

    fn ended(
        &mut self,
        number: u64,
        result: Result<answer::Body, CallError>,
        effects: &mut Vec<Effect>,
    ) {
        let refusal = |code: String, sentence: String| Refusal {
            code: code.into(),
            sentence: sentence.into(),
        };
        match self.waiting.remove(&number) {
            Some(Waiting::Durable { lane, number }) => {
                let result = match result {
                    Ok(answer::Body::Durable(answer)) if answer.code.is_empty() => {
                        match answer.chain.as_ref().try_into() {
                            Ok(chain) => DurableResult::Done { effects: answer.effects, chain },
                            Err(_) => DurableResult::Refused(Refusal::internal()),
                        }
                    }
                    Ok(answer::Body::Durable(answer)) => {
                        DurableResult::Refused(refusal(answer.code, answer.sentence))
                    }
                    _ => DurableResult::Refused(crate::steward::unavailable()),
                };
                let input = LaneInput::DurableEnded { number, result };
                effects.push(Effect::To(Message::Lane(lane, input)));
            }
            Some(Waiting::Live { lane, number }) => {
                let result = match result {
                    Ok(answer::Body::Live(answer)) if answer.code.is_empty() => Ok(answer.effects),
                    Ok(answer::Body::Live(answer)) => Err(refusal(answer.code, answer.sentence)),
                    _ => Err(crate::steward::unavailable()),
                };
                let input = LaneInput::LiveEnded { number, result };
                effects.push(Effect::To(Message::Lane(lane, input)));
            }
            Some(Waiting::Nobody) | None => {}
        }
    }

    fn wake(&mut self, now: WorldTime, effects: &mut Vec<Effect>) {
        self.link(now, LinksInput::Present(self.config.islands.clone()), effects);
        let silent =
            |state: &ClientState| matches!(state, ClientState::New { until } if *until <= now);
        let silent: Vec<ClientId> =
            self.clients.iter().filter(|(_, s)| silent(s)).map(|(client, _)| *client).collect();
        for client in silent {
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
                self.refuse(client, &Refusal::new("full", "The server is full."), effects);
            }
            ControlInput::Connected { client } => {
                let until = now.plus(HELLO_TIMEOUT_MS);
                self.clients.insert(client, ClientState::New { until });
            }
            ControlInput::Received { client, kind, payload } => {
                self.received(client, kind, payload, effects);
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
            ControlInput::Again { channel, publisher } => {
                let subject = (channel, StreamKind::Entities);
                self.link(now, LinksInput::Again { subject, publisher }, effects);
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

fn durable_command(call: DurableCall, trace: u64) -> Result<DurableCommand, answer::Body> {
    let rejected = |_| answer::Body::Rejected(Rejected { code: "key".into() });
    let key = Key::parse(&call.key).map_err(rejected)?;
    let actor = Actor {
        avatar: EntityId(call.avatar),
        epoch: Epoch(call.epoch),
        sequence: Sequence(call.sequence),
        island: IslandId(call.island),
        position: Position::new(call.x, call.y),
        received: IslandTime(call.received_ms),
    };
    Ok(DurableCommand { key, actor, payload: call.payload, trace })
}

fn durable_answer(result: DurableResult) -> DurableAnswer {
    match result {
        DurableResult::Done { effects, chain } => DurableAnswer {
            effects,
            chain: Bytes::copy_from_slice(&chain),
            ..DurableAnswer::default()
        },
        DurableResult::Refused(refusal) => DurableAnswer {
            code: refusal.code.into_owned(),
            sentence: refusal.sentence.into_owned(),
            ..DurableAnswer::default()
        },
    }
}

fn live_answer(result: Result<Bytes, Refusal>) -> LiveAnswer {
    match result {
        Ok(effects) => LiveAnswer { effects, ..LiveAnswer::default() },
        Err(refusal) => LiveAnswer {
            code: refusal.code.into_owned(),
            sentence: refusal.sentence.into_owned(),
            ..LiveAnswer::default()
        },
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
