"""The removals of one node: the pods that its last listing lacks, and those of them that may be removed.

A node with an open removal is listed again soon, also if nothing has changed.
"""

import logging
from collections.abc import Callable, Collection, Mapping

from controller.intent.source import SourceError
from reconcilers.gate import GateDecision, Listing, RemovalGate
from reconcilers.ignored import Ignored
from reconcilers.spec import PodKey

log = logging.getLogger(__name__)


class NodeIntents:
    """One node whose manifests the watch reads. `name` is "" if it reads one node only."""

    def __init__(self, name: str, gate: RemovalGate) -> None:
        self.gate = gate
        self.verdict = GateDecision()
        self.ignored: Mapping[str, Ignored] = {}
        self.is_listed = False
        """Whether a listing has been taken over."""
        self._of_node = f" of node {name}" if name else ""
        self._index = 0
        self._went_back = False
        self._is_unread = False

    def accepts(self, listing: Listing) -> bool:
        """Whether a listing is taken over.

        A server that has just restarted may answer from a state before the newest changes, until it has replayed its
        log. So the first listing with a lower index is not taken over; a second one is, as after a restored backup.
        """
        if listing.index < self._index and not self._went_back:
            self._went_back = True
            return False
        self._index, self._went_back = listing.index, False
        return True

    def absent(self, listing: Listing, read: Callable[[Collection[PodKey]], Collection[PodKey]]) -> Collection[PodKey]:
        """The pods that the listing lacks and that single reads confirm as removed. A failed read confirms nothing
        and is repeated soon. It does not affect the rest of the listing."""
        self._is_unread = False
        suspects = self.gate.sample(listing)
        if not suspects or listing.doubt:
            return ()
        try:
            return read(suspects)
        except SourceError as error:
            log.debug("the removal of %d pods cannot be confirmed: %s", len(suspects), error)
            self._is_unread = True
            return ()

    def judge(self, listing: Listing, absent: Collection[PodKey], now: float) -> Collection[PodKey]:
        """Returns the pods that may be removed."""
        before, self.verdict = self.verdict.held, self.gate.judge(listing, absent, now)
        if self.verdict.held and self.verdict.held != before:
            log.warning("removal of %d pods%s is held: %s", len(self.verdict.held), self._of_node, self.verdict.reason)
        elif before and not self.verdict.held:
            removed = len(self.verdict.removed)
            log.warning("no removal%s is held any more; %d pods are removed now", self._of_node, removed)
        return self.verdict.removed

    def recheck_in(self, now: float) -> float | None:
        """Seconds until a removal must be judged again. None if none must."""
        return 0.0 if self._is_unread else self.gate.recheck_in(now)

    def is_open(self) -> bool:
        """Whether a removal is held or could not be confirmed."""
        return self._is_unread or bool(self.verdict.held)
