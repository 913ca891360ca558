"""Moments at which the machine or this process stood still, so that a test can disregard what happened then."""

import threading
import time
from types import TracebackType
from typing import Self

LOOK_EVERY = 0.02
LONG = 0.15
"""Seconds. A shorter pause is not recorded."""


class Standstills:
    """Records each pause of this process. Times are of `time.monotonic()`."""

    def __init__(self) -> None:
        self._pauses: list[tuple[float, float]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def within(self, began: float, ended: float) -> bool:
        """Whether there was a pause between these times."""
        return any(first < ended and began < last for first, last in self._pauses)

    @property
    def seconds(self) -> float:
        """How long all pauses took together."""
        return sum(last - first for first, last in self._pauses)

    def _run(self) -> None:
        looked = time.monotonic()
        while not self._stopped.wait(LOOK_EVERY):
            before, looked = looked, time.monotonic()
            if looked - before > LONG:
                self._pauses.append((before, looked))
