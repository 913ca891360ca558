"""How much goes into one request: as much as Consul takes, or less where somebody in between refuses more.

A proxy may refuse a request body (413) that is well below Consul's own limits, and so may Consul (`txn_max_req_len`).
How large a body may be is not said, so it is found out: by halves, down to a single operation. The size that passed is
used for a while; then a larger one is tried again.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from controller.consul.client import MAX_OPERATIONS, MAX_TRANSACTION_BYTES, Operation

T = TypeVar("T")

AGAIN = 300.0
"""Seconds for which a discovered limit is used."""
ENVELOPE = 64
"""Bytes of a transaction's body in addition to its operations."""


class SizeLimit:
    """The limit on a request's body, in bytes, as far as it is known. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused = 0
        self._passed = 0
        self._found = 0.0

    def most(self) -> int:
        """The largest body to send: of the size that passed last, where a larger one was refused."""
        if self._clock() - self._found >= AGAIN:
            self._refused = self._passed = 0
        return self._passed or MAX_TRANSACTION_BYTES

    def passed(self, size: int) -> None:
        if size < self._refused:
            self._passed = max(self._passed, size)

    def refused(self, size: int) -> None:
        """A body of `size` bytes, with more than one operation, was refused for its size."""
        if not self._refused:
            self._found = self._clock()
        self._refused = min(size, self._refused or size)
        if self._passed >= self._refused:
            self._passed = 0


def body_size(operations: Sequence[Operation]) -> int:
    """Bytes of a transaction's body, or a few more."""
    return ENVELOPE + sum(operation.size for operation in operations)


def batches(items: Sequence[T], operations: Callable[[T], Sequence[Operation]], limit: SizeLimit) -> Iterator[list[T]]:
    """Split `items` so that the operations of each part fit one transaction of at most `limit.most()` bytes; an item
    that is too large by itself is a part of its own."""
    part: list[T] = []
    count, size = 0, ENVELOPE
    for item in items:
        steps = operations(item)
        needed = sum(step.size for step in steps)
        if part and (count + len(steps) > MAX_OPERATIONS or size + needed > limit.most()):
            yield part
            part, count, size = [], 0, ENVELOPE
        part.append(item)
        count, size = count + len(steps), size + needed
    if part:
        yield part


def halves(batch: Sequence[T]) -> list[list[T]]:
    """Two parts of a batch of at least two, the second one first: as they are pushed on a stack."""
    middle = len(batch) // 2
    return [list(batch[middle:]), list(batch[:middle])]
