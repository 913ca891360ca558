"""Which share of the probes that are due this controller keeps, and what is said when it is not all. Pure."""

import math
from collections import deque

WINDOW = 60.0
SLOT = 5.0
"""Seconds of the window that are counted together."""
OVERLOADED = 0.95
RELIEVED = 0.99
"""An overload begins when less than the one share is kept, and ends when at least the other is."""


class Kept:
    """Counts the probes that were started and those that were left out, over about the last minute.

    `ratio` and `is_overloaded` are as of the last `count`, for any thread to read.
    """

    def __init__(self) -> None:
        self._slots: deque[tuple[float, int, int]] = deque()
        self.ratio = 1.0
        self.is_overloaded = False

    def count(self, now: float, started: int, missed: int) -> None:
        """So many were started and left out since the last count."""
        if self._slots and now - self._slots[-1][0] < SLOT:
            since, earlier, left = self._slots.pop()
            self._slots.append((since, earlier + started, left + missed))
        else:
            self._slots.append((now, started, missed))
        while now - self._slots[0][0] > WINDOW:
            self._slots.popleft()
        every = [sum(numbers) for numbers in zip(*self._slots, strict=True)]
        self.ratio = every[1] / (every[1] + every[2]) if every[2] else 1.0
        self.is_overloaded = self.ratio < (RELIEVED if self.is_overloaded else OVERLOADED)

    def sentence(self, interval: float = 0.0) -> str:
        """What is said of an overload; of one check where its `interval` is given."""
        said = f"this controller is overloaded: it keeps {math.floor(self.ratio * 100)} % of the probes"
        if not self.ratio:
            return said
        if interval:
            return f"{said}; an interval of {_rounded_up(interval / self.ratio)} s would fit"
        return f"{said}; intervals {_rounded_up(1 / self.ratio)} times as long would fit"


def _rounded_up(number: float) -> str:
    return f"{math.ceil(number * 10) / 10:g}"
