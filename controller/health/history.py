"""The results of the last probes of a check, in little memory: 10,000 checks have a million of them."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from reconcilers.health import Outcome, ProbeResult, Reason


@dataclass(frozen=True, slots=True)
class PastProbe:
    """One probe in the history. Times are seconds; `started` is seconds since the epoch."""

    started: float
    duration: float
    outcome: Outcome
    reason: Reason
    status_code: int


class History:
    """The last `size` probes of one check, in a ring buffer of 16 bytes a probe."""

    _FORMAT = struct.Struct("<dfBBH")
    _OUTCOMES = tuple(Outcome)
    _REASONS = tuple(Reason)
    _OUTCOME_CODE: ClassVar = {outcome: code for code, outcome in enumerate(_OUTCOMES)}
    _REASON_CODE: ClassVar = {reason: code for code, reason in enumerate(_REASONS)}

    __slots__ = ("_count", "_ring", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._ring = bytearray()
        self._count = 0

    def add(self, result: ProbeResult) -> None:
        packed = self._FORMAT.pack(
            result.started,
            result.duration,
            self._OUTCOME_CODE[result.outcome],
            self._REASON_CODE[result.reason],
            min(result.status_code, 0xFFFF),
        )
        at = self._count % self._size * self._FORMAT.size
        self._ring[at : at + self._FORMAT.size] = packed
        self._count += 1

    def __iter__(self) -> Iterator[PastProbe]:
        """Oldest first."""
        return iter(self.last(self._size))

    def last(self, count: int) -> list[PastProbe]:
        """Returns the last `count` probes, oldest first."""
        ring, first = bytes(self._ring), self._count % self._size * self._FORMAT.size
        in_order = ring if len(ring) < self._size * self._FORMAT.size else ring[first:] + ring[:first]
        return [
            PastProbe(started, duration, self._OUTCOMES[outcome], self._REASONS[reason], status_code)
            for started, duration, outcome, reason, status_code in self._FORMAT.iter_unpack(
                in_order[-count * self._FORMAT.size :]
            )
        ]
