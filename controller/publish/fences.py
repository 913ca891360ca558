"""Keeps a controller from nodes that another member of the fleet has written with a newer view of the members.

What is published has the index of the view that its writer had. If this index is higher than that of our view, the
writer knows more than we do. Its node is fenced, so that this controller does not check it until its view is as new.

If the index stays ahead of a membership that was read again, Consul's index went back, as after a restored backup. Then
the node is no longer fenced.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from controller.members.current_share import CurrentShare
from controller.publish.given_up import GIVEN_UP
from controller.runtime.boottime import boottime

log = logging.getLogger(__name__)

INDEX_WENT_BACK = 30.0
"""Seconds after which an index that is still ahead of the view shows that Consul's index went back."""
READS = 2
"""Number of reads of the membership after which one of them surely began later than the fence."""


class Membership(Protocol):
    """What reads the members of the fleet."""

    def hurry(self) -> None:
        """Lets the members be read now."""
        ...

    def settle(self, index: int) -> None:
        """Lets all members of the view of `index` count, if it is the newest one."""
        ...

    def reads(self) -> int:
        """Returns how many times the members were read successfully."""
        ...


class _NoFleet:
    """The membership of a controller without a fleet."""

    def hurry(self) -> None: ...

    def settle(self, index: int) -> None: ...

    def reads(self) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class _Ahead:
    """An index that was ahead of our view at the time `since`, after `reads` reads of the membership."""

    index: int
    since: float
    reads: int


class Fences:
    """For the thread that publishes. `share` calls its listeners in this thread. `clock` is in seconds."""

    def __init__(
        self, share: CurrentShare, membership: Membership | None = None, *, clock: Callable[[], float] = boottime
    ) -> None:
        self._share = share
        self._membership = membership or _NoFleet()
        self._clock = clock
        self._ahead: dict[str, _Ahead] = {}
        self._overruled: dict[str, int] = {}
        """The index of each node that is from before Consul's index went back."""
        self._hurried = -1
        """The number of reads of the membership when it was last hurried. One hurry is enough for several nodes."""

    def is_ahead(self, node: str, index: int) -> bool:
        """Whether a node that was written with this index is another member's."""
        return GIVEN_UP > index > max(self._share.current().index, self._overruled.get(node, 0))

    def add(self, ahead: Mapping[str, int]) -> None:
        """Fences these nodes, which were written with these indexes. If their writer has only waited less for a new
        member, that member counts now, and nothing is fenced."""
        if ahead:
            self._membership.settle(max(ahead.values()))
        ahead = {node: index for node, index in ahead.items() if self.is_ahead(node, index)}
        for node, index in ahead.items():
            ours = self._share.current().index
            log.info("node %s is another member's: it was written with view %d, ours is %d", node, index, ours)
            self._ahead[node] = _Ahead(index, self._clock(), self._membership.reads())
            self._share.fence(node, index)
        if ahead and (reads := self._membership.reads()) != self._hurried:
            self._hurried = reads
            self._membership.hurry()

    def review(self) -> None:
        """Ends the fences of indexes that stayed ahead although the membership was read again."""
        index, now, reads = self._share.current().index, self._clock(), self._membership.reads()
        self._ahead = {node: ahead for node, ahead in self._ahead.items() if ahead.index > index}
        old = {
            node: ahead.index
            for node, ahead in self._ahead.items()
            if now - ahead.since >= INDEX_WENT_BACK and reads - ahead.reads >= READS
        }
        if not old:
            return
        log.warning(
            "Consul's index went back, as after a restored backup: %d nodes were written with view %d, the present "
            "view is %d; they are taken over",
            *(len(old), max(old.values()), index),
        )
        self._overruled |= old
        for node in old:
            del self._ahead[node]
            self._share.unfence(node)
