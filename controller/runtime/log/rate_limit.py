"""Limits how many lines of one kind are logged, and counts the others.

A kind is a logger and a message without its arguments: `%s is %s` is one kind, whatever pod it names. A line is counted
instead of written if it repeats the text of the last line of its kind, or if `BURST` lines of its kind were written
within the minute. The counts are logged in one line each: `SOON` after the first line that was counted, so that an
operator learns early how large an outage is, and then once a minute for as long as there are lines to count.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

BURST = 100
MINUTE = 60.0
SOON = 5.0

Kind = tuple[str, str]
"""A logger, and a message without its arguments."""


def message_of(record: logging.LogRecord) -> str:
    """Returns the message with its arguments. Arguments that do not fit are appended, so the caller never fails."""
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        return f"{record.msg} {record.args!r}"


def line(logger: str, level: int, text: str, **fields: float) -> logging.LogRecord:
    """Returns a record that no caller of `logging` made; `fields` are of `lines.FIELDS`."""
    names = {"name": logger, "levelno": level, "levelname": logging.getLevelName(level), "msg": text}
    return logging.makeLogRecord(names | fields)


@dataclass(slots=True)
class _Window:
    """The lines of one kind since `began`. `continued` says that the window before this one ended with a report."""

    began: float
    continued: bool = False
    counting_since: float | None = None
    last: str | None = None
    written: int = 0
    level: int = 0
    repeated: int = 0
    latest: str = ""
    others: Counter[str] = field(default_factory=Counter)
    """Lines beyond the burst by the pod's state that they report; "" for lines without one."""

    def admits(self, text: str, state: str, burst: int, now: float) -> bool:
        if text != self.last and self.written < burst:
            self.written += 1
            self.last = text
            return True
        if self.counting_since is None:
            self.counting_since = now
        if text == self.last:
            self.repeated += 1
        else:
            self.others[state] += 1
            self.latest = text
        return False

    def is_over(self, now: float) -> bool:
        if self.counting_since is None:
            return now - self.began >= MINUTE
        return now - self.counting_since >= (MINUTE if self.continued else SOON)

    def reports(self, logger: str, now: float) -> list[logging.LogRecord]:
        seconds, total = now - self.began, self.others.total()
        states = ", ".join(f"{count} {state}" for state, count in self.others.most_common(5) if state)
        which, plural = f" ({states})" if states else "", "s"[: self.repeated > 1]
        counted = (
            (self.repeated, f"{self.last} (repeated {self.repeated} time{plural} in the last {seconds:.0f} s)"),
            (total, f"{total} more like this in the last {seconds:.0f} s{which}: {self.latest}"),
        )
        fields = {"seconds": round(seconds, 1)}
        return [line(logger, self.level, text, repeated=count, **fields) for count, text in counted if count]


class RateLimitFilter(logging.Filter):
    """A filter for a handler, for any thread. `clock` gives monotonic seconds."""

    def __init__(self, burst: int = BURST, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._burst = burst
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[Kind, _Window] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Returns whether the record is to be written. A record that is not written is counted."""
        text, now = message_of(record), self._clock()
        with self._lock:
            window = self._windows.setdefault((record.name, str(record.msg)), _Window(now))
            window.level = max(window.level, record.levelno)
            return window.admits(text, getattr(record, "state", ""), self._burst, now)

    def reports(self, *, at_end: bool = False) -> list[logging.LogRecord]:
        """Returns the reports of the windows that are over, or of all windows at the end of the process."""
        now, reports = self._clock(), []
        with self._lock:
            for kind in [kind for kind, window in self._windows.items() if at_end or window.is_over(now)]:
                window = self._windows.pop(kind)
                if of_kind := window.reports(kind[0], now):
                    reports += of_kind
                    self._windows[kind] = _Window(now, continued=True, last=window.last)
        return reports
