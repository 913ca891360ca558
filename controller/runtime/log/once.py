"""Logs a problem once, not at each attempt."""

import logging


class LogOnce:
    """Logs a problem as a warning, unless the same problem was the last one. `clear` ends it, so that the next one is
    logged again."""

    def __init__(self, log: logging.Logger) -> None:
        self.text = ""
        """The problem that has not ended, or ""."""
        self._log = log
        self._kind: object = None

    def warn(self, text: str, kind: object = None) -> None:
        """Log `text`. Two problems are the same when their `kind` is equal; without `kind`, when their text is."""
        if (kind or text) != self._kind:
            self._log.warning("%s", text)
        self.text, self._kind = text, kind or text

    def clear(self) -> bool:
        """End the problem. Returns whether there was one."""
        had_problem = self._kind is not None
        self.text, self._kind = "", None
        return had_problem
