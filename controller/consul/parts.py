"""Reads keys in parts if they are too large for one answer: 64 keys, or whole subtrees, in a transaction.

A part that is too large for an answer is halved, and a single subtree is read key by key. So only a value that is too
large by itself cannot be read, and keys that are not requested cost nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from controller.consul.answers import MAX_OPERATIONS, KvPair, Operation, TransactionResult
from controller.consul.transport import ConsulTooLarge

IN_PARTS_FOR = 300.0
"""Seconds before a tree that was too large is requested in one answer again."""

TOO_LARGE = bytes(1024 * 1024)
"""The value of a key that could not be read. No manifest is as long."""


class KvReader(Protocol):
    """The methods of a client that `read` needs."""

    def list_keys(self, prefix: str, separator: str = "") -> list[str]: ...

    def transaction(
        self, operations: Sequence[Operation], known: Mapping[str, KvPair] | None = None
    ) -> TransactionResult: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """The pairs that were read, and the keys whose value alone is too large for an answer."""

    pairs: list[KvPair] = field(default_factory=list)
    too_large: list[str] = field(default_factory=list)


def read(client: KvReader, keys: Sequence[str], known: Mapping[str, KvPair] | None = None) -> Parts:
    """Returns the pairs of `keys`. For a key that ends with a slash, returns the pairs one level below it, and possibly
    deeper ones. Keys that do not exist or that the token may not read are left out. For `known`, see `pairs_of`. Raises
    ConsulError if Consul did not answer, or refused the request."""
    found = Parts()
    pending = _batches(keys)
    while pending:
        batch = pending.pop()
        try:
            reads = [Operation("get-tree" if key.endswith("/") else "get", key) for key in batch]
            result = client.transaction(reads, known)
        except ConsulTooLarge:
            pending += _split(client, batch, found.too_large)
            continue
        if result.failed:
            pending += _batches([key for at, key in enumerate(batch) if at not in result.failed])
        found.pairs.extend(result.pairs)
    return found


def _split(client: KvReader, batch: Sequence[str], too_large: list[str]) -> list[Sequence[str]]:
    """Splits a batch that is too large. A single key that is too large is added to `too_large`."""
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
