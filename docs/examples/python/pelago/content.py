"""Land by hash: the manifest of an island and its tiles (section 7)."""

from dataclasses import dataclass

from .bits import Malformed, Reader
from .blake3 import blake3
from .streams import CHUNK
from .trajectory import Point

CELLS = 15


@dataclass(frozen=True)
class Natural:
    """A natural thing: its slot in its chunk, the game's kind, where it stands."""

    chunk: Point
    slot: int
    kind: int
    position: Point


def read_manifest(data: bytes) -> dict[Point, bytes]:
    """The hash of the tile of every chunk of an island."""
    reader = Reader(data)
    _expect(reader, 1)
    first = reader.svarint(), reader.svarint()
    width, height = reader.varint(2**16), reader.varint(2**16)
    hashes = {}
    for y in range(height):
        for x in range(width):
            hashes[first[0] + x, first[1] + y] = reader.take(32)
    return hashes


def read_naturals(chunk: Point, data: bytes) -> list[Natural]:
    """The natural things of a tile; none of open water."""
    if not data:
        return []
    reader = Reader(data)
    _expect(reader, 1)
    _expect(reader, CELLS)
    reader.take(CELLS * CELLS)
    naturals = []
    for slot in range(reader.varint(2**16)):
        kind = reader.u8()
        x, y = (int.from_bytes(reader.take(2), "little") for _ in range(2))
        naturals.append(Natural(chunk, slot, kind, (chunk[0] * CHUNK + x, chunk[1] * CHUNK + y)))
    return naturals


def check(name: bytes, data: bytes):
    """Content is what its name says."""
    if blake3(data) != name:
        raise Malformed("content of another name")


def _expect(reader: Reader, byte: int):
    if reader.u8() != byte:
        raise Malformed("content of an unknown form")
