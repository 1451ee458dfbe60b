"""Records, what bodies of frames and snapshots are made of (section 4). Each becomes a dictionary with its kind."""

from dataclasses import dataclass

from .bits import SERIAL_BITS, Malformed, Reader
from .trajectory import Point, Trajectory, through_differences

ENTER, LEAVE, ARRIVE, TURN, STANCE, SAY, OBJECT, GESTURE, HEAD_COUNT = 0, 1, 2, 4, 5, 6, 7, 8, 9
RESERVED = range(12, 16)
#: The flags that each kind may have.
FLAGS = {ENTER: 15, LEAVE: 0, ARRIVE: 7, TURN: 15, STANCE: 0, SAY: 0, OBJECT: 0, GESTURE: 0, HEAD_COUNT: 0}
#: Turns are told from the middle of their tick.
TURN_MIDDLE_MS = 50
MAX_WAYPOINTS, MAX_LEG, MAX_SPEED, MAX_OBJECT = 8, 2**19, 4096, 64


@dataclass(frozen=True)
class Base:
    """What the records of a body are relative to."""

    #: The island time of the body's tick.
    t0: int
    #: That of the channel's chunk.
    corner: Point
    #: That of the channel's island.
    world: int


def read_records(data: bytes, base: Base) -> list[dict]:
    """All records of a body."""
    reader, records = Reader(data), []
    while not reader.is_empty():
        record = _record(reader, base)
        if record is not None:
            records.append(record)
    return records


def _record(reader: Reader, base: Base) -> dict | None:
    head = reader.u8()
    kind, flags = head & 15, head >> 4
    if kind in RESERVED:
        reader.prefixed()
        return None
    if kind not in FLAGS or flags & ~FLAGS[kind]:
        raise Malformed(f"no record of kind {kind} with flags {flags}")
    if kind == HEAD_COUNT:
        return {"kind": "head_count", "count": reader.varint(2**32 - 1)}
    slot = reader.varint(2**16 - 1)
    if kind == ENTER:
        return _enter(reader, flags, slot, base)
    if kind == LEAVE:
        return {"kind": "leave", "slot": slot}
    if kind == ARRIVE:
        return {"kind": "arrive", "slot": slot, "from": flags}
    if kind == TURN:
        return _turn(reader, flags, slot, base)
    if kind == STANCE:
        return {"kind": "stance", "slot": slot, "stance": reader.varint(2**16 - 1)}
    if kind == SAY:
        return {"kind": "say", "slot": slot, "text": reader.text()}
    if kind == OBJECT:
        revision = reader.varint()
        return {"kind": "object", "slot": slot, "revision": revision, "payload": reader.prefixed(MAX_OBJECT)}
    gesture, target = reader.varint(2**16 - 1), reader.u64()
    return {"kind": "gesture", "slot": slot, "gesture": gesture, "target": target or None}


def _enter(reader: Reader, flags: int, slot: int, base: Base) -> dict:
    record = {"kind": "enter", "slot": slot, "id": _native(reader, base) if flags & 8 else reader.u64()}
    record["epoch"] = reader.varint()
    record["entity_kind"] = reader.varint(2**16 - 1)
    record["stance"] = reader.varint(2**16 - 1) if flags & 1 else 0
    record["name"] = reader.text() if flags & 2 else ""
    start_ms = _time(base.t0 + reader.svarint())
    start = _place(reader, base.corner)
    speed, points = 0, ()
    if flags & 4:
        speed, count = divmod(reader.varint(16 * MAX_SPEED + MAX_WAYPOINTS), 16)
        if count > MAX_WAYPOINTS:
            raise Malformed("too many waypoints")
        points = _waypoints(start, _differences(reader, count))
    record["trajectory"] = _trajectory(start_ms, start, speed, points)
    return record


def _native(reader: Reader, base: Base) -> int:
    """The id of what was made in the world of the island."""
    return base.world << SERIAL_BITS | reader.varint(2**SERIAL_BITS - 1)


def _turn(reader: Reader, flags: int, slot: int, base: Base) -> dict:
    record = {"kind": "turn", "slot": slot, "at": _time(base.t0 + reader.svarint() - TURN_MIDDLE_MS)}
    record["speed"] = reader.varint(MAX_SPEED) if flags & 1 else None
    record["start"] = _place(reader, base.corner) if flags & 2 else None
    count = reader.varint(MAX_WAYPOINTS) if flags >> 2 == 3 else flags >> 2
    record["deltas"] = _differences(reader, count)
    return record


def turned(old: Trajectory, record: dict) -> Trajectory:
    """The trajectory of an entity after a turn."""
    at = record["at"]
    start = record["start"] or old.position(at)
    speed = old.speed if record["speed"] is None else record["speed"]
    return _trajectory(at, start, speed, _waypoints(start, record["deltas"]))


def _trajectory(start_ms: int, start: Point, speed: int, points: tuple[Point, ...]) -> Trajectory:
    if points and speed == 0:
        raise Malformed("a path without speed")
    return Trajectory(start_ms, start, speed, points)


def _differences(reader: Reader, count: int) -> list[Point]:
    differences = [(reader.svarint(), reader.svarint()) for _ in range(count)]
    if any(max(abs(dx), abs(dy)) > MAX_LEG for dx, dy in differences):
        raise Malformed("a leg is too long")
    return differences


def _waypoints(start: Point, differences: list[Point]) -> tuple[Point, ...]:
    points = through_differences(start, differences)
    for point in points:
        _inside(point)
    return points


def _place(reader: Reader, corner: Point) -> Point:
    return _inside((corner[0] + reader.svarint(), corner[1] + reader.svarint()))


def _inside(point: Point) -> Point:
    if not all(-(2**31) <= number < 2**31 for number in point):
        raise Malformed("a place beyond 32 bits")
    return point


def _time(time: int) -> int:
    if not -(2**63) <= time < 2**63:
        raise Malformed("a time beyond 64 bits")
    return time
