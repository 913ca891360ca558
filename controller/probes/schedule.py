"""When which check is probed: a phase from its key, on a grid of slots.

The phase is a hash of the key on the wall clock, so a restart neither bunches probes nor shifts them. Checks of the
same interval share slots because probes that start together share wake-ups of the loop: that halves the CPU per probe.
"""

import heapq
import math
from hashlib import blake2b
from typing import Generic, TypeVar

from reconcilers.spec import PodKey

GRID = 0.1
"""Seconds between two slots at most."""
SLOTS = 25
"""Slots in an interval at least: checks that are probed often still spread."""
RESOLUTION = 0.001
FIRST_WITHIN = 0.9
"""The share of an interval within which a new check is probed first, so that "within one interval" has a margin."""
SCATTER = 997
"""Keys of neighbouring phases get moments far from each other by it."""


W = TypeVar("W")


def phase(key: PodKey, interval: float) -> float:
    """Where in its interval a check is probed: seconds from 0 to `interval`, the same for ever."""
    slots = max(SLOTS, math.ceil(interval / GRID))
    return int(fraction(key) * slots) / slots * interval


def fraction(key: PodKey) -> float:
    """A number from 0 to 1 that spreads evenly over keys, the same for ever."""
    return int.from_bytes(blake2b(str(key).encode(), digest_size=6).digest()) / 2**48


def next_on_phase(key: PodKey, interval: float, now: float, epoch: float) -> float:
    """The first moment after `now` at which a check is in phase.

    `now` is of the monotonic clock, and `epoch` what to add for seconds since the epoch.
    """
    offset = phase(key, interval) - epoch
    return offset + math.ceil((now - offset) / interval + 1e-9) * interval


def first_moment(key: PodKey, interval: float, asked: float, now: float, epoch: float) -> float:
    """When a new check is probed first.

    That is its phase. If that went by between the check's being `asked` for and `now`, it is as much later as we are:
    a check that another process probed in this phase until a moment ago must not wait for nearly an interval more. If
    that is too late, or the phase itself comes so late that a busy moment would carry it beyond one interval, it is
    any moment that is left, spread so that many of them are no herd. All times are of the monotonic clock, as for
    `next_on_phase`.
    """
    in_phase = next_on_phase(key, interval, asked, epoch)
    latest = asked + FIRST_WITHIN * interval
    if now < in_phase <= latest:
        return in_phase
    if in_phase <= now and (delayed := in_phase + now - asked) <= latest:
        return math.floor(delayed / GRID) * GRID
    spread = fraction(key) * SCATTER % 1
    return math.floor((now + max(0.0, latest - now) * spread) / GRID) * GRID


def next_moment(started: float, in_phase: float, interval: float) -> float:
    """When a check is probed after a probe that started at `started`; `in_phase` is any moment of its phase.

    That is its phase, unless less than half an interval or more than one lies between: then half-way to it. So a
    threshold of several failures means something also for the first probes, and for one that was late.
    """
    due = in_phase + math.ceil((started - in_phase) / interval + 0.5) * interval
    return due if due - started <= interval + RESOLUTION else (started + due) / 2


class Schedule(Generic[W]):
    """A calendar of members by tick. Times are of the monotonic clock, in seconds."""

    def __init__(self, grid: float = RESOLUTION) -> None:
        self._grid = grid
        self._ticks: dict[int, list[W]] = {}
        self._order: list[int] = []

    def add(self, member: W, due: float) -> None:
        """Hand `member` out at the tick nearest to `due`."""
        tick = round(due / self._grid)
        if (members := self._ticks.get(tick)) is None:
            members = self._ticks[tick] = []
            heapq.heappush(self._order, tick)
        members.append(member)

    def next_tick(self) -> float:
        """When the next member is due; infinity when there is none."""
        return self._order[0] * self._grid if self._order else math.inf

    def pop_due(self, now: float) -> list[tuple[float, W]]:
        """All members whose tick has come, each with its tick's time."""
        taken = []
        while self._order and self._order[0] * self._grid <= now:
            tick = heapq.heappop(self._order)
            taken += [(tick * self._grid, member) for member in self._ticks.pop(tick)]
        return taken
