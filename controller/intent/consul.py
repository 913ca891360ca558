"""Manifests from Consul's KV store, by blocking queries."""

from collections.abc import Callable, Collection

from controller.consul import ConsulClient, ConsulError
from controller.intent.watch import SourceError
from reconcilers.gate import Listing
from reconcilers.keys import intent_key
from reconcilers.spec import PodKey


class ConsulSource:
    """Implements `Source` for one node of one tree (`intent` or `reality`)."""

    def __init__(self, client: ConsulClient, tree: str, node: str, leftovers: Callable[[], Collection[PodKey]]) -> None:
        self._client = client
        self._tree = tree
        self._node = node
        self._leftovers = leftovers
        self._index = 0

    def leftovers(self) -> Collection[PodKey]:
        """See `Source`."""
        try:
            return self._leftovers()
        except ConsulError as error:
            raise SourceError(str(error)) from error

    def next(self, wait: float) -> Listing:
        """See `Source`. After an error, or when the index went backwards, the next one does not wait."""
        since, self._index = self._index, 0
        try:
            listing = self._client.list_manifests(self._tree, self._node, since, wait)
        except ConsulError as error:
            raise SourceError(str(error)) from error
        if listing.index >= since:
            self._index = listing.index
        return listing

    def are_absent(self, keys: Collection[PodKey]) -> bool:
        """See `Source`."""
        try:
            return all(self._client.is_absent(intent_key(self._tree, key)) for key in keys)
        except ConsulError as error:
            raise SourceError(str(error)) from error

    def cancel(self) -> None:
        """See `Source`."""
        self._client.cancel()
