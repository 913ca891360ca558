"""Reads our health keys from time to time, because others may change them without a notification to us.

Somebody may delete a key or write into it while our session lives, or write a key for a pod that has no check. After a
session was taken over, a delayed write of its previous owner may still arrive. A watch on all keys of the datacenter
would cost too much. So the published keys, and the keys of scheduled pods, are compared with Consul's, 64 keys in a
request. Only changed keys are read.

A member of a fleet whose view of the members is old may check nodes that another member has taken over. The key of any
pod of such a node shows that, so one key of each node is read more often: a glance.
"""

import logging
import time
from collections.abc import Callable, Collection

from controller.consul.client import ConsulError
from controller.runtime.background_thread import BackgroundThread
from controller.runtime.heartbeat import Heartbeat
from reconcilers.spec import PodKey

log = logging.getLogger(__name__)

PERIOD = 15.0
"""Seconds between two reads. Longer than the time in which a write of an earlier run may still arrive."""
IN_A_ROW = 4
"""Requests of a read between two pauses. The request after a pause takes twice the CPU: other threads have used the
processor's cache."""
PAUSE = 0.02
"""Seconds of a pause. A read has 157 requests for 10,000 keys. Without pauses, it would compete with the probes for
0.2 s."""


def glance_period(interval: float) -> float:
    """Returns the seconds between two glances for this interval of probes, in seconds.

    No pod may be probed by two members for longer than an interval, and the heir needs up to half of it for the verdict
    that it writes.
    """
    return max(0.25, min(2.0, interval / 4))


class KeyKeeper:
    """Calls `look` once a period, and `on_lost` with its result: the pods whose keys differ from the published
    records. Between two looks, it calls `glance` every `glance_period` seconds instead, unless that is None. Both call
    their argument to pause. `what` names the records in the log. `withdraw` removes them all at the end, within some
    seconds."""

    def __init__(
        self,
        look: Callable[[Callable[[], None]], Collection[PodKey]],
        on_lost: Callable[[Collection[PodKey]], None],
        heartbeat: Heartbeat,
        *,
        what: str = "health keys",
        withdraw: Callable[[float], None] = lambda _: None,
        period: float = PERIOD,
        glance: Callable[[Callable[[], None]], Collection[PodKey]] | None = None,
        glance_period: float = PERIOD,
    ) -> None:
        self._what = what
        self._withdraw = withdraw
        self._withdraw_within = 0.0
        self._look = look
        self._on_lost = on_lost
        self._heartbeat = heartbeat
        self._period = period
        self._glance = glance
        self._turn_every = glance_period if glance else period
        self._look_at = 0.0
        self._lost: set[PodKey] = set()
        self._thread = BackgroundThread(self._turn, heartbeat, delay=self._turn_every, at_end=self._end)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float, *, destroy: bool) -> None:
        """End the thread, and with `destroy` call `withdraw`, within `timeout` seconds."""
        self._withdraw_within = timeout if destroy else 0.0
        self._thread.stop(timeout)

    def _between(self) -> None:
        self._heartbeat.beat()
        self._thread.stopped.wait(PAUSE)

    def _end(self) -> None:
        try:
            if self._withdraw_within:
                self._withdraw(self._withdraw_within)
        except ConsulError as error:
            log.warning("%s stay published: %s", self._what, error)

    def _next(self) -> Callable[[Callable[[], None]], Collection[PodKey]]:
        if self._glance and time.monotonic() < self._look_at:
            return self._glance
        self._look_at = time.monotonic() + self._period
        return self._look

    def _turn(self) -> float:
        try:
            if lost := self._next()(self._between):
                log.warning(
                    "%d %s are not as they were published; they are written again, or removed", len(lost), self._what
                )
                self._lost.update(lost)
        except ConsulError as error:
            log.debug("%s cannot be read again: %s", self._what, error)
        if self._lost:
            self._on_lost(frozenset(self._lost))
            self._lost.clear()
        return self._turn_every
