"""Signs of life of our threads: each beats while it turns, and `/-/healthy` names those that stopped."""

import threading
import time
from collections.abc import Callable, Sequence


class Pulse:
    """The sign of life of one thread; it stands still when it has not beaten for `limit` seconds."""

    def __init__(self, name: str, limit: float, clock: Callable[[], float]) -> None:
        self.name = name
        self._limit = limit
        self._clock = clock
        self._last = clock()

    def beat(self) -> None:
        self._last = self._clock()

    def silence(self) -> float:
        """Seconds since the last beat."""
        return self._clock() - self._last

    def stands_still(self) -> bool:
        return self.silence() > self._limit


class Pulses:
    """The pulses of one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._pulses: list[Pulse] = []

    def new(self, name: str, limit: float) -> Pulse:
        pulse = Pulse(name, limit, self._clock)
        with self._lock:
            self._pulses.append(pulse)
        return pulse

    def complaints(self) -> Sequence[str]:
        """One sentence for each thread that stands still."""
        with self._lock:
            still = [pulse for pulse in self._pulses if pulse.stands_still()]
        return [f"thread {pulse.name} has stood still for {pulse.silence():.0f} s" for pulse in still]
