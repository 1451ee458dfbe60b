"""What a client sees: ghosts and objects, kept from frames and snapshots (sections 3 and 4)."""

from dataclasses import dataclass

from .clock import IslandClock
from .records import Base, read_records, turned
from .streams import CLOSE, SNAPSHOT, Channel, is_frames, read_close, read_frames, read_snapshot
from .trajectory import Trajectory


@dataclass
class Ghost:
    """An entity as it is seen."""

    id: int
    epoch: int
    kind: int
    stance: int
    name: str
    trajectory: Trajectory
    alias: int


@dataclass
class Stream:
    channel: Channel
    objects: bool
    publisher: int
    sequence: int


class View:
    """Everything in sight. `receive` returns what changed, as tuples for people and programs."""

    def __init__(self, home: int, clock: IslandClock, tick: int):
        self.home, self.clock, self.tick = home, clock, tick
        self.streams: dict[int, Stream] = {}
        #: By publisher and slot.
        self.ghosts: dict[tuple[int, int], Ghost] = {}
        #: Revision and payload, by channel and natural slot.
        self.objects: dict[tuple[Channel, int], tuple[int, bytes]] = {}
        self.head_counts: dict[int, int] = {}
        self.gaps = 0

    def receive(self, kind: int, payload: bytes) -> list[tuple]:
        changes: list[tuple] = []
        if is_frames(kind):
            self.tick, frames = read_frames(kind, payload, self.tick)
            for alias, tick, sequence, records in frames:
                self._frame(alias, tick, sequence, records, changes)
        elif kind == SNAPSHOT:
            self._snapshot(payload, changes)
        elif kind == CLOSE:
            for alias in read_close(payload):
                self._forget(alias)
                self.streams.pop(alias, None)
        return changes

    def of(self, entity: int) -> Ghost | None:
        """The ghost of an entity: of two, that of the greater epoch, among equals the later seen."""
        seen = [ghost for ghost in self.ghosts.values() if ghost.id == entity]
        return max(reversed(seen), key=lambda ghost: ghost.epoch, default=None)

    def _frame(self, alias: int, tick: int, sequence: int, data: bytes, changes: list[tuple]):
        stream = self.streams.get(alias)
        if stream is None:
            self.gaps += 1
            return
        records = self._read(stream.channel, tick, data)
        if not stream.objects:
            only_edges = all(record["kind"] in ("enter", "leave") for record in records)
            is_next = sequence == (stream.sequence + 1) % 16
            if not is_next and not (sequence == stream.sequence and only_edges):
                self.gaps += 1
            stream.sequence = sequence
        self._apply(alias, stream, records, changes)

    def _snapshot(self, payload: bytes, changes: list[tuple]):
        snapshot = read_snapshot(payload, self.home)
        records = self._read(snapshot.channel, snapshot.tick, snapshot.records)
        self._forget(snapshot.alias)
        stream = Stream(snapshot.channel, snapshot.objects, snapshot.publisher, snapshot.sequence)
        self.streams[snapshot.alias] = stream
        self._apply(snapshot.alias, stream, records, changes)

    def _read(self, channel: Channel, tick: int, data: bytes) -> list[dict]:
        return read_records(data, Base(self.clock.at(100 * tick), channel.corner, channel.world))

    def _forget(self, alias: int):
        stream = self.streams.get(alias)
        if stream is None:
            return
        if stream.objects:
            self.objects = {key: value for key, value in self.objects.items() if key[0] != stream.channel}
        else:
            self.ghosts = {key: ghost for key, ghost in self.ghosts.items() if ghost.alias != alias}
        self.head_counts.pop(alias, None)

    def _apply(self, alias: int, stream: Stream, records: list[dict], changes: list[tuple]):
        for record in records:
            kind = record["kind"]
            if kind == "object":
                self._object(stream.channel, record, changes)
            elif kind == "head_count":
                self.head_counts[alias] = record["count"]
            elif kind == "enter":
                key = (stream.publisher, record["slot"])
                # Taken out first, so that the order is that of seeing.
                self.ghosts.pop(key, None)
                ghost = self.ghosts[key] = Ghost(
                    record["id"], record["epoch"], record["entity_kind"], record["stance"], record["name"],
                    record["trajectory"], alias,
                )  # fmt: skip
                changes.append(("enter", ghost))
            else:
                ghost = self.ghosts.get((stream.publisher, record["slot"]))
                if ghost is not None:
                    self._change(alias, stream, ghost, record, changes)

    def _change(self, alias: int, stream: Stream, ghost: Ghost, record: dict, changes: list[tuple]):
        kind = record["kind"]
        if kind == "leave":
            if ghost.alias == alias:
                del self.ghosts[stream.publisher, record["slot"]]
                changes.append(("leave", ghost))
        elif kind == "arrive":
            ghost.alias = alias
        elif kind == "turn":
            ghost.trajectory = turned(ghost.trajectory, record)
            changes.append(("turn", ghost))
        elif kind == "stance":
            ghost.stance = record["stance"]
            changes.append(("stance", ghost, record["stance"]))
        elif kind == "say":
            changes.append(("say", ghost, record["text"]))
        elif kind == "gesture":
            changes.append(("gesture", ghost, record["gesture"], record["target"]))

    def _object(self, channel: Channel, record: dict, changes: list[tuple]):
        key = (channel, record["slot"])
        revision, _ = self.objects.get(key, (0, b""))
        if record["revision"] > revision:
            self.objects[key] = (record["revision"], record["payload"])
            changes.append(("object", channel, record["slot"], record["payload"]))
