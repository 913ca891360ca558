"""The results of the last probes of a check, in little memory: 10,000 checks have a million of them."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from reconcilers.health import HealthState, Outcome, ProbeResult, Reason


@dataclass(frozen=True, slots=True)
class PastProbe:
    """One probe in the history. Times are seconds; `started` is seconds since the epoch."""

    started: float
    duration: float
    outcome: Outcome
    reason: Reason
    status_code: int


class Transition(NamedTuple):
    """A change of a check from the state `before` to `state`, `since` seconds since the epoch."""

    since: float
    before: HealthState
    state: HealthState
    reason: Reason
    detail: str


FORMAT = struct.Struct("<dfBBH")
SIZE = FORMAT.size
OUTCOMES, REASONS = tuple(Outcome), tuple(Reason)
OUTCOME_CODE = {outcome: code for code, outcome in enumerate(OUTCOMES)}
REASON_CODE = {reason: code for code, reason in enumerate(REASONS)}


class History:
    """The last `size` probes of one check, in a ring buffer of 16 bytes a probe."""

    __slots__ = ("_count", "_ring", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._ring = bytearray()
        self._count = 0

    def add(self, result: ProbeResult) -> None:
        outcome, reason = OUTCOME_CODE[result.outcome], REASON_CODE[result.reason]
        at = self._count % self._size * SIZE
        if at == len(self._ring):
            self._ring += bytes(SIZE)
        FORMAT.pack_into(
            self._ring, at, result.started, result.duration, outcome, reason, min(result.status_code, 0xFFFF)
        )
        self._count += 1

    def __iter__(self) -> Iterator[PastProbe]:
        """Oldest first."""
        return iter(self.last(self._size))

    def last(self, count: int) -> list[PastProbe]:
        """Returns the last `count` probes, oldest first."""
        ring, first = bytes(self._ring), self._count % self._size * SIZE
        in_order = ring if len(ring) < self._size * SIZE else ring[first:] + ring[:first]
        return [
            PastProbe(started, duration, OUTCOMES[outcome], REASONS[reason], status_code)
            for started, duration, outcome, reason, status_code in FORMAT.iter_unpack(in_order[-count * SIZE :])
        ]
