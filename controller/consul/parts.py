"""Keys whose values are too many for one answer, read in parts: 64 keys, or whole subtrees, in a transaction.

What does not fit into an answer is asked for by halves, a subtree at last key by key. So one value that is too large
costs only itself, and keys that nobody wants cost nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from controller.consul.answers import MAX_OPERATIONS, KvPair, Operation, TransactionResult
from controller.consul.transport import ConsulTooLarge

AGAIN = 300.0
"""Seconds for which a tree that was too large for one answer is read in parts at once."""


TOO_LARGE = bytes(1024 * 1024)
"""In place of a value that could not be read; no manifest is so long."""


class Reads(Protocol):
    """What is needed of a client."""

    def list_keys(self, prefix: str, separator: str = "") -> list[str]: ...

    def transaction(self, operations: Sequence[Operation]) -> TransactionResult: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What was read, and the keys whose value does not even fit into an answer of its own."""

    pairs: list[KvPair] = field(default_factory=list)
    too_large: list[str] = field(default_factory=list)


def read(client: Reads, keys: Sequence[str]) -> Parts:
    """The values of `keys`; of one that ends with a slash all that stands right below it, and perhaps more.

    Keys that are gone meanwhile are left out, and so are those that our token may not read.

    Raises:
        ConsulError: Consul did not answer, or refused.
    """
    found = Parts()
    left = _batches(keys)
    while left:
        batch = left.pop()
        try:
            result = client.transaction([_reading(key) for key in batch])
        except ConsulTooLarge:
            left += _smaller(client, batch, found.too_large)
            continue
        if result.failed:
            left += _batches([key for at, key in enumerate(batch) if at not in result.failed])
        found.pairs.extend(result.pairs)
    return found


def _smaller(client: Reads, batch: Sequence[str], too_large: list[str]) -> list[Sequence[str]]:
    """The same in smaller parts; a single key that is too large has none."""
    if len(batch) > 1:
        middle = len(batch) // 2
        return [batch[:middle], batch[middle:]]
    (key,) = batch
    if key.endswith("/"):
        return _batches([below for below in client.list_keys(key, "/") if not below.endswith("/")])
    too_large.append(key)
    return []


def _batches(keys: Sequence[str]) -> list[Sequence[str]]:
    return [keys[start : start + MAX_OPERATIONS] for start in range(0, len(keys), MAX_OPERATIONS)]


def _reading(key: str) -> Operation:
    return Operation("get-tree" if key.endswith("/") else "get", key)
