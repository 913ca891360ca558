"""The canary: an endpoint outside this node that answers whenever this node has a network.

It is probed only while every check fails at once. If it does not answer either, this node is cut off or this controller
is broken. Then the failures are no evidence about the pods, and the health store counts them as our own fault.
"""

import logging
import socket
import time
from collections.abc import Mapping
from typing import Self

from controller.config import Config
from controller.health.store import HealthStore
from controller.runtime.background_thread import BackgroundThread
from controller.runtime.heartbeat import Heartbeat, Heartbeats
from reconcilers.isolation import everything_failed

log = logging.getLogger(__name__)

PERIOD = 1.0
TIMEOUT = 2.0


class Canary:
    """Runs in the thread "canary". `target` is a host and a port, or the path of a Unix socket."""

    def __init__(
        self,
        target: tuple[str, int] | str,
        healths: HealthStore,
        heartbeat: Heartbeat,
        *,
        window: float,
        period: float = PERIOD,
    ) -> None:
        self._target = target
        self._healths = healths
        self._window = window
        """Checks that have failed for longer than this many seconds do not count."""
        self._period = period
        self._thread = BackgroundThread(self._turn, heartbeat, delay=period)

    @classmethod
    def of(
        cls, config: Config, environ: Mapping[str, str], healths: HealthStore, heartbeats: Heartbeats
    ) -> Self | None:
        """Returns the canary of a configuration; None if it has none."""
        if (target := config.canary_target(environ)) is None:
            return None
        return cls(target, healths, heartbeats.new("canary", 10, asks=True), window=config.canary_window)

    def apply(self, window: float) -> None:
        """Sets the seconds within which everything must have begun to fail. For any thread."""
        self._window = window

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float) -> None:
        self._thread.stop(timeout)

    def _turn(self) -> float:
        if not self._healths.cut_off and self._healths.latest_failure < time.time() - 2 * self._period:
            return self._period
        cut_off = self._everything_failed() and not self._answers()
        if cut_off and not self._healths.cut_off:
            why = f"every check fails and {self._name()} cannot be reached either: this node is cut off"
            log.warning("%s", why)
            self._healths.declare_cut_off(why, time.time() - self._window)
        elif self._healths.cut_off and not cut_off:
            log.warning("this node is not cut off any more")
            self._healths.end_cut_off()
        return self._period

    def _everything_failed(self) -> bool:
        """While the node is cut off, checks that have failed for longer than the window count too."""
        since = [tracked.assessment.failing_since for tracked in self._healths.all() if tracked.last]
        return everything_failed(since, time.time(), float("inf") if self._healths.cut_off else self._window)

    def _answers(self) -> bool:
        """Whether the canary accepts a connection. A name that cannot be encoded (`a..b`) raises UnicodeError."""
        try:
            with self._connect():
                return True
        except (OSError, UnicodeError):
            return False

    def _connect(self) -> socket.socket:
        if isinstance(self._target, tuple):
            return socket.create_connection(self._target, timeout=TIMEOUT)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(TIMEOUT)
        try:
            connection.connect(self._target)
        except OSError:
            connection.close()
            raise
        return connection

    def _name(self) -> str:
        return self._target if isinstance(self._target, str) else f"{self._target[0]}:{self._target[1]}"
