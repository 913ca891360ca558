"""What really runs on a node, as p2's preparer writes it below `reality/<node>/`, by blocking queries.

A thread and a connection of its own: whatever is wrong with this tree, manifests are watched as before. It asks for
what is needed only where deployments are given a grace, once a minute while nothing changes.
"""

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from tenacity import RetryCallState, RetryError

from controller.intent.source import SourceError
from controller.runtime.heartbeat import Heartbeat
from controller.runtime.retry import until_stopped
from reconcilers.gate import Listing

log = logging.getLogger(__name__)

WAIT = 60.0
HEARTBEAT_LIMIT = 90.0
MIN_GAP = 0.25


class Lister(Protocol):
    """The part of a `Source` that is needed here."""

    def next(self, wait: float) -> Listing: ...

    def cancel(self) -> None: ...


class RealityWatch:
    """Runs in the thread "reality". `on_listing` gets the manifests that are there, each time that they were read.

    A listing that need not be Consul's last word (there is no leader) is passed over.
    """

    def __init__(self, source: Lister, on_listing: Callable[[Listing], None], heartbeat: Heartbeat) -> None:
        self._source = source
        self._on_listing = on_listing
        self._heartbeat = heartbeat
        self._failing = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=heartbeat.name, daemon=True)
        self._retrying = until_stopped(SourceError, self._stopped, self._on_error)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float) -> None:
        self._stopped.set()
        self._source.cancel()
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                self._retrying(self._turn)
                self._stopped.wait(MIN_GAP)
        except RetryError:
            log.debug("what really runs is not read any more")

    def _turn(self) -> None:
        self._heartbeat.beat()
        listing = self._source.next(WAIT)
        if self._failing:
            log.info("what really runs can be read again")
        self._failing = False
        if not listing.doubt:
            self._on_listing(listing)

    def _on_error(self, state: RetryCallState) -> None:
        self._heartbeat.beat()
        if not self._failing and state.outcome:
            log.warning("what really runs cannot be read, the last that was read counts: %s", state.outcome.exception())
        self._failing = True
