"""What signals ask for: their handlers put it here, and the main thread does it, one after the other."""

from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

LOOK = 1.0
"""Seconds after which a signal is noticed that the kernel gave to another thread, as it may right after a pause of the
process: that does not wake the main one, and only the main one runs handlers."""


class Requests:
    """Handlers may interrupt each other: this is a queue that may be re-entered, without a lock of ours."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def put(self, request: Callable[[], None] | None) -> None:
        """Ask for something, or with None for the end."""
        self._queue.put(request)

    def serve(self) -> None:
        """Do what is asked for; returns when that is the end."""
        while request := self._next():
            request()

    def _next(self) -> Callable[[], None] | None:
        while True:
            with suppress(Empty):
                return self._queue.get(timeout=LOOK)
