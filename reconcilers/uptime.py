"""The share of the time in which a pod was up, over the last hour, 24 hours, 7 days and 30 days.

A pod is up while its check is passing or warning, and down while it is critical. Other time is not counted: the check
is unknown, the pod has no check, or no controller was running.

Each window has a ring of buckets. A bucket has the time up and the time down in a fixed part of the time, in ticks of
two seconds. A window ends now. Its oldest bucket is counted by the part of it that is in the window, as if its time up
and down were spread evenly. So a share differs from the exact one by less than one bucket.

The buckets change only with the state of the check: the time since `mark` is known without them. So nothing needs to be
done for each probe, or as time passes.
"""

import math
import struct
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from reconcilers.health import HealthState

TICK = 2
"""Seconds. Times in this module are whole ticks."""
MAX_TEXT = 1_000
"""Characters of an encoded `Uptime`; it needs at most 600."""
LATEST = 1 << 40


class Counted(StrEnum):
    """How time is counted."""

    UP = "u"
    DOWN = "d"
    NOT = "n"


COUNTED: Mapping[HealthState, Counted] = {
    HealthState.PASSING: Counted.UP,
    HealthState.WARNING: Counted.UP,
    HealthState.CRITICAL: Counted.DOWN,
    HealthState.UNKNOWN: Counted.NOT,
}


class Window(NamedTuple):
    """A window and its ring: `buckets` of `width` ticks, whose cells begin at `first`.

    A bucket has two cells: the ticks up and the ticks down. The window is one bucket shorter than the ring.
    """

    name: str
    width: int
    buckets: int
    first: int

    @property
    def length(self) -> int:
        """In ticks."""
        return self.width * (self.buckets - 1)


def _windows(*shapes: tuple[str, int, int]) -> Iterator[Window]:
    first = 0
    for name, seconds, buckets in shapes:
        yield Window(name, seconds // TICK, buckets + 1, first)
        first += 2 * (buckets + 1)


WINDOWS = tuple(_windows(("1h", 300, 12), ("24h", 3_600, 24), ("7d", 6 * 3_600, 28), ("30d", 24 * 3_600, 30)))
WORDS: Mapping[str, str] = {"1h": "hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days"}
"""The windows for people, after "the last"."""
LONGEST = max(window.length for window in WINDOWS)
CELLS = struct.Struct(f"<{sum(2 * window.buckets for window in WINDOWS)}H")
NOTHING = b""
"""Stands for cells that are all 0."""


class UptimeError(ValueError):
    """A text is not an encoded `Uptime`."""


class Share(NamedTuple):
    """How much of a window a pod was up and down, in seconds. The rest of the `length` is not counted."""

    window: str
    length: int
    up: float
    down: float

    @property
    def known(self) -> float:
        return self.up + self.down

    @property
    def is_partial(self) -> bool:
        """Whether a part of the window that matters is not known."""
        return self.known < 0.99 * self.length

    @property
    def words(self) -> str:
        """The window for people, after "the last"."""
        return WORDS[self.window]

    @property
    def ratio(self) -> float | None:
        """The part of the known time that the pod was up (0 to 1); None if nothing is known."""
        return self.up / self.known if self.known else None

    @property
    def text(self) -> str:
        """In percent, never rounded up: only a pod that was never down has 100 %."""
        if self.ratio is None:
            return "unknown"
        return "100 %" if not self.down else f"{math.floor(self.ratio * 10_000) / 100:.2f} %"


@dataclass(frozen=True, slots=True)
class Uptime:
    """The time up and down of one pod until `mark`. The time from then on is `counted`.

    `mark` is on the time axis of the buckets: the clock of the caller plus `offset`. The offset changes only when
    another controller or another boot of the machine continues, whose clock differs.
    """

    mark: int
    counted: Counted = Counted.NOT
    cells: bytes = NOTHING
    offset: int = 0

    def at(self, now: int) -> "Uptime":
        """The same with all time until `now` in the buckets."""
        start, end = self.mark, max(self.mark, now + self.offset)
        if self.counted is Counted.NOT and self.cells is NOTHING:
            return replace(self, mark=end)
        cells = _unpacked(self.cells)
        for window in WINDOWS:
            _spend(cells, window, start, end, self.counted)
        return replace(self, mark=end, cells=CELLS.pack(*cells) if any(cells) else NOTHING)

    def after(self, counted: Counted, now: int) -> "Uptime":
        """The same with other time from `now` on."""
        return self if counted is self.counted else replace(self.at(now), counted=counted)

    def rebased(self, difference: int) -> "Uptime":
        """The same for a clock that is `difference` ticks behind the present one."""
        return replace(self, offset=self.offset + difference)

    def shares(self, now: int) -> Sequence[Share]:
        """The share of each window that ends at `now`."""
        until = self.at(now)
        cells = _unpacked(until.cells)
        return [_share(cells, window, until.mark) for window in WINDOWS]

    def is_empty(self, now: int) -> bool:
        """Whether no time is known in any window that ends at `now`."""
        return self.at(now).cells is NOTHING and self.counted is Counted.NOT

    def encode(self) -> str:
        """Returns printable ASCII without spaces, quotes and backslashes."""
        cells = b64encode(zlib.compress(self.cells, 1)).decode() if self.cells else ""
        return f"{self.counted}:{self.mark}:{self.offset}:{cells}"


def decode(text: str) -> Uptime:
    """Returns the `Uptime` that was encoded as `text`. Raises UptimeError for any other text."""
    try:
        counted, mark, offset, encoded = text[: MAX_TEXT + 1].split(":")
        cells = _inflated(b64decode(encoded, validate=True)) if encoded else NOTHING
        found = Uptime(int(mark), Counted(counted), cells, int(offset))
    except (ValueError, zlib.error, struct.error) as error:
        raise UptimeError(f"not an uptime: {error}") from None
    if not (0 <= found.mark < LATEST and abs(found.offset) < LATEST):
        raise UptimeError("not an uptime: its time is out of range")
    return found


def _unpacked(cells: bytes) -> list[int]:
    return list(CELLS.unpack(cells)) if cells else [0] * (CELLS.size // 2)


def _inflated(packed: bytes) -> bytes:
    """Returns sound cells. Raises zlib.error, struct.error or ValueError."""
    data = zlib.decompressobj().decompress(packed, CELLS.size + 1)
    cells = CELLS.unpack(data)
    for window in WINDOWS:
        ring = cells[window.first : window.first + 2 * window.buckets]
        if any(up + down > window.width for up, down in zip(ring[::2], ring[1::2], strict=True)):
            raise ValueError("a bucket has more time than it can have")
    return data if any(cells) else NOTHING


def _spend(cells: list[int], window: Window, start: int, end: int, counted: Counted) -> None:
    """Adds the time from `start` to `end` to the buckets of a window. Buckets that it enters are emptied first."""
    width, buckets, last = window.width, window.buckets, end // window.width
    for bucket in range(max(start // width, last - buckets + 1), last + 1):
        place = window.first + bucket % buckets * 2
        if bucket * width > start:
            cells[place : place + 2] = 0, 0
        if counted is not Counted.NOT:
            spent = min(end, (bucket + 1) * width) - max(start, bucket * width)
            cells[place + (counted is Counted.DOWN)] += spent


def _share(cells: Sequence[int], window: Window, now: int) -> Share:
    """Sums a window that ends at `now`. All time until then is in the buckets."""
    oldest = now // window.width - window.buckets + 1
    outside = now % window.width / window.width

    def seconds(side: int) -> float:
        ring = cells[window.first + side : window.first + 2 * window.buckets : 2]
        return round(TICK * (sum(ring) - outside * ring[oldest % window.buckets]), 1)

    return Share(window.name, window.length * TICK, seconds(0), seconds(1))
