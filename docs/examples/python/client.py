"""A client for the command line: logs in, walks to something to gather, speaks, waves at whom it meets, prints what it sees.

    python3 client.py --connect 127.0.0.1:PORT --name Anna
    python3 client.py --connect ws://127.0.0.1:PORT/ --name Bert --seconds 30
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

from pelago.session import Refused, Session
from pelago.transport import ConnectionLost

UNITS = 64
WALK_SPEED = 4 * UNITS


def token_of(name: str, folder: Path | None) -> bytes:
    """The secret of a name: random and kept in a file. Without a folder, made from the name, for tests only."""
    if folder is None:
        return hashlib.sha256(b"not a secret: " + name.encode()).digest()
    file = folder / f"{name.encode().hex()}.token"
    if not file.exists():
        import secrets

        folder.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_bytes(secrets.token_bytes(32))
    return file.read_bytes()


def show(session: Session, change: tuple):
    """One change, as a line of JSON."""
    kind, *rest = change
    line = {"event": kind}
    if kind in ("enter", "leave", "turn", "stance", "say", "gesture"):
        ghost = rest[0]
        now = session.view.clock.at(session.clock.now())
        x, y = ghost.trajectory.position(now)
        line |= {"who": ghost.name or f"{ghost.id:016x}", "x": round(x / UNITS, 2), "y": round(y / UNITS, 2)}
        line |= {"walks": len(ghost.trajectory.waypoints) > 0 and now < ghost.trajectory.end_ms}
        if len(rest) > 1:
            line["what"] = rest[1]
        if kind == "gesture" and rest[2]:
            line["toward"] = f"{rest[2]:016x}"
    elif kind == "outcome":
        line |= {"code": rest[0]["code"], "effects": rest[0]["effects"].decode()}
    elif kind == "object":
        channel, slot, payload = rest
        line |= {"chunk": [channel.x, channel.y], "slot": slot, "bytes": payload.hex()}
    elif kind == "move_refused":
        line["code"] = rest[0]
    print(json.dumps(line), flush=True)


def play(session: Session, seconds: int):
    """Every second something: a few steps, a word, a wave; now and then something is gathered."""
    changes: list[tuple] = []
    naturals, waved = session.naturals(changes), set()
    print(json.dumps({"event": "land", "naturals": len(naturals)}), flush=True)
    for second in range(seconds):
        changes += session.listen(1.0)
        for change in changes:
            show(session, change)
            if change[0] in ("enter", "turn") and change[1].id not in waved | {session.avatar}:
                waved.add(change[1].id)
                session.act_live(json.dumps({"wave": f"{change[1].id:016x}"}).encode())
        changes = []
        if second % 3 == 0 and naturals:
            session.move([beside(naturals[0].position)], min(WALK_SPEED, session.max_speed))
        elif second % 3 == 1:
            session.say(f"{session.name} says {second}")
        elif naturals and session.pending is None:
            x, y = naturals[0].chunk
            session.act(json.dumps({"gather": {"x": x, "y": y, "slot": naturals[0].slot}}).encode())
            naturals.append(naturals.pop(0))
    print(json.dumps({"event": "end", "gaps": session.view.gaps, "ghosts": len(session.view.ghosts)}), flush=True)


def beside(position: tuple[int, int]) -> tuple[int, int]:
    """Half a metre from a thing, so that one does not stand in it."""
    return position[0] + UNITS // 2, position[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--connect", required=True, help="host:port for TCP, or ws://host:port/")
    parser.add_argument("--name", required=True, help="of the avatar")
    parser.add_argument("--seconds", type=int, default=20, help="how long to stay")
    parser.add_argument("--tokens", type=Path, help="folder with the secrets of names")
    arguments = parser.parse_args()
    try:
        session = Session(arguments.connect, arguments.name, token_of(arguments.name, arguments.tokens))
        play(session, arguments.seconds)
        session.close()
    except (Refused, ConnectionLost) as error:
        print(f"the session ended: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
