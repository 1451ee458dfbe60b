"""A session: hello and welcome, the clock, moving, speaking, commands (section 6)."""

import time
from math import dist
from pathlib import Path

from .blake3 import blake3
from .clock import IslandClock, WorldClock, own_ms
from .content import Natural, check, read_manifest, read_naturals
from .proto import Schema
from .streams import CHUNK, CONTROL, Deframer, put_message
from .trajectory import Point, Trajectory
from .transport import connect
from .view import View

ROOT = Path(__file__).resolve().parents[4]
SCHEMA = Schema((ROOT / "crates/wire/proto/client.proto").read_text())
VERSION = 1
PING_SECONDS = 2.0


class Refused(Exception):
    """The node does not serve us, or no longer: a code for programs, a sentence for people."""


def path_of(message: dict) -> Trajectory:
    """The trajectory of a `Path`."""
    numbers = message["waypoints"]
    points = tuple(zip(numbers[::2], numbers[1::2]))
    return Trajectory(message["start_ms"], (message["x"], message["y"]), message["speed"], points)


#: The channel of a whisper.
WHISPER = 2


class Session:
    """A connection to a node, and what is seen over it."""

    def __init__(self, address: str, name: str, token: bytes):
        self.connection, self.deframer = connect(address), Deframer()
        self.name, self.waiting = name, []
        self.moves = self.lives = 0
        #: Durable commands without an outcome: sequence and payload.
        self.pending: tuple[int, bytes] | None = None
        self.next_ping = 0.0
        hello = {"oldest_version": VERSION, "newest_version": VERSION, "name": name, "token": token}
        self.say_control("hello", "Hello", hello | {"client": "python example"})
        welcome = self._welcome()
        self.avatar, self.epoch = welcome["avatar"], welcome["epoch"]
        self.max_speed, self.state = welcome["max_speed"], welcome["state"]
        self.sequence, self.chain = welcome["sequence"], welcome["chain"].ljust(32, b"\0")
        self.clock = WorldClock(welcome["world_time_ms"])
        self.view = View(welcome["island"], IslandClock(**welcome["clock"]), welcome["tick"])
        #: Where we are and go, until the first turn that the node shows.
        self.path = path_of(welcome["path"])
        self.manifest = welcome["manifest"]
        self.content: dict[bytes, bytes] = {}

    def say_control(self, body: str, message: str, values: dict):
        data = SCHEMA.encode("ClientMessage", {body: values})
        assert len(data) < 4096, f"a {message} is too long"
        self.connection.send(put_message(CONTROL, data))

    def _welcome(self) -> dict:
        until = time.monotonic() + 15
        while time.monotonic() < until:
            messages = self.deframer.feed(self.connection.receive(1))
            for at, (kind, payload) in enumerate(messages):
                body = SCHEMA.decode("ServerMessage", payload) if kind == CONTROL else {}
                if "refused" in body:
                    raise Refused(body["refused"]["code"], body["refused"]["sentence"])
                if "welcome" in body:
                    self.waiting = messages[at + 1 :]
                    return body["welcome"]
        raise Refused("silence", "The node did not answer.")

    def listen(self, seconds: float) -> list[tuple]:
        """Takes in what comes within some time; returns what changed."""
        changes, until = [], time.monotonic() + seconds
        while True:
            for kind, payload in self.waiting:
                if kind == CONTROL:
                    self._control(SCHEMA.decode("ServerMessage", payload), changes)
                else:
                    changes += self.view.receive(kind, payload)
            self.waiting = []
            left = until - time.monotonic()
            if left <= 0:
                return changes
            if time.monotonic() >= self.next_ping:
                self.next_ping = time.monotonic() + PING_SECONDS
                self.say_control("ping", "Ping", {"client_ms": own_ms()})
            self.waiting = self.deframer.feed(self.connection.receive(min(left, PING_SECONDS)))

    def _control(self, message: dict, changes: list[tuple]):
        for body, values in message.items():
            if body == "pong":
                self.clock.pong(values["client_ms"], values["world_time_ms"])
            elif body == "outcome":
                self._outcome(values)
                changes.append(("outcome", values))
            elif body == "move_refused":
                self.path = path_of(values["path"])
                changes.append(("move_refused", values["code"]))
            elif body == "content":
                self.content[values["hash"]] = values["data"]
            elif body == "chat_line":
                if values["channel"] == WHISPER:
                    # It need not be kept for this player any longer.
                    self.say_control("heard", "Heard", {"number": values["number"]})
                changes.append((body, values))
            elif body in ("closing", "refused"):
                raise Refused(values["code"], values["sentence"])
            else:
                changes.append((body, values))

    def _outcome(self, outcome: dict):
        """Of a durable command that happened: the next one may follow, and the hash chain is checked."""
        if self.pending is None or outcome["sequence"] != self.pending[0]:
            return
        sequence, payload = self.pending
        self.pending = None
        if outcome["code"] and not outcome["chain"]:
            return
        # With a code and a chain, the rule is broken, and the number is used up.
        numbered = self.chain + sequence.to_bytes(8, "little")
        chain = blake3(numbered + blake3(payload) + blake3(outcome["effects"]))
        if chain != outcome["chain"]:
            raise AssertionError("the hash chain is broken")
        self.sequence, self.chain = sequence, chain

    def fetch(self, name: bytes, changes: list[tuple]) -> bytes:
        """Content by its hash; what else comes meanwhile is appended to the changes."""
        self.say_control("fetch", "FetchContent", {"hash": name})
        until = time.monotonic() + 10
        while name not in self.content:
            if time.monotonic() > until:
                raise Refused("silence", "The content did not come.")
            changes += self.listen(0.05)
        check(name, self.content[name])
        return self.content[name]

    def naturals(self, changes: list[tuple]) -> list[Natural]:
        """The natural things of the chunk where our avatar is, the nearest first."""
        here = self.position()
        chunk = here[0] // CHUNK, here[1] // CHUNK
        name = read_manifest(self.fetch(self.manifest, changes)).get(chunk)
        naturals = read_naturals(chunk, self.fetch(name, changes)) if name else []
        return sorted(naturals, key=lambda natural: dist(natural.position, here))

    def position(self) -> Point:
        """Where our avatar is now: as everybody sees it, or as we were told."""
        ghost = self.view.of(self.avatar)
        path = ghost.trajectory if ghost else self.path
        return path.position(self.view.clock.at(self.clock.now()))

    def move(self, points: list[Point], speed: int):
        self.moves += 1
        flat = [number for point in points for number in point]
        move = {"number": self.moves, "at_ms": self.clock.now(), "speed": speed, "waypoints": flat}
        self.say_control("move", "Move", move)

    def say(self, text: str):
        self.say_control("say", "Say", {"text": text})

    def act(self, payload: bytes):
        """A durable command: the next one waits for its outcome."""
        assert self.pending is None, "one durable command at a time"
        self.pending = (self.sequence + 1, payload)
        self.say_control("act", "Act", {"sequence": self.sequence + 1, "payload": payload})

    def act_live(self, payload: bytes):
        self.lives += 1
        self.say_control("act", "Act", {"sequence": 0, "payload": payload, "number": self.lives})

    def close(self):
        self.say_control("bye", "Bye", {})
        self.connection.close()
