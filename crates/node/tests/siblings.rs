//! Lanes of a node that read each other and what other nodes publish.
//!
//! The test plays the rest of the node: the links, which read another node for all lanes, and the mailboxes, of which it
//! may choose whose is served next.
#![allow(clippy::unwrap_used, reason = "tests")]

mod players;

use bytes::Bytes;
use pelago_frontier::Frontier;
use pelago_game::Land;
use pelago_model::place::CHUNK_UNITS;
use pelago_model::{
    ChannelId, ChunkId, CommitOutcome, Document, EntityId, Epoch, Incarnation, IslandClock,
    IslandTime, Machine, NodeId, Position, PublisherId, Reader, Tick, Trajectory, WorldTime,
};
use pelago_node::lane::{INTRODUCTION_MS, MAX_HELD_FRAMES};
use pelago_node::{ClientEvent, Lane, LaneEffect, LaneInput, StoreAnswer};
use pelago_wire::client::{Move, client_message};
use pelago_wire::client_stream::is_frames;
use pelago_wire::frame::{Frame, Snapshot, StreamKind};
use pelago_world::{ClientId, Publisher, Shown};
use players::{NODE, home, join, lane, messages, says, spec};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, LazyLock};

const OTHER_NODE: NodeId = NodeId(2);
/// Those who walk about on the other node.
const WALKERS: u64 = 30;
const BEGIN: WorldTime = WorldTime(1_000_000);

static LAND: LazyLock<Arc<Land>> = LazyLock::new(|| Arc::new(Land::new(&Frontier, spec(9))));

/// What can wake the links.
enum ToLinks {
    Interest {
        lane: u8,
        channel: ChannelId,
        wanted: bool,
    },
    Resync(ChannelId),
    Frames(Vec<Arc<Frame>>),
    Snapshot(Arc<Snapshot>),
    /// The link to the other node is lost, and there again at once.
    Lost,
}

/// The links of the node, as far as lanes see them.
#[derive(Default)]
struct Links {
    inbox: VecDeque<ToLinks>,
    reading: BTreeMap<ChannelId, BTreeSet<u8>>,
    /// Channels whose subscription is not answered yet, and its version.
    unanswered: BTreeMap<ChannelId, u64>,
    /// Subscriptions of the node so far.
    subscriptions: u64,
    introductions: usize,
}

struct Stage {
    now: WorldTime,
    lanes: Vec<Lane>,
    inboxes: Vec<VecDeque<LaneInput>>,
    links: Links,
    /// The other node.
    remote: Publisher,
    walkers: Vec<u16>,
    /// Of each lane: what it was told, clock aside.
    told: Vec<Vec<String>>,
    sent: Vec<(u8, ClientId, Bytes)>,
    resyncs: Vec<(u8, ChannelId, Option<PublisherId>)>,
    /// One batch of frames in as many does not fit into its mailbox; 0: all do.
    loses_one_in: u64,
    dice: u64,
}

impl Stage {
    fn new(lanes: u8, seed: u64) -> Self {
        let id = PublisherId::lane(OTHER_NODE, 0, Incarnation(1));
        let mut stage = Self {
            now: BEGIN,
            lanes: (0..lanes).map(|number| lane(number, &LAND)).collect(),
            inboxes: (0..lanes).map(|_| VecDeque::new()).collect(),
            links: Links::default(),
            remote: Publisher::new(id, IslandClock::IDENTITY),
            walkers: Vec::new(),
            told: vec![Vec::new(); usize::from(lanes)],
            sent: Vec::new(),
            resyncs: Vec::new(),
            loses_one_in: 0,
            dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        };
        for number in 0..WALKERS {
            let position = stage.somewhere();
            let shown = Shown {
                id: EntityId(10_000 + number),
                epoch: Epoch(1),
                kind: 0,
                stance: 0,
                name: "walker".into(),
                trajectory: Trajectory::still(IslandTime(stage.now.0), position),
                island: home(),
            };
            let slot = stage.remote.enter(shown, Tick::at(stage.now)).unwrap();
            stage.walkers.push(slot);
        }
        stage
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.dice >> 33) % sides
    }

    /// In one of 3 x 3 chunks in the middle of the land.
    fn somewhere(&mut self) -> Position {
        let mut along = || 3 * CHUNK_UNITS + self.roll(3 * CHUNK_UNITS as u64) as i32;
        Position::new(along(), along())
    }

    /// A tick: the other node's walkers turn with the chance 1 in `mean_ticks`, and all machines are woken. What follows is
    /// left to be served.
    fn tick(&mut self, mean_ticks: u64) {
        self.now = Tick::at(self.now).next().starts();
        for slot in self.walkers.clone() {
            if self.roll(mean_ticks) == 0 {
                let there = Trajectory::still(IslandTime(self.now.0), self.somewhere());
                self.remote.turn(slot, there, false);
            }
        }
        let published = self.remote.publish(Tick::at(self.now));
        self.links.inbox.push_back(ToLinks::Frames(published.frames));
        let snapshots = published.snapshots.into_iter();
        self.links.inbox.extend(snapshots.map(|(_, snapshot)| ToLinks::Snapshot(snapshot)));
        self.inboxes.iter_mut().for_each(|inbox| inbox.push_back(LaneInput::Wake));
    }

    /// Serves the mailbox of a lane once.
    fn serve_lane(&mut self, number: u8) {
        let index = usize::from(number);
        let Some(input) = self.inboxes[index].pop_front() else { return };
        if !matches!(input, LaneInput::Wake) {
            let told = format!("{input:?}");
            self.told[index].push(told.split([' ', '(']).next().unwrap().to_owned());
        }
        let mut effects = Vec::new();
        self.lanes[index].handle(self.now, input, &mut effects);
        for effect in effects {
            self.route(number, effect);
        }
    }

    fn route(&mut self, number: u8, effect: LaneEffect) {
        let reader = Reader::Lane(number);
        match effect {
            LaneEffect::Send { client, bytes } => self.sent.push((number, client, bytes)),
            LaneEffect::Interest { channel, wanted } => {
                for sibling in (0..self.lanes.len() as u8).filter(|sibling| *sibling != number) {
                    self.push(
                        sibling,
                        match wanted {
                            true => LaneInput::Subscribe { reader, channel, version: 0 },
                            false => LaneInput::Unsubscribe { reader, channel },
                        },
                    );
                }
                self.links.inbox.push_back(ToLinks::Interest { lane: number, channel, wanted });
            }
            LaneEffect::Resync { channel, publisher } => {
                self.resyncs.push((number, channel, publisher));
                match publisher.filter(|publisher| publisher.node() == NODE) {
                    None => self.links.inbox.push_back(ToLinks::Resync(channel)),
                    Some(sibling) => {
                        let input = LaneInput::Subscribe { reader, channel, version: 0 };
                        self.push(sibling.as_lane().unwrap(), input);
                    }
                }
            }
            LaneEffect::Frames { to, frames } => self.push(to, LaneInput::Frames(frames)),
            LaneEffect::Snapshot { to: Reader::Lane(to), snapshot } => {
                self.push(to, LaneInput::Snapshot(snapshot));
            }
            LaneEffect::Introduced { to, channel, complete } => {
                self.push(to, LaneInput::Introduced { channel, complete });
            }
            LaneEffect::Publish(frames) => assert_eq!(frames, [], "no other node reads them"),
            LaneEffect::Load { request, keys } => {
                let documents = Some(vec![Document::ABSENT; keys.len()]);
                let answer = StoreAnswer::Loaded(documents);
                self.push(number, LaneInput::Stored { request, answer });
            }
            LaneEffect::Commit { request, .. } => {
                let answer = StoreAnswer::Committed(CommitOutcome::Committed);
                self.push(number, LaneInput::Stored { request, answer });
            }
            other => panic!("{other:?}"),
        }
    }

    /// Puts something into the mailbox of a lane.
    fn push(&mut self, number: u8, input: LaneInput) {
        let inbox = usize::from(number);
        if let LaneInput::Frames(frames) = &input
            && self.loses_one_in > 0
            && self.roll(self.loses_one_in) == 0
        {
            let channels = frames.iter().map(|frame| frame.channel).collect();
            // Told as soon as there is room, whatever else waits.
            return self.inboxes[inbox].push_front(LaneInput::Missed { channels });
        }
        self.inboxes[inbox].push_back(input);
    }

    /// Serves the mailbox of the links once.
    fn serve_links(&mut self) {
        let Some(input) = self.links.inbox.pop_front() else { return };
        match input {
            ToLinks::Interest { lane, channel, wanted: true } => {
                let lanes = self.links.reading.entry(channel).or_default();
                let sibling = lanes.first().copied();
                assert!(lanes.insert(lane), "a lane says once that it reads a channel");
                match sibling {
                    None => self.subscribe(channel),
                    Some(from) => {
                        self.links.introductions += 1;
                        self.push(lane, LaneInput::AwaitIntroduction { channel });
                        self.push(from, LaneInput::Introduce { to: lane, channel });
                    }
                }
            }
            ToLinks::Interest { lane, channel, wanted: false } => {
                let lanes = self.links.reading.get_mut(&channel).unwrap();
                assert!(lanes.remove(&lane));
                if lanes.is_empty() {
                    self.links.reading.remove(&channel);
                    self.links.unanswered.remove(&channel);
                    self.remote.unsubscribe(Reader::Node(NODE), channel);
                }
            }
            ToLinks::Resync(channel) => {
                if self.links.reading.contains_key(&channel) {
                    self.subscribe(channel);
                }
            }
            ToLinks::Frames(frames) => {
                let mut for_lanes: BTreeMap<u8, Vec<Arc<Frame>>> = BTreeMap::new();
                for frame in frames {
                    if self.links.unanswered.contains_key(&frame.channel) {
                        continue;
                    }
                    for lane in self.links.reading.get(&frame.channel).into_iter().flatten() {
                        for_lanes.entry(*lane).or_default().push(frame.clone());
                    }
                }
                for (lane, frames) in for_lanes {
                    self.push(lane, LaneInput::Frames(frames));
                }
            }
            ToLinks::Snapshot(snapshot) => {
                let channel = snapshot.channel;
                if self.links.unanswered.get(&channel) != Some(&snapshot.answers) {
                    return;
                }
                self.links.unanswered.remove(&channel);
                for lane in self.links.reading.get(&channel).cloned().into_iter().flatten() {
                    self.push(lane, LaneInput::Snapshot(snapshot.clone()));
                }
            }
            ToLinks::Lost => {
                for lane in 0..self.lanes.len() as u8 {
                    self.push(lane, LaneInput::PeerLost { node: OTHER_NODE });
                }
                for channel in self.links.reading.keys().copied().collect::<Vec<_>>() {
                    self.subscribe(channel);
                }
            }
        }
    }

    fn subscribe(&mut self, channel: ChannelId) {
        self.links.subscriptions += 1;
        let version = self.links.subscriptions;
        self.links.unanswered.insert(channel, version);
        self.remote.subscribe(Reader::Node(NODE), channel, version);
    }

    /// Serves mailboxes in an order that the dice choose: so many messages, or until nothing waits.
    fn serve(&mut self, messages: Option<u64>) {
        let mut left = messages.unwrap_or(u64::MAX);
        while left > 0 {
            let lanes = (0..self.lanes.len()).filter(|lane| !self.inboxes[*lane].is_empty());
            let mut waiting: Vec<usize> = lanes.collect();
            if !self.links.inbox.is_empty() {
                waiting.push(self.lanes.len());
            }
            if waiting.is_empty() {
                return;
            }
            let next = waiting[self.roll(waiting.len() as u64) as usize];
            match self.lanes.len() == next {
                true => self.serve_links(),
                false => self.serve_lane(next as u8),
            }
            left -= 1;
        }
    }

    /// Ticks in which everything that waits is served.
    fn pass(&mut self, ticks: usize, mean_ticks: u64) {
        for _ in 0..ticks {
            self.tick(mean_ticks);
            self.serve(None);
            // The delivery.
            self.now = self.now.plus(20);
            self.inboxes.iter_mut().for_each(|inbox| inbox.push_back(LaneInput::Wake));
            self.serve(None);
        }
    }

    /// A player comes, and stands in the middle of a chunk.
    fn join(&mut self, lane: u8, player: u64, chunk: ChunkId) {
        let corner = chunk.corner();
        let middle = Position::new(corner.x + CHUNK_UNITS / 2, corner.y + CHUNK_UNITS / 2);
        let input = join(player, middle, self.now);
        self.push(lane, input);
    }

    fn leave(&mut self, lane: u8, player: u64) {
        let (client, event) = (ClientId(player), ClientEvent::Disconnected);
        self.push(lane, LaneInput::Client { client, event });
    }

    /// Where everybody is, and on which way.
    fn everybody(&self) -> BTreeMap<EntityId, (ChannelId, Trajectory)> {
        let reals = self.lanes.iter().flat_map(Lane::reals);
        let walkers = self.walkers.iter().filter_map(|slot| self.remote.shown(*slot));
        let at = IslandTime(Tick::at(self.now).starts().0);
        let place = |shown: &Shown| {
            let chunk = shown.trajectory.position_at(at).chunk();
            (shown.id, (ChannelId::whole(shown.island, chunk), shown.trajectory.clone()))
        };
        reals.chain(walkers).map(place).collect()
    }

    /// Each lane knows everybody on the channels that it watches, and nobody else.
    fn assert_ghosts_are_right(&self, of: &str) {
        for (number, lane) in self.lanes.iter().enumerate() {
            let expected: BTreeMap<_, _> =
                self.everybody().into_iter().filter(|(_, it)| lane.watches(it.0)).collect();
            let known: BTreeMap<_, _> = lane
                .ghosts()
                .iter()
                .map(|(_, ghost)| (ghost.id, (ghost.channel, ghost.trajectory.clone())))
                .collect();
            assert_eq!(known, expected, "{of}: lane {number}");
        }
    }

    fn held(&self, lane: u8, of: &str) -> usize {
        let sizes = self.lanes[usize::from(lane)].sizes();
        sizes.iter().find(|size| size.of == of).unwrap().held
    }
}

const MIDDLE: ChunkId = ChunkId::new(4, 4);

#[test]
fn a_second_lane_is_introduced_under_steady_traffic_without_a_gap() {
    let mut stage = Stage::new(2, 1);
    stage.join(0, 1, MIDDLE);
    stage.pass(3, 2);
    stage.assert_ghosts_are_right("before");
    let subscriptions = stage.links.subscriptions;
    assert_eq!(subscriptions, 9);
    stage.join(1, 2, MIDDLE);
    // The first lane is slow: for three ticks the second one is told of frames, but not of what was before.
    for _ in 0..3 {
        while !stage.inboxes[1].is_empty() || !stage.links.inbox.is_empty() {
            stage.serve_lane(1);
            stage.serve_links();
        }
        stage.tick(2);
    }
    assert!(stage.held(1, "frames held for introductions") > 9);
    assert_eq!(stage.lanes[1].ghosts().iter().count(), 1, "itself");
    stage.serve(None);
    stage.assert_ghosts_are_right("after the introduction");
    assert_eq!(stage.links.introductions, 9);
    stage.pass(3, 2);
    stage.assert_ghosts_are_right("afterwards");
    // The other node was not asked again, and nothing is left over.
    assert_eq!((stage.links.subscriptions, stage.resyncs.len()), (subscriptions, 0));
    assert_eq!(stage.held(1, "introductions of a lane"), 0);
    assert_eq!(stage.held(1, "frames held for introductions"), 0);
    // Chunks are read once they are shown: their steward's streams have been open for long. So are the room of the island and
    // the mailbox of the player.
    let reads = stage.told[1].iter().filter(|told| *told == "Stored").count();
    assert_eq!(reads, 9 + 2);
}

#[test]
fn a_sibling_that_does_not_read_the_channel_any_more_leads_to_the_other_nodes() {
    let mut stage = Stage::new(2, 2);
    stage.join(0, 1, MIDDLE);
    stage.pass(3, 2);
    stage.join(1, 2, MIDDLE);
    // The first lane lets go before it is asked, and the links hear of that last.
    stage.leave(0, 1);
    stage.serve_lane(1);
    while !stage.inboxes[0].is_empty() {
        stage.serve_lane(0);
    }
    stage.pass(3, 2);
    let whole =
        |resync: &&(u8, ChannelId, Option<PublisherId>)| resync.0 == 1 && resync.2.is_none();
    assert_eq!(stage.resyncs.iter().filter(whole).count(), stage.links.introductions);
    stage.assert_ghosts_are_right("in the end");
}

#[test]
fn held_frames_are_bounded_and_asked_for_anew_beyond() {
    let mut stage = Stage::new(2, 3);
    stage.join(0, 1, MIDDLE);
    stage.pass(3, 2);
    stage.join(1, 2, MIDDLE);
    // The first lane does not answer. The second is not woken, so that it does not look at the time.
    let mut most = 0;
    for _ in 0..600 {
        stage.tick(2);
        stage.inboxes[1].retain(|input| !matches!(input, LaneInput::Wake));
        while !stage.inboxes[1].is_empty() || !stage.links.inbox.is_empty() {
            stage.serve_lane(1);
            stage.serve_links();
        }
        most = most.max(stage.held(1, "frames held for introductions"));
    }
    // Looked at between batches, of which each channel has one frame.
    assert!((MAX_HELD_FRAMES - 9..=MAX_HELD_FRAMES).contains(&most), "{most}");
    // Each channel that would have held one more was asked for once, and those frames were let go.
    let asked: BTreeSet<ChannelId> = stage.resyncs.iter().map(|(_, channel, _)| *channel).collect();
    assert!(!asked.is_empty());
    assert_eq!(stage.resyncs.len(), asked.len(), "{:?}", stage.resyncs);
    assert!(stage.resyncs.iter().all(|(lane, _, publisher)| (*lane, *publisher) == (1, None)));
    stage.serve(None);
    stage.pass(3, 2);
    stage.assert_ghosts_are_right("in the end");
    assert_eq!(stage.held(1, "introductions of a lane"), 0);
}

#[test]
fn a_sibling_that_is_silent_is_not_waited_for() {
    let mut stage = Stage::new(2, 4);
    stage.join(0, 1, MIDDLE);
    stage.pass(3, 2);
    stage.join(1, 2, MIDDLE);
    for _ in 0..INTRODUCTION_MS / 100 + 20 {
        stage.tick(2);
        while !stage.inboxes[1].is_empty() || !stage.links.inbox.is_empty() {
            stage.serve_lane(1);
            stage.serve_links();
        }
    }
    // All nine channels were asked of the other node, which has answered: only the first lane's player is missing.
    assert_eq!(stage.resyncs.len(), 9);
    let others = |ghosts: &pelago_world::Ghosts| {
        ghosts.iter().filter(|(publisher, _)| publisher.node() == OTHER_NODE).count()
    };
    assert_eq!(others(stage.lanes[1].ghosts()), WALKERS as usize);
    stage.serve(None);
    stage.pass(3, 2);
    stage.assert_ghosts_are_right("in the end");
}

/// Players come and go on three lanes while others walk about; links are lost, frames do not fit into mailboxes, and
/// mailboxes are served in any order, often late.
#[test]
fn whatever_the_order_lanes_know_everybody_in_the_end() {
    let (mut introductions, mut resyncs, mut missed) = (0, 0, 0);
    for seed in 1..=150 {
        let mut stage = Stage::new(3, seed);
        stage.loses_one_in = [0, 40][seed as usize % 2];
        let mut players: BTreeMap<u64, u8> = BTreeMap::new();
        let mut next = 0;
        for _ in 0..80 {
            stage.tick(3);
            for _ in 0..stage.roll(3) {
                let (lane, chunk) = (stage.roll(3) as u8, stage.somewhere().chunk());
                next += 1;
                stage.join(lane, next, chunk);
                players.insert(next, lane);
            }
            // Half of those who come are gone at once.
            while players.len() > 4 || (!players.is_empty() && stage.roll(3) == 0) {
                let which = stage.roll(players.len() as u64) as usize;
                let (player, lane) = players.iter().nth(which).map(|(a, b)| (*a, *b)).unwrap();
                players.remove(&player);
                stage.leave(lane, player);
            }
            if stage.roll(50) == 0 {
                stage.links.inbox.push_back(ToLinks::Lost);
            }
            let messages = stage.roll(120);
            stage.serve(Some(messages));
        }
        stage.loses_one_in = 0;
        stage.serve(None);
        // Nobody turns any more, so that nothing heals by itself.
        stage.pass(12, u64::MAX);
        stage.assert_ghosts_are_right(&format!("seed {seed}"));
        for lane in 0..3 {
            assert_eq!(stage.held(lane, "introductions of a lane"), 0, "seed {seed}");
            assert_eq!(stage.held(lane, "frames held for introductions"), 0, "seed {seed}");
        }
        introductions += stage.links.introductions;
        resyncs += stage.resyncs.len();
        missed += stage.told.iter().flatten().filter(|told| *told == "Missed").count();
    }
    assert!(
        introductions > 10_000 && resyncs > 100 && missed > 100,
        "{introductions} {resyncs} {missed}"
    );
}

#[test]
fn a_move_passes_one_lane_from_one_client_to_another() {
    let mut stage = Stage::new(2, 5);
    for (lane, player) in [(0, 1), (0, 2), (1, 3)] {
        stage.join(lane, player, MIDDLE);
    }
    stage.pass(5, u64::MAX);
    stage.told.iter_mut().for_each(Vec::clear);
    stage.sent.clear();
    let here = stage.lanes[0].reals().next().unwrap().trajectory.position_at(IslandTime(0));
    let at_ms = stage.now.0;
    let path = Move { number: 1, at_ms, speed: 64, waypoints: vec![here.x + 60, here.y] };
    stage.push(0, says(1, client_message::Body::Move(path)));
    stage.serve(None);
    assert_eq!(stage.lanes[0].counters().moves, 1);
    // Only the first lane is served: for its own clients that is enough.
    for wait in [0, 20] {
        stage.now = Tick::at(stage.now.plus(80)).starts().plus(wait);
        stage.inboxes[0].push_back(LaneInput::Wake);
        while !stage.inboxes[0].is_empty() {
            stage.serve_lane(0);
        }
    }
    let frames = |stage: &Stage| {
        let of_frames = |bytes: &Bytes| messages(bytes).iter().any(|(kind, _)| is_frames(*kind));
        let told = stage.sent.iter().filter(|(_, _, bytes)| of_frames(bytes));
        told.map(|(lane, client, _)| (*lane, client.0)).collect::<Vec<_>>()
    };
    assert_eq!(frames(&stage), [(0, 1), (0, 2)]);
    assert_eq!(stage.told, [vec!["Client"], vec![]]);
    // The sibling is handed the frame itself, by nobody else.
    let handed = stage.inboxes[1].iter().find_map(|input| match input {
        LaneInput::Frames(frames) => Some(frames),
        _ => None,
    });
    let frame = &handed.unwrap()[0];
    assert_eq!((frame.publisher.as_lane(), frame.stream), (Some(0), StreamKind::Entities));
    assert!(stage.links.inbox.is_empty());
    stage.pass(1, u64::MAX);
    assert!(frames(&stage).contains(&(1, 3)));
}
