"""Decides when each check is probed: at a phase that is a hash of its key, on a grid of slots.

The phase is on the wall clock, so a restart neither bunches nor shifts probes. Checks of the same interval share slots,
because probes that start together share wake-ups of the loop. That halves the CPU per probe.
"""

import heapq
import math
from hashlib import blake2b
from typing import Generic, TypeVar

from reconcilers.spec import PodKey

GRID = 0.1
"""The largest distance of two slots in seconds."""
SLOTS = 25
"""The smallest number of slots per interval, so that checks with a short interval spread too."""
RESOLUTION = 0.001
FIRST_WITHIN = 0.9
"""A new check is first probed within this share of its interval. The rest is a margin."""
HANDED_OVER_WITHIN = 5.0
"""Seconds within which a check of another controller is first probed, half an interval if that is less."""
SCATTER = 997
"""Multiplies the hash, so that keys with neighbouring phases get distant moments."""


W = TypeVar("W")


def phase(key: PodKey, interval: float) -> float:
    """Returns when in its interval a check is probed: 0 to `interval` seconds, always the same for a key."""
    slots = max(SLOTS, math.ceil(interval / GRID))
    return int(fraction(key) * slots) / slots * interval


def fraction(key: PodKey) -> float:
    """Returns a hash of the key, evenly distributed from 0 to 1."""
    return int.from_bytes(blake2b(str(key).encode(), digest_size=6).digest()) / 2**48


def next_on_phase(key: PodKey, interval: float, now: float, epoch: float) -> float:
    """Returns the first moment after `now` at which a check is in phase.

    `now` and the result are times of the monotonic clock. `epoch` is the difference of wall clock and monotonic clock.
    """
    offset = phase(key, interval) - epoch
    return offset + math.ceil((now - offset) / interval + 1e-9) * interval


def first_moment(key: PodKey, interval: float, asked: float, now: float, epoch: float) -> float:
    """Returns when a new check is first probed. Times are as for `next_on_phase`; `asked`: when its manifest was read.

    Normally the first probe is in phase. If the phase passed between `asked` and `now`, the probe is delayed by the
    same time: another process may have probed the check in this phase until now, so the check must not wait for
    another interval. If that is too late, or if the phase is so late that a busy moment would carry the probe beyond
    one interval, the probe gets one of the remaining moments. A hash spreads these over the checks.
    """
    in_phase = next_on_phase(key, interval, asked, epoch)
    latest = asked + FIRST_WITHIN * interval
    if now < in_phase <= latest:
        return in_phase
    if in_phase <= now and (delayed := in_phase + now - asked) <= latest:
        return math.floor(delayed / GRID) * GRID
    spread = fraction(key) * SCATTER % 1
    return math.floor((now + max(0.0, latest - now) * spread) / GRID) * GRID


def handed_over_moment(key: PodKey, interval: float, now: float) -> float:
    """Returns when a check is first probed that another controller has probed until now. The time of its last probe is
    unknown, so it is probed soon. A hash spreads the checks."""
    spread = fraction(key) * SCATTER % 1
    return now + spread * min(interval / 2, HANDED_OVER_WITHIN)


def next_moment(started: float, in_phase: float, interval: float) -> float:
    """Returns when a check is probed after a probe that started at `started`. `in_phase` is any moment of its phase.

    The next probe is in phase if that is between half an interval and one interval later; else it is half-way to the
    phase. So two probes are never too close, and a threshold of several failures also holds for early and late probes.
    """
    due = in_phase + math.ceil((started - in_phase) / interval + 0.5) * interval
    return due if due - started <= interval + RESOLUTION else (started + due) / 2


class Schedule(Generic[W]):
    """Members ordered by the tick at which they are due. Times are of the monotonic clock, in seconds."""

    def __init__(self, grid: float = RESOLUTION) -> None:
        self._grid = grid
        self._ticks: dict[int, list[W]] = {}
        self._order: list[int] = []

    def add(self, member: W, due: float) -> None:
        """Make `member` due at the tick nearest to `due`."""
        tick = round(due / self._grid)
        if (members := self._ticks.get(tick)) is None:
            members = self._ticks[tick] = []
            heapq.heappush(self._order, tick)
        members.append(member)

    def next_tick(self) -> float:
        """Returns when the next member is due; infinity if there is none."""
        return self._order[0] * self._grid if self._order else math.inf

    def pop_due(self, now: float) -> list[tuple[float, W]]:
        """Removes and returns all members that are due, each with the time of its tick."""
        taken = []
        while self._order and self._order[0] * self._grid <= now:
            tick = heapq.heappop(self._order)
            taken += [(tick * self._grid, member) for member in self._ticks.pop(tick)]
        return taken
