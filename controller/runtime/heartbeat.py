"""Heartbeats of the controller's threads. `/-/healthy` names each thread whose heartbeat has stopped."""

import threading
import time
from collections.abc import Callable, Sequence

from controller.runtime.faults import Faults

SLOW = 20
"""A thread that waits for others is stuck, and not slow, after this many times its limit."""


class Heartbeat:
    """The heartbeat of one thread. The thread stands still when it has not beaten for `limit` seconds.

    A thread that `asks` others may stand still because they answer slowly. A thread that ended without a request is
    never slow. `faults` are those of the process.
    """

    def __init__(
        self, name: str, limit: float, clock: Callable[[], float], *, asks: bool = False, faults: Faults | None = None
    ) -> None:
        self.name = name
        self.faults = faults or Faults()
        self._asks = asks
        self._limit = limit
        self._clock = clock
        self._last = clock()
        self._thread: threading.Thread | None = None
        self.faults.expect(name)

    def beat(self) -> None:
        """Show that the calling thread is alive."""
        self._last = self._clock()
        if self._thread is None:
            self._thread = threading.current_thread()

    def silence(self) -> float:
        """Seconds since the last beat."""
        return self._clock() - self._last

    def stands_still(self) -> bool:
        return self.silence() > self._limit

    def is_hopeless(self) -> bool:
        """Whether only a new process helps, because slow answers do not explain that the thread stands still."""
        is_dead = self._thread is not None and not self._thread.is_alive()
        return self.stands_still() and (is_dead or self.silence() > self._limit * (SLOW if self._asks else 1))


class Heartbeats:
    """The heartbeats of one process, and the faults of its threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.faults = Faults()
        self._clock = clock
        self._lock = threading.Lock()
        self._heartbeats: list[Heartbeat] = []

    def new(self, name: str, limit: float, *, asks: bool = False) -> Heartbeat:
        """The heartbeat of another thread. Its limit counts from now on."""
        heartbeat = Heartbeat(name, limit, self._clock, asks=asks, faults=self.faults)
        with self._lock:
            self._heartbeats.append(heartbeat)
        return heartbeat

    def complaints(self) -> Sequence[str]:
        """One sentence for each thread that stands still."""
        return self._sentences(Heartbeat.stands_still)

    def stuck(self) -> Sequence[str]:
        """One sentence for each thread for which only a new process helps."""
        return self._sentences(Heartbeat.is_hopeless)

    def hopeless(self) -> bool:
        """Whether only a new process helps."""
        return bool(self.stuck())

    def _sentences(self, is_named: Callable[[Heartbeat], bool]) -> Sequence[str]:
        with self._lock:
            named = list(filter(is_named, self._heartbeats))
        return [f"thread {each.name} has stood still for {each.silence():.0f} s" for each in named]
