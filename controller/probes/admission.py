"""Decides how many probes may start, and which of the due checks is probed first. Pure: it reads no clock.

When more probes are in flight than the machine can handle, each becomes slower, until all of them time out. So the
engine starts only what it can finish. The skipped probes are spread evenly over all checks, so every check
is probed at an interval that the machine can keep.
"""

import heapq
import itertools
import math
from typing import Generic, Protocol, TypeVar

MOST_LAG = 0.05
"""Seconds that a ready socket may wait for the loop. A longer wait means that too many probes are in flight."""
BEGIN_WITH = 32
TURNS = 4
"""A probe takes about this many turns of the loop. The lag shows the effect of a lower limit only after them."""
CLASSES = 4
"""Intervals between a number and its double fall into this many classes. Within a class they count as equal."""


class Admission:
    """Limits how many probes may start in one turn of the loop: additive increase, multiplicative decrease, as in TCP.

    The limit grows by one after a prompt turn in which checks had to wait, and is halved after a late turn. It bounds
    the starts per turn, not the probes in flight: a probe that waits for a hanging target costs no CPU.
    """

    def __init__(self) -> None:
        self.limit = BEGIN_WITH
        self._settling = 0

    def allow(self, lag: float, waiting: int) -> int:
        """Returns how many may start now, after a turn that was `lag` seconds late, while `waiting` checks are due."""
        self._settling = max(0, self._settling - 1)
        if lag > MOST_LAG:
            if not self._settling:
                self.limit = max(1, self.limit // 2)
                self._settling = TURNS
        elif waiting > self.limit:
            self.limit += 1
        return self.limit


class Due(Protocol):
    """A check that is due: its `interval` in seconds, and `last`, when its last probe started."""

    @property
    def interval(self) -> float: ...
    @property
    def last(self) -> float: ...


W = TypeVar("W", bound=Due)


class DueQueue(Generic[W]):
    """The checks that are due. The first is the one whose last probe is the oldest, measured in its own intervals.

    So no check starves, and each check loses the same share of its probes.
    """

    def __init__(self) -> None:
        self._classes: dict[int, list[tuple[float, int, W]]] = {}
        self._serial = itertools.count()
        self._count = 0
        self.age = 1.0
        """The age of the last probe of the check that `pop` returned last, in its own intervals."""

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> "itertools.chain[W]":
        return itertools.chain.from_iterable([row[2] for row in rows] for rows in [*self._classes.values()])

    def add(self, member: W) -> None:
        rows = self._classes.setdefault(math.floor(math.log2(member.interval) * CLASSES), [])
        heapq.heappush(rows, (member.last, next(self._serial), member))
        self._count += 1

    def pop(self, now: float) -> W:
        """Removes and returns the next check.

        Raises:
            ValueError: the queue is empty.
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
