"""The manifests that really run, as p2's preparer writes them below `reality/<node>/`, by blocking queries.

This watch has its own thread and connection, so that a problem with this tree does not affect the watch on intent. It
runs only where a startup grace is configured, and reads once a minute while nothing changes.
"""

import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from controller.intent.source import Interrupted, SourceError
from controller.runtime.background_thread import BackgroundThread
from controller.runtime.heartbeat import Heartbeat
from controller.runtime.log.once import LogOnce
from controller.runtime.retry import until_stopped
from reconcilers.gate import Listing

log = logging.getLogger(__name__)

WAIT = 60.0
HEARTBEAT_LIMIT = 90.0
MIN_GAP = 0.25
FLEET_GAP = 2.0
"""Seconds between two reads in a fleet, where each read is of many nodes."""


class Lister(Protocol):
    """The methods of `Sources` that are needed here."""

    def next(self, wait: float, again: Collection[str]) -> Iterable[Listing]: ...

    def wake(self) -> None: ...

    def cancel(self) -> None: ...


class Runs(Protocol):
    """Keeps which manifests really run."""

    def run(self, listing: Listing) -> None: ...

    def keep_nodes(self, owns: Callable[[str], bool]) -> None: ...


@dataclass(frozen=True, slots=True)
class RealityTree:
    """Where the manifests that really run are read. `owns` says whether a node is checked here, and `lacks` whether no
    pod runs on a node that was not listed. Reads are at least `gap` seconds apart."""

    source: Lister
    owns: Callable[[str], bool] = lambda _: True
    lacks: Callable[[str], bool] = lambda _: False
    gap: float = MIN_GAP


class RealityWatch:
    """Gives each listing of `tree` to `runs`, in the thread "reality".

    A listing that may be out of date, because Consul has no leader, is ignored.
    """

    def __init__(self, tree: RealityTree, runs: Runs, heartbeat: Heartbeat) -> None:
        self._tree = tree
        self._source = tree.source
        self._runs = runs
        self._heartbeat = heartbeat
        self._problem = LogOnce(log)
        self._thread = BackgroundThread(self._turn, heartbeat, interrupt=self._source.cancel)
        self._retrying = until_stopped(SourceError, self._thread.stopped, self._on_error)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float) -> None:
        self._thread.stop(timeout)

    def wake(self) -> None:
        """Read now which nodes are checked here. Any thread may call this."""
        self._source.wake()
        self._thread.wake()

    def _turn(self) -> float:
        self._retrying(self._read)
        return self._tree.gap

    def _read(self) -> None:
        self._runs.keep_nodes(self._tree.owns)
        try:
            for listing in self._source.next(WAIT, ()):
                self._heartbeat.beat()
                if not listing.doubt:
                    self._runs.run(listing)
        except Interrupted:
            return
        if self._problem.clear():
            log.info("the manifests that really run can be read again")

    def _on_error(self, error: SourceError) -> None:
        self._heartbeat.beat()
        self._problem.warn(f"the manifests that really run cannot be read, the last listing is kept: {error}", "unread")
