"""Requests by signals. Signal handlers queue them, and the main thread runs them one after the other."""

from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

LOOK = 0.5
"""Seconds between two wake-ups of the main thread. The kernel may deliver a signal to another thread, for example right
after the process was paused. That does not wake the main thread, and only the main thread runs handlers."""


class Requests:
    """A reentrant queue without a lock, because signal handlers may interrupt each other."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def put(self, request: Callable[[], None] | None) -> None:
        """Queue a request. None ends `serve`."""
        self._queue.put(request)

    def serve(self) -> None:
        """Run the requests until one is None."""
        while request := self._next():
            request()

    def _next(self) -> Callable[[], None] | None:
        while True:
            with suppress(Empty):
                return self._queue.get(timeout=LOOK)
