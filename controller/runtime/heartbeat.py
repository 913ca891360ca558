"""Signs of life of our threads: each beats while it turns, and `/-/healthy` names those that stopped."""

import threading
import time
from collections.abc import Callable, Sequence

SLOW = 20
"""How many times its limit a thread that asks others may stand still before a new process is the only help."""


class Heartbeat:
    """The sign of life of one thread; it stands still when it has not beaten for `limit` seconds.

    A thread that `asks` others waits for them: it may stand still because they are slow. One that has ended without
    being asked to is never slow.
    """

    def __init__(self, name: str, limit: float, clock: Callable[[], float], *, asks: bool = False) -> None:
        self.name = name
        self._asks = asks
        self._limit = limit
        self._clock = clock
        self._last = clock()
        self._thread: threading.Thread | None = None
        self.faults = 0
        """Turns that an unforeseen exception ended."""

    def beat(self) -> None:
        """A sign of life of the thread that calls."""
        self._last = self._clock()
        if self._thread is None:
            self._thread = threading.current_thread()

    def count_fault(self) -> None:
        """An exception that nobody foresaw ended one turn of the thread."""
        self.faults += 1

    def silence(self) -> float:
        """Seconds since the last beat."""
        return self._clock() - self._last

    def stands_still(self) -> bool:
        return self.silence() > self._limit

    def is_hopeless(self) -> bool:
        """Whether nobody's slowness explains it: only a new process helps."""
        ended = self._thread is not None and not self._thread.is_alive()
        return self.stands_still() and (ended or self.silence() > self._limit * (SLOW if self._asks else 1))


class Heartbeats:
    """The heartbeats of one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._heartbeats: list[Heartbeat] = []

    def new(self, name: str, limit: float, *, asks: bool = False) -> Heartbeat:
        heartbeat = Heartbeat(name, limit, self._clock, asks=asks)
        with self._lock:
            self._heartbeats.append(heartbeat)
        return heartbeat

    def complaints(self) -> Sequence[str]:
        """One sentence for each thread that stands still."""
        with self._lock:
            still = [heartbeat for heartbeat in self._heartbeats if heartbeat.stands_still()]
        return [f"thread {heartbeat.name} has stood still for {heartbeat.silence():.0f} s" for heartbeat in still]

    def hopeless(self) -> bool:
        """Whether any thread is."""
        with self._lock:
            return any(heartbeat.is_hopeless() for heartbeat in self._heartbeats)
