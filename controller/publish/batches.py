"""Splits changes into requests that Consul accepts, and learns the limit of the size.

A proxy may refuse a request body (413) that is well below Consul's own limits, and so may Consul (`txn_max_req_len`).
The answer does not name the limit. So a refused batch is split in halves, down to a single operation. The size that
passed is used for some minutes. Then a larger size is tried again.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from controller.consul.answers import Transactional
from controller.consul.client import MAX_OPERATIONS, MAX_TRANSACTION_BYTES

T = TypeVar("T")

LIMIT_LIFETIME = 300.0
"""Seconds for which a discovered limit is used."""
ENVELOPE = 64
"""Bytes of a transaction's body in addition to its operations."""


class SizeLimit:
    """The known limit of a request's body, in bytes. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused = 0
        self._passed = 0
        self._discovered_at = 0.0

    def most(self) -> int:
        """Returns the size of the largest body to send: of the one that passed, if a larger one was refused."""
        if self._clock() - self._discovered_at >= LIMIT_LIFETIME:
            self._refused = self._passed = 0
        return self._passed or MAX_TRANSACTION_BYTES

    def passed(self, size: int) -> None:
        if size < self._refused:
            self._passed = max(self._passed, size)

    def refused(self, size: int) -> None:
        """Records the refusal of a body of `size` bytes with more than one operation."""
        if not self._refused:
            self._discovered_at = self._clock()
        self._refused = min(size, self._refused or size)
        if self._passed >= self._refused:
            self._passed = 0


def body_size(operations: Sequence[Transactional]) -> int:
    """Returns the bytes of a transaction's body, or a few more."""
    return ENVELOPE + sum(operation.size for operation in operations)


def batches(
    items: Sequence[T], operations: Callable[[T], Sequence[Transactional]], limit: SizeLimit
) -> Iterator[list[T]]:
    """Splits `items` into parts whose operations fit one transaction of at most `limit.most()` bytes. An item that is
    too large is a part of its own."""
    part: list[T] = []
    count, size, most = 0, ENVELOPE, limit.most()
    for item in items:
        steps = operations(item)
        needed = sum(step.size for step in steps)
        if part and (count + len(steps) > MAX_OPERATIONS or size + needed > most):
            yield part
            part, count, size, most = [], 0, ENVELOPE, limit.most()
        part.append(item)
        count, size = count + len(steps), size + needed
    if part:
        yield part


def halves(batch: Sequence[T]) -> list[list[T]]:
    """Splits a batch of at least two. The second half comes first, in the order for a stack."""
    middle = len(batch) // 2
    return [list(batch[middle:]), list(batch[:middle])]
