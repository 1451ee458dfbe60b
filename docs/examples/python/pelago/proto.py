"""As much of protobuf as the control messages need: reads the .proto file itself, then messages as dictionaries.

Fields that are not in a message have their default value; unknown fields are skipped.
"""

import re
import struct

from .bits import Malformed, Reader, put_svarint, put_varint

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
WIRE_TYPES = {
    "uint32": VARINT, "uint64": VARINT, "int32": VARINT, "int64": VARINT, "sint32": VARINT, "sint64": VARINT,
    "bool": VARINT, "fixed64": FIXED64, "string": LENGTH, "bytes": LENGTH,
}  # fmt: skip
DEFAULTS = {"bool": False, "string": "", "bytes": b""}


class Schema:
    """The messages and enums of a .proto file (proto3)."""

    def __init__(self, text: str):
        text = re.sub(r"//[^\n]*", "", text)
        #: By message: by field name: number, type, whether repeated, whether of a oneof.
        self.messages: dict[str, dict[str, tuple[int, str, bool, bool]]] = {}
        self.enums: dict[str, dict[str, int]] = {}
        tokens = re.findall(r'[\w.]+|"[^"]*"|[{}=;]', text)
        at = 0
        while at < len(tokens):
            if tokens[at] == "message":
                at = self._message(tokens, at + 1)
            elif tokens[at] == "enum":
                at = self._enum(tokens, at + 1)
            else:
                at = tokens.index(";", at) + 1

    def _message(self, tokens: list[str], at: int) -> int:
        fields = self.messages[tokens[at]] = {}
        at, in_oneof = at + 2, False
        while True:
            if tokens[at] == "}":
                if not in_oneof:
                    return at + 1
                in_oneof, at = False, at + 1
            elif tokens[at] == "oneof":
                in_oneof, at = True, at + 3
            elif tokens[at] == "reserved":
                at = tokens.index(";", at) + 1
            else:
                repeated = tokens[at] == "repeated"
                kind, name, _, number, _ = tokens[at + repeated : at + repeated + 5]
                fields[name] = (int(number), kind, repeated, in_oneof)
                at += repeated + 5

    def _enum(self, tokens: list[str], at: int) -> int:
        values = self.enums[tokens[at]] = {}
        at += 2
        while tokens[at] != "}":
            values[tokens[at]] = int(tokens[at + 2])
            at += 4
        return at + 1

    def encode(self, message: str, values: dict) -> bytes:
        """The bytes of a message; what has its default value is left out."""
        out = b""
        for name, value in values.items():
            number, kind, repeated, in_oneof = self.messages[message][name]
            if repeated:
                if kind in self.messages:
                    for item in value:
                        out += self._field(number, kind, item)
                elif value:
                    packed = b"".join(self._scalar(kind, item) for item in value)
                    out += put_varint(number << 3 | LENGTH) + put_varint(len(packed)) + packed
            elif kind in self.messages or in_oneof or value != DEFAULTS.get(kind, 0):
                out += self._field(number, kind, value)
        return out

    def _wire_type(self, kind: str) -> int:
        return LENGTH if kind in self.messages else WIRE_TYPES.get(kind, VARINT)

    def _field(self, number: int, kind: str, value) -> bytes:
        data = self._scalar(kind, value) if kind not in self.messages else self.encode(kind, value)
        wire = self._wire_type(kind)
        return put_varint(number << 3 | wire) + (put_varint(len(data)) if wire == LENGTH else b"") + data

    @staticmethod
    def _scalar(kind: str, value) -> bytes:
        if kind == "fixed64":
            return struct.pack("<Q", value)
        if kind in ("sint32", "sint64"):
            return put_svarint(value)
        if kind == "string":
            return value.encode()
        if kind == "bytes":
            return value
        return put_varint(value & 2**64 - 1)

    def decode(self, message: str, data: bytes) -> dict:
        """A message with all its fields, except those of a oneof that are not there."""
        fields = self.messages[message]
        values = {}
        for name, (_, kind, repeated, in_oneof) in fields.items():
            if repeated:
                values[name] = []
            elif kind in self.messages:
                values |= {} if in_oneof else {name: None}
            elif not in_oneof:
                values[name] = DEFAULTS.get(kind, 0)
        by_number = {number: (name, kind, repeated) for name, (number, kind, repeated, _) in fields.items()}
        reader = Reader(data)
        while not reader.is_empty():
            tag = reader.varint()
            piece = self._piece(reader, tag & 7)
            name, kind, repeated = by_number.get(tag >> 3, (None, None, None))
            if name is None:
                continue
            if repeated and kind not in self.messages and tag & 7 == LENGTH and self._wire_type(kind) != LENGTH:
                packed = Reader(piece)
                while not packed.is_empty():
                    values[name].append(self._value(kind, self._piece(packed, self._wire_type(kind))))
                continue
            if tag & 7 != self._wire_type(kind):
                raise Malformed(f"{message}.{name} is written as something else")
            value = self.decode(kind, piece) if kind in self.messages else self._value(kind, piece)
            if repeated:
                values[name].append(value)
            else:
                values[name] = value
        return values

    @staticmethod
    def _piece(reader: Reader, wire: int):
        if wire == VARINT:
            return reader.varint()
        if wire == LENGTH:
            return reader.prefixed()
        if wire == FIXED64:
            return reader.take(8)
        if wire == FIXED32:
            return reader.take(4)
        raise Malformed("an unknown wire type")

    @staticmethod
    def _value(kind: str, piece):
        if kind == "fixed64":
            return struct.unpack("<Q", piece)[0]
        if kind in ("sint32", "sint64"):
            return (piece >> 1) ^ -(piece & 1)
        if kind == "string":
            try:
                return piece.decode()
            except UnicodeDecodeError as error:
                raise Malformed("a text is not utf-8") from error
        if kind == "bool":
            return piece != 0
        return piece
