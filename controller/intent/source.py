"""What the watch needs from a source of manifests."""

from collections.abc import Collection, Iterable
from typing import Protocol

from reconcilers.gate import Listing
from reconcilers.spec import PodKey


class SourceError(Exception):
    """The source did not answer, or its answer is not valid. The request is retried."""


class Interrupted(Exception):
    """`wake` has ended the request."""


class Source(Protocol):
    """Lists the manifests of one node. All methods raise only `SourceError`."""

    def leftovers(self) -> Collection[PodKey]:
        """The pods whose health an earlier run published. They count as listed before the first listing."""
        ...

    def next(self, wait: float) -> Listing:
        """The current manifests. After the first call, it waits up to `wait` seconds for a change."""
        ...

    def absent(self, keys: Collection[PodKey]) -> Collection[PodKey]:
        """Those of these pods that have no manifest, by a single read for each."""
        ...

    def cancel(self) -> None:
        """End a waiting `next`, from another thread."""
        ...


class Sources(Protocol):
    """Lists the manifests of several nodes. All methods raise only `SourceError`, as those of `Source`."""

    def leftovers(self) -> Collection[PodKey]: ...

    def next(self, wait: float, again: Collection[str]) -> Iterable[Listing]:
        """One listing for each node that may have changed, and for the nodes `again`. After the first call, it waits up
        to `wait` seconds for a change. Raises Interrupted after `wake`."""
        ...

    def absent(self, keys: Collection[PodKey]) -> Collection[PodKey]: ...

    def forget(self, node: str) -> None:
        """The node is not checked here any more. If it is again, it counts as new."""
        ...

    def wake(self) -> None:
        """End a waiting `next`, from another thread. The next one does not wait."""
        ...

    def cancel(self) -> None: ...


class OneSource:
    """The source of one node as `Sources`. Its listings name no node."""

    def __init__(self, source: Source) -> None:
        self.leftovers = source.leftovers
        self.absent = source.absent
        self.cancel = source.cancel
        self._next = source.next

    def next(self, wait: float, again: Collection[str]) -> Iterable[Listing]:  # noqa: ARG002 -- it is listed anyway
        """See `Sources`."""
        return (self._next(wait),)

    def forget(self, node: str) -> None:
        """See `Sources`."""

    def wake(self) -> None:
        """See `Sources`. The source does not change its node."""
