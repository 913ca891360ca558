"""Logs a problem once, not at each attempt."""

import logging
import threading


class LogOnce:
    """Logs a problem as a warning, unless the same problem was the last one. `clear` ends it, so that the next one is
    logged again. Once `stopped` is set there are no problems: a stop cancels requests."""

    def __init__(self, log: logging.Logger, stopped: threading.Event | None = None) -> None:
        self.text = ""
        """The problem that has not ended, or ""."""
        self._log = log
        self._stopped = stopped or threading.Event()
        self._kind: object = None

    def warn(self, text: str, kind: object = None) -> None:
        """Log `text`. Two problems are the same when their `kind` is equal; without `kind`, when their text is."""
        if self._stopped.is_set():
            return
        if (kind or text) != self._kind:
            self._log.warning("%s", text)
        self.text, self._kind = text, kind or text

    def clear(self) -> bool:
        """End the problem. Returns whether there was one."""
        had_problem = self._kind is not None
        self.text, self._kind = "", None
        return had_problem
