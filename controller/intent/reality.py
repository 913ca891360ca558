"""The manifests that really run on a node, as p2's preparer writes them below `reality/<node>/`, by blocking queries.

This watch has its own thread and connection, so that a problem with this tree does not affect the watch on intent. It
runs only where a startup grace is configured, and reads once a minute while nothing changes.
"""

import logging
from collections.abc import Callable
from typing import Protocol

from controller.intent.source import SourceError
from controller.runtime.background_thread import BackgroundThread
from controller.runtime.heartbeat import Heartbeat
from controller.runtime.log.once import LogOnce
from controller.runtime.retry import until_stopped
from reconcilers.gate import Listing

log = logging.getLogger(__name__)

WAIT = 60.0
HEARTBEAT_LIMIT = 90.0
MIN_GAP = 0.25


class Lister(Protocol):
    """The methods of a `Source` that are needed here."""

    def next(self, wait: float) -> Listing: ...

    def cancel(self) -> None: ...


class RealityWatch:
    """Calls `on_listing` in the thread "reality" with each listing that was read.

    A listing that may be out of date, because Consul has no leader, is ignored.
    """

    def __init__(self, source: Lister, on_listing: Callable[[Listing], None], heartbeat: Heartbeat) -> None:
        self._source = source
        self._on_listing = on_listing
        self._heartbeat = heartbeat
        self._problem = LogOnce(log)
        self._thread = BackgroundThread(self._turn, heartbeat, interrupt=source.cancel)
        self._retrying = until_stopped(SourceError, self._thread.stopped, self._on_error)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float) -> None:
        self._thread.stop(timeout)

    def _turn(self) -> float:
        self._retrying(self._read)
        return MIN_GAP

    def _read(self) -> None:
        listing = self._source.next(WAIT)
        if self._problem.clear():
            log.info("the manifests that really run can be read again")
        if not listing.doubt:
            self._on_listing(listing)

    def _on_error(self, error: SourceError) -> None:
        self._heartbeat.beat()
        self._problem.warn(f"the manifests that really run cannot be read, the last listing is kept: {error}", "unread")
