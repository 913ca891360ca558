"""Logs a problem once, not at each attempt."""

import logging


class LogOnce:
    """Logs a warning if its text, or the `kind` of problem, differs from the last one.

    After `clear` the next problem is logged even if it is the same one.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._last: object = None

    def warn(self, text: str, kind: object = None) -> None:
        """Logs `text`, unless this problem was logged last. `kind` identifies the problem; without it `text` does."""
        if (kind or text) != self._last:
            self._last = kind or text
            self._log.warning("%s", text)

    def clear(self) -> None:
        """Forgets the last problem, because it is over."""
        self._last = None
