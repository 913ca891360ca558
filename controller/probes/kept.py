"""Computes the share of the due probes that this controller runs, and the warning if the share is low. Pure."""

import math
from collections import deque

WINDOW = 60.0
SLOT = 5.0
"""Seconds per slot of the window."""
OVERLOADED = 0.95
RELIEVED = 0.99
"""An overload begins below the share `OVERLOADED` and ends at the share `RELIEVED`."""


class Kept:
    """Counts the started and the skipped probes of about the last minute.

    `ratio` and `is_overloaded` are values of the last `count`. Any thread may read them.
    """

    def __init__(self) -> None:
        self._slots: deque[tuple[float, int, int]] = deque()
        self.ratio = 1.0
        self.is_overloaded = False

    def count(self, now: float, started: int, missed: int) -> None:
        """Add the probes that were started and missed since the last call."""
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
        """Returns the sentence about an overload; with `interval`, the one for a check of that interval."""
        said = f"this controller is overloaded: it keeps {math.floor(self.ratio * 100)} % of the probes"
        if not self.ratio:
            return said
        if interval:
            return f"{said}; an interval of {_rounded_up(interval / self.ratio)} s would fit"
        return f"{said}; intervals {_rounded_up(1 / self.ratio)} times as long would fit"


def _rounded_up(number: float) -> str:
    return f"{math.ceil(number * 10) / 10:g}"
