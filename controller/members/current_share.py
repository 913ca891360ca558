"""The share that is in force, for all threads. Reading it takes no lock.

When the process stood still, other members may check its nodes, and the share in force is not true any more. The probe
thread may wake before the threads that notice that. So no probe begins if the share was not confirmed for the TTL.
"""

import threading
from collections.abc import Callable
from dataclasses import replace

from controller.runtime.boottime import boottime
from reconcilers.membership import TTL
from reconcilers.share import FleetView, Share


class CurrentShare:
    """Holds the share of this controller. Without a fleet, it never changes.

    Listeners are called after each change, in the thread that caused it, and read the new share themselves. `clock` is
    in seconds.
    """

    def __init__(self, share: Share, *, clock: Callable[[], float] = boottime) -> None:
        self._clock = clock
        self._confirmed = 0.0
        self._lock = threading.Lock()
        self._state: tuple[Share, dict[str, bool]] = (share, {})
        """The share, and its answers so far: hashing a node's name over many members is not free."""
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each later change."""
        self._listeners.append(listener)

    def current(self) -> Share:
        """Returns the share in force."""
        return self._state[0]

    def owns(self, node: str) -> bool:
        """Whether this controller checks `node`."""
        share, known = self._state
        answer = known.get(node)
        if answer is None:
            answer = known[node] = share.owns(node)
        return answer

    def confirm(self, moment: float) -> None:
        """At this moment no other member could have taken over our nodes unnoticed."""
        self._confirmed = moment

    def may_probe(self, node: str) -> bool:
        """Whether a probe of a pod of `node` may begin now. For members of a fleet only."""
        return self._clock() - self._confirmed <= TTL and self.owns(node)

    def apply(self, view: FleetView) -> None:
        """Puts a view in force."""
        self._change(lambda share: share.seeing(view))

    def may_lose(self, node: str) -> bool:
        """Whether another controller may check `node` soon."""
        return self.current().may_lose(node)

    def leave(self) -> None:
        """This controller is about to stop."""
        self._change(lambda share: replace(share, is_leaving=True))

    def fence(self, node: str, index: int) -> None:
        """Another member has written `node` with a view of `index`. Nothing changes if the view in force is as new."""
        self._change(lambda share: share.fencing(node, index) if index > share.index else share)

    def unfence(self, node: str) -> None:
        """Ends the fence of `node`."""
        self._change(lambda share: share.unfencing(node))

    def _change(self, change: Callable[[Share], Share]) -> None:
        with self._lock:
            old = self._state[0]
            new = change(old)
            if new == old:
                return
            self._state = (new, {})
        for listener in tuple(self._listeners):
            listener()
