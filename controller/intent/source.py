"""What the watch needs from a source of manifests."""

from collections.abc import Collection
from typing import Protocol

from reconcilers.gate import Listing
from reconcilers.spec import PodKey


class SourceError(Exception):
    """The source did not answer, or its answer is not valid. The request is retried."""


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
