"""Writes the log in a thread named "log", so that a reader of standard error that stops reading blocks no other thread.

A write to a pipe that is full blocks, and a probe thread must not wait for it. So the records go through a bounded
queue. A record that does not fit into the queue is dropped and counted, and the count is logged afterwards.
"""

import contextlib
import copy
import logging
import os
import queue
import select
import threading
from logging.handlers import QueueHandler, QueueListener

from controller.runtime.log.rate_limit import RateLimitFilter, line, message_of

QUEUE = 2_000
TICK = 1.0
"""Seconds between two looks at what was counted."""
LAST_WORDS = 1.0
"""Seconds that the end of the process waits for the reader."""


class NonBlockingHandler(QueueHandler):
    """Writes lines to a file descriptor, as far as `RateLimitFilter` admits them.

    `logging` calls `close` at the end of the process. It waits for the last lines, but no longer than `LAST_WORDS`.
    """

    def __init__(self, descriptor: int, *, size: int = QUEUE) -> None:
        records: queue.Queue[logging.LogRecord | None] = queue.Queue(size)
        super().__init__(records)
        self._rate_limit = RateLimitFilter()
        self.addFilter(self._rate_limit)
        self._dropped = 0
        self._dropped_logged = 0
        self._writer = _Writer(self, records, descriptor)
        self._writer.start()

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Puts the arguments into the message. Unlike `QueueHandler`, leaves the traceback to the formatter."""
        ready = copy.copy(record)
        ready.msg, ready.args = message_of(record), None
        return ready

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queues a record, or counts it as dropped."""
        try:
            super().enqueue(record)
        except queue.Full:
            self._dropped += 1

    def reports(self) -> list[logging.LogRecord]:
        """Returns the lines about what was not written. Only the writer's thread calls it, so it needs no lock."""
        reports, dropped = self._rate_limit.reports(), self._dropped
        if lost := dropped - self._dropped_logged:
            self._dropped_logged = dropped
            reports.append(
                line(__name__, logging.WARNING, f"{lost} lines of the log were lost: nobody read them in time")
            )
        return reports

    def close(self) -> None:
        """Writes the last lines, and waits for them. A second call does nothing."""
        if not self._writer.is_ending:
            for report in self._rate_limit.reports(at_end=True):
                self.enqueue(report)
            self._writer.end(LAST_WORDS)
        super().close()


class _Writer(QueueListener):
    """Writes the records of a handler's queue, and the handler's reports.

    Its thread takes no lock of a handler: `logging` holds these locks at the end of the process and waits in `end`.
    """

    def __init__(
        self, handler: NonBlockingHandler, records: "queue.Queue[logging.LogRecord | None]", descriptor: int
    ) -> None:
        super().__init__(records)
        self._records = records
        self._handler = handler
        self._descriptor = descriptor
        self._ended = threading.Event()
        self.is_ending = False

    def end(self, timeout: float) -> None:
        """Ends the thread once the queue is empty; waits up to `timeout` seconds. `stop` would wait without a bound."""
        self.is_ending = True
        with contextlib.suppress(queue.Full):
            self.enqueue_sentinel()
        self._ended.wait(timeout)

    def dequeue(self, block: bool) -> logging.LogRecord:
        """Waits for the next record, and writes reports meanwhile. Ends the thread by `queue.Empty`."""
        threading.current_thread().name = "log"
        while True:
            for report in self._handler.reports():
                self.handle(report)
            with contextlib.suppress(queue.Empty):
                if (record := self._records.get(block, TICK)) is not None:
                    return record
            if self.is_ending:
                self._ended.set()
                raise queue.Empty

    def handle(self, record: logging.LogRecord) -> None:
        """Writes one line, however long that takes. The line is lost if the descriptor is closed or has no reader."""
        data = f"{self._formatted(record)}\n".encode(errors="backslashreplace")
        with contextlib.suppress(OSError):
            while data:
                try:
                    data = data[os.write(self._descriptor, data) :]
                except BlockingIOError:  # another process that shares the descriptor has made it non-blocking
                    select.select([], [self._descriptor], [])

    def _formatted(self, record: logging.LogRecord) -> str:
        """Omits the traceback when no descriptor is left for the module that a traceback needs."""
        try:
            return self._handler.format(record)
        except OSError:
            record.exc_info = None
            return self._handler.format(record)
