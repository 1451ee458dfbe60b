//! `records.json`, `trajectories.json` and `ids.json` of `docs/vectors/`.

use super::json::{Json, check, list, number, object, path, point, record, text};
use super::{bytes, hex};
use crate::record::{Base, Enter, ObjectRecord, Record, Turn, decode_records};
use crate::tick_stamp::TickStamp;
use bytes::{Bytes, BytesMut};
use pelago_model::limits::{MAX_LEG_UNITS, MAX_SPEED};
use pelago_model::{
    Cell, ChunkId, Direction, EntityId, Epoch, IslandClock, IslandTime, Position, Revision,
    Trajectory, WorldNumber, WorldTime,
};

/// That of the island where the records are.
const WORLD: WorldNumber = WorldNumber::new(1).unwrap();

fn trajectory(start_ms: i64, start: (i32, i32), speed: u16, points: &[(i32, i32)]) -> Trajectory {
    let points: Vec<_> = points.iter().map(|(x, y)| Position::new(*x, *y)).collect();
    let start = Position::new(start.0, start.1);
    Trajectory::new(IslandTime(start_ms), start, speed, &points).unwrap()
}

fn enter(slot: u16, name: &str, trajectory: Trajectory) -> Enter {
    Enter {
        slot,
        id: EntityId::new(WORLD, 42),
        epoch: Epoch(3),
        kind: 0,
        stance: 0,
        name: name.into(),
        trajectory,
    }
}

fn turn(at: i64, speed: Option<u16>, start: Option<(i32, i32)>, deltas: &[(i32, i32)]) -> Record {
    Record::Turn(Turn {
        slot: 5,
        at: IslandTime(at),
        speed,
        start: start.map(|(x, y)| Position::new(x, y)),
        deltas: deltas.iter().copied().collect(),
    })
}

/// All near chunk (-2, 3) of an island of world 1 at 1 700 000 000 000 ms.
fn records() -> Vec<(&'static str, Record)> {
    let t0 = 1_700_000_000_000;
    let still = trajectory(t0 - 5000, (-3000, 6000), 0, &[]);
    let wild = Enter {
        id: EntityId(u64::MAX),
        epoch: Epoch(0),
        kind: 300,
        stance: 65_535,
        ..enter(65_535, "", still.clone())
    };
    let last = Enter { id: EntityId::new(WORLD, u64::MAX), ..enter(5, "", still.clone()) };
    let foreign = EntityId::new(WorldNumber::new(2).unwrap(), 42);
    let foreign = Enter { id: foreign, ..enter(5, "Ida", still.clone()) };
    let old = Enter { epoch: Epoch(u64::MAX), ..enter(128, "Ada", still.clone()) };
    let walk = trajectory(t0 - 12, (-3840, 7679), 128, &[(-3000, 7000), (-3000, 6000)]);
    let long: Vec<_> = (1..=8).map(|leg| (-3000 - leg * MAX_LEG_UNITS, 6000 + leg)).collect();
    let long = trajectory(t0 + 100, (-3000, 6000), MAX_SPEED, &long);
    let ready = trajectory(t0, (-2000, 5800), 96, &[]);
    let eight: Vec<_> = (1..=8).map(|leg| (leg * 7, -leg * 9)).collect();
    let slot = 5;
    let gesture = |target| Record::Gesture { slot, gesture: 2, target };
    let natural = |slot, revision, payload: &'static [u8]| {
        Record::Object(ObjectRecord {
            slot,
            revision: Revision(revision),
            payload: Bytes::from(payload),
        })
    };
    vec![
        ("enter: stands", Record::Enter(enter(5, "", still))),
        ("enter: stance, no name, greatest slot and id", Record::Enter(wild)),
        ("enter: greatest serial of the island's world", Record::Enter(last)),
        ("enter: of another world, with a name", Record::Enter(foreign)),
        ("enter: greatest epoch", Record::Enter(old)),
        ("enter: walks through two waypoints", Record::Enter(enter(5, "Béla", walk))),
        (
            "enter: eight legs of greatest length, starts later",
            Record::Enter(enter(5, "Zoë", long)),
        ),
        ("enter: stands, with a speed for its next turn", Record::Enter(enter(5, "", ready))),
        ("leave", Record::Leave { slot }),
        ("arrive from the north", Record::Arrive { slot: 0, from: Direction::North }),
        ("arrive from the north-west", Record::Arrive { slot: 300, from: Direction::NorthWest }),
        ("turn: stops", turn(t0 + 40, None, None, &[])),
        ("turn: stops, the next speed is 0", turn(t0 + 40, Some(0), None, &[])),
        ("turn: one waypoint at the old speed", turn(t0 + 40, None, None, &[(640, -640)])),
        (
            "turn: two waypoints at a new speed",
            turn(t0 - 160, Some(256), None, &[(640, 0), (0, 1)]),
        ),
        ("turn: explicit start", turn(t0, Some(64), Some((-3841, 5759)), &[(1, -1)])),
        (
            "turn: three waypoints, the count follows",
            turn(t0, None, None, &[(1, 2), (3, 4), (-5, -6)]),
        ),
        ("turn: eight waypoints", turn(t0 + 99, Some(MAX_SPEED), None, &eight)),
        ("turn: the longest legs", turn(t0, None, None, &[(MAX_LEG_UNITS, -MAX_LEG_UNITS)])),
        ("stance", Record::Stance { slot, stance: 300 }),
        ("say", Record::Say { slot, text: "Grüß Gott, 世界!".into() }),
        ("say nothing", Record::Say { slot, text: "".into() }),
        ("object", natural(200, 17, b"{\"b\":2}")),
        ("object: as the tile says, greatest revision", natural(0, u64::MAX, b"")),
        ("gesture at nobody", gesture(None)),
        ("gesture at somebody", gesture(Some(EntityId::new(WORLD, 43)))),
        ("head count", Record::HeadCount { count: u32::MAX }),
    ]
}

#[test]
fn the_vectors_of_records_are_what_the_code_does() {
    let chunk = ChunkId::new(-2, 3);
    let base = Base { t0: IslandTime(1_700_000_000_000), corner: chunk.corner(), world: WORLD };
    let vector = |name: &str, base: &Base, bytes: &[u8], plain: Json| {
        object([
            ("name", text(name)),
            ("t0", number(base.t0.0)),
            ("corner", point(base.corner)),
            ("world", number(base.world.get())),
            ("hex", text(hex(bytes))),
            ("record", plain),
        ])
    };
    let mut vectors = Vec::new();
    for (name, plain) in records() {
        let mut out = BytesMut::new();
        plain.put(&base, &mut out);
        let out = out.freeze();
        let read: Vec<_> = decode_records(&out, base).collect();
        assert_eq!(read, [Ok(plain.clone())], "{name}");
        vectors.push(vector(name, &base, &out, record(&plain)));
    }
    let full = bytes("00 05 2a00000000100000 03 00 00 00 00");
    let read = decode_records(&full, base).next().unwrap().unwrap();
    let name = "enter: of the island's world, but in full, as no node writes it";
    vectors.push(vector(name, &base, &full, record(&read)));
    for (name, hex) in
        [("reserved kind, skipped", "0c 02 ffff"), ("reserved kind with flags, skipped", "ff 00")]
    {
        assert_eq!(decode_records(&bytes(hex), base).count(), 0);
        vectors.push(vector(name, &base, &bytes(hex), Json::Null));
    }
    check("records.json", &vectors);
}

fn paths() -> Vec<(&'static str, Trajectory)> {
    let far = MAX_LEG_UNITS;
    let zigzag: Vec<_> =
        (1..=8).map(|leg| (leg * 100, if leg % 2 == 0 { 0 } else { 37 })).collect();
    let there_and_back: Vec<_> = (1..=8).map(|leg| (far * (leg % 2), -far * (leg % 2))).collect();
    vec![
        ("stands", trajectory(1000, (7, -7), 0, &[])),
        ("stands, with a speed", trajectory(1000, (7, -7), 128, &[])),
        ("ten metres east at two metres a second", trajectory(1000, (0, 0), 128, &[(640, 0)])),
        ("north-west across the origin", trajectory(0, (100, 50), 200, &[(-333, -777)])),
        (
            "all coordinates negative",
            trajectory(50, (-5000, -6000), 77, &[(-5001, -6010), (-9000, -5990)]),
        ),
        ("times before the epoch", trajectory(-10_000, (0, 0), 64, &[(-64, 64), (64, 64)])),
        (
            "a late epoch",
            trajectory(1_700_000_000_123, (-30_000, 20_000), 300, &[(-28_000, 20_500)]),
        ),
        ("a leg of no length first", trajectory(0, (5, 5), 64, &[(5, 5), (69, 5)])),
        ("a leg of no length between", trajectory(0, (0, 0), 64, &[(64, 0), (64, 0), (64, 64)])),
        ("a leg of no length last", trajectory(0, (0, 0), 64, &[(0, -64), (0, -64)])),
        ("only a leg of no length", trajectory(0, (3, 4), 1, &[(3, 4)])),
        ("a leg of less than a millisecond", trajectory(0, (0, 0), MAX_SPEED, &[(1, 0)])),
        (
            "legs of a millisecond and less",
            trajectory(0, (0, 0), MAX_SPEED, &[(1, 0), (4, 3), (4, 5), (9, 5)]),
        ),
        ("eight legs, zigzag", trajectory(0, (0, 0), 96, &zigzag)),
        ("the longest leg at the least speed", trajectory(0, (0, 0), 1, &[(far, far)])),
        ("the longest leg at the greatest speed", trajectory(0, (0, 0), MAX_SPEED, &[(-far, far)])),
        (
            "eight longest legs there and back at the least speed",
            trajectory(0, (0, 0), 1, &there_and_back),
        ),
        ("one unit at the least speed", trajectory(0, (0, 0), 1, &[(1, -1)])),
        (
            "at the end of the numbering",
            trajectory(0, (i32::MAX - far, i32::MIN), 4000, &[(i32::MAX, i32::MIN + far)]),
        ),
    ]
}

/// Times at which a reader that computes otherwise is likely to be found out, in order.
fn telling_times(path: &Trajectory) -> Vec<IslandTime> {
    let length = path.end_time().since(path.start_time());
    let mut elapsed: Vec<i64> = vec![-100_000, -1, 0, 1, 2, 3, 10, 99, 100, 333, 1000];
    elapsed.extend((1..16).map(|part| length * part / 16 + part % 3));
    // The ends of the legs, where there are waypoints less.
    let ends = path.waypoints().iter().enumerate().map(|(leg, _)| {
        let reached = |ms: &i64| {
            path.waypoints_after(path.start_time().plus(*ms)).len() < path.waypoints().len() - leg
        };
        let (mut low, mut high) = (0, length);
        while low < high {
            let middle = (low + high) / 2;
            if reached(&middle) { high = middle } else { low = middle + 1 }
        }
        low
    });
    elapsed.extend(ends.flat_map(|end| [end - 1, end, end + 1]).collect::<Vec<_>>());
    elapsed.extend([length + 1, length + 1_000_000]);
    elapsed.sort_unstable();
    elapsed.dedup();
    elapsed.into_iter().map(|ms| path.start_time().plus(ms)).collect()
}

#[test]
fn the_vectors_of_trajectories_are_what_the_code_does() {
    let vectors: Vec<_> = paths()
        .into_iter()
        .map(|(name, trajectory)| {
            let positions = telling_times(&trajectory).into_iter().map(|time| {
                let place = trajectory.position_at(time);
                object([("at", number(time.0)), ("x", number(place.x)), ("y", number(place.y))])
            });
            object([
                ("name", text(name)),
                ("trajectory", path(&trajectory)),
                ("end_ms", number(trajectory.end_time().0)),
                ("positions", list(positions)),
            ])
        })
        .collect();
    check("trajectories.json", &vectors);
}

#[test]
fn the_vectors_of_words_are_what_the_code_does() {
    let kind = |name: &str| ("kind", text(name));
    let mut vectors = Vec::new();
    for (x, y) in [(0, 0), (1919, 1920), (-1, -1920), (-1921, 62_914_559), (i32::MIN, i32::MAX)] {
        let chunk = Position::new(x, y).chunk();
        let number_of = object([("x", number(chunk.x)), ("y", number(chunk.y))]);
        let place = ("position", point(Position::new(x, y)));
        vectors.push(object([
            kind("chunk"),
            place,
            ("chunk", number_of),
            ("corner", point(chunk.corner())),
        ]));
    }
    for cell in [0u32, 1, 4, 18, 1_073_741_822] {
        let children = (0..4).map(|quarter| number(Cell(cell).child(quarter).unwrap().0));
        vectors.push(object([kind("cell"), ("cell", number(cell)), ("children", list(children))]));
    }
    for direction in Direction::ALL {
        let (dx, dy) = direction.offset();
        vectors.push(object([
            kind("direction"),
            ("direction", number(direction as u8)),
            ("dx", number(dx)),
            ("dy", number(dy)),
        ]));
    }
    for (world, serial) in [(0, 0), (1, 42), (0xabcde, 0xfff_ffff_ffff)] {
        let id = EntityId::new(WorldNumber::new(world).unwrap(), serial);
        let bytes = hex(&id.0.to_le_bytes());
        vectors.push(object([
            kind("id"),
            ("id", text(id)),
            ("world", number(world)),
            ("serial", number(serial)),
            ("bytes", text(bytes)),
        ]));
    }
    for (tick, sequence, latest) in [
        (0, 0, 0),
        (15, 1, 15),
        (15, 1, 16),
        (16, 17, 28),
        (1000, 300, 1012),
        (17_000_000_007, 9, 17_000_000_007),
    ] {
        let stamp = TickStamp::new(pelago_model::Tick(tick), sequence);
        assert_eq!(stamp.tick(pelago_model::Tick(latest)).0, tick);
        vectors.push(object([
            kind("stamp"),
            ("tick", number(tick)),
            ("sequence", number(sequence)),
            ("message_tick", number(latest)),
            ("stamp", text(hex(&[stamp.to_byte()]))),
        ]));
    }
    for (world, island, speed) in [(0, 0, 1000), (1_700_000_000_000, -5, 900), (5000, 7000, 1)] {
        let clock = IslandClock {
            world: WorldTime(world),
            island: IslandTime(island),
            speed_permille: speed,
        };
        let times = [-1001, -1, 0, 1, 999, 1000, 12_345_678].map(|ms| {
            let at = WorldTime(world + ms);
            object([("world_ms", number(at.0)), ("island_ms", number(clock.at(at).0))])
        });
        vectors.push(object([
            kind("clock"),
            ("world_ms", number(world)),
            ("island_ms", number(island)),
            ("speed_permille", number(speed)),
            ("times", list(times)),
        ]));
    }
    check("ids.json", &vectors);
}
