"""A thread that calls one function from time to time, until it is stopped.

The control loops and the probe engine have loops of their own, because they wait for their queue and for their sockets.
"""

import threading
from collections.abc import Callable

from controller.runtime.heartbeat import Heartbeat

AFTER_FAULT = 1.0
"""Seconds between a turn that raised an unexpected exception and the next turn."""


class BackgroundThread:
    """Calls `turn` in a daemon thread that has the name of its heartbeat.

    `turn` returns the seconds until its next call, or None to end the thread. The first call comes `delay` seconds
    after `start`. An exception that `turn` does not handle costs one turn: the heartbeat's `faults` log and count it.
    `at_end` is called once in the thread, after the last turn. `interrupt` is called by `stop`, to end a turn that
    waits for an answer.
    """

    def __init__(
        self,
        turn: Callable[[], float | None],
        heartbeat: Heartbeat,
        *,
        delay: float = 0.0,
        at_end: Callable[[], None] = lambda: None,
        interrupt: Callable[[], None] = lambda: None,
    ) -> None:
        self._turn = turn
        self._heartbeat = heartbeat
        self._delay = delay
        self._at_end = at_end
        self._interrupt = interrupt
        self._wanted = threading.Event()
        self.stopped = threading.Event()
        """Set as soon as the thread is to end. A turn that waits can wait for this event."""
        self._thread = threading.Thread(target=self._run, name=heartbeat.name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Let the next turn begin now."""
        self._wanted.set()

    def stop(self, timeout: float) -> None:
        """End the thread, and wait up to `timeout` seconds for its end. Before `start`, there is no thread to end."""
        self.stopped.set()
        self._wanted.set()
        self._interrupt()
        if self._thread.ident:
            self._thread.join(timeout)

    def _run(self) -> None:
        rest: float | None = self._delay
        while rest is not None and not self._is_stopped_within(rest):
            self._heartbeat.beat()
            rest = self._one_turn()
        with self._heartbeat.faults.contain(f"end of thread {self._heartbeat.name}"):
            self._at_end()

    def _is_stopped_within(self, seconds: float) -> bool:
        if seconds > 0:
            self._wanted.wait(seconds)
        self._wanted.clear()
        return self.stopped.is_set()

    def _one_turn(self) -> float | None:
        with self._heartbeat.faults.contain(f"thread {self._heartbeat.name}"):
            return self._turn()
        return AFTER_FAULT
