"""Checks the client against docs/vectors/: python3 -m unittest"""

import json
import unittest
from pathlib import Path

from pelago.bits import Malformed
from pelago.blake3 import blake3
from pelago.clock import IslandClock
from pelago.proto import Schema
from pelago.records import Base, read_records
from pelago.session import SCHEMA
from pelago.streams import CHUNK, CLOSE, CONTROL, FRAMES, ONE_FRAME, Deframer, body_tick, put_message
from pelago.streams import is_frames, read_close, read_frames, read_snapshot
from pelago.trajectory import Trajectory

ROOT = Path(__file__).resolve().parents[3]


def vectors(name: str) -> list[dict]:
    return json.loads((ROOT / f"docs/vectors/{name}.json").read_text())


def point(value: dict) -> tuple[int, int]:
    return value["x"], value["y"]


def trajectory(value: dict) -> Trajectory:
    points = tuple(point(waypoint) for waypoint in value["waypoints"])
    return Trajectory(value["start_ms"], point(value["start"]), value["speed"], points)


class Vectors(unittest.TestCase):
    def test_words(self):
        for vector in vectors("ids"):
            with self.subTest(vector):
                self.word(vector)

    def word(self, vector: dict):
        if vector["kind"] == "chunk":
            chunk = [max(-(2**15), min(2**15 - 1, number // CHUNK)) for number in point(vector["position"])]
            self.assertEqual(tuple(chunk), point(vector["chunk"]))
            self.assertEqual(tuple(number * CHUNK for number in chunk), point(vector["corner"]))
        elif vector["kind"] == "cell":
            children = [4 * vector["cell"] + quarter + 1 for quarter in range(4)]
            self.assertEqual(children, vector["children"])
        elif vector["kind"] == "id":
            number = int.from_bytes(bytes.fromhex(vector["bytes"]), "little")
            self.assertEqual(f"{number:016x}", vector["id"])
            self.assertEqual((number >> 44, number % 2**44), (int(vector["world"]), int(vector["serial"])))
        elif vector["kind"] == "stamp":
            stamp = int(vector["stamp"], 16)
            self.assertEqual(body_tick(stamp, vector["message_tick"]), vector["tick"])
            self.assertEqual(stamp & 15, vector["sequence"] % 16)
        elif vector["kind"] == "clock":
            clock = IslandClock(vector["world_ms"], vector["island_ms"], vector["speed_permille"])
            for pair in vector["times"]:
                self.assertEqual(clock.at(int(pair["world_ms"])), int(pair["island_ms"]))

    def test_chain(self):
        for vector in vectors("chain"):
            numbered = bytes.fromhex(vector["before"]) + int(vector["sequence"]).to_bytes(8, "little")
            hashes = blake3(bytes.fromhex(vector["payload"])) + blake3(bytes.fromhex(vector["effects"]))
            self.assertEqual(blake3(numbered + hashes).hex(), vector["chain"])

    def test_records(self):
        for vector in vectors("records"):
            with self.subTest(vector["name"]):
                base = Base(vector["t0"], point(vector["corner"]), vector["world"])
                records = read_records(bytes.fromhex(vector["hex"]), base)
                expected = [vector["record"]] if vector["record"] else []
                self.assertEqual(records, [self.record(dict(record)) for record in expected])

    def record(self, record: dict) -> dict:
        """A record of the vectors, as our reader would give it."""
        for name in ("id", "target"):
            if record.get(name):
                record[name] = int(record[name], 16)
        for name in ("epoch", "revision"):
            if name in record:
                record[name] = int(record[name])
        if "payload" in record:
            record["payload"] = bytes.fromhex(record["payload"])
        if "trajectory" in record:
            record["trajectory"] = trajectory(record["trajectory"])
        if record.get("start"):
            record["start"] = point(record["start"])
        if "deltas" in record:
            record["deltas"] = [point(delta) for delta in record["deltas"]]
        return record

    def test_trajectories(self):
        for vector in vectors("trajectories"):
            path = trajectory(vector["trajectory"])
            with self.subTest(vector["name"]):
                self.assertEqual(path.end_ms, vector["end_ms"])
                for place in vector["positions"]:
                    self.assertEqual(path.position(place["at"]), point(place), place["at"])

    def test_streams_of_clients(self):
        for vector in vectors("streams"):
            if vector["link"] != "client":  # The others are between nodes.
                continue
            with self.subTest(vector["name"]):
                message = bytes.fromhex(vector["message"])
                ((kind, payload),) = Deframer().feed(message)
                self.assertEqual(put_message(kind, payload), message)
                self.stream(kind, payload, vector["content"])

    def stream(self, kind: int, payload: bytes, content: dict):
        if kind == CONTROL:
            return self.control(SCHEMA, payload, content)
        if is_frames(kind):
            tick, frames = read_frames(kind, payload, content["tick_before"])
            self.assertEqual(tick, content["tick"])
            expected = [
                (frame["alias"], frame["tick"], frame["sequence_nibble"], bytes.fromhex(frame["records"]))
                for frame in content["frames"]
            ]
            return self.assertEqual(frames, expected)
        if kind == CLOSE:
            return self.assertEqual(read_close(payload), content["aliases"])
        snapshot = read_snapshot(payload, int(content["home"], 16))
        channel = snapshot.channel
        self.assertEqual(
            (snapshot.alias, snapshot.objects, snapshot.publisher, snapshot.tick, snapshot.sequence),
            tuple(content[name] for name in ("alias", "objects", "publisher", "tick", "sequence_nibble")),
        )
        self.assertEqual(
            {"island": f"{channel.island:016x}"} | {name: getattr(channel, name) for name in ("x", "y", "cell", "rate")},
            content["channel"],
        )
        self.assertEqual(snapshot.records.hex(), content["records"])

    def control(self, schema: Schema, payload: bytes, content: dict):
        for outer in ("ClientMessage", "ServerMessage"):
            fields = schema.messages[outer]
            if content["body"] in fields:
                break
        message = schema.decode(outer, payload)
        self.assertEqual(list(message), [content["body"]])
        self.assertEqual(schema.encode(outer, message), payload, "written again")
        self.fields(schema, fields[content["body"]][1], message[content["body"]], content["fields"])

    def fields(self, schema: Schema, kind: str, ours: dict, theirs: dict):
        for name, expected in theirs.items():
            value, (_, field, repeated, _) = ours[name], schema.messages[kind][name]
            if field in schema.messages and not repeated:
                self.fields(schema, field, value, expected)
            elif field == "bytes":
                self.assertEqual(value.hex(), expected, name)
            elif field == "fixed64":
                self.assertEqual(f"{value:016x}", expected, name)
            elif isinstance(expected, str) and field != "string":
                self.assertEqual(value, int(expected), name)
            else:
                self.assertEqual(value, expected, name)

    def test_malformed(self):
        for vector in vectors("malformed"):
            with self.subTest(vector["name"]):
                with self.assertRaises(Malformed):
                    self.read(vector["what"], bytes.fromhex(vector["hex"]))

    def read(self, what: str, data: bytes):
        if what == "records":
            return read_records(data, Base(1_700_000_000_000, (-3840, 5760), 1))
        if what == "stream":
            return Deframer(4096).feed(data)
        return {
            "frames": lambda: read_frames(FRAMES, data, 0),
            "frame": lambda: read_frames(ONE_FRAME.start, data, 0),
            "snapshot": lambda: read_snapshot(data, 0),
            "close": lambda: read_close(data),
            "server": lambda: SCHEMA.decode("ServerMessage", data),
        }[what]()

    def test_blake3(self):
        known = {
            0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
            3073: "7124b49501012f81cc7f11ca069ec9226cecb8a2c850cfe644e327d22d3e1cd3",
        }
        for length, digest in known.items():
            data = bytes(number % 251 for number in range(length))
            self.assertEqual(blake3(data).hex(), digest)


if __name__ == "__main__":
    unittest.main()
