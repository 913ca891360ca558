"""One thread of the controller: it calls one function again and again, until it is stopped.

Every thread that does something now and then is one of these. The control loops and the probe engine have loops of
their own, because they wait for their queue and for their sockets.
"""

import logging
import threading
from collections.abc import Callable

from controller.runtime.heartbeat import Heartbeat

log = logging.getLogger(__name__)

AFTER_FAULT = 1.0
"""Seconds between a turn that raised an unexpected exception and the next turn."""


class BackgroundThread:
    """Calls `turn` in a daemon thread that has the name of its heartbeat.

    `turn` returns the seconds until its next call. The first call comes `delay` seconds after `start`. An exception
    that `turn` does not handle costs one turn: it is logged with its trace when it is another one than the last time,
    counted by the heartbeat, and the thread goes on. `at_end` is called once in the thread, after the last turn.
    `interrupt` is called by `stop` to end a turn that waits for somebody else.
    """

    def __init__(
        self,
        turn: Callable[[], float],
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
        self._fault = ""
        self._wanted = threading.Event()
        self.stopped = threading.Event()
        """Set as soon as the thread shall end; a turn that waits can wait for this."""
        self._thread = threading.Thread(target=self._run, name=heartbeat.name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Let the next turn begin now."""
        self._wanted.set()

    def stop(self, timeout: float) -> None:
        """End the thread, and wait up to `timeout` seconds for its end. Does nothing before `start`."""
        self.stopped.set()
        self._wanted.set()
        self._interrupt()
        if self._thread.ident:
            self._thread.join(timeout)

    def _run(self) -> None:
        rest = self._delay
        while not self._is_stopped_within(rest):
            self._heartbeat.beat()
            rest = self._one_turn()
        self._at_end()

    def _is_stopped_within(self, seconds: float) -> bool:
        if seconds > 0:
            self._wanted.wait(seconds)
        self._wanted.clear()
        return self.stopped.is_set()

    def _one_turn(self) -> float:
        try:
            rest = self._turn()
        except Exception as error:
            self._heartbeat.count_fault()
            if repr(error) != self._fault:
                self._fault = repr(error)
                log.exception("thread %s failed in one turn and goes on", self._heartbeat.name)
            return AFTER_FAULT
        self._fault = ""
        return rest
