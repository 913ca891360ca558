"""Finds the published health of pods that have no manifest any more, so that the member whose share their node is
removes it. The member that published it may have died, and a node without manifests has no other trace.

Such a record is removed if it was found twice, a period apart, and if Consul's leader confirms that the manifest does
not exist. A manifest that the token may not read is not confirmed.
"""

import logging
from collections.abc import Callable, Collection, Iterable

from controller.consul.client import ConsulClient, ConsulError, ConsulRefused
from controller.runtime.background_thread import BackgroundThread
from controller.runtime.heartbeat import Heartbeat
from reconcilers.keys import HEALTH, intent_key, parse_health_key
from reconcilers.ports import Ownership
from reconcilers.spec import PodKey

log = logging.getLogger(__name__)

PERIOD = 60.0
"""Seconds between two calls of `look`."""
MOST = 64
"""The most manifests that one `look` requests."""


class OrphanKeeper:
    """A thread that calls `expect` with the pods whose records are to be removed, once a period.

    `scheduled` returns the pods that have a manifest. `tree` is the KV tree of the manifests. `published` returns the
    pods that have a record; without it, those that have a health key.
    """

    def __init__(
        self,
        client: ConsulClient,
        tree: str,
        share: Ownership,
        scheduled: Callable[[], Collection[PodKey]],
        expect: Callable[[Collection[PodKey]], None],
        heartbeat: Heartbeat,
        *,
        published: Callable[[], Iterable[PodKey]] | None = None,
        period: float = PERIOD,
    ) -> None:
        self._client = client
        self._published = published or self._keys
        self._tree = tree
        self._share = share
        self._scheduled = scheduled
        self._expect = expect
        self._heartbeat = heartbeat
        self._period = period
        self._suspects: frozenset[PodKey] = frozenset()
        self._thread = BackgroundThread(self._turn, heartbeat, delay=period, interrupt=client.cancel)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float, *, destroy: bool) -> None:  # noqa: ARG002 -- the keeper publishes nothing itself
        self._thread.stop(timeout)

    def _turn(self) -> float:
        try:
            if orphans := self.look():
                log.info(
                    "the health of %d pods without a manifest is removed, for example of %s", len(orphans), min(orphans)
                )
                self._expect(orphans)
        except ConsulError as error:
            log.debug("the search for published health without a manifest failed: %s", error)
        return self._period

    def look(self) -> Collection[PodKey]:
        """Returns the pods of our nodes that are published, and had no manifest in the last look and have none now.

        Raises:
            ConsulError: Consul does not answer.
        """
        found = frozenset(key for key in self._published() if self._share.owns(key.node)).difference(self._scheduled())
        twice, self._suspects = sorted(found & self._suspects)[:MOST], found
        return frozenset(key for key in twice if self._is_absent(key))

    def _keys(self) -> Iterable[PodKey]:
        return (key for key in map(parse_health_key, self._client.list_keys(HEALTH)) if key)

    def _is_absent(self, key: PodKey) -> bool:
        self._heartbeat.beat()
        try:
            return self._client.is_absent(intent_key(self._tree, key))
        except ConsulRefused:
            return False
