"""What the watch needs from a source of manifests, and from whoever knows the addresses of nodes."""

from collections.abc import Collection
from typing import Protocol

from reconcilers.gate import Listing
from reconcilers.spec import PodKey


class SourceError(Exception):
    """The source did not answer, or with something that cannot be believed; it is asked again."""


class Source(Protocol):
    """Something that can list the manifests of a node. All methods raise `SourceError` only."""

    def leftovers(self) -> Collection[PodKey]:
        """Pods whose health an earlier run published: as if they had been listed before the first listing."""
        ...

    def next(self, wait: float) -> Listing:
        """The manifests as they are now; after the first time waits up to `wait` seconds for a change."""
        ...

    def absent(self, keys: Collection[PodKey]) -> Collection[PodKey]:
        """Which of these have no manifest, by looking at each of them alone."""
        ...

    def cancel(self) -> None:
        """End a `next` that waits, from another thread."""
        ...
