"""Takes lines to where they are read, in a thread of its own: a reader that stands still delays nobody who logs.

A pipe that nobody empties holds up who writes into it, and a probe thread must not wait for that. What does not fit
into the queue meanwhile is dropped, and counted; how much was lost is the first thing that is said afterwards.
"""

import contextlib
import copy
import logging
import os
import queue
import select
import threading
import time
from collections.abc import Callable

from controller.runtime.log.rate_limit import RateLimitFilter, Unwritten

QUEUE = 2_000
TICK = 1.0
LAST_WORDS = 1.0
"""Seconds that the end waits for a reader."""


class NonBlockingHandler(logging.Handler):
    """Writes lines to a file descriptor. Lines are held back as `RateLimitFilter` says.

    `close`, which `logging` calls at the end of the process, waits a second at most.
    """

    def __init__(self, descriptor: int, *, size: int = QUEUE, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._clock = clock
        self._guard = threading.Lock()
        self._brake = RateLimitFilter()
        self._lines: queue.Queue[logging.LogRecord | None] = queue.Queue(size)
        self._lost = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Put it into the queue. Not under logging's own lock alone: that one is held while it waits for `close`."""
        kind, text, about = (record.name, str(record.msg)), _text(record), getattr(record, "state", "")
        with self._guard:
            if self._brake.admits(kind, record.levelno, text, about, self._clock()):
                ready = copy.copy(record)
                ready.msg, ready.args = text, None
                self._put(ready)

    def close(self) -> None:
        """Say what is still to be said, if there is a reader."""
        if not self._ended.is_set():
            with self._guard:
                for unwritten in self._brake.rest(self._clock()):
                    self._put(_told(unwritten))
                self._ended.set()
                self._put(None)
            self._thread.join(LAST_WORDS)
        super().close()

    def _put(self, record: logging.LogRecord | None) -> None:
        """Queue a record, or None to have the thread look around."""
        try:
            self._lines.put_nowait(record)
        except queue.Full:
            self._lost += 1

    def _run(self) -> None:
        while not (self._ended.is_set() and self._lines.empty()):
            with contextlib.suppress(queue.Empty):
                if record := self._lines.get(timeout=TICK):
                    self._write(record)
            self._tell_counted()
            self._tell_lost()

    def _tell_counted(self) -> None:
        with self._guard:
            for unwritten in self._brake.over(self._clock()):
                self._put(_told(unwritten))

    def _tell_lost(self) -> None:
        with self._guard:
            lost, self._lost = self._lost, 0
        if lost:
            self._write(
                _line(__name__, logging.WARNING, f"{lost} lines of the log were lost: nobody read them in time")
            )

    def _write(self, record: logging.LogRecord) -> None:
        """Write one line, however long that takes. A descriptor that is closed, or whose reader is gone, loses it."""
        data = f"{self._formatted(record)}\n".encode(errors="backslashreplace")
        with contextlib.suppress(OSError):
            while data:
                data = data[self._write_some(data) :]

    def _formatted(self, record: logging.LogRecord) -> str:
        """Without its traceback where that cannot be made: it may need a module, and that a descriptor."""
        try:
            return self.format(record)
        except OSError:
            record.exc_info = None
            return self.format(record)

    def _write_some(self, data: bytes) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:  # somebody who shares it has set it so
            select.select([], [self._descriptor], [])
            return 0


def _text(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # arguments that do not fit: no reason to fail in whoever logs
        return f"{record.msg} {record.args!r}"


def _told(unwritten: Unwritten) -> logging.LogRecord:
    line = _line(unwritten.kind[0], unwritten.level, str(unwritten))
    line.repeated, line.seconds = unwritten.count, round(unwritten.seconds, 1)
    return line


def _line(logger: str, level: int, text: str) -> logging.LogRecord:
    fields = {"name": logger, "levelno": level, "levelname": logging.getLevelName(level), "msg": text}
    return logging.makeLogRecord(fields)
