//! A publisher, the ghosts of a reader and what its client gets, together: as a client would decode it.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use pelago_model::{
    ChannelId, ChunkId, EntityId, Epoch, Incarnation, IslandClock, IslandId, IslandTime, NodeId,
    Position, PublisherId, Reader, Tick, Trajectory,
};
use pelago_wire::client_stream::{decode_client_snapshot, decode_close, decode_frames, is_frames};
use pelago_wire::frame::base;
use pelago_wire::record::{Record, decode_records};
use pelago_world::{ClientId, Delivery, Ghosts, Objects, Publisher, Shown};

const ISLAND: IslandId = IslandId(1);
const READER: Reader = Reader::Node(NodeId(2));
const CLIENT: ClientId = ClientId(1);
const WEST: ChannelId = ChannelId::whole(ISLAND, ChunkId::new(0, 0));
const EAST: ChannelId = ChannelId::whole(ISLAND, ChunkId::new(1, 0));

struct World {
    publisher: Publisher,
    ghosts: Ghosts,
    objects: Objects,
    delivery: Delivery,
    tick: u64,
    /// The channels of the aliases that the client knows.
    aliases: Vec<(u32, ChannelId)>,
}

impl World {
    fn new() -> Self {
        let clock = IslandClock::IDENTITY;
        let id = PublisherId::lane(NodeId(1), 0, Incarnation(1));
        let mut delivery = Delivery::new(ISLAND, clock);
        delivery.join(CLIENT, Tick(100));
        Self {
            publisher: Publisher::new(id, clock),
            ghosts: Ghosts::new(clock),
            objects: Objects::default(),
            delivery,
            tick: 100,
            aliases: Vec::new(),
        }
    }

    fn watch(&mut self, channel: ChannelId) {
        self.delivery.watch(CLIENT, channel, &self.ghosts, &self.objects);
        self.publisher.subscribe(READER, channel, 1);
    }

    fn enter(&mut self, from: i32, to: i32) -> u16 {
        let time = IslandTime(self.tick as i64 * 100);
        let points = [Position::new(to, 100)];
        let trajectory = Trajectory::new(time, Position::new(from, 100), 1000, &points).unwrap();
        let shown = Shown {
            id: EntityId(7),
            epoch: Epoch(1),
            kind: 0,
            stance: 0,
            name: "Ada".into(),
            trajectory,
            island: ISLAND,
        };
        self.publisher.enter(shown, Tick(self.tick)).unwrap()
    }

    /// One tick; returns the names of the records that the client gets, by channel.
    fn tick(&mut self) -> Vec<(ChannelId, &'static str)> {
        self.tick += 1;
        let published = self.publisher.publish(Tick(self.tick));
        for frame in published.frames {
            if self.ghosts.apply_frame(&frame) {
                self.delivery.push(frame);
            }
        }
        for (_, snapshot) in published.snapshots {
            let stream = (snapshot.channel, snapshot.publisher);
            self.ghosts.apply_snapshot(&snapshot);
            self.delivery.stream_replaced(stream, self.ghosts.is_inhabited(&stream));
        }
        let mut sent = Vec::new();
        self.delivery.deliver(Tick(self.tick), &mut self.ghosts, &self.objects, |_, bytes| {
            sent.push(bytes);
        });
        sent.into_iter().flat_map(|bytes| self.decode(bytes)).collect()
    }

    fn decode(&mut self, mut bytes: Bytes) -> Vec<(ChannelId, &'static str)> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let length = usize::from(bytes[0]);
            assert!(length < 128, "the messages of this test are short");
            let message = bytes.split_to(length + 1);
            let payload = message.slice(2..);
            match message[1] {
                kind if is_frames(kind) => {
                    for (alias, body) in decode_frames(kind, &payload).unwrap().1 {
                        let channel =
                            self.aliases.iter().find(|(known, _)| *known == alias).unwrap().1;
                        found.extend(names(channel, Tick(self.tick), &body.slice(1..)));
                    }
                }
                3 => {
                    let snapshot = decode_client_snapshot(&payload, ISLAND).unwrap();
                    let channel = snapshot.header.channel;
                    self.aliases.push((snapshot.header.alias, channel));
                    found.push((channel, "snapshot"));
                    found.extend(names(channel, snapshot.header.tick, &snapshot.records));
                }
                4 => {
                    let closed = decode_close(&payload).unwrap();
                    self.aliases.retain(|(alias, _)| !closed.contains(alias));
                }
                kind => panic!("a message of kind {kind}"),
            }
        }
        found
    }
}

fn names(channel: ChannelId, tick: Tick, records: &Bytes) -> Vec<(ChannelId, &'static str)> {
    let name = |record: Record| match record {
        Record::Enter(_) => "enter",
        Record::Leave { .. } => "leave",
        Record::Arrive { .. } => "arrive",
        Record::Turn(_) => "turn",
        Record::Say { .. } => "say",
        _ => "other",
    };
    let base = base(&channel, tick, &IslandClock::IDENTITY);
    decode_records(records, base).map(|record| (channel, name(record.unwrap()))).collect()
}

#[test]
fn a_walk_costs_one_record_at_its_start_and_none_on_the_way() {
    let mut world = World::new();
    world.watch(WEST);
    world.tick();
    let slot = world.enter(100, 1500);
    assert_eq!(world.tick(), [(WEST, "snapshot"), (WEST, "enter")]);
    assert_eq!(world.tick(), []);
    world.publisher.say(slot, "hello".into());
    assert_eq!(world.tick(), [(WEST, "say")]);
    assert_eq!(world.tick(), []);
}

#[test]
fn nothing_is_encoded_for_a_channel_that_nobody_reads() {
    let mut world = World::new();
    world.enter(100, 1500);
    assert_eq!(world.publisher.publish(Tick(101)).frames, []);
}

#[test]
fn who_holds_both_chunks_is_told_of_an_arrival_only() {
    let mut world = World::new();
    world.watch(WEST);
    world.watch(EAST);
    world.tick();
    world.enter(1790, 3000);
    world.tick();
    // The east is opened for the client by the first who comes.
    assert_eq!(world.tick(), [(WEST, "leave"), (EAST, "snapshot"), (EAST, "enter")]);
    world.tick = 200;
    let slot = world.enter(1790, 3000);
    world.tick();
    assert_eq!(world.tick(), [(EAST, "arrive")]);
    world.publisher.leave(slot, Tick(world.tick));
    assert_eq!(world.tick(), [(EAST, "leave")]);
}

#[test]
fn who_holds_one_chunk_is_told_all_about_those_who_come_and_go() {
    for (watched, from, to, expected) in [(EAST, 1790, 3000, "enter"), (WEST, 1790, 3000, "leave")]
    {
        let mut world = World::new();
        world.watch(watched);
        // Somebody who stays keeps the stream open.
        world.enter(
            if watched == EAST { 2500 } else { 300 },
            if watched == EAST { 2501 } else { 301 },
        );
        world.tick();
        world.tick();
        world.enter(from, to);
        let before = world.tick();
        assert_eq!(before, if watched == EAST { vec![] } else { vec![(WEST, "enter")] });
        let crossing = world.tick();
        let arrive = (watched == EAST).then_some((EAST, "arrive"));
        let all: Vec<_> = [(watched, expected)].into_iter().chain(arrive).collect();
        assert_eq!(crossing, all);
    }
}

#[test]
fn a_blocked_client_misses_frames_and_is_shown_everything_afterwards() {
    let mut world = World::new();
    world.watch(WEST);
    world.tick();
    let slot = world.enter(100, 1500);
    world.tick();
    world.delivery.block(CLIENT);
    world.publisher.say(slot, "unheard".into());
    assert_eq!(world.tick(), []);
    world.delivery.unblock(CLIENT);
    assert_eq!(world.tick(), [(WEST, "snapshot"), (WEST, "enter")]);
}

#[test]
fn a_control_message_does_not_overtake_those_that_have_waited() {
    let mut world = World::new();
    let control = |text: &'static str, world: &mut World| {
        world.delivery.control(CLIENT, Bytes::from_static(text.as_bytes())).unwrap()
    };
    world.delivery.block(CLIENT);
    assert_eq!((control("one ", &mut world), control("two ", &mut world)), (None, None));
    world.delivery.unblock(CLIENT);
    assert_eq!(control("three", &mut world), Some(Bytes::from_static(b"one two three")));
    assert_eq!(control("four", &mut world), Some(Bytes::from_static(b"four")));
    assert_eq!(world.tick(), []);
}

#[test]
fn publishers_of_lives_that_ended_are_forgotten() {
    let mut world = World::new();
    let clock = IslandClock::IDENTITY;
    for life in 1..20 {
        world.publisher = Publisher::new(PublisherId::lane(NodeId(1), 0, Incarnation(life)), clock);
        world.watch(WEST);
        world.enter(100, 1500);
        let shown = world.tick();
        assert_eq!(shown.last(), Some(&(WEST, "enter")), "life {life}");
        for stream in world.ghosts.streams_of(WEST).collect::<Vec<_>>() {
            world.ghosts.drop_stream(stream);
            world.delivery.stream_dropped(stream);
        }
    }
    let sizes = world.delivery.sizes();
    let publishers = sizes.iter().find(|size| size.of == "publishers").unwrap();
    assert_eq!(publishers.held, 1);
}
