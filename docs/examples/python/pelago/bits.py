"""Numbers and texts as they are written on the wire (section 0 of docs/protocol.md)."""

import struct

#: The bits of an id that count within its world; those above are the world.
SERIAL_BITS = 44


class Malformed(Exception):
    """Bytes that are not what the protocol says."""


class Reader:
    """Takes numbers and texts off the front of bytes."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def is_empty(self) -> bool:
        return self.at == len(self.data)

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise Malformed("the bytes end too early")
        piece = self.data[self.at : self.at + count]
        self.at += count
        return piece

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.at)

    def u8(self) -> int:
        return self.take(1)[0]

    def u64(self) -> int:
        return struct.unpack("<Q", self.take(8))[0]

    def varint(self, limit: int = 2**64 - 1) -> int:
        """An unsigned LEB128 number in its shortest form."""
        value = 0
        for index in range(10):
            byte = self.u8()
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                if byte == 0 and index > 0:
                    raise Malformed("a varint is not in its shortest form")
                if value > limit:
                    raise Malformed("a number is beyond its limit")
                return value
        raise Malformed("a varint is too long")

    def svarint(self) -> int:
        """A signed number in zigzag form."""
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def prefixed(self, limit: int = 2**32) -> bytes:
        """Bytes after their length."""
        return self.take(self.varint(limit))

    def text(self, limit: int = 2**32) -> str:
        try:
            return self.prefixed(limit).decode()
        except UnicodeDecodeError as error:
            raise Malformed("a text is not utf-8") from error


def put_varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def put_svarint(value: int) -> bytes:
    return put_varint((value << 1) ^ (value >> 63))
