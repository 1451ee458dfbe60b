"""Trajectories: a start, a time, a speed, waypoints, and the place at any time (section 5)."""

from dataclasses import dataclass, field
from math import isqrt

Point = tuple[int, int]


@dataclass(frozen=True)
class Trajectory:
    """Times in ms of island time, places in 1/64 m, the speed in 1/64 m per second."""

    start_ms: int
    start: Point
    speed: int = 0
    waypoints: tuple[Point, ...] = ()
    ends: tuple[int, ...] = field(init=False, compare=False)

    def __post_init__(self):
        length, ends, here = 0, [], self.start
        for there in self.waypoints:
            dx, dy = there[0] - here[0], there[1] - here[1]
            length += isqrt(256 * (dx * dx + dy * dy))
            ends.append(1000 * length // (16 * self.speed))
            here = there
        object.__setattr__(self, "ends", tuple(ends))

    @property
    def end_ms(self) -> int:
        return self.start_ms + (self.ends[-1] if self.ends else 0)

    def position(self, time_ms: int) -> Point:
        elapsed = time_ms - self.start_ms
        if elapsed <= 0:
            return self.start
        here, began = self.start, 0
        for there, end in zip(self.waypoints, self.ends):
            if elapsed < end:
                span, since = end - began, elapsed - began
                return tuple(a + (2 * (b - a) * since + span) // (2 * span) for a, b in zip(here, there))
            here, began = there, end
        return here


def through_differences(start: Point, differences: list[Point]) -> tuple[Point, ...]:
    """The waypoints whose differences are given: the first from the start, each other from the one before."""
    points, here = [], start
    for dx, dy in differences:
        here = (here[0] + dx, here[1] + dy)
        points.append(here)
    return tuple(points)
