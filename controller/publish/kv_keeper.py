"""Looks after our health keys: what stands there may be another thing than we wrote, and nobody tells us.

Somebody deletes a key or writes into it, and our session lives on; or writes one for a pod that has no check. Or a
session was taken over, and a write that its dead owner had sent lands after all. To watch every key of the datacenter
is not to be afforded, so what is believed to stand published, and the keys of pods that are scheduled, are read again
from time to time, 64 keys in a request.
"""

import logging
from collections.abc import Callable, Collection

from controller.consul.client import ConsulError
from controller.runtime.background_thread import BackgroundThread
from controller.runtime.heartbeat import Heartbeat
from reconcilers.spec import PodKey

log = logging.getLogger(__name__)

PERIOD = 15.0
"""Seconds between two looks: beyond the time in which a write of an earlier run may still arrive."""


class KeyKeeper:
    """Looks at the keys that we published. `look` answers which pods' keys differ from what was published (and beats
    meanwhile); `on_lost` is called with those pods."""

    def __init__(
        self,
        look: Callable[[Callable[[], None]], Collection[PodKey]],
        on_lost: Callable[[Collection[PodKey]], None],
        heartbeat: Heartbeat,
        *,
        period: float = PERIOD,
    ) -> None:
        self._look = look
        self._on_lost = on_lost
        self._heartbeat = heartbeat
        self._period = period
        self._lost: set[PodKey] = set()
        self._thread = BackgroundThread(self._turn, heartbeat, delay=period)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float, *, destroy: bool) -> None:  # noqa: ARG002 -- the keeper publishes nothing itself
        self._thread.stop(timeout)

    def _turn(self) -> float:
        try:
            if lost := self._look(self._heartbeat.beat):
                log.warning(
                    "%d health keys are not as they were published; they are written anew, or removed", len(lost)
                )
                self._lost.update(lost)
        except ConsulError as error:
            log.debug("health keys cannot be looked at: %s", error)
        if self._lost:
            self._on_lost(frozenset(self._lost))
            self._lost.clear()
        return self._period
