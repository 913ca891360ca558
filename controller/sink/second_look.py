"""After a session was taken over: what its dead owner had sent may land yet, and nobody is told of it.

Consul takes a write that was under way when its sender died, and the session that it carries is a good one. So once
such a write can only have landed or be lost, what stands published is read once more.
"""

import logging
import threading
from collections.abc import Callable

from controller.consul import ConsulError
from controller.session import SessionKeeper

log = logging.getLogger(__name__)

RETRY = 2.0


class SecondLook:
    """Calls `look` once, `after` seconds after the session of `lease` was confirmed, in the thread "second-look"."""

    def __init__(self, lease: SessionKeeper, look: Callable[[], None], after: float) -> None:
        self._lease = lease
        self._look = look
        self._after = after
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="second-look", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float, *, destroy: bool) -> None:  # noqa: ARG002 - nothing of it stays
        self._stopped.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._lease.wait(RETRY):
            if self._stopped.is_set():
                return
        wait = self._after
        while not self._stopped.wait(wait):
            try:
                self._look()
                return
            except ConsulError as error:
                log.debug("what stands published cannot be read again yet: %s", error)
                wait = RETRY
