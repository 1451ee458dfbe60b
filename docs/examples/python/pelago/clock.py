"""Clocks: world time from pings, island time from world time (sections 1 and 6)."""

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class IslandClock:
    """Island time as a function of world time, both in ms."""

    world_ms: int = 0
    island_ms: int = 0
    speed_permille: int = 1000

    def at(self, world_ms: int) -> int:
        return self.island_ms + (world_ms - self.world_ms) * self.speed_permille // 1000


def own_ms() -> int:
    """This machine's own clock, which never steps."""
    return time.monotonic_ns() // 1_000_000


class WorldClock:
    """World time, estimated from the fastest round trip that does not contradict the last one."""

    def __init__(self, world_ms: int):
        self.offset, self.best = world_ms - own_ms(), None

    def pong(self, client_ms: int, world_ms: int):
        trip = own_ms() - client_ms
        # It is now between what the pong says and that plus the round trip, however long that took.
        if self.best is None or trip <= self.best or not world_ms <= self.now() <= world_ms + trip:
            self.best, self.offset = trip, world_ms + trip // 2 - own_ms()

    def now(self) -> int:
        return own_ms() + self.offset
