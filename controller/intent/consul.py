"""Manifests from Consul's KV store, by blocking queries."""

import time
from collections.abc import Callable, Collection

from controller.consul.client import ConsulClient, ConsulError, ConsulRefused
from controller.intent.source import SourceError
from reconcilers.gate import Listing
from reconcilers.keys import intent_key
from reconcilers.spec import PodKey

REFUSALS = 5
"""After this many refused single reads, the remaining reads are left for the next call. Otherwise a fleet whose tokens
may not read everything would keep Consul's leader busy with refusals."""
LOOK = 5.0
"""Seconds after which the remaining single reads are left for the next call, so that the next listing is read soon."""


class SingleReads:
    """Confirms by single reads that manifests of one tree (`intent` or `reality`) do not exist."""

    def __init__(self, client: ConsulClient, tree: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._tree = tree
        self._clock = clock
        self._refused: set[PodKey] = set()

    def absent(self, keys: Collection[PodKey]) -> Collection[PodKey]:
        """See `Source`. A key that our token may not read is not absent; the next call reads it last."""
        absent: set[PodKey] = set()
        refusals, deadline = 0, self._clock() + LOOK
        self._refused.intersection_update(keys)
        for key in sorted(keys, key=lambda key: (key in self._refused, key)):
            if self._clock() > deadline:
                break
            try:
                if self._client.is_absent(intent_key(self._tree, key)):
                    absent.add(key)
            except ConsulRefused:
                self._refused.add(key)
                refusals += 1
                if refusals == REFUSALS:
                    break
            except ConsulError as error:
                raise SourceError(str(error)) from error
        return absent


class ConsulSource:
    """Implements `Source` for one node of one tree (`intent` or `reality`)."""

    def __init__(
        self,
        client: ConsulClient,
        tree: str,
        node: str,
        leftovers: Callable[[], Collection[PodKey]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._tree = tree
        self._node = node
        self._leftovers = leftovers
        self._index = 0
        self.absent = SingleReads(client, tree, clock).absent

    def leftovers(self) -> Collection[PodKey]:
        """See `Source`."""
        try:
            return self._leftovers()
        except ConsulError as error:
            raise SourceError(str(error)) from error

    def next(self, wait: float) -> Listing:
        """See `Source`. After an error, or when the index went back, the next call does not wait."""
        since, self._index = self._index, 0
        try:
            listing = self._client.list_manifests(self._tree, self._node, since, wait)
        except ConsulError as error:
            raise SourceError(str(error)) from error
        if listing.index >= since:
            self._index = listing.index
        return listing

    def cancel(self) -> None:
        """See `Source`."""
        self._client.cancel()
