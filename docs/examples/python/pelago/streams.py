"""Messages of a stream, and frames, snapshots and closes in them (sections 2 and 3)."""

from dataclasses import dataclass

from .bits import SERIAL_BITS, Malformed, Reader, put_varint

CONTROL, FRAMES, SNAPSHOT, CLOSE = 1, 2, 3, 4
#: Kinds that say how many ticks have gone by: of one frame, of any number.
ONE_FRAME, SHORT_FRAMES = range(64, 128), range(128, 256)
CHUNK = 1920


def put_message(kind: int, payload: bytes) -> bytes:
    return put_varint(len(payload) + 1) + bytes([kind]) + payload


class Deframer:
    """Bytes as they come become messages."""

    def __init__(self, limit: int = 2**20):
        self.buffer, self.limit = bytearray(), limit

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        self.buffer += data
        messages = []
        while (message := self._next()) is not None:
            messages.append(message)
        return messages

    def _next(self) -> tuple[int, bytes] | None:
        header = next((at for at, byte in enumerate(self.buffer[:10]) if byte < 0x80), None)
        if header is None:
            if len(self.buffer) >= 10:
                raise Malformed("a length without end")
            return None
        length = Reader(bytes(self.buffer[: header + 1])).varint()
        if not 1 <= length <= self.limit:
            raise Malformed(f"a message of {length} bytes")
        end = header + 1 + length
        if len(self.buffer) < end:
            return None
        message = bytes(self.buffer[header + 1 : end])
        del self.buffer[:end]
        return message[0], message[1:]


@dataclass(frozen=True)
class Channel:
    """Where something happens: an island, a chunk, a cell of it, at a rate."""

    island: int
    x: int
    y: int
    cell: int = 0
    rate: int = 0

    @property
    def corner(self) -> tuple[int, int]:
        return self.x * CHUNK, self.y * CHUNK

    @property
    def world(self) -> int:
        return self.island >> SERIAL_BITS


@dataclass(frozen=True)
class Snapshot:
    alias: int
    objects: bool
    channel: Channel
    publisher: int
    tick: int
    sequence: int
    records: bytes


def body_tick(stamp: int, message_tick: int) -> int:
    """The greatest tick that is not later than the message's and has the remainder of the stamp."""
    return message_tick - (message_tick - (stamp >> 4)) % 16


def is_frames(kind: int) -> bool:
    return kind == FRAMES or kind in ONE_FRAME or kind in SHORT_FRAMES


def read_frames(kind: int, payload: bytes, tick_before: int) -> tuple[int, list[tuple[int, int, int, bytes]]]:
    """The tick of a message, and of each frame: alias, tick, sequence number modulo 16, records."""
    reader = Reader(payload)
    if kind in ONE_FRAME:
        tick = tick_before + kind - ONE_FRAME.start
        return tick, [_frame(reader.varint(2**32 - 1), reader.rest(), tick)]
    tick = tick_before + (kind - SHORT_FRAMES.start if kind in SHORT_FRAMES else reader.varint())
    frames = []
    while not reader.is_empty():
        frames.append(_frame(reader.varint(2**32 - 1), reader.prefixed(), tick))
    return tick, frames


def _frame(alias: int, body: bytes, tick: int) -> tuple[int, int, int, bytes]:
    if not body:
        raise Malformed("a body without a stamp")
    return alias, body_tick(body[0], tick), body[0] & 15, body[1:]


def read_snapshot(payload: bytes, home: int) -> Snapshot:
    """A snapshot; `home` is the island that is meant if none is named."""
    reader = Reader(payload)
    alias, flags = reader.varint(2**32 - 1), reader.u8()
    if flags & ~7:
        raise Malformed(f"a snapshot with flags {flags}")
    x, y = reader.svarint(), reader.svarint()
    if not all(-(2**15) <= number < 2**15 for number in (x, y)):
        raise Malformed("no chunk")
    cell, rate = (reader.varint(2**32 - 1), reader.u8()) if flags & 2 else (0, 0)
    if rate > 3:
        raise Malformed("no rate")
    island = reader.u64() if flags & 4 else home
    publisher, tick, stamp = reader.varint(2**32 - 1), reader.varint(), reader.u8()
    channel = Channel(island, x, y, cell, rate)
    return Snapshot(alias, bool(flags & 1), channel, publisher, tick, stamp & 15, reader.rest())


def read_close(payload: bytes) -> list[int]:
    reader, aliases = Reader(payload), []
    while not reader.is_empty():
        aliases.append(reader.varint(2**32 - 1))
    return aliases
