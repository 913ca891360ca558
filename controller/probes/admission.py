"""How many probes may start, and which of those that are due go first. Pure: times are given.

More probes in flight than the machine can handle make each slower, until all of them time out and nothing is known.
So what can be started can also be finished, and what cannot is left out evenly: every check is then probed at the
interval that the machine keeps.
"""

import heapq
import itertools
import math
from typing import Generic, Protocol, TypeVar

MOST_LAG = 0.05
"""Seconds that something may wait for the loop: beyond that too much is under way."""
BEGIN_WITH = 32
TURNS = 4
"""In about so many turns a probe goes through its steps: only after them does the lag show what was started less."""
CLASSES = 4
"""Intervals of which none is twice another fall into so many classes; within a class they count as equal."""


class Admission:
    """How many probes may start in one turn of the loop: one more after each turn that was prompt while others had to
    wait, half as many after one that was not. So TCP finds out what a line carries.

    What starts in a turn is bounded, not what is in flight: a probe that waits for a target that hangs costs nothing.
    """

    def __init__(self) -> None:
        self.limit = BEGIN_WITH
        self._settling = 0

    def allow(self, lag: float, waiting: int) -> int:
        """How many may start now, after a turn that was `lag` seconds late, while so many are `waiting`."""
        self._settling = max(0, self._settling - 1)
        if lag > MOST_LAG:
            if not self._settling:
                self.limit = max(1, self.limit // 2)
                self._settling = TURNS
        elif waiting > self.limit:
            self.limit += 1
        return self.limit


class Due(Protocol):
    """What waits to be probed: `interval` seconds lie between its probes, and `last` is when the last one started."""

    @property
    def interval(self) -> float: ...
    @property
    def last(self) -> float: ...


W = TypeVar("W", bound=Due)


class DueQueue(Generic[W]):
    """Those that are due. First goes the one whose last probe is the oldest, in intervals of its own: so no check
    starves, and all are left out by the same share."""

    def __init__(self) -> None:
        self._classes: dict[int, list[tuple[float, int, W]]] = {}
        self._serial = itertools.count()
        self._count = 0
        self.age = 1.0
        """How old the last probe of the one that went last was, in intervals of its own."""

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> "itertools.chain[W]":
        return itertools.chain.from_iterable([row[2] for row in rows] for rows in [*self._classes.values()])

    def add(self, member: W) -> None:
        rows = self._classes.setdefault(math.floor(math.log2(member.interval) * CLASSES), [])
        heapq.heappush(rows, (member.last, next(self._serial), member))
        self._count += 1

    def pop(self, now: float) -> W:
        """Whose turn it is.

        Raises:
            ValueError: nobody waits.
        """
        number = max(self._classes, key=lambda each: self._age(each, now))
        self.age = self._age(number, now)
        _, _, member = heapq.heappop(self._classes[number])
        if not self._classes[number]:
            del self._classes[number]
        self._count -= 1
        return member

    def _age(self, number: int, now: float) -> float:
        last, _, member = self._classes[number][0]
        return (now - last) / member.interval
