"""Logs a trouble once, not at each attempt."""

import logging


class LogOnce:
    """Logs a warning when its text, or the `kind` of trouble, is another one than the last time.

    `clear` says that the trouble is over: the next one is logged again.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._last: object = None

    def warn(self, text: str, kind: object = None) -> None:
        """Log `text`, unless it is the trouble that was logged last. Without `kind` the text itself says what it is."""
        if (kind or text) != self._last:
            self._last = kind or text
            self._log.warning("%s", text)

    def clear(self) -> None:
        """The trouble is over."""
        self._last = None
